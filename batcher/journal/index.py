"""What is remembered of every row of a job, in about 30 bytes each.

A compact hash table in the manner of Python's own dict: dense columns in order of arrival, and
sparse tables of positions that point into them. The sparse tables are many and small, so that none
takes long to grow while requests are under way. A row is known by a 64-bit hash of what identifies
it: at a million rows two of them share one with a probability of 3 in 10⁸.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = [
    "DONE",
    "FAILED",
    "NO_OFFSET",
    "PAID",
    "SEEN",
    "UNNAMED",
    "Index",
    "identities",
    "identity",
]

DONE: Final = 1  # has a result that stands
FAILED: Final = 2  # ... and it is a failure
PAID: Final = 4  # at least one attempt was made for it
SEEN: Final = 8  # the source of this run holds it
UNNAMED: Final = 16  # the source gave it no id

NO_OFFSET: Final = 0xFFFF_FFFF_FFFF_FFFF

_TABLES: Final = 256
_EMPTY: Final = 0xFFFF_FFFF
_MASK_64: Final = 0xFFFF_FFFF_FFFF_FFFF


def identity(custom_id: str | None, request_hash: str, occurrence: int = 0) -> int:
    """Hash what a row is known by: its given id, else its request and which of its like it is."""
    if custom_id is not None:
        return hash(custom_id) & _MASK_64
    return hash((request_hash, occurrence)) & _MASK_64


def identities(names: list[str], hashes: list[str], unnamed: list[int]) -> list[int]:
    """Hash what each of many rows is known by, as `identity` does.

    Args:
        unnamed: 0 for a row with a given id; else which of its like it is, from 1.
    """
    if any(unnamed):
        return [
            (hash((request_hash, which - 1)) if which else hash(name)) & _MASK_64
            for name, request_hash, which in zip(names, hashes, unnamed, strict=True)
        ]
    return [hash(name) & _MASK_64 for name in names]


class Index:
    """Columns, one entry a row. An entry is its position in them.

    Attributes:
        offsets: Where the row's last line begins in the journal, in bytes; else `NO_OFFSET`.
        prints: The last 32 bits of the row's `request_hash`.
        lines: The row's line in the source.
        flags: A sum of the flags above.
    """

    def __init__(self) -> None:
        self._keys = array("Q")
        self.offsets = array("Q")
        self.prints = array("I")
        self.lines = array("I")
        self.flags = bytearray()
        self._tables = [_empty_table(8) for _ in range(_TABLES)]
        self._used = [0] * _TABLES

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._keys)))

    def find(self, key: int) -> int:
        """Return the entry of `key`, or -1."""
        table = self._tables[key & 0xFF]
        mask = len(table) - 1
        slot = (key >> 8) & mask
        keys = self._keys
        while (entry := table[slot]) != _EMPTY:
            if keys[entry] == key:
                return entry
            slot = (slot + 1) & mask
        return -1

    def add(self, key: int, *, request_hash: str, line: int, flags: int) -> int:
        """Append an entry for a key that is not there yet; return it."""
        entry = len(self._keys)
        self._place(key, entry)
        self._keys.append(key)
        self.offsets.append(NO_OFFSET)
        self.prints.append(int(request_hash[-8:], 16))
        self.lines.append(line)
        self.flags.append(flags)
        return entry

    def expect(self, entries: int) -> None:
        """Make the tables as large as so many entries will need, so that none has to grow."""
        slots = 8
        while entries * 3 > slots * _TABLES * 2:
            slots *= 2
        for number, table in enumerate(self._tables):
            if len(table) < slots:
                self._resize(number, slots)

    def extend(
        self,
        keys: Sequence[int],
        *,
        offsets: Sequence[int],
        prints: array[int],
        lines: Sequence[int],
        flags: bytes,
    ) -> bool:
        """Append an entry for each of `keys`, all of them new; else change nothing: False."""
        if not self._place_all(keys):
            return False
        self.offsets.extend(offsets)
        self.prints.extend(prints)
        self.lines.extend(lines)
        self.flags.extend(flags)
        return True

    def _place_all(self, keys: Sequence[int]) -> bool:
        """Append keys as `_place` does each, unless one of them is there already."""
        known, tables, used = self._keys, self._tables, self._used
        first = len(known)
        known.extend(keys)
        for entry, key in enumerate(keys, first):
            number = key & 0xFF
            table = tables[number]
            count = used[number] = used[number] + 1
            if count * 3 > len(table) * 2:
                table = self._resize(number, len(table) * 2)
            mask = len(table) - 1
            slot = (key >> 8) & mask
            while (there := table[slot]) != _EMPTY:
                if known[there] == key:
                    used[number] -= 1
                    self._withdraw(first, entry)
                    return False
                slot = (slot + 1) & mask
            table[slot] = entry
        return True

    def _withdraw(self, first: int, end: int) -> None:
        """Take the keys of the last entries back: those from `first` on, placed up to `end`."""
        for entry in reversed(range(first, end)):
            key = self._keys[entry]
            number = key & 0xFF
            table = self._tables[number]
            mask = len(table) - 1
            slot = (key >> 8) & mask
            while table[slot] != entry:
                slot = (slot + 1) & mask
            table[slot] = _EMPTY
            self._used[number] -= 1
        del self._keys[first:]

    def _place(self, key: int, entry: int) -> None:
        number = key & 0xFF
        table = self._tables[number]
        used = self._used[number] + 1
        if used * 3 > len(table) * 2:
            table = self._resize(number, len(table) * 2)
        self._used[number] = used
        mask = len(table) - 1
        slot = (key >> 8) & mask
        while table[slot] != _EMPTY:
            slot = (slot + 1) & mask
        table[slot] = entry

    def _resize(self, number: int, slots: int) -> array[int]:
        table = _empty_table(slots)
        mask = slots - 1
        for entry in self._tables[number]:
            if entry != _EMPTY:
                slot = (self._keys[entry] >> 8) & mask
                while table[slot] != _EMPTY:
                    slot = (slot + 1) & mask
                table[slot] = entry
        self._tables[number] = table
        return table


def _empty_table(slots: int) -> array[int]:
    return array("I", [_EMPTY]) * slots
