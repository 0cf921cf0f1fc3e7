"""An instance of a JSON Schema, from a source of randomness and the messages' clues.

Theory: a schema is read as a recipe, keyword by keyword, and what was made is then checked by a
validator; another draw is tried when it fails. `allOf` and references are merged into the schema
that holds them, one branch of `anyOf` or `oneOf` is chosen and merged as well. Recursion ends by
leaving out what is not required and by choosing branches without references.

Nothing is ever fetched: a reference that leads out of the schema counts as `{}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jsonschema_rs
import orjson

from batcher.endpoints.sandbox.clues import Clues
from batcher.endpoints.sandbox.dice import Dice
from batcher.endpoints.sandbox.merge import merge, resolve
from batcher.endpoints.sandbox.scalars import Scalars

__all__ = ["Compiled", "compiled", "instance"]

# Draws before the best effort is handed over as it is: a schema that needs more is contradictory or
# uses what the recipe doesn't know.
_TRIES = 24

# Beyond this depth only what is required is made.
_DEPTH_FULL = 4
# Beyond this one nothing is: the schema demands an infinite instance.
_DEPTH_MAX = 40

# Keywords that bring other schemas into the one that holds them.
_JOINED = frozenset(("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if"))

# An object that says no more than this needs no thought: the usual tool, and so the hot path.
_ORDINARY = frozenset(
    ("type", "properties", "required", "additionalProperties", "title", "description", "$schema")
)

_NOTHING = Clues(())


class Compiled(NamedTuple):
    """A schema, ready.

    Attributes:
        schema: As JSON values.
        validator: None where it can't be built, as for a foreign reference.
        problem: Why it is no schema at all, or None.
    """

    schema: Any
    validator: jsonschema_rs.Validator | None
    problem: str | None

    def allows(self, value: object) -> bool:
        """Whether `value` satisfies the schema, as far as can be told."""
        return self.validator is None or self.validator.is_valid(value)


def compiled(schema: object) -> Compiled:
    """Compile a schema, once for all requests that carry the same."""
    return _compiled(orjson.dumps(schema))


@lru_cache(maxsize=512)
def _compiled(schema_json: bytes) -> Compiled:
    schema = orjson.loads(schema_json)
    try:
        validator = jsonschema_rs.validator_for(schema, offline=True, validate_formats=True)
    except (ValueError, jsonschema_rs.ReferencingError):
        return Compiled(schema, None, _problem(schema))
    return Compiled(schema, validator, None)


def _problem(schema: Any) -> str | None:
    """Say what keyword is wrong.

    Without `$schema`: a metaschema that isn't known would be fetched.
    """
    if isinstance(schema, dict):
        schema = {key: value for key, value in schema.items() if key != "$schema"}
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        return "/".join(map(str, error.instance_path)) or "the schema itself"
    return None


def instance(schema: object | Compiled, dice: Dice, clues: Clues) -> Any:
    """Return a value that satisfies `schema`; the best effort where none is found.

    What is no schema at all gives `{}`.

    Args:
        schema: A JSON Schema of any draft, compiled or not.
        dice: The result depends on them, the schema and the clues alone.
        clues: Values that the messages hold.
    """
    ready = schema if isinstance(schema, Compiled) else compiled(schema)
    value: Any = {}
    for attempt in range(0 if ready.problem else _TRIES):
        found = clues if attempt < _TRIES // 2 else _NOTHING
        walk = _Sampler(ready.schema, dice, found, full=attempt % 2 == 0)
        value = walk.make(ready.schema, "", 0)
        if ready.allows(value):
            break
    return value


class _Sampler:
    """One walk over one schema; a `full` one leaves out no property at the top."""

    __slots__ = ("_dice", "_full", "_root", "_scalars")

    def __init__(self, root: object, dice: Dice, clues: Clues, *, full: bool) -> None:
        self._full = full
        self._root = root
        self._dice = dice
        self._scalars = Scalars(dice, clues)

    def make(self, schema: object, name: str, depth: int) -> Any:
        """Make a value for `schema`, which stands under the property `name`."""
        if not isinstance(schema, Mapping) or depth > _DEPTH_MAX:
            return self._scalars.string(name, {}) if schema is True else None
        flat = self._flatten(schema, depth)
        if "const" in flat:
            return flat["const"]
        if isinstance(flat.get("enum"), list) and flat["enum"]:
            return self._scalars.member(flat["enum"])
        return self._typed(self._type(flat), flat, name, depth)

    def _typed(self, kind: str, flat: Mapping[str, Any], name: str, depth: int) -> Any:
        if kind == "string":
            return self._scalars.string(name, flat)
        if kind == "object":
            return self._object(flat, depth)
        if kind == "array":
            return self._array(flat, name, depth)
        if kind == "boolean":
            return self._dice.rng.random() < 0.5  # noqa: PLR2004 - a coin
        if kind == "null":
            return None
        scalars = self._scalars
        make = {"integer": scalars.integer, "number": scalars.number}.get(kind, scalars.string)
        return make(name, flat)

    def _flatten(self, schema: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
        """Merge references, `allOf` and one branch each of the choices into one schema."""
        if _JOINED.isdisjoint(schema):
            return schema
        flat = dict(schema)
        for _ in range(_DEPTH_MAX):
            if (ref := flat.pop("$ref", flat.pop("$dynamicRef", None))) is not None:
                flat = merge(resolve(self._root, ref), flat)
            elif (parts := flat.pop("allOf", None)) is not None:
                for part in parts:
                    flat = merge(flat, part)
            elif (branches := flat.pop("anyOf", None) or flat.pop("oneOf", None)) is not None:
                flat = merge(flat, self._branch(branches, depth))
            elif (condition := flat.pop("if", None)) is not None:
                flat = self._conditional(flat, condition)
            else:
                break
        return flat

    def _conditional(self, flat: dict[str, Any], condition: object) -> dict[str, Any]:
        then, otherwise = flat.pop("then", {}), flat.pop("else", {})
        if self._dice.rng.random() < 0.5:  # noqa: PLR2004 - a coin
            return merge(merge(flat, condition), then)
        return merge(flat, otherwise)

    def _branch(self, branches: Sequence[object], depth: int) -> object:
        """Choose a branch: any but null at first, one that ends when deep."""
        kept = [b for b in branches if not (isinstance(b, Mapping) and b.get("type") == "null")]
        if depth > _DEPTH_FULL:
            kept = [b for b in branches if b"$ref" not in orjson.dumps(b)]
        return self._dice.rng.choice(kept or list(branches))

    def _type(self, flat: Mapping[str, Any]) -> str:
        """The type to make: the schema's, or the one that its keywords speak of."""
        named = flat.get("type")
        if isinstance(named, list):
            named = self._dice.rng.choice([t for t in named if t != "null"] or ["null"])
        if isinstance(named, str):
            return named
        for kind, keywords in _KEYWORDS.items():
            if not keywords.isdisjoint(flat):
                return kind
        return "string"

    def _object(self, flat: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = flat.get("properties", {})
        if depth == 0 and self._full and _ORDINARY.issuperset(flat):
            made = {name: self.make(sub, name, 1) for name, sub in properties.items()}
            if made.keys() >= set(flat.get("required", ())):
                return made
        names = self._names(flat, properties, depth)
        extra = flat.get("additionalProperties", True)
        made = {}
        for name in names:
            schema = properties.get(name, _by_pattern(flat, name, extra))
            if schema is not False:
                made[name] = self.make(schema, name, depth + 1)
        for at in range(flat.get("minProperties", 0) - len(made)):
            name = self._property_name(flat, at)
            made[name] = self.make(_by_pattern(flat, name, extra), name, depth + 1)
        return made

    def _names(
        self, flat: Mapping[str, Any], properties: Mapping[str, Any], depth: int
    ) -> list[str]:
        """Which properties to make: the required ones, and some of the others, in their order."""
        wanted = set(flat.get("required", ()))
        if depth == 0 and self._full:
            wanted.update(properties)
        elif depth <= _DEPTH_FULL:
            share = 1 / (depth + 2)
            wanted.update(name for name in properties if self._dice.rng.random() < share)
        dependent = {**flat.get("dependencies", {}), **flat.get("dependentRequired", {})}
        for name in list(wanted):
            needs = dependent.get(name)
            wanted.update(needs if isinstance(needs, list) else ())
        short = flat.get("minProperties", 0) - len(wanted)
        wanted.update([name for name in properties if name not in wanted][: max(0, short)])
        known = [name for name in properties if name in wanted]
        most = flat.get("maxProperties")
        if most is not None and len(wanted) > most:
            known = [name for name in known if name in flat.get("required", ())]
        return known + sorted(wanted - set(properties))

    def _property_name(self, flat: Mapping[str, Any], at: int) -> str:
        names = flat.get("propertyNames")
        pattern = next(iter(flat.get("patternProperties", {})), None)
        if isinstance(names, Mapping):
            return str(self.make({"type": "string", **names}, "", _DEPTH_FULL))
        if pattern is not None:
            return self._scalars.string("", {"pattern": pattern})
        return f"key_{at + 1}"

    def _array(self, flat: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        least = flat.get("minItems", 0)
        more = 0 if depth > _DEPTH_FULL else self._dice.rng.randint(1 if least == 0 else 0, 2)
        length = min(least + more, flat.get("maxItems", least + more))
        heads = flat.get("prefixItems", [])
        items = flat.get("items", flat.get("additionalItems", True))
        if isinstance(items, list):
            heads, items = items, flat.get("additionalItems", True)
        length = min(length, len(heads)) if items is False else length
        made = [self.make(heads[at], name, depth + 1) for at in range(min(len(heads), length))]
        if "contains" in flat:
            wanted = flat.get("minContains", 1)
            made += [self.make(flat["contains"], name, depth + 1) for _ in range(wanted)]
        for _ in range(_TRIES):
            if len(made) >= length:
                break
            value = self.make(items, name, depth + 1)
            if not (flat.get("uniqueItems") and value in made):
                made.append(value)
        return made


_KEYWORDS: Mapping[str, frozenset[str]] = {
    "object": frozenset(
        ("properties", "required", "additionalProperties", "patternProperties", "minProperties")
    ),
    "array": frozenset(("items", "prefixItems", "minItems", "maxItems", "contains", "uniqueItems")),
    "number": frozenset(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    ),
}


def _by_pattern(flat: Mapping[str, Any], name: str, otherwise: object) -> object:
    """The schema of a property that is not listed."""
    for pattern, schema in flat.get("patternProperties", {}).items():
        if jsonschema_rs.is_valid({"pattern": pattern}, name):
            return schema
    return otherwise
