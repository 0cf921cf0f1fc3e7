"""A conversation with tool calls as text, for a model that knows no tools.

How it is worded was tried on SmolLM2-135M. A result in JSON, or a call left standing above it, and
the model goes on in JSON; asked to "answer the question", it says that it has no access to orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

__all__ = ["Untranslatable", "json_text", "plain", "rendered"]

_TELL_RESULT: Final = "Tell me the result in a sentence."


class Untranslatable(Exception):  # noqa: N818 - it is the request's fault, not an error of ours
    """The request is wrong, or asks for what this endpoint can't do; the text says what."""


def rendered(
    messages: Sequence[Mapping[str, Any]], *, in_plain_text: bool, only: str = ""
) -> list[dict[str, Any]]:
    """Render the calls and results of a conversation as text; other messages stay.

    Args:
        messages: The conversation.
        in_plain_text: Whether it is to go on in plain text: calls are then left out, and a result
            at the end asks to be told. Otherwise a call is the JSON object that the model is to
            write now.
        only: The tool of which the model is to write the arguments alone: its calls are so, too.

    Raises:
        Untranslatable: A call has the wrong shape.
    """
    names: dict[str, str] = {}
    texts: list[dict[str, Any]] = []
    for message in messages:
        calls = message.get("tool_calls")
        if message.get("role") == "tool":
            given = str(message.get("name") or "the tool")
            name = names.get(str(message.get("tool_call_id")), given)
            texts.append({"role": "user", "content": _result(name, message)})
        elif isinstance(calls, list) and calls:
            names |= {
                str(one.get("id")): _function(one)[0] for one in calls if isinstance(one, dict)
            }
            lines = [plain(message.get("content"))] if message.get("content") else []
            lines += [] if in_plain_text else [_call(one, only) for one in calls]
            texts += [{"role": "assistant", "content": "\n".join(lines)}] if lines else []
        else:
            texts.append(dict(message))
    if in_plain_text and messages and messages[-1].get("role") == "tool":
        texts[-1]["content"] += f"\n{_TELL_RESULT}"
    return texts


def plain(content: object) -> str:
    """Take the text of a message's content, which may be a list of parts."""
    if isinstance(content, list):
        return "\n".join(str(one.get("text", "")) for one in content if isinstance(one, dict))
    return "" if content is None else str(content)


def json_text(value: object) -> str:
    """Write JSON without blanks."""
    return orjson.dumps(value).decode()


def _result(name: str, message: Mapping[str, Any]) -> str:
    """Word a tool's result; a JSON object as a line for each of its fields."""
    text = plain(message.get("content"))
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        fields = None
    if isinstance(fields, dict):
        text = "\n".join(f"{key}: {_scalar(value)}" for key, value in fields.items())
    return f"Result of {name}:\n{text}"


def _scalar(value: object) -> str:
    return value if isinstance(value, str) else json_text(value)


def _call(call: object, only: str) -> str:
    name, arguments = _function(call)
    if name == only:
        return arguments or "{}"
    return f'{{"name": {json_text(name)}, "arguments": {arguments or "{}"}}}'


def _function(call: object) -> tuple[str, str]:
    """Take the name and the text of the arguments of a call."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise Untranslatable("tool_calls must be functions with name and arguments")
    return str(function.get("name")), str(function.get("arguments") or "")
