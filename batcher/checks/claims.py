"""What a request claims of its answer, compiled: its tools, whether one must be called, its format.

One reading serves every family: chat nests a tool under `function`, the others don't; Anthropic
calls the schema `input_schema`, and `any` is its `required`; responses put the format under `text`.
A tool without a schema takes any object: nothing was claimed of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from batcher.checks.schemas import Schema, UnusableSchemaError
from batcher.records import RowError

__all__ = [
    "ANY_OBJECT",
    "CLAIM_FIELDS",
    "NOTHING_CLAIMED",
    "Claims",
    "Tool",
    "carried_out",
    "compile_claims",
]

ANY_OBJECT = Schema({"type": "object"})
_ANY_JSON = Schema(True)


# The types of tools that the asker carries out; Anthropic's, and the functions of old, say none.
_OURS = (None, "function", "custom")


class Tool(NamedTuple):
    """One tool on offer: the schema of its arguments, and its name as JSON.

    `custom` tools take any text. `listing` begins the list of an answer's only call.
    """

    schema: Schema
    json_name: bytes
    custom: bool
    listing: bytes


class Claims(NamedTuple):
    """What a request claims.

    Attributes:
        tools: By name, those on offer that `tool_choice` allows.
        may_call: Whether it has tools that may be called.
        must_call: Whether `tool_choice` demands a call.
        must_name: The tool that `tool_choice` names, or empty.
        text: The schema that a text answer's JSON must satisfy, or None.
        given: Whether there are claims at all. Without them calls are not judged: an endpoint may
            have tools of its own.
        fault: Why the claims can't be used: the request's own fault.
    """

    tools: Mapping[str, Tool] = MappingProxyType({})
    may_call: bool = False
    must_call: bool = False
    must_name: str = ""
    text: Schema | None = None
    given: bool = False
    fault: RowError | None = None

    @property
    def shaped(self) -> bool:
        """Whether they claim a shape: a call, or a format."""
        return self.may_call or self.text is not None


NOTHING_CLAIMED = Claims()


class _Choosing(NamedTuple):
    """A `tool_choice`, read: the tools that it allows (None: all), and what must be called."""

    allowed: frozenset[str] | None = None
    must_call: bool = False
    must_name: str = ""


# The fields of a body that claim something: of chat; of chat as it was; of responses; of messages.
CLAIM_FIELDS = (
    *("tools", "tool_choice", "response_format"),
    *("functions", "function_call"),
    "text",
    *("output_config", "output_format"),
)


def compile_claims(text: bytes) -> Claims:
    """Compile a row's claims, given as JSON text: the `CLAIM_FIELDS` of its body."""
    claims = orjson.loads(text)
    try:
        tools = _tools(claims)
        format_schema = _text_schema(claims)
    except UnusableSchemaError as error:
        fault = RowError("invalid_schema", f"the request's own fault: {error}")
        return Claims(fault=fault)
    choosing = _choosing(claims.get("tool_choice") or claims.get("function_call"))
    if choosing.allowed is not None:
        tools = {name: tool for name, tool in tools.items() if name in choosing.allowed}
    return Claims(
        tools=tools,
        may_call=bool(tools),
        must_call=choosing.must_call,
        must_name=choosing.must_name,
        text=format_schema,
        given=True,
    )


def carried_out(claims: Mapping[str, Any]) -> frozenset[str]:
    """Name the tools whose calls, if any come, only the asker can carry out.

    An endpoint's own tools (a web search, say) are not among them.

    Args:
        claims: The `CLAIM_FIELDS` of a body, or all of it.
    """
    allowed = _choosing(claims.get("tool_choice") or claims.get("function_call")).allowed
    return frozenset(
        name
        for name, entry, _ in _offered(claims)
        if entry.get("type") in _OURS and (allowed is None or name in allowed)
    )


def _tools(claims: Mapping[str, Any]) -> dict[str, Tool]:
    tools: dict[str, Tool] = {}
    for name, entry, inner in _offered(claims):
        given = inner.get("parameters", inner.get("input_schema"))
        custom = entry.get("type") == "custom" and given is None
        json_name = orjson.dumps(name)
        listing = b'"tool_calls":[{"name":%b,"arguments":' % json_name
        tools[name] = Tool(_tool_schema(name, given), json_name, custom, listing)
    return tools


def _offered(claims: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Find the tools: each one's name, its entry, and the part of it that tells of the tool."""
    for entry in [*_list(claims.get("tools")), *_list(claims.get("functions"))]:
        if isinstance(entry, dict):
            inner = _dict(entry.get("function")) or _dict(entry.get("custom")) or entry
            if isinstance(name := inner.get("name"), str):
                yield name, entry, inner


def _tool_schema(name: str, given: object) -> Schema:
    if given is None:
        return ANY_OBJECT
    try:
        return Schema(given)
    except UnusableSchemaError as error:
        raise UnusableSchemaError(f"the schema of tool {name} {error}") from None


def _text_schema(claims: Mapping[str, Any]) -> Schema | None:
    """Find the format asked for, wherever the family has it, and compile its schema."""
    wanted = (
        _dict(claims.get("response_format"))
        or _dict(_dict(claims.get("text")).get("format"))
        or _dict(_dict(claims.get("output_config")).get("format"))
        or _dict(claims.get("output_format"))
    )
    kind = wanted.get("type")
    if kind == "json_object":
        # llama.cpp takes a schema here too.
        return _format_schema(wanted["schema"]) if "schema" in wanted else ANY_OBJECT
    if kind != "json_schema":
        return None
    inner = _dict(wanted.get("json_schema")) or wanted
    return _format_schema(inner["schema"]) if "schema" in inner else _ANY_JSON


def _format_schema(given: object) -> Schema:
    try:
        return Schema(given)
    except UnusableSchemaError as error:
        raise UnusableSchemaError(f"the schema of the response format {error}") from None


def _choosing(choice: object) -> _Choosing:
    if isinstance(choice, str):
        choice = {"type": choice}
    choice = _dict(choice)
    kind = choice.get("type")
    if kind == "none":
        return _Choosing(allowed=frozenset())
    if kind in ("required", "any"):
        return _Choosing(must_call=True)
    if kind == "allowed_tools":
        inner = _dict(choice.get("allowed_tools")) or choice
        names = frozenset(map(_name, _list(inner.get("tools"))))
        return _Choosing(names, inner.get("mode") == "required")
    name = _name(choice)
    return _Choosing(must_call=bool(name), must_name=name)


def _name(entry: object) -> str:
    entry = _dict(entry)
    inner = _dict(entry.get("function")) or _dict(entry.get("custom")) or entry
    name = inner.get("name")
    return name if isinstance(name, str) else ""


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
