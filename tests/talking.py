"""Rows that are asked more than once: requests with tools, answers that call them, job files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.harness import Job
from tests.server import Say, Seen, usage_of

__all__ = [
    "PAGE",
    "TOOL",
    "answer",
    "calling",
    "plan",
    "results_in",
    "tool_row",
    "write_job",
]

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}

# The example of the page that batcher serves.
_ORDER_ID = {"type": "string", "description": "The customer's order ID."}
PAGE: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {
            "role": "system",
            "content": "You are a helpful customer support assistant."
            " Use the supplied tools to assist the user.",
        },
        {"role": "user", "content": "Hi, can you tell me the delivery date for my order?"},
        {
            "role": "assistant",
            "content": "Hi there! I can help with that. Can you please provide your order ID?",
        },
        {"role": "user", "content": "i think it is order_12345"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "get_delivery_date",
                "description": "Get the delivery date for a customer's order. Call this whenever"
                " you need to know the delivery date, for example when a customer asks"
                " 'Where is my package'",
                "parameters": {
                    "type": "object",
                    "properties": {"order_id": _ORDER_ID},
                    "required": ["order_id"],
                    "additionalProperties": False,
                },
            },
        }
    ],
}


def tool_row(key: str, **body: Any) -> dict[str, Any]:
    """A row that offers the tool `add`; the endpoint knows it by its `user`."""
    messages = [{"role": "user", "content": key}]
    return {"custom_id": key, "model": "m", "messages": messages, "tools": [TOOL], **body}


def answer(seen: Seen, message: dict[str, Any], reason: str = "stop") -> Say:
    """An answer with this message, charged by the length of what was asked."""
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "choices": [
            {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
        ],
        "usage": usage_of("x" * len(seen.body["messages"]) + seen.key),
    }
    return Say(200, json.dumps(body).encode())


def calling(seen: Seen, *arguments: Any, ids: Sequence[str | None] = (), name: str = "add") -> Say:
    """An answer that calls a tool once for each of the arguments."""
    texts = [each if isinstance(each, str) else json.dumps(each) for each in arguments]
    calls = [{"type": "function", "function": {"name": name, "arguments": text}} for text in texts]
    for place, call in enumerate(calls):
        given = ids[place] if ids else f"call_{len(seen.body['messages'])}_{place}"
        if given is not None:
            call["id"] = given
    return answer(seen, {"content": None, "tool_calls": calls}, "tool_calls")


def plan(*steps: Callable[[Seen], Any]) -> Callable[[Seen], Any]:
    """Answer by how many answers of its own the conversation holds already."""

    def move(seen: Seen) -> Any:
        said = sum(message["role"] == "assistant" for message in seen.body["messages"])
        return steps[min(said, len(steps) - 1)](seen)

    return move


def results_in(seen: Seen) -> list[str]:
    """The tool results that a request holds."""
    return [m["content"] for m in seen.body["messages"] if m["role"] == "tool"]


def write_job(job: Job, handlers: str = "", functions: str = "", **top: Any) -> str:
    """Write a job file, and the file of functions that it names; return the job file's path."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in top.items()]
    if functions:
        (job.folder / "tools.py").write_text(functions)
        handlers = f'python = "tools.py"\n{handlers}'
    if handlers:
        lines += ["[handlers]", handlers]
    path: Path = job.folder / "job.toml"
    path.write_text("\n".join([f"source = {json.dumps(str(job.source))}", *lines, ""]))
    return str(path)
