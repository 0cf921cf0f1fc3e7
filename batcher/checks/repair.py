"""Messages that show a model its failed answer and ask it for a right one.

The answer goes back as an assistant message, reduced to what an endpoint takes: others refuse
`reasoning_content` or `annotations`. The API wants one tool message for each call of an assistant
message, so each gets one, and ids that are missing or repeated are replaced. Arguments that are no
JSON object are wrapped as `{"INVALID_JSON": ...}`: llama.cpp, vLLM and SGLang parse the arguments
of past calls and refuse the whole request otherwise. (Anthropic's documents give this wrapping.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from batcher.answers import Family
from batcher.checks.choices import Call, Choice, read_choices

__all__ = ["repair_messages"]

_NOT_CARRIED_OUT = "Error: not carried out, because the answer was invalid. See the next message."
_CLOSING = "Answer again, whole and corrected. Keep what was right, and do not mention the error."


def repair_messages(
    body: Mapping[str, Any],
    complaints: Sequence[str],
    *,
    family: Family = Family.CHAT,
    choice: int = 0,
) -> list[dict[str, Any]]:
    """Build the messages to append to the request's own (`messages`; `input` for responses).

    Args:
        body: The failed answer's parsed body.
        complaints: What is wrong with it (`Checked.complaints`).
        family: Its form.
        choice: Which of its choices to correct (`Checked.choice`).

    Returns:
        The messages; none for a family that takes no messages, where all one can do is ask again.
    """
    build = _BUILDERS.get(family)
    if build is None:
        return []
    failed = read_choices(body, family)[choice]
    failed = replace(failed, calls=_identified(failed.calls))
    request = "\n".join(
        ["The last answer can't be used:", *(f"- {text}" for text in complaints), _CLOSING]
    )
    return build(failed, request)


def _identified(calls: Sequence[Call]) -> Sequence[Call]:
    ids = {call.id for call in calls}
    if len(ids) == len(calls) and "" not in ids:
        return calls
    return [replace(call, id=f"call_{place}") for place, call in enumerate(calls)]


def _object(arguments: object) -> dict[str, Any]:
    """Give the arguments of a past call as an object, whatever they were."""
    value = arguments
    if isinstance(arguments, str):
        try:
            value = orjson.loads(arguments)
        except orjson.JSONDecodeError:
            value = None
    if isinstance(value, dict):
        return value
    return {"INVALID_JSON": arguments} if arguments else {}


def _name(call: Call) -> str:
    # A name that the endpoint would refuse must not make the whole request invalid.
    return call.name or "unnamed"


def _for_chat(failed: Choice, request: str) -> list[dict[str, Any]]:
    message: dict[str, Any] = {"role": "assistant", "content": failed.text}
    if failed.calls:
        message["content"] = failed.text or None
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": _name(call), "arguments": _text(_object(call.arguments))},
            }
            for call in failed.calls
        ]
    outcomes = [
        {"role": "tool", "tool_call_id": call.id, "content": _NOT_CARRIED_OUT}
        for call in failed.calls
    ]
    return [message, *outcomes, {"role": "user", "content": request}]


def _for_messages(failed: Choice, request: str) -> list[dict[str, Any]]:
    spoken = [{"type": "text", "text": failed.text}] if failed.text.strip() else []
    calls = [
        {"type": "tool_use", "id": call.id, "name": _name(call), "input": _object(call.arguments)}
        for call in failed.calls
    ]
    outcomes = [
        {
            "type": "tool_result",
            "tool_use_id": call.id,
            "is_error": True,
            "content": _NOT_CARRIED_OUT,
        }
        for call in failed.calls
    ]
    # This family refuses an empty assistant message; two user messages in a row it joins.
    answer = [{"role": "assistant", "content": [*spoken, *calls]}] if spoken or calls else []
    return [
        *answer,
        {"role": "user", "content": [*outcomes, {"type": "text", "text": request}]},
    ]


def _for_responses(failed: Choice, request: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if failed.text:
        items.append({"role": "assistant", "content": failed.text})
    items.extend(
        {
            "type": "function_call",
            "call_id": call.id,
            "name": _name(call),
            "arguments": _text(_object(call.arguments)),
        }
        for call in failed.calls
    )
    items.extend(
        {"type": "function_call_output", "call_id": call.id, "output": _NOT_CARRIED_OUT}
        for call in failed.calls
    )
    return [*items, {"role": "user", "content": request}]


def _text(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()


_BUILDERS = {
    Family.CHAT: _for_chat,
    Family.MESSAGES: _for_messages,
    Family.RESPONSES: _for_responses,
}
