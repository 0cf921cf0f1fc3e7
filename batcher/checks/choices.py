"""One form for the answers of every family of endpoints: choices, each with text, calls and an end.

Reading never fails: what an answer lacks, or has in another type than documented, reads as absent.
Whether the answer is whole enough to be one (`choices` present, no embedded error) has been decided
before it comes here.

Choices and calls are made for every answer and kept by nobody: plain objects with slots cost half
of what a named tuple does. Legacy completions are read as chat: `text` stands for the message.

Sources: OpenAI's chat completions, legacy `function_call`, and responses; Anthropic's messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from batcher.answers import Family

__all__ = ["Call", "Choice", "End", "read_choices"]


class End(Enum):
    """How a choice ended, where that bears on its use; any other end is None."""

    CUT_OFF = "cut off"
    FILTERED = "filtered"
    REFUSED = "refused"


@dataclass(slots=True, eq=False, repr=False)
class Call:
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


@dataclass(slots=True, eq=False, repr=False)
class Choice:
    """One choice: its number (`index`), its text or nothing, its calls, and its end."""

    number: int
    text: str
    calls: Sequence[Call]
    end: End | None


# Looking a member up in its Enum, or by it in a mapping, costs as much as reading a call.
_CHAT, _COMPLETIONS = Family.CHAT, Family.COMPLETIONS
_RESPONSES, _MESSAGES = Family.RESPONSES, Family.MESSAGES

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


def read_choices(body: Mapping[str, Any], family: Family) -> list[Choice]:
    """Read an answer into its choices; none for a family whose answers are no text."""
    if family is _CHAT or family is _COMPLETIONS:
        return _read_chat(body)
    if family is _MESSAGES:
        return _read_messages(body)
    return _read_responses(body) if family is _RESPONSES else []


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
    content, reason = message.get("content"), choice.get("finish_reason")
    refusal = message.get("refusal")
    if content is None:
        content = ""
    elif not isinstance(content, str):
        content, refusal_part = _join_parts(content)
        refusal = refusal or refusal_part
    end = _ENDS.get(reason) if isinstance(reason, str) else None
    if refusal and end is None:
        end = End.REFUSED
    number = choice.get("index")
    if type(number) is not int:
        number = place
    return Choice(number, content, _chat_calls(message), end)


def _chat_calls(message: Mapping[str, Any]) -> Sequence[Call]:
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        return [_chat_call(call) for call in calls]
    legacy = message.get("function_call")
    return [_call(legacy, "")] if isinstance(legacy, dict) else ()


def _chat_call(call: object) -> Call:
    if not isinstance(call, dict):
        return Call("", "", None)
    function, call_id = call.get("function"), call.get("id")
    if isinstance(function, dict):
        name = function.get("name")
        if isinstance(name, str) and isinstance(call_id, str):
            return Call(call_id, name, function.get("arguments"))
        return _call(function, call_id)
    custom = call.get("custom")
    return _call(custom if isinstance(custom, dict) else {}, call_id, "input")


def _call(source: Mapping[str, Any], call_id: object, key: str = "arguments") -> Call:
    name = source.get("name")
    return Call(
        call_id if isinstance(call_id, str) else "",
        name if isinstance(name, str) else "",
        source.get(key),
    )


def _read_messages(body: Mapping[str, Any]) -> list[Choice]:
    blocks = _dicts(body.get("content"))
    calls = tuple(
        _call(block, block.get("id"), "input")
        for block in blocks
        if block.get("type") == "tool_use"
    )
    text, _ = _join_parts(blocks)
    return [Choice(0, text, calls, _end(body.get("stop_reason")))]


def _read_responses(body: Mapping[str, Any]) -> list[Choice]:
    calls: list[Call] = []
    texts, refusals = [], []
    for item in _dicts(body.get("output")):
        kind = item.get("type")
        if kind == "function_call":
            calls.append(_call(item, item.get("call_id")))
        elif kind == "custom_tool_call":
            calls.append(_call(item, item.get("call_id"), "input"))
        elif kind == "message":
            text, refusal = _join_parts(_dicts(item.get("content")))
            texts.append(text)
            refusals.append(refusal)
    end = None
    details = body.get("incomplete_details")
    if body.get("status") == "incomplete" and isinstance(details, dict):
        end = _end(details.get("reason"))
    if any(refusals):
        end = end or End.REFUSED
    return [Choice(0, "".join(texts), tuple(calls), end)]


def _join_parts(parts: object) -> tuple[str, str]:
    """Join the texts, and the refusals, of a content that comes in parts."""
    texts, refusals = [], []
    for part in _dicts(parts):
        kind = part.get("type")
        if kind in ("text", "output_text") and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            refusals.append(part["refusal"])
    return "".join(texts), "".join(refusals)


def _end(reason: object) -> End | None:
    return _ENDS.get(reason) if isinstance(reason, str) else None


def _dicts(items: object) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
