"""`/v1/chat/completions`: the page that this program serves, with OpenAI's own checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from batcher.endpoints.sandbox import refusals
from batcher.endpoints.sandbox.compose import JSON_OBJECT, Ask, Choice, Draft
from batcher.endpoints.sandbox.refusals import Refusal, bad, missing, wrong_type
from batcher.endpoints.sandbox.schema import compiled
from batcher.endpoints.sandbox.tools import read_tool_choice, read_tools
from batcher.endpoints.sandbox.words import count_tokens

__all__ = [
    "check_stream",
    "flat_text",
    "read_chat",
    "read_json_schema",
    "write_chat",
]

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")

# Whose words may hold the values of a tool's arguments.
_HEARD = frozenset(("user", "tool", "function"))

# The tokens that frame each message: openai-cookbook, "Counting tokens for chat completions".
_MESSAGE_TOKENS = 3

_CHECKS: Mapping[str, refusals.Check] = {
    "frequency_penalty": refusals.number(-2, 2),
    "logit_bias": refusals.mapping,
    "logprobs": refusals.boolean,
    "max_completion_tokens": refusals.integer(1, float("inf")),
    "max_tokens": refusals.integer(1, float("inf")),
    "metadata": refusals.mapping,
    "model": refusals.text,
    "n": refusals.integer(1, 128),
    "parallel_tool_calls": refusals.boolean,
    "presence_penalty": refusals.number(-2, 2),
    "response_format": refusals.mapping,
    "seed": refusals.integer(-(2**63), 2**63),
    "stop": refusals.stops,
    "temperature": refusals.number(0, 2),
    "tools": refusals.array,
    "top_logprobs": refusals.integer(0, 20),
    "top_p": refusals.number(0, 1),
    "user": refusals.text,
}


def read_chat(body: Mapping[str, Any]) -> Ask:
    """Check a request body and read it.

    Raises:
        Refusal: 400, as OpenAI words it.
    """
    messages = body.get("messages")
    if messages is None:
        raise missing("messages")
    refusals.array("messages", messages)
    refusals.check_fields(body, _CHECKS)
    tokens = _MESSAGE_TOKENS
    texts: list[str] = []
    called = False
    for at, message in enumerate(messages):
        said = _message(at, message)
        tokens += _MESSAGE_TOKENS + count_tokens(said)
        role = message["role"]
        if role in _HEARD:
            texts.append(said)
        called = called or role == "tool" or "tool_calls" in message
    if called:
        _check_turns(messages)
    tools = read_tools(body.get("tools") or (), nested=True)
    tokens += sum(tool.tokens for tool in tools)
    last = messages[-1]
    stop = body.get("stop") or ()
    return Ask(
        model=body["model"],
        texts=texts,
        prompt_tokens=tokens,
        tools=tools,
        tool_choice=read_tool_choice(body.get("tool_choice"), tools),
        schema=_schema(body.get("response_format"), messages),
        result=flat_text(last.get("content")) if last["role"] in ("tool", "function") else None,
        stop=(stop,) if isinstance(stop, str) else stop,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        n=body.get("n") or 1,
    )


def flat_text(content: object) -> str:
    """Join the texts of a message's content, which is a string, parts, or null."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "\n".join(
        part["text"]
        for part in parts
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _message(at: int, message: object) -> str:
    """Check one message and return its text."""
    if not isinstance(message, dict):
        raise wrong_type(f"messages[{at}]", "an object", message)
    role = message.get("role")
    if role is None:
        raise missing(f"messages[{at}].role")
    if role not in _ROLES:
        refusals.one_of(f"messages[{at}].role", role, _ROLES)
    content = message.get("content")
    if content is None:
        if role == "assistant":
            return "".join(map(_call_text, message.get("tool_calls") or ()))
        if role != "function":
            raise wrong_type(
                f"messages[{at}].content", "one of a string or array of objects", content
            )
    elif not isinstance(content, (str, list)):
        raise wrong_type(f"messages[{at}].content", "one of a string or array of objects", content)
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise missing(f"messages[{at}].tool_call_id")
    return flat_text(content)


def _call_text(call: object) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    return "".join(map(str, function.values())) if isinstance(function, dict) else ""


def _check_turns(messages: Sequence[Mapping[str, Any]]) -> None:
    """Check that every call is answered, and that every result answers a call."""
    due: set[str] = set()
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in due:
                said = (
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceeding message with 'tool_calls'."
                )
                raise bad(said, f"messages.[{at}].role", None)
            due.discard(message["tool_call_id"])
            continue
        _check_answered(at, due)
        calls = message.get("tool_calls") if message["role"] == "assistant" else None
        due = {c["id"] for c in calls or () if isinstance(c, dict) and isinstance(c.get("id"), str)}
    _check_answered(len(messages), due)


def _check_answered(at: int, due: set[str]) -> None:
    if due:
        said = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'."
        )
        raise bad(said, f"messages.[{at}].role", None)


def _schema(response_format: Any, messages: Sequence[Any]) -> Any:
    """Return the schema that the answer must satisfy, or None for free text."""
    if response_format is None:
        return None
    kind = response_format.get("type")
    if kind is None:
        raise missing("response_format.type")
    refusals.one_of("response_format.type", kind, ("text", "json_object", "json_schema"))
    if kind == "text":
        return None
    if kind == "json_object":
        if "json" not in orjson.dumps(messages).decode().lower():
            said = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' "
                "of type 'json_object'."
            )
            raise bad(said, "messages", None)
        return JSON_OBJECT
    return read_json_schema(response_format.get("json_schema"), "response_format.json_schema")


def read_json_schema(described: Any, where: str) -> Any:
    """Check `{"name", "schema"}` and return the schema."""
    if described is None:
        raise missing(where)
    refusals.mapping(where, described)
    if not isinstance(described.get("name"), str):
        raise missing(f"{where}.name")
    schema = described.get("schema", {})
    if not isinstance(schema, dict):
        raise wrong_type(f"{where}.schema", "an object", schema)
    problem = compiled(schema).problem
    if problem:
        said = f"Invalid schema for response_format '{described['name']}': in {problem}."
        raise bad(said, f"{where}.schema", "invalid_json_schema")
    return schema


def write_chat(draft: Draft) -> dict[str, Any]:
    """Write the answer's body."""
    return {
        "id": f"chatcmpl-{draft.ident}",
        "object": "chat.completion",
        "created": draft.created,
        "model": draft.ask.model,
        "choices": [_choice(at, choice) for at, choice in enumerate(draft.choices)],
        "usage": draft.usage,
        "system_fingerprint": "fp_sandbox",
    }


def _choice(at: int, choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": choice.text,
        "refusal": choice.refusal,
    }
    if choice.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in choice.calls
        ]
    return {"index": at, "message": message, "logprobs": None, "finish_reason": choice.finish}


def check_stream(body: Mapping[str, Any]) -> None:
    """Refuse a streaming request.

    Raises:
        Refusal: 400: this endpoint does not stream.
    """
    stream = body.get("stream")
    if stream is not None:
        refusals.boolean("stream", stream)
    if stream:
        raise Refusal(
            400, "This endpoint does not stream.", param="stream", code="unsupported_value"
        )
