"""The append-only results file: lock, append, resume scan, publish."""

from batcher.journal.files import Lock, Paths, is_locked, read_status
from batcher.journal.journal import Journal
from batcher.journal.lines import Kept, RunNote, read_line, read_ours
from batcher.journal.state import State

__all__ = [
    "Journal",
    "Kept",
    "Lock",
    "Paths",
    "RunNote",
    "State",
    "is_locked",
    "read_line",
    "read_ours",
    "read_status",
]
