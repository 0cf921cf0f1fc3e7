"""Who is in the job: every line of the source, matched with what the journal knows of it.

A row with an id is known by it; a row without one by the hash of its request, and by which of the
rows with this very request it is, so that inserted lines shift nothing. A line that is no request
is known by its bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import compress
from typing import Final, NamedTuple

from batcher.codec import RowParser, raw_hash
from batcher.errors import StorageError
from batcher.journal import State
from batcher.journal.index import DONE, PAID, SEEN, UNNAMED, identities, identity
from batcher.records import BadRow, Row
from batcher.source import Line

__all__ = ["Member", "Roster"]

# Makes a named tuple in a seventh of the time that calling its class takes: see `records`.
_new: Final = tuple.__new__


class Member(NamedTuple):
    """A line of the source and its entry in the index.

    Attributes:
        unnamed: 0 for a row with an id, else which of its like it is, from 1.
        standing: Whether its result stands, so that nothing is to be done.
        changed: Whether it has a result, of another request under the same id.
        paid: Whether attempts were made for it before this run.
    """

    row: Row | BadRow
    request_hash: str
    entry: int
    unnamed: int
    standing: bool
    changed: bool
    paid: bool


class Roster:
    """Enters lines into the index of a journal's state.

    Args:
        parser: Makes rows of lines.
        state: Its index is added to.
    """

    def __init__(self, parser: RowParser, state: State) -> None:
        self._parser = parser
        self._state = state
        self.index = state.index
        # Only of requests that occur more than once without an id.
        self._repeats: dict[str, int] = {}
        self._unnamed = False
        self._named_like_unnamed = False

    def parse(self, line: Line) -> Row | BadRow:
        """Make a row of a line without entering it."""
        if line.raw is None:
            message = f"line {line.number}: longer than 64 MiB"
            return BadRow(line.number, None, "row_too_large", message)
        if line.problem:
            message = f"line {line.number}: {line.problem}"
            return BadRow(line.number, None, "invalid_csv", message)
        return self._parser.parse(line.number, line.raw)

    def enter(self, line: Line) -> Member:
        """Enter a line of the source, each of them once and in order."""
        row = self.parse(line)
        custom_id = _given_id(row)
        if custom_id is not None:
            key = identity(custom_id, "")
            entry = self.index.find(key)
            if entry < 0 or not self.index.flags[entry] & SEEN:
                self._note_name(custom_id)
                return self._member(row, _hash_of(row, line), key, entry, 0)
            row = self._duplicate(line.number, entry)
        self._unnamed = True
        self._check_names()
        request_hash = _hash_of(row, line)
        occurrence = self._occurrence(request_hash)
        key = identity(None, request_hash, occurrence)
        return self._member(row, request_hash, key, self.index.find(key), occurrence + 1)

    def enter_seen(self, lines: Sequence[Line], names: Sequence[str | None]) -> bool:
        """Enter good rows by no more than their ids (None: it has none), for who sends none.

        Returns:
            False, and none is entered, where an id is there already.
        """
        given = [name for name in names if name is not None]
        numbers = [line.number for line in lines]
        if len(given) != len(numbers):
            numbers = list(compress(numbers, [name is not None for name in names]))
        return self.index.extend(
            identities(given, [], []),
            offsets=None,
            prints=array("I", bytes(4 * len(given))),
            lines=numbers,
            flags=bytes([SEEN]) * len(given),
        )

    def revisit(self, line: Line, entry: int, unnamed: int) -> Member:
        """Make a row of a line that was entered before.

        Raises:
            StorageError: The line is not what it was.
        """
        row = self.parse(line)
        custom_id = _given_id(row)
        if unnamed and custom_id is not None:
            first = self.index.find(identity(custom_id, ""))
            row = self._duplicate(line.number, first)
        request_hash = _hash_of(row, line)
        if self.index.prints[entry] != int(request_hash[-8:], 16):
            raise StorageError("the source changed while it was read; run the same command again")
        paid = bool(self.index.flags[entry] & PAID)
        return Member(row, request_hash, entry, unnamed, False, False, paid)

    def _member(
        self, row: Row | BadRow, request_hash: str, key: int, entry: int, unnamed: int
    ) -> Member:
        """Make the member of a row whose `key` was found at `entry`, or not at all: -1."""
        index, number = self.index, row.line
        if entry < 0:
            flags = SEEN | UNNAMED if unnamed else SEEN
            entry = index.add(key, request_hash=request_hash, line=number, flags=flags)
            return _new(Member, (row, request_hash, entry, unnamed, False, False, False))
        flags = index.flags[entry]
        index.flags[entry] = flags | SEEN
        done, paid = bool(flags & DONE), bool(flags & PAID)
        fingerprint = int(request_hash[-8:], 16)
        same = index.prints[entry] == fingerprint
        index.prints[entry] = fingerprint
        if index.lines[entry] != number:
            index.lines[entry] = number
            self._state.tidy = False
        return Member(row, request_hash, entry, unnamed, done and same, done and not same, paid)

    def _duplicate(self, number: int, first: int) -> BadRow:
        message = f"line {number}: the custom_id of line {self.index.lines[first]} again"
        return BadRow(number, None, "duplicate_custom_id", message)

    def _occurrence(self, request_hash: str) -> int:
        occurrence = self._repeats.get(request_hash)
        if occurrence is None:
            entry = self.index.find(identity(None, request_hash))
            if entry < 0 or not self.index.flags[entry] & SEEN:
                return 0
            occurrence = 0
        self._repeats[request_hash] = occurrence + 1
        return occurrence + 1

    def _note_name(self, custom_id: str) -> None:
        if not self._named_like_unnamed and custom_id.startswith("row-"):
            self._named_like_unnamed = True
            self._check_names()

    def _check_names(self) -> None:
        # An id may be what we call another row: names are settled when the output is written anew.
        if self._unnamed and self._named_like_unnamed:
            self._state.tidy = False


def _given_id(row: Row | BadRow) -> str | None:
    return row.custom_id if isinstance(row, BadRow) or row.named else None


def _hash_of(row: Row | BadRow, line: Line) -> str:
    return row.request_hash if isinstance(row, Row) else raw_hash(line.raw or b"")
