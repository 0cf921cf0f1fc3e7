"""The journal's hold on its files, seen from outside: what it opens, and what it lets go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batcher.errors import UsageError
from batcher.journal import Halted, Journal, Paths


def _held(folder: Path) -> list[str]:
    """Files of a folder that this process has open."""
    held = []
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208 - no paths, numbers
        try:
            target = Path(f"/proc/self/fd/{descriptor}").readlink()
        except OSError:
            continue
        if target.parent == folder:
            held.append(target.name)
    return held


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="/proc tells of open files")  # noqa: PTH112
@pytest.mark.parametrize("suffix", ["", ".partial"])
def test_a_refused_file_is_let_go(tmp_path: Path, suffix: str) -> None:
    """A file that is no job's, or whose reading is broken off, is not kept open."""
    path = tmp_path / f"out.jsonl{suffix}"
    path.write_bytes(b"important notes\n")
    with pytest.raises(UsageError, match="was not written by a job"):
        Journal(Paths(tmp_path / "out.jsonl"))
    assert _held(tmp_path) == []
    with pytest.raises(Halted):
        Journal(Paths(tmp_path / "out.jsonl"), halted=lambda: True)
    assert _held(tmp_path) == []
