"""The tools that a request offers and what it says about calling them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from batcher.endpoints.sandbox import refusals
from batcher.endpoints.sandbox.compose import Tool
from batcher.endpoints.sandbox.refusals import bad, missing, wrong_type
from batcher.endpoints.sandbox.schema import compiled
from batcher.endpoints.sandbox.words import count_tokens

__all__ = ["read_tool_choice", "read_tools"]

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def read_tools(tools: Sequence[Any], *, nested: bool) -> tuple[Tool, ...]:
    """Check the tools, and compile them once for all requests that offer the same.

    Args:
        tools: As in the request.
        nested: Whether a tool's own fields stand under `function`, as in chat.
    """
    return _compiled_tools(orjson.dumps(tools), nested=nested) if tools else ()


@lru_cache(maxsize=512)
def _compiled_tools(tools_json: bytes, *, nested: bool) -> tuple[Tool, ...]:
    return tuple(
        _tool(f"tools[{at}]", tool, nested=nested)
        for at, tool in enumerate(orjson.loads(tools_json))
    )


def _tool(where: str, tool: Any, *, nested: bool) -> Tool:
    refusals.mapping(where, tool)
    if nested and tool.get("function") is None:
        raise missing(f"{where}.function")
    function = tool["function"] if nested else tool
    where = f"{where}.function" if nested else where
    refusals.mapping(where, function)
    name = function.get("name")
    if name is None:
        raise missing(f"{where}.name")
    refusals.text(f"{where}.name", name)
    if not _TOOL_NAME.fullmatch(name):
        said = (
            f"Invalid '{where}.name': string does not match pattern. Expected a string that "
            "matches the pattern '^[a-zA-Z0-9_-]+$'."
        )
        raise bad(said, f"{where}.name", "invalid_value")
    given = function.get("parameters", function.get("input_schema"))
    parameters = compiled(_parameters(name, where, given))
    if parameters.problem:
        said = f"Invalid schema for function '{name}': in {parameters.problem}."
        raise bad(said, f"{where}.parameters", "invalid_function_parameters")
    tokens = count_tokens(orjson.dumps(tool).decode())
    return Tool(name, str(function.get("description") or ""), parameters, tokens)


def _parameters(name: str, where: str, parameters: object) -> dict[str, Any]:
    if parameters is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    if not isinstance(parameters, dict):
        raise wrong_type(f"{where}.parameters", "an object", parameters)
    kind = parameters.get("type", "object")
    if kind != "object":
        said = (
            f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: "
            f'"object"\', got \'type: "{kind}"\'.'
        )
        raise bad(said, f"{where}.parameters", "invalid_function_parameters")
    return {"type": "object", **parameters}


def read_tool_choice(choice: object, tools: Sequence[Tool]) -> str:
    """Read `tool_choice` into `auto`, `none`, `required` or `=name`."""
    if choice is None:
        return "auto"
    if not tools:
        if choice in ("none", "auto"):
            return "none"
        said = (
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are "
            "specified."
        )
        raise bad(said, "tool_choice", None)
    if isinstance(choice, str):
        refusals.one_of("tool_choice", choice, ("none", "auto", "required"))
        return choice
    refusals.mapping("tool_choice", choice)
    return _named_choice(choice, tools)


def _named_choice(choice: Any, tools: Sequence[Tool]) -> str:
    kind = choice.get("type")
    if kind in ("none", "auto", "any", "required"):
        return "required" if kind == "any" else str(kind)
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else choice.get("name")
    if not isinstance(name, str):
        raise missing("tool_choice.function.name")
    if all(tool.name != name for tool in tools):
        said = f"Invalid value for 'tool_choice': function '{name}' not found in 'tools'."
        raise bad(said, "tool_choice", None)
    return f"={name}"
