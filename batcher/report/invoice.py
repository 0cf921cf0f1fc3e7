"""A provider's usage export, and what differs between it and what outputs say.

Rules:
    * The user says which columns hold the day, the model and the cost; token columns help to say
      why something differs.
    * A day is the provider's own; a time is put on the day of the report's zone.
    * Models are matched by name, else by name without maker and date (`gpt-4o-2024-08-06` is
      `gpt-4o`) where only one fits.
    * Amounts less than half a cent apart agree: exports are rounded.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

from batcher.errors import UsageError
from batcher.report.cells import Cell
from batcher.report.clock import Period
from batcher.words import count, money, plural

__all__ = ["COLUMNS", "Charge", "Comparison", "Pair", "compare", "read_invoice", "read_map"]

COLUMNS: Final = ("day", "model", "cost", "prompt_tokens", "completion_tokens", "total_tokens")
_NEEDED: Final = ("day", "model", "cost")
_TOKENS: Final = COLUMNS[3:]

_AGREE_USD: Final = Decimal("0.005")
# Ratios this near to each other are one.
_SAME_RATIO: Final = Decimal("0.01")
_QUANTUM: Final = Decimal("0.0001")

_DAY: Final = re.compile(r"(\d{4})[-/]?(\d\d)[-/]?(\d\d)", re.ASCII)
_UNIX: Final = re.compile(r"(\d{10})(?:\.\d+|\d{3})?", re.ASCII)
_THOUSANDS: Final = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?", re.ASCII)
_CURRENCY: Final = re.compile(r"^(?:US\$|\$|USD)\s*|\s*USD$", re.ASCII)
_DATED: Final = re.compile(r"-(?:\d{4}-\d\d-\d\d|\d{8})$", re.ASCII)


@dataclass
class Charge:
    """What an invoice asks for a model on a day; tokens by the name of their column."""

    cost_usd: Decimal = Decimal(0)
    tokens: dict[str, int] = field(default_factory=dict)


class Pair(NamedTuple):
    """A day and a model on both sides: None where a side lacks it, and why they may differ."""

    day: str
    model: str
    ours: Cell | None
    theirs: Charge | None
    why: str

    @property
    def ours_usd(self) -> Decimal:
        """What outputs say, 0 where nothing is priced."""
        return (self.ours.spend.cost_usd or Decimal(0)) if self.ours else Decimal(0)

    @property
    def theirs_usd(self) -> Decimal:
        """What the invoice says."""
        return self.theirs.cost_usd if self.theirs else Decimal(0)

    @property
    def differs(self) -> bool:
        """Whether the amounts are more than a rounding apart."""
        return abs(self.theirs_usd - self.ours_usd) > _AGREE_USD


class Comparison(NamedTuple):
    """All days and models, and what is to be said of the whole."""

    pairs: list[Pair]
    notes: list[str]

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        return any(pair.differs for pair in self.pairs)


def read_map(given: Iterable[str]) -> dict[str, str]:
    """Read `day=date,model=model_name,cost=amount_usd`.

    Raises:
        UsageError: It names no such thing, or lacks one that is needed.
    """
    found = {}
    for pair in ",".join(given).split(","):
        name, equals, column = pair.partition("=")
        if name.strip() not in COLUMNS or not equals or not column.strip():
            raise UsageError(f"--map: expected NAME=COLUMN with a name of {', '.join(COLUMNS)}")
        found[name.strip()] = column.strip()
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise UsageError(f"--map must say which column is the {', the '.join(missing)}")
    return found


def read_invoice(
    path: Path, mapping: Mapping[str, str], *, zone: tzinfo, period: Period
) -> dict[tuple[str, str], Charge]:
    """Add up a provider's export by day and model.

    Raises:
        UsageError: It can't be read, lacks a column, or holds what is no day or amount.
    """
    charges: dict[tuple[str, str], Charge] = {}
    for number, row in _rows(path, mapping):
        try:
            day, start_s = _day(row["day"], zone)
            cost = _amount(row["cost"])
            tokens = {name: int(_amount(row[name])) for name in _TOKENS if name in row}
        except (ValueError, OverflowError, InvalidOperation):
            raise UsageError(
                f"{path}:{number}: no day, or no amount, where --map has one"
            ) from None
        if period.since_s <= start_s < period.until_s:
            charge = charges.setdefault((day, row["model"]), Charge())
            charge.cost_usd += cost
            for name, value in tokens.items():
                charge.tokens[name] = charge.tokens.get(name, 0) + value
    return charges


def compare(
    ours: Mapping[tuple[str, ...], Cell], theirs: Mapping[tuple[str, str], Charge]
) -> Comparison:
    """Hold both sides against each other.

    Args:
        ours: By day and model.
        theirs: By day and model.
    """
    names = _matched({model for _, model in ours}, {model for _, model in theirs})
    known: dict[tuple[str, str], Charge] = {}
    for (day, model), charge in theirs.items():
        into = known.setdefault((day, names[model]), Charge())
        into.cost_usd += charge.cost_usd
        for name, value in charge.tokens.items():
            into.tokens[name] = into.tokens.get(name, 0) + value
    mine = {(day, model): cell for (day, model), cell in ours.items() if cell.spend.attempts}
    keys = sorted(mine.keys() | known.keys())
    pairs = [_pair(key, mine.get(key), known.get(key)) for key in keys]
    return Comparison(pairs, [*_notes(pairs), *_renamed(names)])


def _pair(key: tuple[str, str], ours: Cell | None, theirs: Charge | None) -> Pair:
    pair = Pair(*key, ours, theirs, "")
    return pair._replace(why="; ".join(_reasons(pair))) if pair.differs else pair


def _reasons(pair: Pair) -> Iterator[str]:
    ours, theirs = pair.ours, pair.theirs
    if ours is None:
        yield "not in these outputs: other outputs, another program, another user of the key"
        return
    spend = ours.spend
    if spend.unpriced:
        yield "no price here for some of it"
    if theirs is None:
        yield "not on the invoice"
        return
    if pair.theirs_usd > pair.ours_usd and spend.attempts_without_usage:
        lost = plural(spend.attempts_without_usage, "attempt")
        most = f", up to {money(spend.uncertain.usd)}" if spend.uncertain.usd else ""
        yield f"{lost} without usage may have been billed{most}"
    for name, value in theirs.tokens.items():
        more = value - getattr(spend.usage, name)
        if more:
            words = name.replace("_", " ")
            yield f"{count(abs(more))} {words} {'more' if more > 0 else 'fewer'} on the invoice"
    if theirs.tokens and all(getattr(spend.usage, n) == v for n, v in theirs.tokens.items()):
        yield f"the tokens agree: another price{_times(pair)}"


def _times(pair: Pair) -> str:
    return f", {_ratio(pair)} times ours" if pair.ours_usd else ""


def _ratio(pair: Pair) -> Decimal:
    return (pair.theirs_usd / pair.ours_usd).quantize(_QUANTUM).normalize()


def _notes(pairs: list[Pair]) -> Iterator[str]:
    """Say what explains more than one difference."""
    if not any(pair.differs for pair in pairs):
        return
    by_model = sorted(pairs, key=lambda pair: pair.model)
    for model, found in groupby(by_model, key=lambda pair: pair.model):
        days = list(found)
        gap = sum((pair.theirs_usd - pair.ours_usd for pair in days), Decimal(0))
        if sum(pair.differs for pair in days) > 1 and abs(gap) <= _AGREE_USD * len(days):
            yield (
                f"{model or '(none)'}: single days differ and their sum agrees: the provider's "
                "days begin elsewhere; see --time-zone"
            )
    both = [pair for pair in pairs if pair.ours_usd and pair.theirs_usd]
    ratios = sorted(pair.theirs_usd / pair.ours_usd for pair in both)
    if len(ratios) > 1 and ratios[-1] - ratios[0] <= _SAME_RATIO * ratios[0] and both[0].differs:
        yield (
            f"the invoice is {_ratio(both[0])} times ours throughout: a discount or a group rate; "
            "see `multiplier` in a price table"
        )
    yield "answers that were in flight when a run was killed are billed and in no output"


def _renamed(names: Mapping[str, str]) -> Iterator[str]:
    renamed = sorted(f"{theirs} as {ours}" for theirs, ours in names.items() if theirs != ours)
    if renamed:
        yield f"taken from the invoice: {', '.join(renamed)}"


def _matched(ours: set[str], theirs: set[str]) -> dict[str, str]:
    """Name the models of an invoice as we do."""
    by_base: dict[str, list[str]] = {}
    for model in ours:
        by_base.setdefault(_base(model), []).append(model)
    names = {}
    for model in theirs:
        fitting = [model] if model in ours else by_base.get(_base(model), [])
        names[model] = fitting[0] if len(fitting) == 1 else model
    return names


def _base(model: str) -> str:
    return _DATED.sub("", model.lower().rpartition("/")[2])


def _rows(path: Path, mapping: Mapping[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Give the mapped columns of each row, and the number of its line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(",;\t", key=head.count))
            columns = reader.fieldnames or []
            for column in mapping.values():
                if column not in columns:
                    raise UsageError(f"{path} has no column {column}; it has {', '.join(columns)}")
            for row in reader:
                # csv gives what is too much under no name, and nothing for what is missing.
                extra: Any = row.pop(None, ())
                if None in row.values() or any(extra):
                    raise UsageError(f"{path}:{reader.line_num}: more or fewer fields than columns")
                yield reader.line_num, {name: row[column] for name, column in mapping.items()}
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise UsageError(f"{path} is no CSV in UTF-8") from None


def _day(text: str, zone: tzinfo) -> tuple[str, float]:
    """Give the day and when it begins."""
    text = text.strip()
    if day := _DAY.fullmatch(text):
        start = datetime(int(day[1]), int(day[2]), int(day[3]), tzinfo=zone)
        return "-".join(day.groups()), start.timestamp()
    if unix := _UNIX.fullmatch(text):
        moment = datetime.fromtimestamp(int(unix[1]), UTC).astimezone(zone)
    else:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)
    return moment.date().isoformat(), moment.timestamp()


def _amount(text: str) -> Decimal:
    text = _CURRENCY.sub("", text.strip())
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    amount = Decimal(text or 0)
    if not amount.is_finite():
        raise ValueError("no amount")
    return amount
