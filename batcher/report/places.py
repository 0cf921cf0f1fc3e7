"""Which lines of a journal stand, in some 30 bytes a row."""

from __future__ import annotations

from batcher.journal import Kept
from batcher.journal.index import DONE, FAILED, Index, identity

__all__ = ["STANDS", "Places"]

# Where a line stands, in the table of a journal's lines.
_GONE, _SPENT, STANDS = 0, 1, 2


class Places:
    """Which line of a journal stands for each row."""

    def __init__(self) -> None:
        self._index = Index()

    def put(self, kept: Kept, number: int) -> None:
        """Note the number of a row's line: the last one stands."""
        index = self._index
        name = None if kept.unnamed else kept.custom_id
        key = identity(name, kept.request_hash, max(0, kept.unnamed - 1))
        entry = index.find(key)
        if entry < 0:
            entry = index.add(key, request_hash=kept.request_hash, line=kept.line, flags=0)
        index.put_offset(entry, number)
        index.flags[entry] = (DONE | FAILED if kept.code else DONE) if kept.terminal else 0

    def take_back_failures(self) -> None:
        """Take back every failure so far: those rows have no result now."""
        flags = self._index.flags
        for entry, value in enumerate(flags):
            if value & FAILED:
                flags[entry] = 0

    def table(self, lines: int) -> bytearray:
        """Say of every line, by its number, what it is."""
        table = bytearray(lines + 1)
        for entry in self._index:
            if (number := self._index.offset(entry)) >= 0:
                table[number] = STANDS if self._index.flags[entry] & DONE else _SPENT
        return table
