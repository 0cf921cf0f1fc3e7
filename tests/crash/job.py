"""A job under attack: a source that is known line by line, runs that are killed, and the reckoning.

The rules that are checked after every run, however it ended:

- No row whose result stood in the journal was sent again (unless this run was told to).
- No row has cost more than was served to it; when the run was not killed, exactly what was served.

And once the job is complete: a line for each row and no other, each the answer to this very row;
totals that are the sums of the lines; and, over all runs, what was served, less what was answered
to processes that were killed before it was on the disk.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from batcher.codec import RowParser
from batcher.records import Row
from tests.crash.books import Entry, Kept, read
from tests.crash.endpoint import Endpoint, Served
from tests.crash.figures import Figures
from tests.crash.kill import HANG_S, Kill

CONCURRENCY = 16

_TRAP = Path(__file__).with_name("trap.py")
_ROOT = Path(__file__).parents[2]


class SourceRow(NamedTuple):
    """A line of the source.

    Attributes:
        text: What the user message says, which the endpoint says back; empty for a bad line.
        custom_id: Its id, or None.
        line: The raw line.
    """

    text: str
    custom_id: str | None
    line: bytes


def good_row(number: int, *, named: bool = True, version: int = 0) -> SourceRow:
    """Make a row that can be sent."""
    text = f"row {number}, version {version}"
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
    custom_id = f"c-{number}" if named else None
    fields = {"custom_id": custom_id, "body": body} if named else body
    return SourceRow(text, custom_id, orjson.dumps(fields))


def bad_row(number: int) -> SourceRow:
    """Make a line that is no request."""
    return SourceRow("", None, b'{"broken %d' % number)


class Job:
    """A source, an output and all that has been seen of them.

    Args:
        folder: Empty.
        endpoint: Serves it.
        flags: Of every run.

    Attributes:
        code, said: Of the last run: its exit code, and what it wrote to standard error.
    """

    program = (sys.executable, "-m", "batcher")

    def __init__(self, folder: Path, endpoint: Endpoint, *flags: str) -> None:
        self.folder = folder
        self.source = folder / "rows.jsonl"
        self.output = folder / "out.jsonl"
        self.partial = folder / "out.jsonl.partial"
        self.rows: list[SourceRow] = []
        self.figures = Figures()
        self.code, self.said = 0, ""
        self._endpoint = endpoint
        self._flags = flags
        self._texts: dict[str, str] = {}
        self._lost: dict[str, Served] = {}
        self._pruned = Served()

    def write_source(self, rows: list[SourceRow]) -> None:
        """Replace the source; its requests belong to the rows' groups from now on."""
        self.rows = rows
        parser = RowParser()
        for number, row in enumerate(rows, 1):
            parsed = parser.parse(number, row.line)
            if isinstance(parsed, Row):
                digest = parsed.request_hash
                self._endpoint.groups[digest] = row.custom_id or digest
                self._texts[digest] = row.text
        self.source.write_bytes(b"".join(row.line + b"\n" for row in rows))

    def kept(self) -> Kept:
        """Read what stands: the journal, else the output."""
        return read(self.partial if self.partial.exists() else self.output)

    def run(
        self,
        *flags: str,
        kill: Kill | None = None,
        resends: bool = False,
        expected: int | None = -1,
        wrapper: tuple[str, ...] = (),
        strange: bool = False,
        mend: Callable[[], object] | None = None,
    ) -> int:
        """Run once and check what it did.

        Args:
            flags: Beyond those of every run.
            kill: When to kill it.
            resends: Whether rows whose result stands may be sent again (changed, or `--fresh`).
            expected: Its exit code; None for any. Unless given: killed, or complete.
            wrapper: A command that runs it.
            strange: Whether what stands there is no journal, so that there are no books to hold.
            mend: Mends the disk that broke under it, before what stands there is read: what was
                served and did not reach the disk is lost, as by a kill.

        Returns:
            Its exit code; negative for a kill.
        """
        before = Kept({}, None, 0) if strange else self.kept()
        self._endpoint.begin_run()
        begun = self._watch_lock()
        published = self._published()
        process = self.start(flags, kill=kill, wrapper=wrapper, stderr=subprocess.PIPE)
        if kill is not None:
            kill.strike(process, self._endpoint, begun)
        self._await(process)
        killed = self.code < 0
        if mend is not None:
            mend()
        allowed = {self.code if expected is None else expected} if expected != -1 else {0, 3}
        assert killed or self.code in allowed, self.said
        assert "Traceback" not in self.said, self.said
        self._count(runs=1, kills=int(killed))
        if strange:
            return self.code
        if "--fresh" in flags and not killed:
            before = self._set_aside(before)
        if "--prune" in flags and self._published() != published and not self.partial.exists():
            before = self._prune(before)
        lost = self._check_run(before, killed=killed or mend is not None, resends=resends)
        if "--fresh" not in flags:
            self._count(sent_again=lost, most_again=lost)
        return self.code

    def _set_aside(self, before: Kept) -> Kept:
        """Write off what a run that began anew has put aside."""
        for group, spent in before.groups(self._endpoint.groups).items():
            self._lose(group, spent, Served())
        return Kept({}, None, 0)

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        try:
            _, errors = process.communicate(timeout=HANG_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            self._count(hangs=1)
            raise AssertionError(f"hangs; kept in {self.folder}") from None
        self._endpoint.settle()
        self.code, self.said = process.returncode, errors.decode()

    def _count(self, **more: int) -> None:
        self.figures = self.figures.plus(Figures(**more))

    def tear(self, draw: random.Random) -> None:
        """Cut the journal's tail at a random byte, or leave something torn behind it."""
        if not self.partial.exists():
            return
        raw = self.partial.read_bytes()
        torn = raw[max(0, len(raw) - 700) :][: draw.randrange(1, 700)].replace(b"\n", b"")
        match draw.randrange(4):
            case 0:
                raw = raw[: draw.randint(max(0, len(raw) - 1500), len(raw))]
            case 1:
                raw += torn
            case 2:
                raw += bytes(draw.randrange(1, 5000))
        self._write_off(raw)

    def attack(self, draw: random.Random, kills: int, *flags: str, resends: bool = False) -> None:
        """Kill run after run and tear what they leave; a job that is complete gets more rows."""
        until = self.figures.kills + kills
        while self.figures.kills < until:
            code = self.run(*flags, kill=Kill.drawn(draw), resends=resends)
            if code < 0:
                self.tear(draw)
            else:
                self.reckon(code)
                grown(self, draw)

    def complete(self, *flags: str, resends: bool = False) -> None:
        """Run on until the job is complete, undisturbed, and reckon."""
        self.reckon(self.run(*flags, resends=resends))

    def reckon(self, code: int) -> None:
        """Check a complete job, line by line and in its totals."""
        kept = read(self.output)
        assert not self.partial.exists()
        assert not list(self.folder.glob("*.tmp"))
        self._check_lines(kept)
        self._check_totals(kept, code)
        again = self.run()
        assert (again, self._endpoint.seen) == (code, 0), "a finished job sends nothing"
        self.figures = self.figures._replace(rows=len(self.rows))

    def start(
        self,
        flags: tuple[str, ...],
        *,
        kill: Kill | None = None,
        wrapper: tuple[str, ...] = (),
        stdout: Any = subprocess.DEVNULL,
        stderr: Any = subprocess.DEVNULL,
        session: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a run, in a session of its own if asked."""
        trapped = kill is not None and kill.call
        begin = (sys.executable, str(_TRAP), *kill.trap) if kill and trapped else self.program
        return subprocess.Popen(
            [
                *(*wrapper, *begin),
                *("run", str(self.source), "-o", str(self.output)),
                *("--base-url", self._endpoint.base_url, "--concurrency", str(CONCURRENCY)),
                *(() if "--progress" in flags else ("--progress", "none")),
                *(*self._flags, *flags),
            ],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=session,
            env=environment(TRAP_FOLDER=str(self.folder.resolve() / (kill.only if kill else ""))),
        )

    def _watch_lock(self) -> Callable[[], bool]:
        """Tell a run that has begun by what it writes into its lock file."""
        lock = self.folder / "out.jsonl.lock"

        def written() -> int:
            return lock.stat().st_mtime_ns if lock.exists() else 0

        before = written()
        return lambda: written() != before

    def _write_off(self, raw: bytes) -> None:
        """Let the journal be `raw`; what it no longer says was served in vain."""
        names = self._endpoint.groups
        before = read(self.partial).groups(names)
        self.partial.write_bytes(raw)
        after = read(self.partial).groups(names)
        for group, spent in before.items():
            self._lose(group, spent, after.get(group, Served()))

    def _lose(self, group: str, served: Served, kept: Served) -> int:
        lost = Served(*map(int.__sub__, served, kept))
        self._lost[group] = self._lost.get(group, Served()).plus(lost)
        return lost.attempts

    def _published(self) -> int:
        """Tell one output from another that took its place."""
        return self.output.stat().st_ino if self.output.exists() else 0

    def _prune(self, before: Kept) -> Kept:
        """Take out what a published run has dropped: the rows that the source no longer holds."""
        names = self._endpoint.groups
        held = set(self._open_groups(Kept({}, None, 0)))
        for group, spent in before.groups(names).items():
            if group not in held:
                self._pruned = self._pruned.plus(spent)
        return before._replace(
            entries={
                key: entry
                for key, entry in before.entries.items()
                if (names.get(entry.ours["request_hash"], "") if key[1] else key[0]) in held
            }
        )

    def _check_run(self, before: Kept, *, killed: bool, resends: bool) -> int:
        """Hold what stands now against what stood and was served; return how much of it is lost."""
        names = self._endpoint.groups
        served = self._endpoint.runs[-1]
        spent, now = before.groups(names), self.kept().groups(names)
        if not resends:
            open_groups = self._open_groups(before)
            again = [group for group in served if group not in open_groups]
            self._count(doubled=len(again))
            assert not again, f"sent again though their results stand: {again}"
        lost = 0
        count = sum(each.attempts for each in served.values())
        for group in {*spent, *now, *served}:
            due = spent.get(group, Served()).plus(served.get(group, Served()))
            kept = now.get(group, Served())
            assert all(map(int.__le__, kept, due)), f"{group}: {kept} kept of {due}"
            assert killed or kept == due, f"{group}: {kept} kept of {due}"
            lost += self._lose(group, due, kept)
        self._count(served=count)
        return lost

    def _open_groups(self, before: Kept) -> set[str]:
        """Groups with a row that has no result, or one of another request."""
        found: set[str] = set()
        occurrences: dict[str, int] = {}
        for row in self.rows:
            parsed = RowParser().parse(1, row.line)
            if not isinstance(parsed, Row):
                continue
            digest = parsed.request_hash
            key = (row.custom_id, 0) if row.custom_id else (digest, occurrences.get(digest, 0) + 1)
            occurrences[digest] = key[1]
            entry = before.entries.get(key)
            if entry is None or not entry.terminal or entry.ours["request_hash"] != digest:
                found.add(row.custom_id or digest)
        return found

    def _check_lines(self, kept: Kept) -> None:
        done = sum(entry.terminal for entry in kept.entries.values())
        self._count(lost=max(0, len(self.rows) - done), doubled=max(0, kept.lines - len(self.rows)))
        assert kept.lines == len(kept.entries) == len(self.rows), "a line for each row, once"
        by_line = {entry.ours["row"]: entry for entry in kept.entries.values()}
        names = {entry.fields["custom_id"] for entry in kept.entries.values()}
        assert len(by_line) == len(names) == len(self.rows)
        for number, row in enumerate(self.rows, 1):
            self._check_line(by_line[number], row, number)
        if "--ordered" in self._flags:
            assert list(by_line) == sorted(by_line)

    def _check_line(self, entry: Entry, row: SourceRow, number: int) -> None:
        assert entry.terminal
        assert entry.fields["custom_id"] == (row.custom_id or f"row-{number}")
        if not row.text:
            assert entry.fields["error"]["code"] == "invalid_json"
            return
        response = entry.fields["response"]
        if not entry.failed:
            said = response["body"]["choices"][0]["message"]["content"]
            assert said == row.text, "the answer to this very row"
        assert self._texts[entry.ours["request_hash"]] == row.text

    def _check_totals(self, kept: Kept, code: int) -> None:
        totals = kept.totals
        assert totals is not None
        failed = sum(entry.failed for entry in kept.entries.values())
        count = len(self.rows)
        assert code == (3 if failed else 0)
        assert totals["request_counts"] == {
            "total": count,
            "completed": count - failed,
            "failed": failed,
        }
        summed = Served()
        for spent in kept.groups(self._endpoint.groups).values():
            summed = summed.plus(spent)
        assert _spent(totals.get("pruned")) == self._pruned, "what the dropped rows have cost"
        summed = summed.plus(self._pruned)
        assert _spent(totals) == summed
        served, lost = Served(), Served()
        for page in self._endpoint.runs:
            for each in page.values():
                served = served.plus(each)
        for each in self._lost.values():
            lost = lost.plus(each)
        assert summed == Served(*map(int.__sub__, served, lost)), "what was served, less the lost"


def _spent(totals: dict[str, Any] | None) -> Served:
    if totals is None:
        return Served()
    tokens = totals["usage"]["total_tokens"]
    return Served(totals["attempts"], tokens, totals.get("attempts_without_usage", 0))


def grown(job: Job, draw: random.Random) -> None:
    """Add rows to a job's source."""
    first = len(job.rows)
    more = [good_row(first + n, named=n % 4 > 0) for n in range(draw.randint(1, 150))]
    job.write_source(job.rows + more)


def environment(**more: str) -> dict[str, str]:
    """The environment of a run: this tree's batcher, no settings of the machine's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(_ROOT), **more}
