"""`/v1/responses`, in form: items in, items out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batcher.amounts import Usage
from batcher.endpoints.sandbox import refusals
from batcher.endpoints.sandbox.chat import flat_text, read_json_schema
from batcher.endpoints.sandbox.compose import JSON_OBJECT, Ask, Draft
from batcher.endpoints.sandbox.refusals import COMMON, missing
from batcher.endpoints.sandbox.tools import read_tool_choice, read_tools
from batcher.endpoints.sandbox.words import count_tokens

__all__ = ["read_responses", "responses_usage", "write_responses"]

Body = dict[str, Any]


def responses_usage(usage: Usage) -> Body:
    """Write usage in this family's words."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def read_responses(body: Mapping[str, Any]) -> Ask:
    """Check a request body and read it.

    Raises:
        Refusal: 400.
    """
    refusals.check_fields(body, COMMON)
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
        + sum(tool.tokens for tool in tools)
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


def write_responses(draft: Draft) -> Body:
    """Write the answer's body."""
    choice = draft.choices[0]
    output: list[Body] = [
        {
            "type": "function_call",
            "id": f"fc_{draft.ident}",
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
                "id": f"msg_{draft.ident}",
                "role": "assistant",
                "status": "completed",
                "content": [part],
            }
        ]
    why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(choice.finish)
    return {
        "id": f"resp_{draft.ident}",
        "object": "response",
        "created_at": draft.created,
        "status": "incomplete" if why else "completed",
        "error": None,
        "incomplete_details": {"reason": why} if why else None,
        "model": draft.ask.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": draft.usage,
    }
