"""Quantiles of a stream in bounded memory: a histogram whose bins grow with what they hold.

A bin reaches from one value to one that is 2% larger, so that its middle is within 1% of whatever
fell into it: any quantile is right to 1%, however many values there were, and sketches can be
merged without a further loss. It is the simplest form of DDSketch (Masson, Rim, Lee, VLDB 2019).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

__all__ = ["RELATIVE_ERROR", "Sketch"]

RELATIVE_ERROR: Final = 0.01

_GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG: Final = 1 / math.log(_GAMMA)

# Values are told to a millisecond and no attempt takes a month, so there are at most 1,100 bins.
_LEAST: Final = 0.001
_MOST: Final = 3_000_000.0
_ZERO: Final = -1_000_000
_LEAST_BIN: Final = math.ceil(math.log(_LEAST) * _PER_LOG)

# Latencies are told to a millisecond, so that most have been seen before.
_MAX_KNOWN: Final = 20_000
_known_bins: dict[float, int] = {}


class Sketch:
    """A distribution of values of 0 or more."""

    __slots__ = ("_bins", "_least", "_most")

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}
        self._least, self._most = math.inf, -math.inf

    def __len__(self) -> int:
        return sum(self._bins.values())

    def add(self, value: float) -> None:
        """Count a value; below a thousandth it counts as 0."""
        number = _known_bins.get(value)
        if number is None:
            number = _bin(value)
        self._bins[number] = self._bins.get(number, 0) + 1
        # Spelt out: this runs for every line, and a call costs more than all of it.
        if value < self._least:  # noqa: PLR1730
            self._least = value
        if value > self._most:  # noqa: PLR1730
            self._most = value

    def add_all(self, values: Sequence[float]) -> None:
        """Count many values, at least one, as `add` does each."""
        bins = self._bins
        for value, count in Counter(values).items():
            number = _known_bins.get(value)
            if number is None:
                number = _bin(value)
            bins[number] = bins.get(number, 0) + count
        self._least = min(self._least, *values)
        self._most = max(self._most, *values)

    def absorb(self, other: Sketch) -> None:
        """Count all that another sketch counted."""
        for number, count in other._bins.items():
            self._bins[number] = self._bins.get(number, 0) + count
        self._least = min(self._least, other._least)
        self._most = max(self._most, other._most)

    def quantile(self, share: float) -> float | None:
        """Give the smallest value that at least `share` of all values don't exceed, to 1%.

        None where nothing was counted.
        """
        left = max(1, math.ceil(share * len(self)))
        for number in sorted(self._bins):
            left -= self._bins[number]
            if left <= 0:
                return min(self._most, max(self._least, _middle(number)))
        return None

    def histogram(self, most_bars: int) -> list[tuple[float, float, int]]:
        """Give the distribution as bars of (from, to, count), each as many times longer.

        The empty bars between the first and the last are in it.
        """
        if not self._bins:
            return []
        low = min((number for number in self._bins if number != _ZERO), default=_LEAST_BIN)
        high = max(low, *self._bins)
        step = -(-(high - low + 1) // most_bars)
        counts = [0] * ((high - low) // step + 1)
        for number, count in self._bins.items():
            counts[(max(number, low) - low) // step] += count
        starts = [_GAMMA ** (low - 1 + place * step) for place in range(len(counts) + 1)]
        return list(zip(starts, starts[1:], counts, strict=False))


def _bin(value: float) -> int:
    number = math.ceil(math.log(min(value, _MOST)) * _PER_LOG) if value >= _LEAST else _ZERO
    if len(_known_bins) < _MAX_KNOWN:
        _known_bins[value] = number
    return number


def _middle(number: int) -> float:
    return 0.0 if number == _ZERO else 2 * _GAMMA**number / (_GAMMA + 1)
