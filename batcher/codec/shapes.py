"""What is to be looked at in a body, by the fields that it has.

The bodies of a job have the same few fields in the same order, so that is made out once for each
such shape rather than for every row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

from batcher.answers import Family, family_of
from batcher.checks import CLAIM_FIELDS
from batcher.codec.validity import TypeRule, type_rules

__all__ = ["Shape", "Shapes", "choices_asked", "max_output_tokens"]

_CLAIM_FIELDS: Final = frozenset(CLAIM_FIELDS)
# What bounds an answer, by the family of the call; where two are given, nobody knows which counts.
_BOUNDS_OF: Final = {
    Family.CHAT: ("max_completion_tokens", "max_tokens"),
    Family.COMPLETIONS: ("max_tokens",),
    Family.RESPONSES: ("max_output_tokens",),
    Family.MESSAGES: ("max_tokens",),
}
_OUTPUT_BOUNDS: Final = frozenset(name for names in _BOUNDS_OF.values() for name in names)

_MOST_SHAPES: Final = 64
_MOST_FIELDS: Final = 64


class Shape(NamedTuple):
    """What is to be looked at in bodies with the same fields.

    Attributes:
        rules: For the types of all fields; `others` are those for fields that are no claims.
        claims: The fields that say what shape the answer has.
        many: Whether one says how many answers are asked for.
        bounded: Whether one may bound the answer.
    """

    rules: tuple[TypeRule, ...]
    others: tuple[TypeRule, ...]
    claims: tuple[str, ...]
    many: bool
    bounded: bool

    @classmethod
    def of(cls, names: tuple[str, ...]) -> Self:
        """Say what is to be looked at in a body with these fields."""
        claims = tuple(name for name in names if name in _CLAIM_FIELDS)
        return cls(
            type_rules(names),
            type_rules([name for name in names if name not in _CLAIM_FIELDS]),
            claims,
            "n" in names or "best_of" in names,
            not _OUTPUT_BOUNDS.isdisjoint(names),
        )


class Shapes:
    """The shapes of a job's bodies, each made out once; where there are too many, again."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Shape] = {}

    def of(self, body: Mapping[str, Any]) -> Shape:
        """Give the shape of a body."""
        names = tuple(body)
        return self._known.get(names) or self._learn(names)

    def _learn(self, names: tuple[str, ...]) -> Shape:
        shape = Shape.of(names)
        if len(self._known) >= _MOST_SHAPES:
            self._known.clear()
        if len(names) <= _MOST_FIELDS:
            self._known[names] = shape
        return shape


def choices_asked(body: Mapping[str, Any]) -> int:
    """Say for how many answers a body asks; `best_of` are made though fewer are given."""
    asked = (body.get("n"), body.get("best_of"))
    # A whole number may be written as 2.0.
    return max(1, *(math.ceil(many) for many in asked if isinstance(many, int | float)))


def max_output_tokens(path: str, body: Mapping[str, Any], choices: int) -> int | None:
    """Say how many tokens all answers together may have, where a body bounds them."""
    most = None
    for name in _BOUNDS_OF.get(family_of(path), ()):
        limit = body.get(name)
        if type(limit) is int and limit >= 0:
            most = limit if most is None else max(most, limit)
    return None if most is None else most * choices
