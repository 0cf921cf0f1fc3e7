"""A source of randomness that costs nothing until it is asked."""

from __future__ import annotations

from functools import cached_property
from random import Random

__all__ = ["Dice"]


class Dice:
    """A seed that becomes a `Random` when something is drawn.

    Seeding one costs more than most answers draw from it.

    Args:
        seed: The same seed, the same draws.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @cached_property
    def rng(self) -> Random:
        """The source itself."""
        return Random(self._seed)
