"""`/v1/messages`, Anthropic's, in form: blocks in, blocks out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from batcher.amounts import Usage
from batcher.endpoints.sandbox import refusals
from batcher.endpoints.sandbox.chat import flat_text
from batcher.endpoints.sandbox.compose import Ask, Draft
from batcher.endpoints.sandbox.refusals import COMMON, missing
from batcher.endpoints.sandbox.tools import read_tool_choice, read_tools
from batcher.endpoints.sandbox.words import count_tokens

__all__ = ["messages_usage", "read_messages", "write_messages"]

Body = dict[str, Any]


def messages_usage(usage: Usage) -> Body:
    """Anthropic counts cached tokens beside the input, not in it."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }


def read_messages(body: Mapping[str, Any]) -> Ask:
    """Check a request body and read it.

    Raises:
        Refusal: 400.
    """
    checks = {**COMMON, "messages": refusals.array, "stop_sequences": refusals.stops}
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


def write_messages(draft: Draft) -> Body:
    """Write the answer's body."""
    choice = draft.choices[0]
    content: list[Body] = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)}
        for call in choice.calls
    ]
    said = choice.text or choice.refusal
    if said:
        content.append({"type": "text", "text": said})
    return {
        "id": f"msg_{draft.ident}",
        "type": "message",
        "role": "assistant",
        "model": draft.ask.model,
        "content": content,
        "stop_reason": "refusal" if choice.refusal else _STOP_REASONS[choice.finish],
        "stop_sequence": None,
        "usage": draft.usage,
    }


def _input(arguments: str) -> object:
    """Anthropic sends arguments as JSON, not as its text: broken JSON arrives as a text."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
