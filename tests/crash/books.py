"""A results file, read by a reader of the tests' own: nothing here is the journal's code."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tests.crash.endpoint import Served


class Entry(NamedTuple):
    """What a row's last line says."""

    terminal: bool
    failed: bool
    fields: dict[str, Any]

    @property
    def ours(self) -> dict[str, Any]:
        """The `batcher` object."""
        found: dict[str, Any] = self.fields["batcher"]
        return found

    @property
    def spent(self) -> Served:
        """All that the row has cost."""
        ours = self.ours
        tokens = ours["usage"]["total_tokens"]
        return Served(ours["attempts"], tokens, ours.get("attempts_without_usage", 0))


class Kept(NamedTuple):
    """A file's rows by what they are known by, and its totals where it has them."""

    entries: dict[tuple[str, int], Entry]
    totals: dict[str, Any] | None
    lines: int

    def groups(self, names: dict[str, str]) -> dict[str, Served]:
        """What each group of rows has cost; `names` gives the group of a request's hash."""
        found: defaultdict[str, Served] = defaultdict(Served)
        for (name, unnamed), entry in self.entries.items():
            group = names.get(entry.ours["request_hash"], "") if unnamed else name
            found[group] = found[group].plus(entry.spent)
        return found


def read(path: Path) -> Kept:
    """Read every whole line of a file; what follows the last line end is not one."""
    raw = path.read_bytes() if path.exists() else b""
    entries: dict[tuple[str, int], Entry] = {}
    totals, lines = None, 0
    for text in raw.split(b"\n")[:-1]:
        try:
            fields = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        kind = fields.get("object")
        if kind == "batch.totals":
            totals = fields
        elif kind in (None, "batch.attempt"):
            lines += 1
            ours = fields["batcher"]
            unnamed = ours.get("unnamed", 0)
            key = (ours["request_hash"], unnamed) if unnamed else (fields["custom_id"], 0)
            entries[key] = Entry(kind is None, kind is None and _failed(fields), fields)
        elif kind == "batch.retry_failed":
            for key, entry in entries.items():
                if entry.failed:
                    entries[key] = entry._replace(terminal=False, failed=False)
    return Kept(entries, totals, lines)


def _failed(fields: dict[str, Any]) -> bool:
    if fields["error"] is not None:
        return True
    status: int = fields["response"]["status_code"]
    return not 200 <= status < 300
