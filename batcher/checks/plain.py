"""The verdict on what nearly every chat answer is: one choice that ended well, a call or a text.

Every row passes here, and this takes a third of the time of the whole reading. Where it is silent,
`verdict` looks closely; where it speaks, `verdict` would say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batcher.checks.claims import Claims, Tool
from batcher.checks.jsontext import read_json

__all__ = ["plain_extra"]

# Relays say `stop` for a call, too.
_ENDED_WELL = ("tool_calls", "stop")


def plain_extra(claims: Claims, body: Mapping[str, Any]) -> bytes | None:
    """Give the `extra` of an answer in which nothing is wrong; None where that takes a closer look.

    Args:
        claims: The row's, without a fault.
        body: The parsed answer of a chat.
    """
    # Whatever is not of the type that it should be can't be asked for a key by name.
    try:
        [choice] = body["choices"]
        message = choice["message"]
        content = message["content"]
        if choice["finish_reason"] not in _ENDED_WELL or message.get("refusal"):
            return None
        if content is not None and type(content) is not str:
            return None
        # All fields of a tuple at once take less time than two of them by name.
        tools, _, must_call, must_name, shape, given, _ = claims
        if not given:
            return b""
        if message.get("tool_calls"):
            [call] = message["tool_calls"]
            return _plain_call(tools, must_name, call)
    except (KeyError, TypeError, ValueError):
        return None
    if "function_call" in message or must_call or shape is not None:
        return None
    return b"" if content and not content.isspace() and not must_name else None


def _plain_call(tools: Mapping[str, Tool], must_name: str, call: Any) -> bytes | None:
    """Look at the one call of an answer; raises as the look at any other type does."""
    function = call["function"]
    name = function["name"]
    schema, _, custom, listing = tools[name]
    if custom or (must_name and name != must_name):
        return None
    arguments = function["arguments"]
    if type(call["id"]) is not str or type(arguments) is not str:
        return None
    value, text = read_json(arguments)
    if type(value) is not dict or not schema.is_valid(value):
        return None
    return listing + text + b"}]"
