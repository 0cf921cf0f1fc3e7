"""Spend and results over time, at the finest resolution that a bounded number of slots allows.

Slots are a second wide at first. When there are too many, the next width of the ladder joins
neighbours, as often as it takes; only slots in which something happened are there. So an hour of
work is told by the second and a year of nights by the hour, and no line is read twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

__all__ = ["WIDTHS_S", "Slot", "Timeline"]

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
# The first Monday of Unix time: weeks begin on Mondays.
_MONDAY_S = 4 * _DAY_S

# Each divides the next, and those below a day divide the hour or the day: slots of any zone whose
# offset is a whole quarter of an hour begin where its days do, as long as they are that short.
WIDTHS_S: Final = (
    *(1, 5, 15, _MINUTE_S, 5 * _MINUTE_S, 15 * _MINUTE_S),
    *(_HOUR_S, 6 * _HOUR_S, _DAY_S, 7 * _DAY_S, 364 * _DAY_S),
)

_MAX_SLOTS: Final = 4_096
# Models beyond so many are one in the charts.
_MAX_MODELS: Final = 64
_OTHER: Final = "(other)"
_ZERO: Final = Decimal(0)


class Slot:
    """What happened in a stretch of time.

    Attributes:
        results, failed: Rows that got their result.
        tokens: All that those rows used.
        busy_s: Seconds that their last attempts took together; by the time that passed that is how
            many requests were in flight on average (Little's law).
        active_s: How much of the slot belongs to minutes in which something happened.
        cost_usd: By model.
    """

    __slots__ = ("active_s", "busy_s", "cost_usd", "failed", "results", "tokens")

    def __init__(self, active_s: int) -> None:
        self.active_s = active_s
        self.results = self.failed = self.tokens = 0
        self.busy_s = 0.0
        self.cost_usd: dict[str, Decimal] = {}

    def absorb(self, other: Slot) -> None:
        """Add all that another slot counted."""
        self.results += other.results
        self.failed += other.failed
        self.tokens += other.tokens
        self.busy_s += other.busy_s
        for model, cost in other.cost_usd.items():
            self.cost_usd[model] = self.cost_usd.get(model, Decimal(0)) + cost


class Timeline:
    """Slots by the time at which they begin."""

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self._widths = list(WIDTHS_S)
        self._models: set[str] = set()

    def add(
        self,
        at_s: int,
        model: str,
        tokens: int,
        cost_usd: Decimal | None,
        latency_s: float,
        *,
        is_result: bool,
        failed: bool,
    ) -> None:
        """Count a row that ended at a Unix time."""
        number = at_s // self._widths[0]
        slot = self._slots.get(number)
        if slot is None:
            slot = self._open(at_s)
        slot.results += is_result
        slot.failed += failed
        slot.tokens += tokens
        slot.busy_s += latency_s
        if cost_usd is not None:
            costs = slot.cost_usd
            if model not in costs:
                model = self._bounded(model)
                costs.setdefault(model, _ZERO)
            costs[model] += cost_usd

    @property
    def width_s(self) -> int:
        """How wide slots are."""
        return self._widths[0]

    def slots(self, width_s: int, *, offset_s: int = 0) -> dict[int, Slot]:
        """Give the slots at a width, by the Unix time at which each begins, in order.

        Args:
            width_s: One of `WIDTHS_S`, and no finer than what is kept.
            offset_s: How far the zone, in which slots begin at midnight, is ahead of UTC.
        """
        kept_s = self._widths[0]
        slots = {number * kept_s: slot for number, slot in sorted(self._slots.items())}
        if kept_s < _MINUTE_S < width_s:
            slots = _joined(slots, _MINUTE_S, offset_s)
        return _joined(slots, width_s, offset_s)

    def span_s(self) -> tuple[int, int] | None:
        """Give when the first slot begins and the last one ends; None where there is none."""
        if not self._slots:
            return None
        width_s = self._widths[0]
        return min(self._slots) * width_s, (max(self._slots) + 1) * width_s

    def widths_s(self) -> Sequence[int]:
        """The widths at which slots can be given, the finest first."""
        return tuple(self._widths)

    def _open(self, at_s: int) -> Slot:
        while len(self._slots) >= _MAX_SLOTS and len(self._widths) > 1:
            self._widen()
        width_s = self._widths[0]
        return self._slots.setdefault(at_s // width_s, Slot(min(width_s, _MINUTE_S)))

    def _widen(self) -> None:
        kept_s = self._widths.pop(0)
        starts = {number * kept_s: slot for number, slot in self._slots.items()}
        width_s = self._widths[0]
        joined = _joined(starts, width_s, 0)
        self._slots = {start_s // width_s: slot for start_s, slot in joined.items()}

    def _bounded(self, model: str) -> str:
        if model not in self._models and len(self._models) >= _MAX_MODELS:
            return _OTHER
        self._models.add(model)
        return model


def _joined(slots: Mapping[int, Slot], width_s: int, offset_s: int) -> dict[int, Slot]:
    """Join slots, by the Unix time at which each begins, to wider ones that begin at midnights."""
    joined: dict[int, Slot] = {}
    for start_s, slot in slots.items():
        at_s = start_s + offset_s - _MONDAY_S
        begin_s = at_s - at_s % width_s - offset_s + _MONDAY_S
        wide = joined.get(begin_s)
        if wide is None:
            wide = joined[begin_s] = Slot(width_s if width_s <= _MINUTE_S else 0)
        wide.absorb(slot)
        if width_s > _MINUTE_S:
            wide.active_s += slot.active_s
    return joined
