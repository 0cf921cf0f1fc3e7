"""What stands where a job is to write: found, read and judged, before anything is sent.

A journal is taken up where its last whole line ends. A finished output is only read; it is copied
into a new journal when rows have come to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batcher.errors import UsageError
from batcher.journal.files import Paths, copy_head, sync_folder
from batcher.journal.lines import encode_run_note, run_note
from batcher.journal.scan import Scanned, ends_like_ours, scan
from batcher.journal.state import State

__all__ = ["copy_output", "open_new", "open_standing", "read_standing", "standing"]


def standing(paths: Paths) -> Path | None:
    """Find the file that says how far the job is: its journal, else its output, else None."""
    return next((path for path in (paths.partial, paths.output) if path.exists()), None)


def open_standing(paths: Paths, path: Path) -> int:
    """Open what stands at `path`: a journal to go on with it, an output to read it.

    Raises:
        OSError: It can't be opened.
    """
    flags = os.O_RDWR | os.O_APPEND if path == paths.partial else os.O_RDONLY
    return os.open(path, flags | os.O_CLOEXEC)


def open_new(paths: Paths) -> int:
    """Open the journal, a new one where none stands.

    Raises:
        OSError: It can't be made.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    fd = os.open(paths.partial, flags, 0o600)
    sync_folder(paths.partial.parent)
    return fd


def read_standing(
    fd: int, paths: Paths, path: Path, state: State, *, halted: Callable[[], bool]
) -> Scanned:
    """Read what stands at `path` into `state`, and cut off what a crash left behind its last line.

    Raises:
        UsageError: It is no job's output.
        Halted: `halted` said so.
        OSError: It can't be read.
    """
    published = path == paths.output
    scanned = scan(fd, state, published=published, halted=halted)
    size = os.fstat(fd).st_size
    if published:
        ours = scanned.totals is not None and not state.foreign
    else:
        strange = state.foreign > state.damaged
        ours = state.ours > 0 or (not strange and ends_like_ours(fd, scanned.size))
    if not ours:
        raise UsageError(
            f"{path} was not written by a job like this; --fresh sets it aside and starts over"
        )
    if not published and size != scanned.size:
        # A torn last line, or totals whose publication was cut short.
        os.ftruncate(fd, scanned.size)
    return scanned


def copy_output(
    paths: Paths, totals: dict[str, Any], size: int, *, halted: Callable[[], bool]
) -> int:
    """Make a new journal of the finished output: its rows, and a note of what they took.

    Args:
        totals: The output's.
        size: How many bytes of it are rows.
        halted: Asked now and then; true breaks that off.

    Returns:
        The new journal's size in bytes.

    Raises:
        OSError: There is no new journal.
        Halted: `halted` said so.
    """
    note = encode_run_note(run_note(totals)._replace(stop_reason=""))
    copy_head(paths.output, paths.scratch, size, tail=note, halted=halted)
    paths.scratch.rename(paths.partial)
    return size + len(note)
