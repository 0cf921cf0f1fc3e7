"""Tool calls for a model that knows none: a request with tools becomes an answer bound by a schema.

llama.cpp obeys `response_format: json_schema`, whatever the model; it does not obey `tool_choice`.
So, for a request with tools:

- the tools are described in the system message, and the answer must be one JSON object:
  `{"name": <a tool>, "arguments": <its parameters>}`;
- `tool_choice` `required`, or one that names a tool, leaves no other way to answer. Where only one
  tool can be called, and all its arguments are chosen from lists, the object is those arguments
  alone: half the tokens, and a small model labels better (106 of 120 reviews right instead of 94).
  Their schema is then not written out, since it binds the answer anyway: 113 of 120 other reviews
  right instead of 109;
  Values that it must copy from the conversation it copies better within a whole call;
- `auto`, the default, also allows `{"answer": <text>}`; when the conversation ends with a tool's
  result the model answers it in plain text, so that a job comes to an end. `none` is plain text as
  well;
- calls and results of the history are rendered as text (`history`);
- the object comes back as `tool_calls` with `finish_reason: "tool_calls"`, or as content. Usage is
  llama.cpp's own. What was cut off, and so is no JSON, stays content as it is.

The model decides what it calls and with which values; nothing here invents them. At most one call
comes back a turn. Pure: no socket, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from batcher.endpoints.local.history import Untranslatable, json_text, plain, rendered
from batcher.endpoints.local.refs import rebased

__all__ = ["Ask", "Untranslatable", "to_answer", "to_request"]

_ANSWER: Final = "answer"

# Fields of the page that are spent here; all others pass.
_SPENT: Final = frozenset({"tools", "tool_choice", "parallel_tool_calls", "messages"})

_NO_ARGUMENTS: Final = {"type": "object", "properties": {}, "additionalProperties": False}

_TOOLS_INTRO: Final = "You can use these tools:"
_MUST_GIVE: Final = "Reply with its arguments as one JSON object."
_MUST_CALL: Final = (
    'Reply with one JSON object {"name": ..., "arguments": ...} that calls a tool.'
    " Take the values of the arguments from the conversation."
)
_MAY_CALL: Final = (
    'To use a tool, reply with one JSON object {"name": ..., "arguments": ...}, with the values of'
    ' the arguments from the conversation. Otherwise reply with {"answer": "..."}.'
)


class Tool(NamedTuple):
    """A function that the request offers."""

    name: str
    description: str
    parameters: Mapping[str, Any]


class Ask(NamedTuple):
    """A translated request.

    Attributes:
        body: What llama.cpp is asked.
        bound: Whether its answer is the JSON object described above, rather than text.
        only: The one tool that can be called, so that the object is its arguments; or empty.
    """

    body: dict[str, Any]
    bound: bool
    only: str = ""


def to_request(body: Mapping[str, Any]) -> Ask | None:
    """Translate a chat request; None when it has no tools, now or in its history.

    Raises:
        Untranslatable: Tools, their choice or the messages have the wrong shape.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        return None
    tools = _tools(body.get("tools"))
    if not tools and not any(
        one.get("tool_calls") or one.get("role") == "tool" for one in messages
    ):
        return None
    if body.get("stream"):
        raise Untranslatable("stream is not supported with tools")
    offered, must_call = _choice(body.get("tool_choice"), tools)
    ended_by_result = bool(messages) and messages[-1].get("role") == "tool"
    bound = bool(offered) and (must_call or not ended_by_result)
    rest = {key: value for key, value in body.items() if key not in _SPENT}
    only = offered[0].name if must_call and len(offered) == 1 and _is_chosen(offered[0]) else ""
    conversation = rendered(messages, in_plain_text=not bound, only=only)
    if bound:
        rest["response_format"] = (
            _bound_by(dict(offered[0].parameters))
            if only
            else _response_format(offered, may_answer=not must_call)
        )
        conversation = _with_system(
            conversation, _instructions(offered, must_call=must_call, only=only)
        )
    return Ask({**rest, "messages": conversation}, bound, only)


def to_answer(ask: Ask, answer: Mapping[str, Any], *, new_id: Callable[[], str]) -> dict[str, Any]:
    """Translate llama.cpp's answer back.

    Args:
        ask: The request that it answers.
        answer: The body of a 200.
        new_id: Draws the id of a call.
    """
    if not ask.bound:
        return dict(answer)
    choices = answer.get("choices")
    if not isinstance(choices, list):
        return dict(answer)
    return {**answer, "choices": [_choice_back(one, ask.only, new_id) for one in choices]}


def _tools(given: object) -> list[Tool]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise Untranslatable("tools must be an array")
    return [_tool(one, at) for at, one in enumerate(given)]


def _tool(given: object, at: int) -> Tool:
    function = given.get("function") if isinstance(given, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        raise Untranslatable(f"tools[{at}] must be a function with a name")
    parameters = function.get("parameters") or _NO_ARGUMENTS
    if not isinstance(parameters, dict):
        raise Untranslatable(f"tools[{at}].function.parameters must be a JSON Schema")
    return Tool(name, str(function.get("description") or ""), parameters)


def _choice(given: object, tools: Sequence[Tool]) -> tuple[Sequence[Tool], bool]:
    """Tell which tools may be called, and whether one must be."""
    if given == "none":
        return (), False
    if given in (None, "auto"):
        return tools, False
    if given == "required":
        if not tools:
            raise Untranslatable("tool_choice is required, and there are no tools")
        return tools, True
    function = given.get("function") if isinstance(given, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    named = [one for one in tools if one.name == name]
    if not named:
        raise Untranslatable("tool_choice must be none, auto, required, or name one of the tools")
    return named, True


def _response_format(tools: Sequence[Tool], *, may_answer: bool) -> dict[str, Any]:
    ways = len(tools) + may_answer
    calls = [
        _call_schema(one, f"#/anyOf/{at}" if ways > 1 else "#") for at, one in enumerate(tools)
    ]
    if may_answer:
        calls.append(_object({_ANSWER: {"type": "string"}}))
    return _bound_by(calls[0] if ways == 1 else {"anyOf": calls})


def _bound_by(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {"name": "reply", "strict": True, "schema": schema},
    }


def _call_schema(tool: Tool, at: str) -> dict[str, Any]:
    parameters = rebased(tool.parameters, f"{at}/properties/arguments")
    return _object({"name": {"type": "string", "enum": [tool.name]}, "arguments": parameters})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _is_chosen(tool: Tool) -> bool:
    """Whether every argument of a tool is one of a list."""
    properties = tool.parameters.get("properties")
    return isinstance(properties, dict) and all(
        isinstance(each, dict) and ("enum" in each or each.get("type") == "boolean")
        for each in properties.values()
    )


def _instructions(tools: Sequence[Tool], *, must_call: bool, only: str) -> str:
    if only:
        return _in_short(tools[0])
    lines = [_described(one) for one in tools]
    return "\n".join([_TOOLS_INTRO, *lines, _MUST_CALL if must_call else _MAY_CALL])


def _described(tool: Tool) -> str:
    arguments = json_text(tool.parameters.get("properties", {}))
    return f"- {tool.name}: {tool.description} Arguments: {arguments}"


def _in_short(tool: Tool) -> str:
    """Ask for the arguments of a tool whose values its schema lists; say what is said of them."""
    does = tool.description.rstrip(". ")
    told = f"Tool {tool.name}: {does}." if does else f"Tool {tool.name}."
    arguments = [
        f"- {name}: {each['description']}"
        for name, each in tool.parameters["properties"].items()
        if each.get("description")
    ]
    return "\n".join([f"{told} {_MUST_GIVE}", *arguments])


def _with_system(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Put the text after the system message, or make it one."""
    if messages and messages[0].get("role") in {"system", "developer"}:
        first = messages[0]
        return [{**first, "content": f"{plain(first.get('content'))}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _choice_back(choice: Any, only: str, new_id: Callable[[], str]) -> Any:
    """Turn the object in a choice's content into a call, or into the text that it answers."""
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        return choice
    try:
        said = orjson.loads(message["content"])
    except orjson.JSONDecodeError:
        return choice
    if not isinstance(said, dict):
        return choice
    if only:
        said = {"name": only, "arguments": said}
    elif _ANSWER in said:
        return {**choice, "message": {**message, "content": said[_ANSWER]}}
    function = {"name": said.get("name"), "arguments": json_text(said.get("arguments", {}))}
    call = {"id": new_id(), "type": "function", "function": function}
    return {
        **choice,
        "message": {**message, "content": None, "tool_calls": [call]},
        "finish_reason": "tool_calls",
    }
