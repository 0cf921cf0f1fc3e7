"""Times of results: Unix seconds, and the day in a zone; periods of time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from math import inf
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from batcher.errors import UsageError

__all__ = ["Clock", "Moment", "Period", "read_period", "read_zone"]

# A result's time without its fraction: many results share it.
_SECOND_CHARS: Final = 19
_MAX_REMEMBERED: Final = 100_000

_OFFSET: Final = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)
_MONTH: Final = re.compile(r"(\d{4})-(\d\d)", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_AGO: Final = re.compile(r"(\d{1,6})([dh])", re.ASCII)
_DECEMBER: Final = 12


class Moment(NamedTuple):
    """Unix seconds, and the day in the clock's zone: `2026-11-22`."""

    unix_s: int
    day: str


class Clock:
    """Reads times; most of them it has read before.

    Args:
        zone: Where days begin.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._known: dict[str, Moment] = {}

    def read(self, text: str) -> Moment:
        """Read RFC 3339.

        Raises:
            ValueError, TypeError: It is none.
        """
        if text[-1:] != "Z":
            return self._moment(text)
        second = text[:_SECOND_CHARS]
        known = self._known.get(second)
        if known is None:
            known = self._moment(text)
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[second] = known
        return known

    def read_all(self, texts: Sequence[str]) -> list[Moment]:
        """Read many, as `read` does each."""
        if all(text[-1:] == "Z" for text in texts):
            seconds = [text[:_SECOND_CHARS] for text in texts]
            # The first of a second has the word on it, as the last one to be put in.
            firsts = dict(zip(reversed(seconds), reversed(texts), strict=True))
            moments = {second: self.read(text) for second, text in firsts.items()}
            return [moments[second] for second in seconds]
        return list(map(self.read, texts))

    def _moment(self, text: str) -> Moment:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("a time without its offset")
        here = moment.astimezone(self._zone)
        return Moment(int(moment.timestamp()), f"{here.year:04}-{here.month:02}-{here.day:02}")


class Period(NamedTuple):
    """From `since_s`, up to but without `until_s`: Unix seconds."""

    since_s: float = -inf
    until_s: float = inf


def read_zone(text: str) -> tzinfo:
    """Read `UTC`, an offset such as `+08:00`, or a zone's name such as `Asia/Shanghai`.

    Raises:
        UsageError: There is no such zone.
    """
    if text.upper() in {"UTC", "Z"}:
        return UTC
    if offset := _OFFSET.fullmatch(text):
        away = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        if away < timedelta(days=1):
            return timezone(-away if offset[1] == "-" else away)
    try:
        return ZoneInfo(text)
    except (ValueError, OSError, KeyError):
        raise UsageError(
            "--time-zone: no such zone; UTC, an offset such as +08:00, or a name such as Asia/Tokyo"
        ) from None


def read_period(since: str | None, until: str | None, *, zone: tzinfo, now: datetime) -> Period:
    """Read `--since` and `--until`.

    A day or a month is meant whole: until 2026-10 is until the end of October. A time is exact.

    Raises:
        UsageError: One of them is no time, or the period is empty.
    """
    begin = -inf if since is None else _span("--since", since, zone, now)[0]
    end = inf if until is None else _span("--until", until, zone, now)[1]
    if begin >= end:
        raise UsageError("--since is later than --until")
    return Period(begin, end)


def _span(flag: str, text: str, zone: tzinfo, now: datetime) -> tuple[float, float]:
    """Give when a month, a day or a moment begins and ends."""
    try:
        if ago := _AGO.fullmatch(text):
            moment = now - int(ago[1]) * timedelta(**{"d": {"days": 1}, "h": {"hours": 1}}[ago[2]])
            return moment.timestamp(), moment.timestamp()
        if month := _MONTH.fullmatch(text):
            first = datetime(int(month[1]), int(month[2]), 1, tzinfo=zone)
            years, months = divmod(first.month, _DECEMBER)
            following = first.replace(year=first.year + years, month=months + 1)
            return first.timestamp(), following.timestamp()
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        if _DAY.fullmatch(text):
            return moment.timestamp(), (moment + timedelta(days=1)).timestamp()
        return moment.timestamp(), moment.timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{flag} must be a day (2026-10-31), a month (2026-10), a time "
            "(2026-10-31T06:00+08:00), or how long ago (7d, 12h)"
        ) from None
