"""The append-only results file: lock, append, resume scan, publish."""

from batcher.journal.files import Halted, Lock, Paths, is_locked, read_status
from batcher.journal.journal import Journal
from batcher.journal.keeper import Keeper
from batcher.journal.lines import Kept, Lease, RunNote, read_line, read_ours
from batcher.journal.relay import Relay
from batcher.journal.state import State

__all__ = [
    "Halted",
    "Journal",
    "Keeper",
    "Kept",
    "Lease",
    "Lock",
    "Paths",
    "Relay",
    "RunNote",
    "State",
    "is_locked",
    "read_line",
    "read_ours",
    "read_status",
]
