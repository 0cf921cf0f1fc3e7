"""The lines of a journal, read back: results, and the book-keeping that never leaves it.

A result line ends with our own `batcher` object. It is found from the end of the line, so that the
answer before it need not be parsed: of all places where the line says `,"batcher":{`, only the true
one is followed by exactly one JSON object and the brace that closes the line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from batcher.amounts import NOTHING_SPENT, Amount, Spend
from batcher.ledger import Ledger
from batcher.spend import amount_json, read_amount, read_spend

__all__ = [
    "MOST_LINES",
    "OURS",
    "RETRY_MARK",
    "Heads",
    "Kept",
    "Lease",
    "RetryMark",
    "RunNote",
    "damaged",
    "encode_lease",
    "encode_run_note",
    "find_ours",
    "head_of",
    "read_line",
    "read_ours",
    "run_note",
]

_HEAD: Final = re.compile(rb'\{"(id|object)":"([^"]*)","custom_id":("(?:[^"\\]|\\.)*"|null)')
OURS: Final = b',"batcher":{'

Heads = Sequence[re.Match[bytes] | None]

head_of: Final = re.compile(rb'\{"id":"[^"]*","custom_id":("[^"\\]*")').match
"""Match the beginning of a result line whose id has no escapes; None on any other line."""

_HASH: Final = re.compile("[0-9a-f]{32}")

# Line numbers are kept in 32 bits.
MOST_LINES: Final = 2**32

# Written when --retry-failed is first asked: what had failed before this line has no result now.
RETRY_MARK: Final = b'{"object":"batch.retry_failed","custom_id":null}\n'


class Kept(NamedTuple):
    """A row's line.

    Attributes:
        terminal: Whether it is the row's result.
        code: Empty for a success.
        conversation: What was said after the row's request, as the line has it; None where nothing
            was.
        thrown_away: What of `spend` bought answers that nobody has.
    """

    custom_id: str
    terminal: bool
    line: int
    request_hash: str
    unnamed: int
    model: str
    code: str
    spend: Spend
    finished_at: str
    latency_s: float
    conversation: Any = None
    thrown_away: Spend = NOTHING_SPENT


class RunNote(NamedTuple):
    """What an earlier run, or all that an earlier output tells of, took.

    Attributes:
        started_at, finished_at: RFC 3339.
        stop_reason: Empty for a run that ended with its job.
        pruned, uncertain: These objects of earlier totals, or None.
        run: The run whose lease is given back; empty where it had none.
    """

    started_at: str
    finished_at: str
    wall_s: float
    stop_reason: str
    pruned: Mapping[str, Any] | None = None
    uncertain: Mapping[str, Any] | None = None
    run: str = ""


class Lease(NamedTuple):
    """The most that a run may have spent beyond what it wrote down.

    The last one of a run holds. It stands on the disk before what it allows is spent, and counts no
    more once the run has left a note of its end, which follows when all else is on the disk.

    Attributes:
        run: Names the run.
    """

    run: str
    amount: Amount


class RetryMark(NamedTuple):
    """`RETRY_MARK`, read back."""


def encode_run_note(note: RunNote) -> bytes:
    """Write a line that says what a run took."""
    fields: dict[str, Any] = {
        "object": "batch.run",
        "custom_id": None,
        "started_at": note.started_at,
        "finished_at": note.finished_at,
        "wall_s": note.wall_s,
        "stop_reason": note.stop_reason,
    }
    if note.pruned:
        fields["pruned"] = note.pruned
    if note.uncertain:
        fields["uncertain"] = note.uncertain
    if note.run:
        fields["run"] = note.run
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def encode_lease(lease: Lease) -> bytes:
    """Write a line that says what a run may have spent unseen."""
    fields = {"object": "batch.lease", "custom_id": None, "run": lease.run}
    fields |= amount_json(lease.amount)
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def read_line(raw: bytes) -> Kept | RunNote | Lease | RetryMark | None:
    """Read a line, given without its line end; None where it is none of ours, or damaged."""
    head = _HEAD.match(raw)
    if head is None or damaged(raw):
        return None
    try:
        if head[1] == b"id" or head[2] == b"batch.attempt":
            return _kept(raw, head)
        if head[2] in (b"batch.run", b"batch.totals"):
            return run_note(orjson.loads(raw))
        if head[2] == b"batch.lease":
            fields = orjson.loads(raw)
            return Lease(str(fields["run"]), read_amount({"lease": fields}, "lease"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return RetryMark() if head[2] == b"batch.retry_failed" else None


def damaged(raw: bytes) -> bool:
    """Whether a crash of the machine has been at a line: it leaves zeros where a write was.

    They may stand in the middle of what was not synced, and so make one line of the beginning of
    one and the end of another.
    """
    return b"\0" in raw


def _kept(raw: bytes, head: re.Match[bytes]) -> Kept:
    ours = read_ours(raw)
    kept = Kept(
        orjson.loads(head[3]),
        head[1] == b"id",
        ours["row"],
        ours["request_hash"],
        ours.get("unnamed", 0),
        ours["model"],
        ours.get("error_code", ""),
        read_spend(ours),
        ours["finished_at"],
        ours["latency_s"],
        ours.get("conversation"),
        read_spend(ours["thrown_away"]) if "thrown_away" in ours else NOTHING_SPENT,
    )
    datetime.fromisoformat(kept.finished_at)
    if not (
        type(kept.custom_id) is type(kept.model) is type(kept.code) is str
        and type(kept.line) is type(kept.unnamed) is int
        and 0 < kept.line < MOST_LINES
        and kept.unnamed >= 0
        and type(kept.latency_s) in (int, float)
        and _HASH.fullmatch(kept.request_hash)
    ):
        raise ValueError("a damaged line")
    return kept


def read_ours(raw: bytes) -> dict[str, Any]:
    """Read the `batcher` object of a result line, given without its line end.

    Empty where it has none: the totals.
    """
    return find_ours(raw)[1]


def find_ours(raw: bytes) -> tuple[int, dict[str, Any]]:
    """Find where the `batcher` object of a result line begins, and read it; -1 without one.

    Raises:
        ValueError: The line is no JSON.
    """
    at = raw.rfind(OURS)
    while at >= 0:
        start = at + len(OURS) - 1
        try:
            return start, orjson.loads(raw[start:-1])
        except orjson.JSONDecodeError:
            # One within a field that the row carries.
            at = raw.rfind(OURS, 0, at)
    orjson.loads(raw)
    return -1, {}


def run_note(fields: Mapping[str, Any]) -> RunNote:
    """Read what a run, or a finished output's totals, tell of the time taken and of pruned rows.

    Raises:
        ValueError, TypeError, KeyError: They were not written by us.
    """
    datetime.fromisoformat(fields["started_at"])
    datetime.fromisoformat(fields["finished_at"])
    if (pruned := fields.get("pruned")) is not None:
        Ledger().read_pruned(pruned)
    if (uncertain := fields.get("uncertain")) is not None:
        Ledger().read_uncertain(uncertain)
    return RunNote(
        fields["started_at"],
        fields["finished_at"],
        float(fields["wall_s"]),
        str(fields.get("stop_reason") or ""),
        pruned,
        uncertain,
        str(fields.get("run") or ""),
    )
