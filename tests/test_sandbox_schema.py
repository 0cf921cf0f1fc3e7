"""Instances of schemas: valid, repeatable, taken from the messages where they fit."""

import socket
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.endpoints.sandbox.clues import Clues
from batcher.endpoints.sandbox.dice import Dice
from batcher.endpoints.sandbox.schema import instance

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "number", "exclusiveMinimum": 0},
                "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}

SCHEMAS: dict[str, Any] = {
    "nothing asked": {},
    "anything": True,
    "const": {"const": {"a": [1]}},
    "enum of mixed types": {"enum": [None, 3, "x", {"y": 1}]},
    "integer between exclusive bounds": {
        "type": "integer",
        "exclusiveMinimum": 3,
        "exclusiveMaximum": 5,
    },
    "draft 4 exclusive bound": {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "integer",
        "minimum": 3,
        "exclusiveMinimum": True,
        "maximum": 4,
    },
    "multiple of a fraction": {"type": "number", "multipleOf": 0.25, "minimum": 10, "maximum": 11},
    "multiple of seven": {"type": "integer", "multipleOf": 7, "minimum": 50},
    "negative numbers": {"type": "number", "maximum": -5.5},
    "long text": {"type": "string", "minLength": 50, "maxLength": 60},
    "short text": {"type": "string", "maxLength": 2},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-\\d{4}(-[a-f]+)?$"},
    "pattern with alternatives": {"type": "string", "pattern": "^(?:red|green|blue)_\\w+$"},
    "pattern of a length": {"type": "string", "pattern": "^a+$", "minLength": 12, "maxLength": 20},
    "date and time": {"type": "string", "format": "date-time"},
    "email": {"type": "string", "format": "email"},
    "uuid": {"type": "string", "format": "uuid"},
    "ipv6": {"type": "string", "format": "ipv6"},
    "nullable": {"type": ["string", "null"]},
    "unique items": {
        "type": "array",
        "items": {"enum": [1, 2, 3]},
        "minItems": 3,
        "uniqueItems": True,
    },
    "tuple": {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "integer"}],
        "items": False,
        "minItems": 2,
    },
    "old tuple": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [{"type": "string"}, {"type": "integer"}],
        "additionalItems": False,
        "minItems": 2,
    },
    "contains": {
        "type": "array",
        "items": {"type": "integer"},
        "contains": {"const": 7},
        "minContains": 2,
    },
    "required but not described": {"type": "object", "required": ["a", "b"]},
    "least properties": {"type": "object", "minProperties": 3},
    "most properties": {
        "type": "object",
        "properties": {"a": {}, "b": {}, "c": {}},
        "required": ["b"],
        "maxProperties": 1,
    },
    "named by pattern": {
        "type": "object",
        "patternProperties": {"^x_[a-z]+$": {"type": "integer"}},
        "additionalProperties": False,
        "minProperties": 2,
    },
    "dependent": {
        "type": "object",
        "properties": {"card": {"type": "integer"}, "address": {"type": "string"}},
        "required": ["card"],
        "dependentRequired": {"card": ["address"]},
    },
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"a": {"minimum": 5}, "b": {"type": "string"}}, "required": ["b"]},
        ]
    },
    "one of": {
        "oneOf": [
            {"type": "object", "properties": {"k": {"const": "a"}}, "required": ["k"]},
            {"type": "object", "properties": {"k": {"const": "b"}}, "required": ["k"]},
        ]
    },
    "conditional": {
        "type": "object",
        "properties": {"kind": {"enum": ["x", "y"]}},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "x"}}},
        "then": {"required": ["x_value"], "properties": {"x_value": {"type": "integer"}}},
        "else": {"required": ["y_value"]},
    },
    "not": {"type": "integer", "minimum": 0, "maximum": 3, "not": {"enum": [0, 1]}},
    "must be left out": {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "required": ["a"],
        "not": {"required": ["b"]},
    },
    "anchor": {
        "$defs": {"n": {"$anchor": "name", "type": "string", "minLength": 3}},
        "type": "object",
        "properties": {"n": {"$ref": "#name"}},
        "required": ["n"],
    },
    "escaped pointer": {
        "$defs": {"a/b~c": {"type": "integer"}},
        "type": "array",
        "items": {"$ref": "#/$defs/a~1b~0c"},
        "minItems": 1,
    },
    "recursive": TREE,
    "recursive at the root": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "child": {"$ref": "#"}},
        "required": ["name"],
    },
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("said", ["", "Order 7 of order_12345, x, 2024-05-06, ada@example.org"])
def test_instance_satisfies_its_schema(schema: Any, said: str) -> None:
    """Whatever the messages say, the instance is valid."""
    for seed in range(20):
        made = instance(schema, Dice(seed), Clues([said]))
        assert jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(made), made


def _schemas() -> st.SearchStrategy[Any]:
    numbers = st.tuples(st.integers(-50, 50), st.integers(0, 50)).map(
        lambda b: {"type": "integer", "minimum": b[0], "maximum": b[0] + b[1]}
    )
    texts = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(
        lambda b: {"type": "string", "minLength": b[0], "maxLength": b[0] + b[1]}
    )
    plain = st.one_of(
        numbers,
        texts,
        st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "number"}]),
        st.lists(st.one_of(st.text(), st.integers(-(2**53), 2**53), st.none()), min_size=1).map(
            lambda values: {"enum": values}
        ),
    )
    return st.recursive(plain, _nested, max_leaves=8)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["order_id", "city", "count", "", "é", "a.b"])
    objects = st.dictionaries(names, inner, max_size=4).flatmap(
        lambda properties: (
            st.lists(st.sampled_from(sorted(properties)), unique=True).map(
                lambda required: {
                    "type": "object",
                    "properties": properties,
                    "required": required,
                    "additionalProperties": False,
                }
            )
            if properties
            else st.just({"type": "object"})
        )
    )
    arrays = st.tuples(inner, st.integers(0, 3), st.integers(0, 2)).map(
        lambda a: {"type": "array", "items": a[0], "minItems": a[1], "maxItems": a[1] + a[2]}
    )
    return st.one_of(objects, arrays, st.lists(inner, min_size=1, max_size=3).map(_any_of))


def _any_of(branches: list[Any]) -> Any:
    return {"anyOf": branches}


@settings(max_examples=150, deadline=None)
@given(schema=_schemas(), seed=st.integers(0, 2**64), said=st.text(max_size=80))
def test_any_schema_is_satisfied(schema: Any, seed: int, said: str) -> None:
    """Random schemas, seeds and messages: the instance is valid, and the same when made again."""
    made = instance(schema, Dice(seed), Clues([said]))
    assert jsonschema_rs.is_valid(schema, made)
    assert instance(schema, Dice(seed), Clues([said])) == made


@pytest.mark.parametrize(
    ("name", "schema", "said", "expected"),
    [
        pytest.param("order_id", {"type": "string"}, "it is order_12345.", "order_12345", id="id"),
        pytest.param("orderId", {"type": "string"}, "order-77 please", "order-77", id="camel case"),
        pytest.param(
            "ticket_number", {"type": "string"}, "see A-113", "A-113", id="any identifier"
        ),
        pytest.param("label", {"enum": ["good", "bad"]}, "How Bad was it?", "bad", id="enum"),
        pytest.param("city", {"type": "string"}, "Weather in New York now?", "New York", id="name"),
        pytest.param("city", {"type": "string"}, "city: paris", "paris", id="given by name"),
        pytest.param("title", {"type": "string"}, 'find "The Sea" today', "The Sea", id="quoted"),
        pytest.param("query", {"type": "string"}, " all of it ", "all of it", id="prose"),
        pytest.param(
            "day", {"type": "string", "format": "date"}, "on 2026-03-04.", "2026-03-04", id="date"
        ),
        pytest.param(
            "to", {"type": "string", "format": "email"}, "ask ada@x.org.", "ada@x.org", id="email"
        ),
        pytest.param(
            "sku", {"type": "string", "pattern": "^[A-Z]{3}$"}, "get me ABC!", "ABC", id="pattern"
        ),
        pytest.param("count", {"type": "integer"}, "I want 12 of them", 12, id="integer"),
        pytest.param(
            "count", {"type": "integer", "maximum": 10}, "12 or 5", 5, id="integer within bounds"
        ),
        pytest.param("size", {"type": "number"}, "5 things, size: 2.5", 2.5, id="number by name"),
    ],
)
def test_values_come_from_the_messages(name: str, schema: Any, said: str, expected: Any) -> None:
    """What the user gave stands in the arguments."""
    whole = {"type": "object", "properties": {name: schema}, "required": [name]}
    assert instance(whole, Dice(1), Clues([said])) == {name: expected}


def test_the_newest_message_wins() -> None:
    """An order named later replaces the one named before."""
    whole = {"type": "object", "properties": {"order_id": {"type": "string"}}}
    clues = Clues(["order_1", "sorry: order_2"])
    assert instance(whole, Dice(1), clues) == {"order_id": "order_2"}


def test_no_reference_is_fetched(tmp_path: Path) -> None:
    """A reference to a file counts as `{}`: what the file says never shows."""
    (tmp_path / "s.json").write_text('{"const": "leaked"}')
    schema = {"$ref": (tmp_path / "s.json").as_uri()}
    assert instance(schema, Dice(1), Clues([])) != "leaked"


@pytest.mark.parametrize("keyword", ["$ref", "$schema", "$dynamicRef"])
def test_no_connection_is_opened(keyword: str) -> None:
    """Whatever a schema points at over HTTP, nothing connects to it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/schema.json"
        instance({keyword: url, "required": 3}, Dice(1), Clues([]))
        instance({keyword: url}, Dice(1), Clues([]))
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(False, id="nothing is allowed"),
        pytest.param({"type": "integer", "minimum": 5, "maximum": 1}, id="bounds crossed"),
        pytest.param({"$ref": "#"}, id="a loop"),
        pytest.param({"$ref": "#/nowhere"}, id="a dead end"),
        pytest.param({"type": "string", "pattern": "("}, id="no pattern"),
        pytest.param({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, id="infinite"),
        pytest.param({"type": "string", "minLength": "x"}, id="no schema at all"),
        pytest.param({"type": "object", "properties": []}, id="properties of the wrong type"),
        pytest.param({"required": 3, "enum": []}, id="keywords of the wrong type"),
    ],
)
def test_a_hopeless_schema_gets_the_best_effort(schema: Any) -> None:
    """What nothing can satisfy still gets an answer, as a model would give one."""
    instance(schema, Dice(1), Clues(["some 12 words"]))
