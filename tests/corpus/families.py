"""Other families of endpoints."""

from __future__ import annotations

from tests.corpus.forms import (
    ANSWER,
    DATE,
    DATE_SCHEMA,
    FILTERED,
    GOOD,
    GOOD_CALL,
    INVALID_JSON,
    JSON,
    LABELLED,
    LABELS,
    NOT_CALLED,
    REFUSED,
    SCHEMA,
    TRUNCATED,
    UNKNOWN,
    USER,
    Case,
    message,
    output,
    response,
    use,
)

MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"

ANTHROPIC: JSON = {
    "model": "m",
    "max_tokens": 99,
    "messages": [USER],
    "tools": [{"name": DATE, "input_schema": DATE_SCHEMA}],
}
RESPONSE: JSON = {
    "model": "m",
    "input": "Where?",
    "tools": [{"type": "function", "name": DATE, "parameters": DATE_SCHEMA, "strict": True}],
}
RESPONSE_CALL = {"type": "function_call", "call_id": "call_1", "name": DATE, "arguments": GOOD}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
REFUSAL = {"type": "refusal", "refusal": "No."}
TEXT = {"type": "text", "text": "One moment."}

FAMILIES = [
    Case(
        "messages: a good call",
        ANTHROPIC,
        message(TEXT, use({"order_id": "order_12345"})),
        None,
        {"tool_calls": [GOOD_CALL]},
        MESSAGES,
    ),
    Case("messages: a bad call", ANTHROPIC, message(use({})), SCHEMA, None, MESSAGES),
    Case("messages: an unknown tool", ANTHROPIC, message(use({}, "x")), UNKNOWN, None, MESSAGES),
    Case(
        "messages: any, and none called",
        {**ANTHROPIC, "tool_choice": {"type": "any"}},
        message(TEXT, reason="end_turn"),
        NOT_CALLED,
        None,
        MESSAGES,
    ),
    Case(
        "messages: named, and called",
        {**ANTHROPIC, "tool_choice": {"type": "tool", "name": DATE}},
        message(use({"order_id": "x"})),
        None,
        None,
        MESSAGES,
    ),
    Case(
        "messages: cut off",
        ANTHROPIC,
        message(TEXT, reason="max_tokens"),
        TRUNCATED,
        None,
        MESSAGES,
    ),
    Case("messages: refused", ANTHROPIC, message(reason="refusal"), REFUSED, None, MESSAGES),
    Case(
        "messages: a format",
        {
            **{key: ANTHROPIC[key] for key in ("model", "max_tokens", "messages")},
            "output_config": {"format": {"type": "json_schema", "schema": LABELLED}},
        },
        message({"type": "text", "text": '{"label": "x"}'}, reason="end_turn"),
        ANSWER,
        None,
        MESSAGES,
    ),
    Case(
        "messages: parallel calls, the second at fault",
        ANTHROPIC,
        message(use({"order_id": "x"}), use({"order_id": 5})),
        SCHEMA,
        None,
        MESSAGES,
    ),
    Case(
        "messages: the endpoint's own search is no call of ours",
        {**ANTHROPIC, "tools": [*ANTHROPIC["tools"], SEARCH]},
        message(
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
            TEXT,
            reason="end_turn",
        ),
        None,
        {},
        MESSAGES,
    ),
    Case(
        "responses: refused",
        RESPONSE,
        response(
            {"type": "message", "role": "assistant", "content": [REFUSAL]},
        ),
        REFUSED,
        None,
        RESPONSES,
    ),
    Case(
        "responses: an unknown tool",
        RESPONSE,
        response({**RESPONSE_CALL, "name": "x"}),
        UNKNOWN,
        None,
        RESPONSES,
    ),
    Case(
        "responses: an empty output",
        RESPONSE,
        response({"type": "reasoning", "summary": []}),
        NOT_CALLED,
        None,
        RESPONSES,
    ),
    Case(
        "completions: a label",
        {"model": "m", "prompt": "x"},
        {"choices": [{"index": 0, "text": " mixed", "finish_reason": "stop"}]},
        ANSWER,
        None,
        "/v1/completions",
        {"labels": LABELS},
    ),
    Case(
        "responses: a good call",
        RESPONSE,
        response(RESPONSE_CALL),
        None,
        {"tool_calls": [GOOD_CALL]},
        RESPONSES,
    ),
    Case(
        "responses: a bad call",
        RESPONSE,
        response({**RESPONSE_CALL, "arguments": "{"}),
        INVALID_JSON,
        None,
        RESPONSES,
    ),
    Case(
        "responses: required, and not called",
        {**RESPONSE, "tool_choice": "required"},
        response(output("Which?")),
        NOT_CALLED,
        None,
        RESPONSES,
    ),
    Case(
        "responses: named, and called",
        {**RESPONSE, "tool_choice": {"type": "function", "name": DATE}},
        response({"type": "reasoning", "summary": []}, RESPONSE_CALL),
        None,
        None,
        RESPONSES,
    ),
    Case(
        "responses: a format",
        {
            "model": "m",
            "input": "x",
            "text": {"format": {"type": "json_schema", "name": "a", "schema": LABELLED}},
        },
        response(output('{"label": "x"}')),
        ANSWER,
        None,
        RESPONSES,
    ),
    Case(
        "responses: cut off",
        RESPONSE,
        response(
            output("Whi"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}
        ),
        TRUNCATED,
        None,
        RESPONSES,
    ),
    Case(
        "responses: filtered",
        RESPONSE,
        response(status="incomplete", incomplete_details={"reason": "content_filter"}),
        FILTERED,
        None,
        RESPONSES,
    ),
    Case(
        "completions: plain text cut off",
        {"model": "m", "prompt": "x"},
        {"choices": [{"index": 0, "text": "y", "finish_reason": "length"}]},
        None,
        {"truncated": True},
        "/v1/completions",
    ),
    Case(
        "embeddings: nothing to check",
        {"model": "m", "input": "x"},
        {"data": [{"index": 0, "embedding": [0.1]}]},
        None,
        {},
        "/v1/embeddings",
    ),
]
