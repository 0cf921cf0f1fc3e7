"""Checked reading of an options table: each reader takes a key, for its errors, and a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batcher.errors import UsageError

__all__ = [
    "Reader",
    "count",
    "flag",
    "integer",
    "least",
    "names",
    "number",
    "positive",
    "record",
    "share",
    "signed",
    "table",
    "wrong",
]

Reader = Callable[[str, object], Any]


def wrong(key: str, wanted: str, value: object) -> UsageError:
    """Return the error of a value of the wrong type."""
    return UsageError(f"sandbox: {key}: expected {wanted}, not {type(value).__name__}")


def least(key: str, value: object, bound: float) -> float:
    """Read a finite number of at least `bound`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(key, "a number", value)
    if not bound <= value < math.inf:
        raise UsageError(f"sandbox: {key}: expected a number of at least {bound:g}, not {value!r}")
    return value


def number(key: str, value: object) -> float:
    """Read a number of at least 0."""
    return float(least(key, value, 0))


def positive(key: str, value: object) -> float:
    """Read a number above 0."""
    read = number(key, value)
    if read == 0:
        raise UsageError(f"sandbox: {key}: expected a number above 0")
    return read


def share(key: str, value: object) -> float:
    """Read a number from 0 to 1."""
    read = number(key, value)
    if read > 1:
        raise UsageError(f"sandbox: {key}: expected a number from 0 to 1, not {value!r}")
    return read


def signed(key: str, value: object) -> int:
    """Read an integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(key, "an integer", value)
    return value


def integer(key: str, value: object) -> int:
    """Read an integer of at least 0."""
    return int(least(key, signed(key, value), 0))


def count(key: str, value: object) -> int:
    """Read an integer of at least 1."""
    return int(least(key, signed(key, value), 1))


def flag(key: str, value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise wrong(key, "true or false", value)
    return value


def table(key: str, value: object) -> Mapping[str, Any]:
    """Read a table."""
    if not isinstance(value, Mapping):
        raise wrong(key, "a table", value)
    return value


def names(key: str, value: object) -> tuple[str, ...]:
    """Read a list of texts."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise wrong(key, "a list of texts", value)
    for item in value:
        if not isinstance(item, str):
            raise wrong(key, "a list of texts", item)
    return tuple(value)


def record(key: str, value: object, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Read a table whose keys are known; None stands for a key left out."""
    read = {}
    for name, item in table(key, value).items():
        if name not in readers:
            raise UsageError(f"sandbox: {key}: {name!r} is none of {', '.join(readers)}")
        if item is not None:
            read[name] = readers[name](f"{key}.{name}", item)
    return read
