"""The ledger across jobs: what every run has spent, a line each, and a team's budget by month.

An append-only file of JSON lines that many runs share, on one machine or on a file system whose
`flock` reaches all of them. A run leaves two lines: a lease when it begins, which is what it may
spend, and what it did spend when it ends, which gives the rest back. Each is written and synced
under an exclusive lock of the file, after all lines before it have been read; so no two runs lease
the same money.

A run that died left its lease alone, and the whole of that counts. The next run of the same output
knows what it really spent, by its journal: since it holds the output's lock, whatever lease is open
for that output is a dead run's, and is settled then. The line before the lease says what the job
had cost by then.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from batcher.amounts import Amount, Spend
from batcher.errors import UsageError
from batcher.spend import cost_text, read_amount, read_spend, spend_json

__all__ = ["Grant", "RunSpend", "SpendBook"]

_LEASE: Final = "batch.lease"
_SPEND: Final = "batch.spend"


class Grant(NamedTuple):
    """What a run may spend: `usd`, or all it likes where that is None.

    Attributes:
        left_usd: What was left of the month's budget before; None without one.
        unbounded: Runs under way in the month without any budget: nobody knows what they will
            spend.
    """

    usd: Decimal | None
    left_usd: Decimal | None
    unbounded: int = 0


class RunSpend(NamedTuple):
    """What a run spent, for its line.

    Attributes:
        before, after: What the job had cost when the run began, and when it ended.
        by_model: The same by model, as (before, after).
    """

    before: Spend
    after: Spend
    by_model: dict[str, tuple[Spend, Spend]]


class SpendBook:
    """One run's view of the file.

    Args:
        path: The file; it is made where it is missing.
        run: Names the run.
        month: `2026-11`, in UTC, of the run's start: all that it spends counts in it.
        output: Of the job, by which a dead run's lease is known.
    """

    def __init__(self, path: Path, *, run: str, month: str, output: Path) -> None:
        self._path = path
        self._names = {
            "run": run,
            "month": month,
            "host": socket.gethostname(),
            "output": os.fspath(output),
        }

    def open(
        self,
        *,
        at: str,
        spent: Spend,
        killed: Amount,
        wanted_usd: Decimal | None,
        month_usd: Decimal | None,
        fresh: bool,
    ) -> Grant:
        """Take a lease.

        Args:
            at: RFC 3339.
            spent: What the job had cost before this run.
            killed: The most that its killed runs may have spent besides.
            wanted_usd: All that the run may spend by its own budget; None without one.
            month_usd: The month's budget; None without one.
            fresh: Whether the job starts over, so that `spent` says nothing of a dead run.

        Raises:
            UsageError: The file can't be read or written, or is no such ledger.
        """
        known = spent.cost_usd or Decimal(0)
        most = spent.most.plus(killed).usd
        with self._held() as fd:
            lines = self._lines(fd)
            self._settle_dead(fd, lines, at, None if fresh else (known, most))
            left = None if month_usd is None else month_usd - self._month_usd(lines)
            usd = min((each for each in (left, wanted_usd) if each is not None), default=None)
            if usd is None or usd > 0:
                before = {"before_usd": cost_text(most), "known_usd": cost_text(known), "at": at}
                allowed = None if usd is None else cost_text(usd)
                self._append(fd, {"object": _LEASE, **self._names, "usd": allowed, **before})
            others = [each for each in _open_leases(lines) if each["usd"] is None]
        month = self._names["month"]
        return Grant(usd, left, sum(each["month"] == month for each in others))

    def close(self, spent: RunSpend, **more: Any) -> None:
        """Write what the run spent; what it did not is free again.

        Raises:
            UsageError: The file can't be written.
        """
        models = {model: spend_json(_since(*pair)) for model, pair in spent.by_model.items()}
        fields = {**self._names, **more, **spend_json(_since(spent.before, spent.after))}
        models = {model: each for model, each in models.items() if each["attempts"]}
        with self._held() as fd:
            self._append(fd, {"object": _SPEND, **fields, "by_model": models})

    @contextmanager
    def _held(self) -> Iterator[int]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            fd = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                yield fd
            finally:
                os.close(fd)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise UsageError(f"the ledger {self._path} can't be used: {why}") from None

    def _lines(self, fd: int) -> list[dict[str, Any]]:
        raw = os.pread(fd, os.fstat(fd).st_size, 0)
        lines = [line for text in raw.splitlines() if (line := _ours(text)) is not None]
        if raw.strip() and not lines:
            raise UsageError(f"{self._path} is no ledger of runs: nothing was written to it")
        return lines

    def _append(self, fd: int, fields: dict[str, Any]) -> None:
        """Write one line, and put it on the disk."""
        size = os.fstat(fd).st_size
        # The machine may have died in the middle of the last line.
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        text = (b"\n" if torn else b"") + orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
        while text:
            text = text[os.write(fd, text) :]
        os.fsync(fd)

    def _settle_dead(
        self,
        fd: int,
        lines: list[dict[str, Any]],
        at: str,
        spent_usd: tuple[Decimal, Decimal] | None,
    ) -> None:
        """Write what a dead run of this output has spent, or all of its lease where none knows.

        Args:
            spent_usd: What the job is known to have cost by now, and the most that it may have.
        """
        for lease in list(_open_leases(lines)):
            if any(lease[name] != self._names[name] for name in ("host", "output")):
                continue
            usd = lease["usd"]
            if spent_usd is not None:
                usd = cost_text(_spent_by_dead(lease, *spent_usd))
            names = {name: lease[name] for name in self._names}
            line = {"object": _SPEND, **names, "finished_at": at, "cost_usd": usd, "dead": True}
            self._append(fd, line)
            lines.append(line)

    def _month_usd(self, lines: list[dict[str, Any]]) -> Decimal:
        """The most that all runs of this month may have spent, those under way with their lease."""
        month = self._names["month"]
        leased = sum(
            (Decimal(each["usd"] or 0) for each in _open_leases(lines) if each["month"] == month),
            Decimal(0),
        )
        spends = (each for each in lines if each["object"] == _SPEND and each["month"] == month)
        return sum((_cost(each) for each in spends), leased)


def _open_leases(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    over = {line["run"] for line in lines if line["object"] == _SPEND}
    return (line for line in lines if line["object"] == _LEASE and line["run"] not in over)


def _spent_by_dead(lease: dict[str, Any], known: Decimal, most: Decimal) -> Decimal:
    """Say what a dead run may have spent: no more than its lease, but all that is known."""
    most -= Decimal(lease["before_usd"])
    if lease["usd"] is not None:
        most = min(most, Decimal(lease["usd"]))
    return max(Decimal(0), most, known - Decimal(lease["known_usd"]))


def _cost(line: dict[str, Any]) -> Decimal:
    return Decimal(line["cost_usd"] or 0) + read_amount(line, "uncertain").usd


def _ours(text: bytes) -> dict[str, Any] | None:
    """Read a line; None where it is none of ours, or damaged: no run of it ever began."""
    try:
        line = orjson.loads(text)
        if line["object"] == _LEASE:
            Decimal(line["usd"] or 0), Decimal(line["before_usd"]), Decimal(line["known_usd"])
        elif line["object"] == _SPEND:
            read_spend(line)
        else:
            return None
        known = all(isinstance(line[name], str) for name in ("run", "month", "host", "output"))
    except (ValueError, KeyError, TypeError, ArithmeticError):
        return None
    return line if known else None


def _since(before: Spend, after: Spend) -> Spend:
    """What was spent between two moments."""
    cost = after.cost_usd
    if cost is not None and before.cost_usd is not None:
        cost -= before.cost_usd
    usage = type(after.usage)(*map(int.__sub__, after.usage, before.usage))
    return Spend(
        after.attempts - before.attempts,
        after.attempts_without_usage - before.attempts_without_usage,
        usage,
        cost,
        after.unpriced,
        after.uncertain.minus(before.uncertain),
    )
