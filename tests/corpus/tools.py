"""Which tools are called."""

from __future__ import annotations

from tests.corpus.forms import (
    DATE,
    DATE_SCHEMA,
    FORCED,
    GOOD,
    GOOD_CALL,
    INVALID_JSON,
    NOT_CALLED,
    SCHEMA,
    TWO_TOOLS,
    UNKNOWN,
    Case,
    answers,
    ask,
    ask_plain,
    call,
    calls,
    chat,
    choice,
    listed,
    says,
)

TOOLS = [
    Case(
        "an unknown tool",
        ask(),
        calls(call(GOOD, "get_date")),
        UNKNOWN,
        listed({"order_id": "order_12345"}, UNKNOWN, "get_date"),
    ),
    Case("a tool in another case", ask(), calls(call(GOOD, "Get_Delivery_Date")), UNKNOWN),
    Case("a tool without a name", ask(), calls(call(GOOD, None)), UNKNOWN),
    Case("a call that is no object", ask(), chat(choice({"tool_calls": ["x"]})), UNKNOWN),
    Case("no tools on offer", ask(tools=[]), answers(GOOD), UNKNOWN),
    Case(
        "parallel calls",
        ask(),
        calls(call(GOOD), call('{"order_id": "b"}', call_id="call_2")),
        None,
        {"tool_calls": [GOOD_CALL, {"name": DATE, "arguments": {"order_id": "b"}}]},
    ),
    Case(
        "parallel calls, the second at fault",
        ask(),
        calls(call(GOOD), call("{}", call_id="call_2")),
        SCHEMA,
        {"tool_calls": [GOOD_CALL, {"name": DATE, "arguments": {}, "error": SCHEMA}]},
    ),
    Case("the first fault decides", ask(), calls(call("{"), call("{}", "nope")), INVALID_JSON),
    Case("required and called", ask(tool_choice="required"), answers(GOOD), None),
    Case("required and not called", ask(tool_choice="required"), says("Which?"), NOT_CALLED),
    Case("named and called", ask(tool_choice=FORCED), calls(call(GOOD), reason="stop"), None),
    Case("named and not called", ask(tool_choice=FORCED), says("Which?"), NOT_CALLED),
    Case(
        "named and another called",
        ask(tools=TWO_TOOLS, tool_choice=FORCED),
        calls(call("{}", "cancel_order")),
        NOT_CALLED,
    ),
    Case(
        "two calls under one id",
        ask(),
        calls(call(GOOD), call(GOOD)),
        None,
        {"tool_calls": [GOOD_CALL, GOOD_CALL]},
    ),
    Case(
        "the same call, once without an id",
        ask(),
        calls({"type": "function", "function": {"name": DATE, "arguments": GOOD}}),
        None,
    ),
    Case("named with words beside", ask(tool_choice=FORCED), calls(call(GOOD), content="x"), None),
    Case(
        "one tool at most, and none was called",
        ask(tool_choice="auto", parallel_tool_calls=False),
        says(" \n"),
        NOT_CALLED,
    ),
    Case("auto", ask(tool_choice="auto"), says("Which order?"), None),
    Case("none and called", ask(tool_choice="none"), answers(GOOD), UNKNOWN),
    Case(
        "allowed tools",
        ask(
            tools=TWO_TOOLS,
            tool_choice={
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [FORCED]},
            },
        ),
        calls(call("{}", "cancel_order")),
        UNKNOWN,
    ),
    Case(
        "a custom tool takes any text",
        ask_plain(tools=[{"type": "custom", "custom": {"name": "run", "description": "d"}}]),
        calls({"id": "c", "type": "custom", "custom": {"name": "run", "input": "print(1"}}),
        None,
        listed("print(1", name="run"),
    ),
    Case(
        "a legacy function",
        ask_plain(functions=[{"name": DATE, "parameters": DATE_SCHEMA}]),
        says(None, "function_call", function_call={"name": DATE, "arguments": GOOD}),
        None,
        {"tool_calls": [GOOD_CALL]},
    ),
    Case(
        "a legacy function, forced and at fault",
        ask_plain(
            functions=[{"name": DATE, "parameters": DATE_SCHEMA}], function_call={"name": DATE}
        ),
        says(None, "function_call", function_call={"name": DATE, "arguments": "{}"}),
        SCHEMA,
    ),
]
