"""Arguments against their schemas."""

from __future__ import annotations

from tests.corpus.forms import (
    GOOD,
    SCHEMA,
    UNUSABLE,
    Case,
    answers,
    ask,
    expression,
    listed,
    typed,
)

AGE = typed(age={"type": "integer", "minimum": 0, "maximum": 150})
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name"],
            "additionalProperties": False,
        }
    },
    **typed(root={"$ref": "#/$defs/node"}),
}
UNION = typed(
    contact={
        "anyOf": [
            {"type": "string", "format": "email"},
            {
                **typed(phone={"type": "string", "pattern": "^[0-9]+$"}),
                "additionalProperties": False,
            },
            {"type": "null"},
        ]
    }
)
EXPRESSION = {
    "$defs": {
        "e": {
            "anyOf": [{"type": "number"}]
            + [
                {
                    **typed(op={"const": op}, left={"$ref": "#/$defs/e"}),
                    "additionalProperties": False,
                }
                for op in ("add", "mul")
            ]
        }
    },
    **typed(e={"$ref": "#/$defs/e"}),
}

ORDER = {
    **typed(kind={"enum": ["gift", "own"]}),
    "if": {"properties": {"kind": {"const": "gift"}}},
    "then": {"required": ["note"]},
}
LIST = typed(
    ids={"type": "array", "items": {"type": "integer"}, "minItems": 1, "uniqueItems": True}
)
EXTRAS = {"type": "object", "additionalProperties": {"type": "integer"}}

SCHEMAS = [
    Case("missing argument", ask(), answers("{}"), SCHEMA, listed({}, SCHEMA)),
    Case("another argument", ask(), answers('{"order_id": "x", "note": "y"}'), SCHEMA),
    Case("another argument where that is allowed", ask(AGE), answers('{"age": 3, "x": 1}'), None),
    Case("a misspelt argument", ask(), answers('{"orderId": "x"}'), SCHEMA),
    Case("a number as text", ask(AGE), answers('{"age": "42"}'), SCHEMA),
    Case("text as a number", ask(), answers('{"order_id": 12345}'), SCHEMA),
    Case("a whole float for an integer", ask(AGE), answers('{"age": 42.0}'), None),
    Case("a fraction for an integer", ask(AGE), answers('{"age": 4.2}'), SCHEMA),
    Case("true for an integer", ask(AGE), answers('{"age": true}'), SCHEMA),
    Case("null for an integer", ask(AGE), answers('{"age": null}'), SCHEMA),
    Case("beyond the maximum", ask(AGE), answers('{"age": 151}'), SCHEMA),
    Case("enum", ask(typed(u={"enum": ["c", "f"]})), answers('{"u": "f"}'), None),
    Case("not in the enum", ask(typed(u={"enum": ["c", "f"]})), answers('{"u": "F"}'), SCHEMA),
    Case("const", ask(typed(v={"const": 1})), answers('{"v": true}'), SCHEMA),
    Case("a date", ask(typed(d={"format": "date"})), answers('{"d": "2026-02-28"}'), None),
    Case("no such date", ask(typed(d={"format": "date"})), answers('{"d": "2026-02-30"}'), SCHEMA),
    Case(
        "an unknown format is no claim", ask(typed(d={"format": "sku"})), answers('{"d": ""}'), None
    ),
    Case("unicode", ask(), answers('{"order_id": "Straße 北京 🚚"}'), None),
    Case(
        "escaped unicode",
        ask(),
        answers('{"order_id": "\\u5317\\ud83d\\ude9a"}'),
        None,
        listed({"order_id": "北🚚"}),
    ),
    Case("length is of characters", ask(typed(x={"maxLength": 2})), answers('{"x": "🚚🚚"}'), None),
    Case(
        "a nested fault",
        ask(typed(a=typed(b={"type": "array", "items": {"type": "integer"}}))),
        answers('{"a": {"b": [1, "2"]}}'),
        SCHEMA,
    ),
    Case("a recursive schema", ask(TREE), answers('{"root":{"name":"a","children":[]}}'), None),
    Case(
        "a fault deep in a recursive schema",
        ask(TREE),
        answers('{"root":{"name":"a","children":[{"name":"b","children":[{"nam":"c"}]}]}}'),
        SCHEMA,
    ),
    Case("anyOf, one branch", ask(UNION), answers('{"contact": {"phone": "123"}}'), None),
    Case("anyOf, another branch", ask(UNION), answers('{"contact": null}'), None),
    Case("anyOf, no branch", ask(UNION), answers('{"contact": {"phone": "12a"}}'), SCHEMA),
    Case(
        "oneOf, two branches",
        ask(typed(x={"oneOf": [{"type": "integer"}, {"minimum": 0}]})),
        answers('{"x": 1}'),
        SCHEMA,
    ),
    Case("a recursive union", ask(EXPRESSION), answers(expression(6, "1")), None),
    Case("a recursive union, at fault", ask(EXPRESSION), answers(expression(3, '"x"')), SCHEMA),
    Case("a recursive union, endless", ask(EXPRESSION), answers(expression(99, '"x"')), SCHEMA),
    Case(
        "allOf, one part at fault",
        ask({"allOf": [{"type": "object"}, typed(x={"type": "integer"})]}),
        answers('{"x": "1"}'),
        SCHEMA,
    ),
    Case("if, then", ask(ORDER), answers('{"kind": "gift", "note": "For you"}'), None),
    Case("if, and not then", ask(ORDER), answers('{"kind": "gift"}'), SCHEMA),
    Case("too few items", ask(LIST), answers('{"ids": []}'), SCHEMA),
    Case("an item twice", ask(LIST), answers('{"ids": [1, 1]}'), SCHEMA),
    Case("an item at fault", ask(LIST), answers('{"ids": [1, "2"]}'), SCHEMA),
    Case("an object for a list", ask(LIST), answers('{"ids": {"0": 1}}'), SCHEMA),
    Case("more arguments of a type", ask(EXTRAS), answers('{"a": 1, "b": 2}'), None),
    Case("more arguments, one of another type", ask(EXTRAS), answers('{"a": 1, "b": "2"}'), SCHEMA),
    Case(
        "draft 7",
        ask({**AGE, "$schema": "http://json-schema.org/draft-07/schema#"}),
        answers('{"age": 3}'),
        None,
    ),
    Case("a tool without a schema", ask(None), answers('{"any": "thing"}'), None),
    Case("a tool with an empty schema", ask({}), answers('{"any": "thing"}'), None),
    Case("an empty schema still means an object", ask({}), answers('"thing"'), SCHEMA),
    Case("an invalid schema", ask({"type": "dict"}), answers(GOOD), UNUSABLE, {}),
    Case("a schema that is a list", ask([]), answers(GOOD), UNUSABLE),
    Case("a dangling reference", ask(typed(x={"$ref": "#/$defs/y"})), answers(GOOD), UNUSABLE),
    Case("a reference to a file", ask({"$ref": "file:///etc/passwd"}), answers(GOOD), UNUSABLE),
    Case("a reference to a host", ask({"$ref": "http://127.0.0.1/s"}), answers(GOOD), UNUSABLE),
]
