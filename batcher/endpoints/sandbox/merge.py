"""Joining JSON Schemas: the parts of an `allOf`, a reference and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["merge", "resolve"]


def resolve(root: object, ref: object) -> object:
    """Follow a reference within the schema `root`; one that leads elsewhere gives `{}`."""
    if not isinstance(ref, str) or not ref.startswith("#"):
        return {}
    if ref[1:] and not ref.startswith("#/"):
        return find_anchor(root, ref[1:]) or {}
    at: Any = root
    for escaped in ref[2:].split("/") if len(ref) > 1 else ():
        step = escaped.replace("~1", "/").replace("~0", "~")
        if isinstance(at, list) and step.isdecimal() and int(step) < len(at):
            at = at[int(step)]
        elif isinstance(at, Mapping) and step in at:
            at = at[step]
        else:
            return {}
    return at


def find_anchor(schema: object, name: str) -> object:
    """Find the subschema with `$anchor` (or `$dynamicAnchor`, or an old `$id: "#name"`)."""
    if isinstance(schema, Mapping):
        if name in (schema.get("$anchor"), schema.get("$dynamicAnchor")):
            return schema
        if schema.get("$id") == f"#{name}":
            return schema
        inner: Sequence[object] = list(schema.values())
    else:
        inner = schema if isinstance(schema, list) else ()
    return next((found for item in inner if (found := find_anchor(item, name)) is not None), None)


def merge(first: object, second: object) -> dict[str, Any]:
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


def _join(key: str, first: Any, second: Any) -> Any:  # noqa: PLR0911 - any JSON value; a case a keyword
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
