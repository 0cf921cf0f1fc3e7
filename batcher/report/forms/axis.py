"""A time axis: how wide slots are, where they lie, and what is written below."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from batcher.report.timeline import Slot, Timeline

__all__ = ["Axis", "axis_of"]

# More bars than this are no longer bars on a phone.
_MOST_BARS: Final = 100
_MOST_LABELS: Final = 6

_MINUTE_S, _HOUR_S, _DAY_S, _WEEK_S = 60, 3_600, 86_400, 604_800
_LABEL_STEPS_S: Final = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800),
    *(hours * _HOUR_S for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY_S for days in (1, 2, 7, 14, 28, 91, 364)),
)
_PER: Final = {1: "second", _MINUTE_S: "minute", _HOUR_S: "hour", _DAY_S: "day", _WEEK_S: "week"}


class Axis(NamedTuple):
    """Slots side by side.

    Attributes:
        slots: By the Unix time at which each begins.
        width_s: How wide each is.
        begin_s, end_s: Unix times of the edges.
        zone: In which labels are written.
    """

    slots: dict[int, Slot]
    width_s: int
    begin_s: int
    end_s: int
    zone: tzinfo

    def left(self, at_s: float) -> float:
        """Where a time is, in percent."""
        return (at_s - self.begin_s) / (self.end_s - self.begin_s) * 100

    @property
    def width(self) -> float:
        """How wide a slot is, in percent."""
        return self.width_s / (self.end_s - self.begin_s) * 100

    @property
    def per(self) -> str:
        """What a slot is: `day`, `15 minutes`."""
        if self.width_s in _PER:
            return _PER[self.width_s]
        unit_s = next(each for each in (_DAY_S, _HOUR_S, _MINUTE_S, 1) if self.width_s % each == 0)
        return f"{self.width_s // unit_s} {_PER[unit_s]}s"

    def name(self, at_s: int) -> str:
        """Name a slot: its day, or its day and time."""
        moment = datetime.fromtimestamp(at_s, self.zone)
        if self.width_s >= _DAY_S:
            return f"{moment:%Y-%m-%d}"
        return f"{moment:%Y-%m-%d %H:%M:%S}".removesuffix(":00")

    def labels(self) -> Iterator[tuple[float, str]]:
        """Give the places, in percent, and the texts of a few round times."""
        span_s = self.end_s - self.begin_s
        step_s = next((each for each in _LABEL_STEPS_S if span_s / each <= _MOST_LABELS),
                      _LABEL_STEPS_S[-1])  # fmt: skip
        half = self.width / 2 if self.width_s >= _DAY_S else 0.0
        moment = _midnight(datetime.fromtimestamp(self.begin_s, self.zone))
        while moment.timestamp() < self.begin_s:
            moment += timedelta(seconds=step_s)
        while (at_s := moment.timestamp()) < self.end_s:
            yield min(100.0, self.left(at_s) + half), _label(moment, step_s)
            moment += timedelta(seconds=step_s)


def axis_of(timeline: Timeline, zone: tzinfo) -> Axis | None:
    """Choose the finest slots that are few enough; None where nothing happened."""
    span = timeline.span_s()
    if span is None:
        return None
    widths = timeline.widths_s()
    span_s = span[1] - span[0]
    least_s = _DAY_S if span_s >= _WEEK_S else 0
    wide_s = next((w for w in widths if w >= least_s and span_s / w <= _MOST_BARS), widths[-1])
    away = datetime.fromtimestamp(span[0], zone).utcoffset() or timedelta()
    slots = timeline.slots(wide_s, offset_s=int(away.total_seconds()))
    return Axis(slots, wide_s, min(slots), max(slots) + wide_s, zone)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _label(moment: datetime, step_s: int) -> str:
    if step_s >= _DAY_S:
        return f"{moment:%b} {moment.day}"
    if step_s < _MINUTE_S:
        return f"{moment:%H:%M:%S}"
    return f"{moment:%b} {moment.day}" if moment.hour == moment.minute == 0 else f"{moment:%H:%M}"
