"""What is remembered of every row of a job, in about 30 bytes each.

A compact hash table in the manner of Python's own dict: dense columns in order of arrival, and
sparse tables of positions that point into them. The sparse tables are many and small, so that none
takes long to grow while requests are under way, and they grow by a half and by a third in turn
(8, 12, 16, 24, ...), so that they are never much more than half empty. A row is known by a 64-bit
hash of what identifies it: at a million rows two of them share one with a probability of 3 in 10⁸.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = [
    "DONE",
    "FAILED",
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

_TABLES: Final = 256
_SMALLEST: Final = 8
# The low 8 bits of a key choose the table, and the high 30 the slot: 30 bits are one digit to
# CPython, whose remainder costs little more than a mask. A taken slot leads to the one before it,
# down to -1, -2, ...: these are the last ones, as Python counts, so that nothing has to wrap.
_HIGH: Final = 34
_EMPTY: Final = 0xFFFF_FFFF
_MASK_64: Final = 0xFFFF_FFFF_FFFF_FFFF
# Where a line begins takes 48 bits, in two columns: 281 TB are beyond any file system's file.
_MASK_32: Final = 0xFFFF_FFFF
_NOWHERE: Final = 0xFFFF


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
        prints: The last 32 bits of the row's `request_hash`.
        lines: The row's line in the source.
        flags: A sum of the flags above.
    """

    def __init__(self) -> None:
        self._keys = array("Q")
        self._low = array("I")
        self._high = array("H")
        self.prints = array("I")
        self.lines = array("I")
        self.flags = bytearray()
        self._tables = [_empty_table(_SMALLEST) for _ in range(_TABLES)]
        self._used = [0] * _TABLES

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._keys)))

    def find(self, key: int) -> int:
        """Return the entry of `key`, or -1."""
        table = self._tables[key & 0xFF]
        slot = (key >> _HIGH) % len(table)
        keys = self._keys
        while (entry := table[slot]) != _EMPTY:
            if keys[entry] == key:
                return entry
            slot -= 1
        return -1

    def add(self, key: int, *, request_hash: str, line: int, flags: int) -> int:
        """Append an entry for a key that is not there yet; return it."""
        entry = len(self._keys)
        self._place(key, entry)
        self._keys.append(key)
        self._low.append(0)
        self._high.append(_NOWHERE)
        self.prints.append(int(request_hash[-8:], 16))
        self.lines.append(line)
        self.flags.append(flags)
        return entry

    def offset(self, entry: int) -> int:
        """Say where the row's last line begins in the journal, in bytes; -1: it has none."""
        high = self._high[entry]
        return -1 if high == _NOWHERE else high << 32 | self._low[entry]

    def put_offset(self, entry: int, offset: int) -> bool:
        """Note where the row's last line begins; return whether it is the row's first."""
        first = self._high[entry] == _NOWHERE
        self._low[entry] = offset & _MASK_32
        self._high[entry] = offset >> 32
        return first

    def expect(self, entries: int) -> None:
        """Make the tables as large as so many entries will need, so that none has to grow."""
        slots = _SMALLEST
        while entries * 3 > slots * _TABLES * 2:
            slots = _next_size(slots)
        for number, table in enumerate(self._tables):
            if len(table) < slots:
                self._resize(number, slots)

    def extend(
        self,
        keys: Sequence[int],
        *,
        offsets: Sequence[int] | None,
        prints: array[int],
        lines: Sequence[int],
        flags: bytes,
    ) -> bool:
        """Append an entry for each of `keys`, all of them new; else change nothing: False.

        Args:
            offsets: Where their lines begin; None: they have none.
        """
        if not self._place_all(keys):
            return False
        if offsets is None:
            self._low.extend(array("I", [0]) * len(keys))
            self._high.extend(array("H", [_NOWHERE]) * len(keys))
        elif (high := min(offsets) >> 32) == max(offsets) >> 32:
            self._low.extend([offset & _MASK_32 for offset in offsets] if high else offsets)
            self._high.extend(array("H", [high]) * len(keys))
        else:
            self._low.extend([offset & _MASK_32 for offset in offsets])
            self._high.extend([offset >> 32 for offset in offsets])
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
                table = self._resize(number, _next_size(len(table)), in_order=True)
            slot = (key >> _HIGH) % len(table)
            while (there := table[slot]) != _EMPTY:
                if known[there] == key:
                    used[number] -= 1
                    self._withdraw(first, entry)
                    return False
                slot -= 1
            table[slot] = entry
        return True

    def _withdraw(self, first: int, end: int) -> None:
        """Take the keys of the last entries back: those from `first` on, placed up to `end`."""
        for entry in reversed(range(first, end)):
            key = self._keys[entry]
            number = key & 0xFF
            table = self._tables[number]
            slot = (key >> _HIGH) % len(table)
            while table[slot] != entry:
                slot -= 1
            table[slot] = _EMPTY
            self._used[number] -= 1
        del self._keys[first:]

    def _place(self, key: int, entry: int) -> None:
        number = key & 0xFF
        table = self._tables[number]
        used = self._used[number] + 1
        if used * 3 > len(table) * 2:
            table = self._resize(number, _next_size(len(table)))
        self._used[number] = used
        slot = (key >> _HIGH) % len(table)
        while table[slot] != _EMPTY:
            slot -= 1
        table[slot] = entry

    def _resize(self, number: int, slots: int, *, in_order: bool = False) -> array[int]:
        """Make a table larger.

        Args:
            in_order: Place what came first first. Then the last ones can be taken out again: none
                that stays had to make way for them.
        """
        table = _empty_table(slots)
        keys = self._keys
        entries = self._tables[number]
        for entry in sorted(entries) if in_order else entries:
            if entry != _EMPTY:
                slot = (keys[entry] >> _HIGH) % slots
                while table[slot] != _EMPTY:
                    slot -= 1
                table[slot] = entry
        self._tables[number] = table
        return table


def _next_size(slots: int) -> int:
    """The size above: powers of two and, between each two of them, one and a half of the lower."""
    return slots * 3 // 2 if slots & (slots - 1) == 0 else slots // 3 * 4


def _empty_table(slots: int) -> array[int]:
    return array("I", [_EMPTY]) * slots
