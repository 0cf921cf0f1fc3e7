"""How requests and answers are written down for the corpus: builders, no cases."""

from __future__ import annotations

from typing import Any, NamedTuple

JSON = dict[str, Any]


class Case(NamedTuple):
    """One answer.

    Attributes:
        id: What it shows; unique.
        request: The request's body.
        answer: The answer's body, sent with status 200.
        code: The result's error code; None for a success.
        extra: What the result's `batcher` object must hold, beside what every result has; None
            where that does not matter.
        path: Where the request goes.
        rule: The job's `[answer]`.
    """

    id: str
    request: JSON
    answer: JSON
    code: str | None
    extra: JSON | None = None
    path: str = "/v1/chat/completions"
    rule: JSON | None = None


INVALID_JSON = "tool_arguments_invalid_json"
SCHEMA = "tool_arguments_schema"
UNKNOWN = "unknown_tool"
NOT_CALLED = "tool_not_called"
ANSWER = "answer_schema"
TRUNCATED = "answer_truncated"
REFUSED = "refused"
FILTERED = "content_filtered"
UNUSABLE = "invalid_schema"

USER = {"role": "user", "content": "Where is order_12345?"}
DATE = "get_delivery_date"
DATE_SCHEMA: JSON = {
    "type": "object",
    "properties": {"order_id": {"type": "string", "description": "The customer's order ID."}},
    "required": ["order_id"],
    "additionalProperties": False,
}
GOOD = '{"order_id": "order_12345"}'
GOOD_CALL = {"name": DATE, "arguments": {"order_id": "order_12345"}}


def tool(schema: object, name: str = DATE) -> JSON:
    """Offer one function."""
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def ask(schema: object = DATE_SCHEMA, **fields: object) -> JSON:
    """Ask with one tool on offer."""
    return {"model": "m", "messages": [USER], "tools": [tool(schema)], **fields}


def ask_plain(**fields: object) -> JSON:
    """Ask for words, or for a format."""
    return {"model": "m", "messages": [USER], **fields}


def ask_format(schema: object) -> JSON:
    """Ask for JSON of a schema."""
    inner = {"name": "answer", "strict": True, "schema": schema}
    return ask_plain(response_format={"type": "json_schema", "json_schema": inner})


def call(arguments: object, name: object = DATE, call_id: str = "call_1") -> JSON:
    """Call one function."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def choice(message: JSON, reason: object = "stop", index: int = 0) -> JSON:
    """Make one choice."""
    return {"index": index, "message": {"role": "assistant", **message}, "finish_reason": reason}


def chat(*choices: JSON) -> JSON:
    """Answer a chat."""
    usage = {"prompt_tokens": 82, "completion_tokens": 17, "total_tokens": 99}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": list(choices),
        "usage": usage,
    }


def calls(*made: JSON, reason: str | None = "tool_calls", content: object = None) -> JSON:
    """Answer with calls."""
    return chat(choice({"content": content, "tool_calls": list(made)}, reason))


def says(content: object, reason: object = "stop", **fields: object) -> JSON:
    """Answer in words."""
    return chat(choice({"content": content, **fields}, reason))


def answers(arguments: object) -> JSON:
    """Answer with one call."""
    return calls(call(arguments))


def listed(arguments: object, code: str | None = None, name: str = DATE) -> JSON:
    """Say what the result lists of one call."""
    entry = {"name": name, "arguments": arguments}
    return {"tool_calls": [entry | ({"error": code} if code else {})]}


def typed(**properties: object) -> JSON:
    """Describe an object whose properties are all required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


FORCED = {"type": "function", "function": {"name": DATE}}
TWO_TOOLS = [tool(DATE_SCHEMA), tool({"type": "object"}, "cancel_order")]
NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}

LABELS = ["positive", "negative"]
LABELLED = {**typed(label={"enum": LABELS}), "additionalProperties": False}
LABEL_RULE = {"labels": LABELS, "label": "/label"}


def expression(levels: int, leaf: str) -> str:
    """Nest an expression."""
    return '{"e":' + '{"op":"mul","left":' * levels + leaf + "}" * levels + "}"


def message(*blocks: JSON, reason: str = "tool_use") -> JSON:
    """Answer as Anthropic's messages do."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": list(blocks),
        "stop_reason": reason,
        "usage": {"input_tokens": 82, "output_tokens": 17},
    }


def use(arguments: object, name: str = DATE) -> JSON:
    """Use a tool as Anthropic's messages do."""
    return {"type": "tool_use", "id": "toolu_1", "name": name, "input": arguments}


def response(*items: JSON, **fields: object) -> JSON:
    """Answer as OpenAI's responses do."""
    usage = {"input_tokens": 82, "output_tokens": 17, "total_tokens": 99}
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "output": list(items),
        "usage": usage,
        **fields,
    }


def output(text: str) -> JSON:
    """Speak as OpenAI's responses do."""
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    }
