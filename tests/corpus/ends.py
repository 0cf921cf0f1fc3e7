"""How answers end, and how many choices they have."""

from __future__ import annotations

from tests.corpus.forms import (
    FILTERED,
    GOOD,
    GOOD_CALL,
    INVALID_JSON,
    NOT_CALLED,
    REFUSED,
    SCHEMA,
    TRUNCATED,
    Case,
    answers,
    ask,
    ask_format,
    ask_plain,
    call,
    calls,
    chat,
    choice,
    listed,
    says,
    typed,
)

ENDS = [
    Case("a good call", ask(), answers(GOOD), None, {"tool_calls": [GOOD_CALL]}),
    Case("finish reason stop with a call", ask(), calls(call(GOOD), reason="stop"), None),
    Case("no finish reason with a call", ask(), calls(call(GOOD), reason=None), None),
    Case("finish reason function_call", ask(), calls(call(GOOD), reason="function_call"), None),
    Case("text beside a call", ask(), calls(call(GOOD), content="One moment."), None),
    Case("words instead of a call", ask(), says("Which order?"), None, {}),
    Case(
        "finish reason tool_calls with words only", ask(), says("Which order?", "tool_calls"), None
    ),
    Case("finish reason tool_calls and nothing", ask(), says(None, "tool_calls"), NOT_CALLED),
    Case("neither call nor text", ask(), says(""), NOT_CALLED, {}),
    Case("an empty list of calls", ask(), calls(reason="stop"), NOT_CALLED),
    Case("an empty list of calls beside text", ask(), calls(content="Which order?"), None),
    Case("null for the calls", ask(), says("Which order?", tool_calls=None), None),
    Case(
        "a call cut off",
        ask(),
        calls(call('{"order_id": "ord'), reason="length"),
        TRUNCATED,
        {"truncated": True, **listed(None, INVALID_JSON)},
    ),
    Case("a whole call in an answer cut off", ask(), calls(call(GOOD), reason="length"), TRUNCATED),
    Case(
        "a filtered call",
        ask(),
        calls(call(GOOD), reason="content_filter"),
        FILTERED,
        {"tool_calls": [GOOD_CALL]},
    ),
    Case("a finish reason that nobody knows", ask(), calls(call(GOOD), reason="done"), None),
    Case("a finish reason that is no word", ask(), says("Which order?", 5), None),
    Case("calls that are no list", ask(), says(None, tool_calls={"0": call(GOOD)}), NOT_CALLED),
    Case("words cut off with tools on offer", ask(), says("Your ord", "length"), TRUNCATED),
    Case(
        "words cut off with tools that may not be called",
        ask(tool_choice="none"),
        says("Your ord", "length"),
        None,
        {"truncated": True},
    ),
    Case("plain text", ask_plain(), says("Hello."), None, {}),
    Case("plain text cut off", ask_plain(), says("Hel", "length"), None, {"truncated": True}),
    Case("cut off in another's word", ask(), says("Your ord", "max_tokens"), TRUNCATED),
    Case("a format cut off", ask_format(typed()), says('{"a', "length"), TRUNCATED),
    Case("a refusal", ask(), says(None, refusal="I can't help with that."), REFUSED, {}),
    Case("a refusal of plain text", ask_plain(), says(None, refusal="I can't."), REFUSED),
    Case("a refusal of a format", ask_format(typed()), says(None, refusal="No."), REFUSED),
    Case(
        "a refusal in a part",
        ask_format(typed()),
        says([{"type": "refusal", "refusal": "No."}]),
        REFUSED,
    ),
    Case("an empty refusal is none", ask(), says("Which order?", refusal=""), None),
    Case("filtered", ask(), says("", "content_filter"), FILTERED),
    Case("plain text filtered", ask_plain(), says("Hel", "content_filter"), FILTERED),
]

SEVERAL = [
    Case(
        "two choices, both good",
        ask(n=2),
        chat(
            choice({"content": None, "tool_calls": [call(GOOD)]}, "tool_calls", 0),
            choice({"content": None, "tool_calls": [call(GOOD)]}, "stop", 1),
        ),
        None,
        {"tool_calls": [GOOD_CALL | {"choice": 0}, GOOD_CALL | {"choice": 1}]},
    ),
    Case(
        "two choices, the second at fault",
        ask(n=2),
        chat(
            choice({"content": None, "tool_calls": [call(GOOD)]}, "tool_calls", 0),
            choice({"content": None, "tool_calls": [call("{}")]}, "tool_calls", 1),
        ),
        SCHEMA,
    ),
    Case(
        "two choices, one in words",
        ask(n=2, tool_choice="required"),
        chat(
            choice({"content": "Which?"}, "stop", 0),
            choice({"content": None, "tool_calls": [call(GOOD)]}, "tool_calls", 1),
        ),
        NOT_CALLED,
        {"tool_calls": [GOOD_CALL | {"choice": 1}]},
    ),
    Case(
        "two plain choices, one cut off",
        ask_plain(n=2),
        chat(choice({"content": "a"}), choice({"content": "b"}, "length", 1)),
        None,
        {"truncated": True},
    ),
]
