"""Results read many at once, a column at a time: what a report has to read most.

Where any line of them is not as most are, none is read here, and each is read by itself: whatever
is read here, that says the same of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal, InvalidOperation
from functools import reduce
from itertools import repeat
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec
import orjson

from batcher.amounts import NOTHING_SPENT
from batcher.journal.spent import NOTHING, Spent, add_up, parts_of
from batcher.report.cells import Rows
from batcher.report.clock import Clock, Period
from batcher.spend import read_spend

__all__ = ["Group", "Together", "groups_of", "read_together", "within"]

_EXACT: Final = Context(prec=60)
_ZERO: Final = Decimal(0)


class Told(Spent, gc=False, kw_only=True):
    """What a result's line says."""

    endpoint: str
    label: msgspec.Raw = NOTHING


_decode: Final = msgspec.json.Decoder(Told).decode


class Group(NamedTuple):
    """Results whose names are the same."""

    names: tuple[str, ...]
    rows: Rows


class Together(NamedTuple):
    """Columns of results.

    Attributes:
        ends: Unix times.
        days: In the clock's zone.
    """

    told: Sequence[Told]
    ends: Sequence[int]
    days: Sequence[str]


def read_together(raws: Sequence[bytes], clock: Clock) -> Together | None:
    """Read result lines; None where one isn't as most are."""
    try:
        told = list(map(_decode, parts_of(raws)))
        moments = clock.read_all([each.finished_at for each in told])
    except (ValueError, RecursionError, msgspec.DecodeError):
        return None
    if min([each.latency_s for each in told]) < 0:
        return None
    return Together(told, *zip(*moments, strict=True))


def within(period: Period, rows: Together) -> Together:
    """Leave out what ended outside of a period."""
    since_s, until_s = period
    if since_s <= min(rows.ends) and max(rows.ends) < until_s:
        return rows
    kept = [row for row in zip(*rows, strict=True) if since_s <= row[1] < until_s]
    return Together(*zip(*kept, strict=True)) if kept else Together((), (), ())


def groups_of(rows: Together, by: Sequence[str], job: str) -> list[Group] | None:
    """Part results by the names of some dimensions; None where one costs what is no amount."""
    keys = _keys(rows, by, job)
    parts: dict[tuple[str, ...], Together] = {}
    if len(set(keys)) == 1:
        parts[keys[0]] = rows
    else:
        found: dict[tuple[str, ...], list[tuple[Told, int, str]]] = {}
        for key, row in zip(keys, zip(*rows, strict=True), strict=True):
            found.setdefault(key, []).append(row)
        parts = {key: Together(*zip(*each, strict=True)) for key, each in found.items()}
    try:
        return [Group(key, _added_up(part)) for key, part in parts.items()]
    except (ValueError, AttributeError, InvalidOperation):
        return None


def _keys(rows: Together, by: Sequence[str], job: str) -> list[tuple[str, ...]]:
    columns: list[Iterable[str]] = []
    for name in by:
        if name == "day":
            columns.append(rows.days)
        elif name == "job":
            columns.append(repeat(job, len(rows.told)))
        elif name == "label":
            columns.append([_label(each.label) for each in rows.told])
        elif name == "error":
            columns.append([each.error_code for each in rows.told])
        else:
            columns.append(map(attrgetter(name), rows.told))
    return list(zip(*columns, strict=True)) if columns else [()] * len(rows.told)


def _label(raw: bytes) -> str:
    label = orjson.loads(bytes(raw)) if raw else ""
    return label if type(label) is str else orjson.dumps(label).decode()


def _added_up(rows: Together) -> Rows:
    told = rows.told
    wasted: list[Decimal | None] = []
    for each in [each for each in told if each.error_code or each.thrown_away]:
        thrown = NOTHING_SPENT
        if each.thrown_away:
            thrown = read_spend(orjson.loads(bytes(each.thrown_away)))
        wasted.append(Decimal(each.cost_usd or 0) if each.error_code else thrown.cost_usd)
    sum_usd = reduce(_EXACT.add, filter(None, wasted), _ZERO)
    return Rows(told, rows.ends, add_up(told), sum_usd)
