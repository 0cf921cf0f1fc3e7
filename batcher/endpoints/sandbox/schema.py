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
from random import Random
from typing import Any, NamedTuple

import jsonschema_rs
import orjson

from batcher.endpoints.sandbox.clues import Clues
from batcher.endpoints.sandbox.scalars import Scalars

__all__ = ["Compiled", "compiled", "instance"]

# Draws before the best effort is handed over as it is: a schema that needs more is contradictory or
# uses what the recipe doesn't know.
_TRIES = 24

# Beyond this depth only what is required is made.
_DEPTH_FULL = 4
# Beyond this one nothing is: the schema demands an infinite instance.
_DEPTH_MAX = 40

_NOTHING = Clues(())


class Compiled(NamedTuple):
    """A schema and its validator; None where it can't be built, as for a foreign reference."""

    schema: Any
    validator: jsonschema_rs.Validator | None

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
        validator = None
    return Compiled(schema, validator)


def instance(schema: object, rng: Random, clues: Clues) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value that satisfies `schema`; the best effort where none is found.

    Args:
        schema: A JSON Schema of any draft.
        rng: Seeded by the caller; the result depends on nothing else.
        clues: Values that the messages hold.
    """
    ready = compiled(schema)
    value: Any = None
    for attempt in range(_TRIES):
        found = clues if attempt < _TRIES // 2 else _NOTHING
        value = _Sampler(ready.schema, rng, found).make(ready.schema, "", 0)
        if ready.allows(value):
            break
    return value


class _Sampler:
    """One walk over one schema."""

    __slots__ = ("_rng", "_root", "_scalars")

    def __init__(self, root: object, rng: Random, clues: Clues) -> None:
        self._root = root
        self._rng = rng
        self._scalars = Scalars(rng, clues)

    def make(self, schema: object, name: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        """Make a value for `schema`, which stands under the property `name`."""
        if not isinstance(schema, Mapping) or depth > _DEPTH_MAX:
            return self._scalars.string(name, {}) if schema is True else None
        flat = self._flatten(schema, depth)
        if "const" in flat:
            return flat["const"]
        if isinstance(flat.get("enum"), list) and flat["enum"]:
            return self._scalars.member(flat["enum"])
        match self._type(flat):
            case "object":
                return self._object(flat, depth)
            case "array":
                return self._array(flat, name, depth)
            case "integer":
                return self._scalars.integer(name, flat)
            case "number":
                return self._scalars.number(name, flat)
            case "boolean":
                return self._rng.random() < 0.5  # noqa: PLR2004 - a coin
            case "null":
                return None
        return self._scalars.string(name, flat)

    def _flatten(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """Merge references, `allOf` and one branch each of the choices into one schema."""
        flat = dict(schema)
        for _ in range(_DEPTH_MAX):
            if (ref := flat.pop("$ref", flat.pop("$dynamicRef", None))) is not None:
                flat = _merge(self._resolve(ref), flat)
            elif (parts := flat.pop("allOf", None)) is not None:
                for part in parts:
                    flat = _merge(flat, part)
            elif (branches := flat.pop("anyOf", None) or flat.pop("oneOf", None)) is not None:
                flat = _merge(flat, self._branch(branches, depth))
            elif (condition := flat.pop("if", None)) is not None:
                flat = self._conditional(flat, condition)
            else:
                break
        return flat

    def _conditional(self, flat: dict[str, Any], condition: object) -> dict[str, Any]:
        then, otherwise = flat.pop("then", {}), flat.pop("else", {})
        if self._rng.random() < 0.5:  # noqa: PLR2004 - a coin
            return _merge(_merge(flat, condition), then)
        return _merge(flat, otherwise)

    def _branch(self, branches: Sequence[object], depth: int) -> object:
        """Choose a branch: any but null at first, one that ends when deep."""
        kept = [b for b in branches if not (isinstance(b, Mapping) and b.get("type") == "null")]
        if depth > _DEPTH_FULL:
            kept = [b for b in branches if b"$ref" not in orjson.dumps(b)]
        return self._rng.choice(kept or list(branches))

    def _resolve(self, ref: object) -> object:
        """Follow a reference within the schema; one that leads elsewhere gives `{}`."""
        if not isinstance(ref, str) or not ref.startswith("#"):
            return {}
        if ref[1:] and not ref.startswith("#/"):
            return _anchor(self._root, ref[1:]) or {}
        at: Any = self._root
        for step in ref[2:].split("/") if len(ref) > 1 else ():
            step = step.replace("~1", "/").replace("~0", "~")  # noqa: PLW2901 - RFC 6901
            if isinstance(at, list) and step.isdecimal() and int(step) < len(at):
                at = at[int(step)]
            elif isinstance(at, Mapping) and step in at:
                at = at[step]
            else:
                return {}
        return at

    def _type(self, flat: Mapping[str, Any]) -> str:
        """The type to make: the schema's, or the one that its keywords speak of."""
        named = flat.get("type")
        if isinstance(named, list):
            named = self._rng.choice([t for t in named if t != "null"] or ["null"])
        if isinstance(named, str):
            return named
        for kind, keywords in _KEYWORDS.items():
            if not keywords.isdisjoint(flat):
                return kind
        return "string"

    def _object(self, flat: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = flat.get("properties", {})
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
        if depth <= _DEPTH_FULL:
            share = 1 / (depth + 1)
            wanted.update(name for name in properties if self._rng.random() < share)
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
        more = 0 if depth > _DEPTH_FULL else self._rng.randint(1 if least == 0 else 0, 2)
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


def _anchor(schema: object, name: str) -> object:
    """Find the subschema with `$anchor` (or `$dynamicAnchor`, or an old `$id: "#name"`)."""
    if isinstance(schema, Mapping):
        if name in (schema.get("$anchor"), schema.get("$dynamicAnchor")):
            return schema
        if schema.get("$id") == f"#{name}":
            return schema
        inner: Sequence[object] = list(schema.values())
    else:
        inner = schema if isinstance(schema, list) else ()
    return next((found for item in inner if (found := _anchor(item, name)) is not None), None)


def _merge(first: object, second: object) -> dict[str, Any]:
    """The schema that asks for both, as far as two keywords of one name can be joined."""
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        # `false` allows nothing; the draw fails its check and another one is tried.
        return dict(
            second if isinstance(second, Mapping) else first if isinstance(first, Mapping) else {}
        )
    merged = dict(first)
    for key, value in second.items():
        merged[key] = _join(key, merged[key], value) if key in merged else value
    return merged


def _join(key: str, first: Any, second: Any) -> Any:  # noqa: ANN401 - any JSON value
    match key:
        case "required":
            return [*first, *(name for name in second if name not in first)]
        case "properties" | "patternProperties" | "$defs":
            both = {
                name: {"allOf": [first[name], second[name]]} for name in first if name in second
            }
            return {**first, **second, **both}
        case "enum":
            return [value for value in first if value in second] or second
        case "type":
            narrow = [t for t in _listed(first) if t in _listed(second)] or _listed(second)
            return narrow[0] if len(narrow) == 1 else narrow
        case "minimum" | "minLength" | "minItems" | "minProperties" | "exclusiveMinimum":
            return max(first, second)
        case "maximum" | "maxLength" | "maxItems" | "maxProperties" | "exclusiveMaximum":
            return min(first, second)
        case "items" | "additionalProperties" | "propertyNames" | "contains":
            return second if first is True or first == second else {"allOf": [first, second]}
        case "allOf":
            return [*first, *second]
    return second


def _listed(types: object) -> list[Any]:
    return types if isinstance(types, list) else [types]
