"""The families of endpoints that the sandbox serves: how each is read, answered and billed.

Chat is the page itself; the others are there in form, so that rows of any family can be rehearsed.
Embeddings are unit vectors drawn from the text alone: the same text has the same vector.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from random import Random
from typing import Any, NamedTuple

from batcher.endpoints.sandbox import refusals
from batcher.endpoints.sandbox.chat import (
    flat_text,
    read_chat,
    read_json_schema,
    read_tool_choice,
    read_tools,
    write_chat,
)
from batcher.endpoints.sandbox.compose import JSON_OBJECT, Ask, Choice
from batcher.endpoints.sandbox.refusals import missing, wrong_type
from batcher.endpoints.sandbox.words import count_tokens
from batcher.records import Usage

__all__ = ["FAMILIES", "Family"]

# text-embedding-3-small's is 1536; a short one keeps rehearsals small.
_DIMENSIONS = 64
_DIMENSIONS_MAX = 4096

Body = dict[str, Any]


class Family(NamedTuple):
    """One endpoint.

    Attributes:
        read: Checks a body and reads it.
        write: Writes an answer: (ask, choices, ident, created, usage, body) to JSON.
        usage: Writes usage in the family's own words.
        answers: The key without which an answer is none, for the fault `no_choices`.
        anthropic: Whether its errors have Anthropic's shape.
    """

    read: Callable[[Mapping[str, Any]], Ask]
    write: Callable[[Ask, Sequence[Choice], str, int, Body, Mapping[str, Any]], Body]
    usage: Callable[[Usage], Body]
    answers: str
    anthropic: bool = False


def _openai_usage(usage: Usage) -> Body:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _embedding_usage(usage: Usage) -> Body:
    return {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens}


def _responses_usage(usage: Usage) -> Body:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _messages_usage(usage: Usage) -> Body:
    """Anthropic counts cached tokens beside the input, not in it."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }


def _write_chat(
    ask: Ask, choices: Sequence[Choice], ident: str, created: int, usage: Body, _: Mapping[str, Any]
) -> Body:
    return write_chat(ask, choices, ident=ident, created=created, usage=usage)


_COMMON: Mapping[str, refusals.Check] = {
    "max_tokens": refusals.integer(1, math.inf),
    "max_output_tokens": refusals.integer(1, math.inf),
    "metadata": refusals.mapping,
    "n": refusals.integer(1, 128),
    "stop": refusals.stops,
    "temperature": refusals.number(0, 2),
    "tools": refusals.array,
    "top_p": refusals.number(0, 1),
    "user": refusals.text,
}


def _strings(where: str, value: object) -> list[str]:
    """Read a string or a non-empty array of strings or of token numbers."""
    if value is None:
        raise missing(where)
    if isinstance(value, str):
        return [value]
    refusals.array(where, value)
    items = value if isinstance(value, list) else []
    if all(isinstance(item, int) for item in items):
        return [" ".join(map(str, items))]
    for at, item in enumerate(items):
        if not isinstance(item, (str, list)):
            raise wrong_type(f"{where}[{at}]", "a string", item)
    return [item if isinstance(item, str) else " ".join(map(str, item)) for item in items]


def _read_completions(body: Mapping[str, Any]) -> Ask:
    refusals.check_fields(body, _COMMON)
    prompts = _strings("prompt", body.get("prompt"))
    stop = body.get("stop") or ()
    return Ask(
        model=body["model"],
        texts=prompts,
        prompt_tokens=sum(map(count_tokens, prompts)),
        stop=(stop,) if isinstance(stop, str) else stop,
        # OpenAI's own default here is 16.
        max_tokens=body.get("max_tokens") or 16,
        n=(body.get("n") or 1) * len(prompts),
    )


def _write_completions(
    ask: Ask, choices: Sequence[Choice], ident: str, created: int, usage: Body, _: Mapping[str, Any]
) -> Body:
    return {
        "id": f"cmpl-{ident}",
        "object": "text_completion",
        "created": created,
        "model": ask.model,
        "choices": [
            {
                "text": choice.text or "",
                "index": at,
                "logprobs": None,
                "finish_reason": choice.finish,
            }
            for at, choice in enumerate(choices)
        ],
        "usage": usage,
    }


def _read_embeddings(body: Mapping[str, Any]) -> Ask:
    checks = {**_COMMON, "dimensions": refusals.integer(1, _DIMENSIONS_MAX)}
    refusals.check_fields(body, checks)
    if body.get("encoding_format") is not None:
        refusals.one_of("encoding_format", body["encoding_format"], ("float", "base64"))
    texts = _strings("input", body.get("input"))
    return Ask(model=body["model"], texts=texts, prompt_tokens=sum(map(count_tokens, texts)), n=0)


def _write_embeddings(
    ask: Ask, _c: Sequence[Choice], _i: str, _t: int, usage: Body, body: Mapping[str, Any]
) -> Body:
    dimensions = body.get("dimensions") or _DIMENSIONS
    packed = body.get("encoding_format") == "base64"
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": at,
                "embedding": _vector(text, dimensions, packed=packed),
            }
            for at, text in enumerate(ask.texts)
        ],
        "model": ask.model,
        "usage": usage,
    }


def _vector(text: str, dimensions: int, *, packed: bool) -> list[float] | str:
    """Return a unit vector, as numbers or as little-endian float32 in base64."""
    rng = Random(blake2b(text.encode("utf-8", "replace"), digest_size=16).digest())
    numbers = [rng.gauss(0, 1) for _ in range(dimensions)]
    norm = math.hypot(*numbers)
    numbers = [round(number / norm, 8) for number in numbers]
    if packed:
        return base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode()
    return numbers


def _read_responses(body: Mapping[str, Any]) -> Ask:
    refusals.check_fields(body, _COMMON)
    given = body.get("input")
    if given is None:
        raise missing("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    refusals.array("input", items)
    for at, item in enumerate(items):
        refusals.mapping(f"input[{at}]", item)
    texts = [_item_text(item) for item in items if item.get("role") != "assistant"]
    tools = read_tools([t for t in body.get("tools") or () if _is_function(t)], nested=False)
    form = (body.get("text") or {}).get("format") or {}
    last = items[-1]
    return Ask(
        model=body["model"],
        texts=texts,
        prompt_tokens=sum(map(count_tokens, texts))
        + count_tokens(flat_text(body.get("instructions"))),
        tools=tools,
        tool_choice=read_tool_choice(body.get("tool_choice"), tools),
        schema=_responses_schema(form),
        result=_item_text(last) if last.get("type") == "function_call_output" else None,
        max_tokens=body.get("max_output_tokens"),
    )


def _responses_schema(form: Mapping[str, Any]) -> object:
    if form.get("type") == "json_schema":
        return read_json_schema(form, "text.format")
    return JSON_OBJECT if form.get("type") == "json_object" else None


def _is_function(tool: object) -> bool:
    return isinstance(tool, dict) and tool.get("type", "function") == "function"


def _item_text(item: Mapping[str, Any]) -> str:
    return flat_text(item.get("content", item.get("output")))


def _write_responses(
    ask: Ask, choices: Sequence[Choice], ident: str, created: int, usage: Body, _: Mapping[str, Any]
) -> Body:
    choice = choices[0]
    output: list[Body] = [
        {
            "type": "function_call",
            "id": f"fc_{ident}",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }
        for call in choice.calls
    ]
    if not output:
        part: Body = {"type": "output_text", "text": choice.text or "", "annotations": []}
        if choice.refusal:
            part = {"type": "refusal", "refusal": choice.refusal}
        output = [
            {
                "type": "message",
                "id": f"msg_{ident}",
                "role": "assistant",
                "status": "completed",
                "content": [part],
            }
        ]
    why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(choice.finish)
    return {
        "id": f"resp_{ident}",
        "object": "response",
        "created_at": created,
        "status": "incomplete" if why else "completed",
        "error": None,
        "incomplete_details": {"reason": why} if why else None,
        "model": ask.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }


def _read_messages(body: Mapping[str, Any]) -> Ask:
    checks = {**_COMMON, "messages": refusals.array, "stop_sequences": refusals.stops}
    for name in ("max_tokens", "messages"):
        if body.get(name) is None:
            raise missing(name)
    refusals.check_fields(body, checks)
    messages = body["messages"]
    for at, message in enumerate(messages):
        refusals.mapping(f"messages[{at}]", message)
        refusals.one_of(f"messages[{at}].role", message.get("role"), ("user", "assistant"))
    texts = [_blocks_text(m.get("content")) for m in messages if m["role"] == "user"]
    tools = read_tools(body.get("tools") or (), nested=False)
    system = flat_text(body.get("system"))
    blocks = messages[-1].get("content")
    answered = isinstance(blocks, list) and any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in blocks
    )
    return Ask(
        model=body["model"],
        texts=texts,
        prompt_tokens=sum(map(count_tokens, texts)) + count_tokens(system),
        tools=tools,
        tool_choice=read_tool_choice(body.get("tool_choice"), tools),
        result=_blocks_text(blocks) if answered else None,
        stop=body.get("stop_sequences") or (),
        max_tokens=body["max_tokens"],
    )


def _blocks_text(content: object) -> str:
    """Join the texts of Anthropic's blocks, tool results included."""
    if not isinstance(content, list):
        return flat_text(content)
    return "\n".join(
        flat_text(block.get("content"))
        if block.get("type") == "tool_result"
        else flat_text([block])
        for block in content
        if isinstance(block, dict)
    )


_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def _write_messages(
    ask: Ask,
    choices: Sequence[Choice],
    ident: str,
    _created: int,
    usage: Body,
    _: Mapping[str, Any],
) -> Body:
    choice = choices[0]
    content: list[Body] = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)}
        for call in choice.calls
    ]
    said = choice.text or choice.refusal
    if said:
        content.append({"type": "text", "text": said})
    return {
        "id": f"msg_{ident}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": content,
        "stop_reason": "refusal" if choice.refusal else _STOP_REASONS[choice.finish],
        "stop_sequence": None,
        "usage": usage,
    }


def _input(arguments: str) -> object:
    """Anthropic sends arguments as JSON, not as its text: broken JSON arrives as a text."""
    import orjson

    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments


FAMILIES: Mapping[str, Family] = {
    "/chat/completions": Family(read_chat, _write_chat, _openai_usage, "choices"),
    "/completions": Family(_read_completions, _write_completions, _openai_usage, "choices"),
    "/embeddings": Family(_read_embeddings, _write_embeddings, _embedding_usage, "data"),
    "/responses": Family(_read_responses, _write_responses, _responses_usage, "output"),
    "/messages": Family(
        _read_messages, _write_messages, _messages_usage, "content", anthropic=True
    ),
}
