"""Texts and numbers that satisfy the keywords of a JSON Schema, from clues where they fit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any
from uuid import UUID

from batcher.endpoints.sandbox.clues import Clues
from batcher.endpoints.sandbox.dice import Dice
from batcher.endpoints.sandbox.regex import matching
from batcher.endpoints.sandbox.words import WORDS

__all__ = ["Scalars"]

# Where a number has no bound on one side.
_SPAN = 100

# Draws of a text before its bounds are met by cutting and filling.
_TRIES = 8


class Scalars:
    """Makes single values.

    Args:
        dice: Every value depends on them and on the clues alone.
        clues: Values that the messages hold.
    """

    __slots__ = ("_clues", "_dice")

    def __init__(self, dice: Dice, clues: Clues) -> None:
        self._dice = dice
        self._clues = clues

    def member(self, allowed: Sequence[object]) -> object:
        """Choose from an `enum`: what the messages name, or any."""
        found = self._clues.member(allowed)
        return self._dice.rng.choice(allowed) if found is None else found

    def string(self, name: str, schema: Mapping[str, Any]) -> str:
        """Make a text for the property `name`."""
        pattern, form = schema.get("pattern"), schema.get("format")
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength", math.inf)
        matches = _matcher(pattern)
        found = self._clues.words() if pattern and form is None else self._clues.strings(name, form)
        for text in found:
            if least <= len(text) <= most and matches(text):
                return text
        for _ in range(_TRIES):
            text = self._drawn(name, pattern, form, least)
            if least <= len(text) <= most and matches(text):
                return text
        text += "".join(self._dice.rng.choices("abcdefghij", k=max(0, least - len(text))))
        return text if most == math.inf else text[: int(most)]

    def _drawn(self, name: str, pattern: str | None, form: str | None, least: int) -> str:
        if pattern is not None:
            text = matching(pattern, self._dice.rng, min_length=least)
            if text is not None:
                return text
        if form in _FORMATS:
            return _FORMATS[form](self._dice.rng)
        stem, _, last = name.rpartition("_")
        if last == "id" and stem:
            return f"{stem}_{self._dice.rng.randint(10_000, 99_999)}"
        return self._dice.rng.choice(WORDS)

    def integer(self, name: str, schema: Mapping[str, Any]) -> int:
        """Make an integer within the bounds, a multiple where one is asked for."""
        low, high = _bounds(schema, step=1)
        for value in self._clues.numbers(name):
            if low <= value <= high and value == int(value) and _divides(schema, value):
                return int(value)
        step = schema.get("multipleOf", 1)
        step = math.lcm(1, int(step)) if step == int(step) else 1
        first, last = math.ceil(low / step), math.floor(high / step)
        return step * self._dice.rng.randint(first, max(first, last))

    def number(self, name: str, schema: Mapping[str, Any]) -> float:
        """Make a number within the bounds, a multiple where one is asked for."""
        low, high = _bounds(schema, step=0)
        for value in self._clues.numbers(name):
            if low <= value <= high and _inside(schema, value) and _divides(schema, value):
                return int(value) if value == int(value) else value
        step = schema.get("multipleOf")
        if step:
            first, last = math.ceil(low / step), math.floor(high / step)
            return float(step * self._dice.rng.randint(first, max(first, last)))
        value = round(self._dice.rng.uniform(low, high), 2)
        return value if low <= value <= high and _inside(schema, value) else (low + high) / 2


def _matcher(pattern: str | None) -> Any:
    """What tells whether a text holds the pattern; everything passes one that can't be read."""
    try:
        return re.compile(pattern).search if pattern is not None else _anything
    except re.error:
        return _anything


def _anything(_text: str) -> bool:
    return True


def _bounds(schema: Mapping[str, Any], *, step: int) -> tuple[float, float]:
    """Least and most; `step` is how far an exclusive bound moves inwards."""
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if isinstance(above, (int, float)) and not isinstance(above, bool):
        above = math.floor(above) + step if step else above
        low = above if low is None else max(low, above)
    elif above is True and low is not None:
        low += step
    if isinstance(below, (int, float)) and not isinstance(below, bool):
        below = math.ceil(below) - step if step else below
        high = below if high is None else min(high, below)
    elif below is True and high is not None:
        high -= step
    if low is None:
        return (0, _SPAN) if high is None else (high - _SPAN, high)
    return low, low + _SPAN if high is None else high


def _inside(schema: Mapping[str, Any], value: float) -> bool:
    """Whether exclusive bounds leave `value` in; the inclusive ones are checked by the caller."""
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    return value not in (
        schema.get("minimum") if above is True else above,
        schema.get("maximum") if below is True else below,
    )


def _divides(schema: Mapping[str, Any], value: float) -> bool:
    step = schema.get("multipleOf")
    return not step or math.isclose(value / step, round(value / step), abs_tol=1e-9)


def _date(rng: Random) -> str:
    return f"20{rng.randint(24, 29)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def _time(rng: Random) -> str:
    return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}Z"


_FORMATS: Mapping[str | None, Callable[[Random], str]] = {
    "date": _date,
    "time": _time,
    "date-time": lambda rng: f"{_date(rng)}T{_time(rng)}",
    "duration": lambda rng: f"PT{rng.randint(1, 59)}M",
    "email": lambda rng: f"{rng.choice(WORDS)}@example.com",
    "idn-email": lambda rng: f"{rng.choice(WORDS)}@example.com",
    "hostname": lambda rng: f"{rng.choice(WORDS)}.example.com",
    "idn-hostname": lambda rng: f"{rng.choice(WORDS)}.example.com",
    "ipv4": lambda rng: f"192.0.2.{rng.randint(1, 254)}",
    "ipv6": lambda rng: f"2001:db8::{rng.randint(1, 9999):x}",
    "uri": lambda rng: f"https://example.com/{rng.choice(WORDS)}",
    "uri-reference": lambda rng: f"/{rng.choice(WORDS)}",
    "iri": lambda rng: f"https://example.com/{rng.choice(WORDS)}",
    "uuid": lambda rng: str(UUID(int=rng.getrandbits(128), version=4)),
    "json-pointer": lambda rng: f"/{rng.choice(WORDS)}",
    "regex": lambda rng: f"^{rng.choice(WORDS)}$",
}
