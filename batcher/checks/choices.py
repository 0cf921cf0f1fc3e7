"""One form for the answers of every family of endpoints: choices, each with text, calls and an end.

Reading never fails: what an answer lacks, or has in another type than documented, reads as absent.
Whether the answer is whole enough to be one (`choices` present, no embedded error) has been decided
before it comes here.

Legacy completions are read as chat: their `text` stands for the message.

Sources: OpenAI's chat completions, legacy `function_call`, and responses; Anthropic's messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from batcher.answers import Family

__all__ = ["Call", "Choice", "End", "read_choices"]


class End(Enum):
    """How a choice ended, where that bears on its use; any other end is None."""

    CUT_OFF = "cut off"
    FILTERED = "filtered"
    REFUSED = "refused"


class Call(NamedTuple):
    """One tool call as it came.

    Attributes:
        id: The endpoint's id of it, or empty.
        name: The tool, or empty when the call names none.
        arguments: JSON text as a rule; a parsed value where the family (or a relay) gives one; None
            when absent. Of a custom tool its input, which is any text.
    """

    id: str
    name: str
    arguments: Any


class Choice(NamedTuple):
    """One choice: its number (`index`), its text (empty when it has none), its calls, and its end.

    `says_it_calls` is what its finish reason says, whether or not a call is there.
    """

    number: int
    text: str
    calls: tuple[Call, ...]
    end: End | None
    says_it_calls: bool = False


# Other words than OpenAI's: relays pass Anthropic's on, Mistral has `model_length`.
_ENDS = {
    "length": End.CUT_OFF,
    "max_tokens": End.CUT_OFF,
    "model_length": End.CUT_OFF,
    "model_context_window_exceeded": End.CUT_OFF,
    "max_output_tokens": End.CUT_OFF,
    "content_filter": End.FILTERED,
    "refusal": End.REFUSED,
}
_CALLING = frozenset({"tool_calls", "function_call", "tool_use"})


def read_choices(body: Mapping[str, Any], family: Family) -> list[Choice]:
    """Read an answer into its choices; none for a family whose answers are no text."""
    read = _READERS.get(family)
    return [] if read is None else read(body)


def _read_chat(body: Mapping[str, Any]) -> list[Choice]:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        choices = [{}]
    return [_chat_choice(place, choice) for place, choice in enumerate(choices)]


def _chat_choice(place: int, choice: object) -> Choice:
    if not isinstance(choice, dict):
        return Choice(place, "", (), None)
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"content": choice.get("text")}
    reason = _text(choice.get("finish_reason"))
    end = _ENDS.get(reason)
    content = message.get("content")
    if isinstance(content, list):
        content, refusal = _join_parts(content)
    else:
        refusal = ""
    if refusal or message.get("refusal"):
        end = end or End.REFUSED
    number = choice.get("index")
    return Choice(
        number if type(number) is int else place,
        content if isinstance(content, str) else "",
        _chat_calls(message),
        end,
        reason in _CALLING,
    )


def _chat_calls(message: dict[str, Any]) -> tuple[Call, ...]:
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        return tuple(map(_chat_call, calls))
    legacy = message.get("function_call")
    return (_call(legacy, ""),) if isinstance(legacy, dict) else ()


def _chat_call(call: object) -> Call:
    if not isinstance(call, dict):
        return Call("", "", None)
    call_id = call.get("id")
    function = call.get("function")
    if isinstance(function, dict):
        return _call(function, call_id)
    custom = call.get("custom")
    if isinstance(custom, dict):
        return _call(custom, call_id, key="input")
    return _call({}, call_id)


def _call(source: Mapping[str, Any], call_id: object, *, key: str = "arguments") -> Call:
    return Call(_text(call_id), _text(source.get("name")), source.get(key))


def _read_messages(body: Mapping[str, Any]) -> list[Choice]:
    blocks = _dicts(body.get("content"))
    calls = tuple(
        _call(block, block.get("id"), key="input")
        for block in blocks
        if block.get("type") == "tool_use"
    )
    text, _ = _join_parts(blocks)
    reason = _text(body.get("stop_reason"))
    return [Choice(0, text, calls, _ENDS.get(reason), reason in _CALLING)]


def _read_responses(body: Mapping[str, Any]) -> list[Choice]:
    calls: list[Call] = []
    texts, refusals = [], []
    for item in _dicts(body.get("output")):
        kind = item.get("type")
        if kind == "function_call":
            calls.append(_call(item, item.get("call_id")))
        elif kind == "custom_tool_call":
            calls.append(_call(item, item.get("call_id"), key="input"))
        elif kind == "message":
            text, refusal = _join_parts(_dicts(item.get("content")))
            texts.append(text)
            refusals.append(refusal)
    end = None
    details = body.get("incomplete_details")
    if body.get("status") == "incomplete" and isinstance(details, dict):
        end = _ENDS.get(_text(details.get("reason")))
    if any(refusals):
        end = end or End.REFUSED
    return [Choice(0, "".join(texts), tuple(calls), end)]


def _join_parts(parts: Iterable[object]) -> tuple[str, str]:
    """Join the texts, and the refusals, of a content that comes in parts."""
    texts, refusals = [], []
    for part in _dicts(parts):
        kind = part.get("type")
        if kind in ("text", "output_text") and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            refusals.append(part["refusal"])
    return "".join(texts), "".join(refusals)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dicts(items: object) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


_READERS: dict[Family, Callable[[Mapping[str, Any]], list[Choice]]] = {
    Family.CHAT: _read_chat,
    Family.COMPLETIONS: _read_chat,
    Family.MESSAGES: _read_messages,
    Family.RESPONSES: _read_responses,
}
