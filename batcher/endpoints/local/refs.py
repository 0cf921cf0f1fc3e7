"""Moving a JSON Schema into another one without breaking the references within it."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["rebased"]

# Keywords whose values are data, where a `$ref` is no reference.
# JSON Schema validation, 2020-12, 6.1 and 9
_DATA: Final = frozenset({"const", "enum", "default", "examples"})

# Keywords whose values are tables of schemas by a name of the user's: `$ref` or `enum` may be one.
_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "definitions"})


def rebased(schema: Any, at: str) -> Any:
    """Rewrite the references to a schema's own root for when it stands at `at` of another.

    Args:
        schema: A schema that was a document of its own.
        at: A JSON pointer with its `#`, such as `#/properties/arguments`.
    """
    if isinstance(schema, list):
        return [rebased(one, at) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _value(key, value, at) for key, value in schema.items()}


def _value(key: str, value: Any, at: str) -> Any:
    if key == "$ref" and isinstance(value, str) and (value == "#" or value.startswith("#/")):
        return at + value[1:]
    if key in _DATA:
        return value
    if key in _BY_NAME and isinstance(value, dict):
        return {name: rebased(one, at) for name, one in value.items()}
    return rebased(value, at)
