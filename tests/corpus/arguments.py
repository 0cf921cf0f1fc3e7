"""Arguments as JSON text."""

from __future__ import annotations

import json

from tests.corpus.forms import (
    DATE,
    GOOD,
    GOOD_CALL,
    INVALID_JSON,
    NO_PARAMETERS,
    SCHEMA,
    Case,
    answers,
    ask,
    calls,
    listed,
    typed,
)

ARGUMENTS = [
    Case(
        "broken JSON",
        ask(),
        answers('{"order_id": "x"'),
        INVALID_JSON,
        listed(None, INVALID_JSON),
    ),
    Case("trailing comma", ask(), answers('{"order_id": "x",}'), INVALID_JSON),
    Case("single quotes", ask(), answers("{'order_id': 'x'}"), INVALID_JSON),
    Case("a fence", ask(), answers(f"```json\n{GOOD}\n```"), INVALID_JSON),
    Case("words before the JSON", ask(), answers(f"Sure: {GOOD}"), INVALID_JSON),
    Case("two objects", ask(), answers(GOOD + GOOD), INVALID_JSON),
    Case("NaN", ask(typed(x={"type": "number"})), answers('{"x": NaN}'), INVALID_JSON),
    Case(
        "a number beyond a double",
        ask(typed(x={"type": "number"})),
        answers('{"x": 1e999}'),
        INVALID_JSON,
    ),
    Case("a raw line break in a string", ask(), answers('{"order_id": "a\nb"}'), INVALID_JSON),
    Case("half a surrogate pair", ask(), answers('{"order_id": "\\ud83d"}'), INVALID_JSON),
    Case("empty text for required arguments", ask(), answers(""), INVALID_JSON),
    Case("null for required arguments", ask(), answers(None), INVALID_JSON),
    Case(
        "no arguments at all for required ones",
        ask(),
        calls({"id": "call_1", "type": "function", "function": {"name": DATE}}),
        INVALID_JSON,
    ),
    Case("empty text for no parameters", ask(NO_PARAMETERS), answers(""), None, listed({})),
    Case("blank text for no parameters", ask(NO_PARAMETERS), answers(" \n"), None, listed({})),
    Case("null for no parameters", ask(NO_PARAMETERS), answers(None), None, listed({})),
    Case("the word null for no parameters", ask(NO_PARAMETERS), answers("null"), SCHEMA),
    Case(
        "arguments as an object",
        ask(),
        answers({"order_id": "order_12345"}),
        None,
        {"tool_calls": [GOOD_CALL]},
    ),
    Case("arguments as a bad object", ask(), answers({"order": 1}), SCHEMA),
    Case("arguments as a number", ask(), answers(5), SCHEMA),
    Case(
        "pretty-printed",
        ask(),
        answers('{\r\n  "order_id":\t"order_12345"\n}\n'),
        None,
        {"tool_calls": [GOOD_CALL]},
    ),
    Case(
        "a repeated key: the last counts", ask(), answers('{"order_id": 1, "order_id": "x"}'), None
    ),
    Case(
        "an integer beyond 64 bits",
        ask(typed(x={"type": "integer"})),
        answers('{"x": 123456789012345678901234567890}'),
        None,
        listed({"x": 123456789012345678901234567890}),
    ),
    Case("text in text", ask(), answers(json.dumps(GOOD)), SCHEMA, listed(GOOD, SCHEMA)),
    Case("an array of arguments", ask(), answers(f"[{GOOD}]"), SCHEMA),
    Case("nested 400 deep", ask({}), answers('{"a":' * 400 + "1" + "}" * 400), INVALID_JSON),
    Case("nested 100 deep", ask({}), answers('{"a":' * 100 + "1" + "}" * 100), None),
]
