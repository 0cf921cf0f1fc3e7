"""The table of rows: whatever is entered is found, and nothing else, in few bytes."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from batcher.journal.index import Index


def _key(high: int, low: int) -> int:
    return high << 34 | low


# Many keys want one of a few slots, or one of two tables, so that they are in each other's way.
_KEYS = st.one_of(
    st.builds(_key, st.sampled_from([0, 1, 2**30 - 1]), st.integers(0, 255)),
    st.builds(_key, st.integers(0, 2**30 - 1), st.integers(0, 1)),
    st.integers(0, 2**64 - 1),
)
_STEPS = st.one_of(
    st.tuples(st.just("add"), _KEYS),
    st.tuples(st.just("extend"), st.lists(_KEYS, max_size=60)),
    st.tuples(st.just("expect"), st.integers(0, 9000)),
    st.tuples(st.just("put"), st.tuples(st.integers(0, 99), st.integers(0, 2**47))),
)


class _Told:
    """An index, and beside it what it was told."""

    def __init__(self) -> None:
        self.index = Index()
        self.entries: dict[int, int] = {}
        self.offsets: list[int] = []

    def add(self, key: int) -> None:
        if key not in self.entries:
            entry = self.index.add(key, request_hash="0" * 8, line=1, flags=0)
            self._enter(key, entry, -1)

    def extend(self, keys: list[int]) -> None:
        fits = len(set(keys)) == len(keys) and self.entries.keys().isdisjoint(keys)
        places = [key >> 17 for key in keys] if len(keys) % 2 else None
        assert _extend(self.index, keys, places) is fits
        if fits:
            for key, place in zip(keys, places or [-1] * len(keys), strict=True):
                self._enter(key, len(self.entries), place)

    def expect(self, entries: int) -> None:
        self.index.expect(entries)

    def put(self, where: tuple[int, int]) -> None:
        entry, offset = where
        if entry < len(self.offsets):
            assert self.index.put_offset(entry, offset) is (self.offsets[entry] < 0)
            self.offsets[entry] = offset

    def _enter(self, key: int, entry: int, offset: int) -> None:
        self.entries[key] = entry
        self.offsets.append(offset)


def _extend(index: Index, keys: Sequence[int], offsets: Sequence[int] | None) -> bool:
    lines = array("I", range(len(keys)))
    return index.extend(keys, offsets=offsets, prints=lines, lines=lines, flags=bytes(len(keys)))


@settings(deadline=None)
# Taken back after a table had grown: what stays must still be found.
@example(steps=[("add", (2**30 - 1) << 34), ("extend", [0, 256, 512, 3 << 34, 0])])
@given(steps=st.lists(_STEPS, max_size=40))
def test_what_was_entered_is_found(steps: list[tuple[str, Any]]) -> None:
    """However rows are entered, each is found where it was put, with its offset, and no other."""
    told = _Told()
    for what, about in steps:
        getattr(told, what)(about)
    index, entries = told.index, told.entries
    assert len(index) == len(entries)
    assert {key: index.find(key) for key in entries} == entries
    assert [index.offset(entry) for entry in index] == told.offsets
    others = {key ^ 1 << 20 for key in entries} - entries.keys()
    assert all(index.find(key) == -1 for key in others)


def test_a_row_is_remembered_in_31_bytes() -> None:
    """A quarter of a million rows, whose tables are as full as a million's, take 31 bytes each."""
    rows = 250_000
    # Multiples of the golden ratio are as even as hashes, and the same in every run.
    keys = [number * 0x9E37_79B9_7F4A_7C15 % 2**64 for number in range(rows)]
    for expected in (0, rows):
        index = Index()
        index.expect(expected)
        assert _extend(index, keys, None)
        parts = [part for part in vars(index).values() if not isinstance(part, list)]
        assert sum(map(sys.getsizeof, [*parts, *index._tables])) <= 31 * rows
