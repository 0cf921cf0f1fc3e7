"""What checking a tool call adds to the processor time of a row: less than runs differ by.

So there are many runs, with and without it in turn, each first in every other pair. Start-up is the
same in both and falls out of a pair's difference; the longer a run, the less it disturbs. Of the
differences the median counts, and what is told of it is its interval of confidence, which asks
nothing of how they are distributed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from tests.bench.rig import Rig

__all__ = ["Added", "added", "instructions"]

_WAYS = ("--check-answers", "--no-check-answers")

# Of a standard normal distribution: 95% lie within.
_Z = 1.96


class Added(NamedTuple):
    """Microseconds a row.

    Attributes:
        plain: Without checks.
        median: What they add.
        least, most: Between which that lies, with 95% confidence.
    """

    plain: float
    median: float
    least: float
    most: float


def added(rig: Rig, *, rows: int, pairs: int) -> Added:
    """Weigh the checks of so many rows, so many times."""
    start_s = statistics.median(_cpu_s(rig, _WAYS[1], 1) for _ in range(5))
    without, differences = [], []
    for pair in range(pairs):
        first = pair % 2
        took = {way: _cpu_s(rig, way, rows) for way in (_WAYS[first], _WAYS[1 - first])}
        without.append((took[_WAYS[1]] - start_s) / rows * 1e6)
        differences.append((took[_WAYS[0]] - took[_WAYS[1]]) / rows * 1e6)
    least, most = _interval(differences)
    return Added(statistics.median(without), statistics.median(differences), least, most)


def instructions(rig: Rig, *, rows: int) -> tuple[float, float]:
    """Count the instructions of a row, start-up taken off: without checks, and what they add."""
    few = rows // 4
    checked, plain = (
        (rig.instructions(rows, way) - rig.instructions(few, way)) / (rows - few) for way in _WAYS
    )
    return plain, checked - plain


def _cpu_s(rig: Rig, way: str, rows: int) -> float:
    return rig.send("lean", rows, way).cpu_s


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Bound the median, by the ranks that the binomial distribution gives."""
    ordered, half = sorted(values), len(values) / 2
    reach = _Z * (len(values) ** 0.5) / 2
    low, high = int(half - reach), int(half + reach)
    return ordered[max(0, low)], ordered[min(len(ordered) - 1, high)]
