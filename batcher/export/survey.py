"""A first reading of what is to be written: which fields there are, and what each holds.

A table says its columns before its first row, so they must be known by then. What is held is the
names and a kind for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from batcher.errors import UsageError
from batcher.export.fields import Field, Kind, Record

__all__ = ["kinds_of", "names_of"]

# More is no table but data whose keys are values; it would be held in memory.
_MOST_NAMES: Final = 1000


def names_of(records: Iterable[Record]) -> tuple[list[str], list[str]]:
    """Give the names of carried fields and of the source's, each in order of appearance.

    Raises:
        UsageError: There are too many for a table.
    """
    inputs: dict[str, None] = {}
    sources: dict[str, None] = {}
    for record in records:
        inputs.update(dict.fromkeys(record.result.input))
        if isinstance(record.source, Mapping):
            sources.update(dict.fromkeys(record.source))
        if len(inputs) + len(sources) > _MOST_NAMES:
            raise UsageError(f"the rows have more than {_MOST_NAMES} fields: name some by --fields")
    return list(inputs), list(sources)


def kinds_of(fields: list[Field], records: Iterable[Record]) -> list[Field]:
    """Find out what the fields of unknown kind hold."""
    unknown = [place for place, field in enumerate(fields) if field.kind is Kind.UNKNOWN]
    kinds: dict[int, Kind | None] = dict.fromkeys(unknown)
    for record in records if unknown else ():
        for place in unknown:
            value = fields[place].value(record)
            if value is not None:
                kinds[place] = _both(kinds[place], _kind(value))
    return [
        field._replace(kind=kinds[place] or Kind.TEXT) if place in kinds else field
        for place, field in enumerate(fields)
    ]


def _kind(value: Any) -> Kind:
    if isinstance(value, bool):
        return Kind.TRUTH
    if isinstance(value, int):
        return Kind.INTEGER if -(2**63) <= value < 2**63 else Kind.JSON
    if isinstance(value, float):
        return Kind.NUMBER
    return Kind.TEXT if isinstance(value, str) else Kind.JSON


def _both(one: Kind | None, other: Kind) -> Kind:
    """Give the kind that holds both; JSON text holds anything."""
    if one is None or one is other:
        return other
    return Kind.NUMBER if {one, other} == {Kind.INTEGER, Kind.NUMBER} else Kind.JSON
