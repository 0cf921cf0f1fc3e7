"""The journal alone, on a disk that forgets: the power is cut between any two of its calls.

A state machine of what runs do with a journal: results, attempts, commits, publications, new runs,
`--retry-failed`, `--fresh`, changed and added rows. After every cut and every refusal of the disk:

- a row whose line was committed has that line, or a later one of its own;
- the totals are the sum over the lines, and no row stands as done without its result;
- OUTPUT is whole: absent, an earlier one, or the latest; a published one never goes away.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from batcher.amounts import Spend, Usage
from batcher.codec import RowParser
from batcher.engine.clerk import Clerk
from batcher.engine.roster import Member, Roster
from batcher.engine.task import Task
from batcher.errors import BatcherError, StorageError
from batcher.journal import Journal, Paths, RunNote
from batcher.records import Reply, Row
from batcher.source import Line
from tests.crash.books import Kept, read
from tests.crash.conftest import Reckoner
from tests.crash.disk import Disk, PowerCutError

if TYPE_CHECKING:
    from batcher.budget import Bounds
    from batcher.governor import Lane

MOMENT = "2026-11-24T00:00:00.000Z"

# When the power goes: at once, at a later call, or not at all; and what may be refused instead.
cuts = st.sampled_from((-1, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 10))
faults = st.sampled_from((0, 0, 0, errno.ENOSPC, errno.EIO))
seeds = st.integers(0, 2**32)


class Said(NamedTuple):
    """What a line of a row says: whether it is its result, and what the row has cost."""

    terminal: bool
    attempts: int
    tokens: int


class Machine(RuleBasedStateMachine):
    """A job's journal over many runs."""

    survived = 0

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(prefix="cuts"))
        self.runner = asyncio.Runner()
        self.generation = 0
        # Of each row, what its lines have said, and how many of them are on the disk for certain.
        self.said: dict[str, list[Said]] = {}
        self.sure: dict[str, int] = {}
        # What OUTPUT may hold: what it holds for certain first, then what came since.
        self.outputs: list[bytes | None] = [None]
        self.publishing = False
        self.starting_over = False
        self.versions: dict[str, int] = {}
        self.spent = 0

    @initialize(count=st.integers(1, 4), seed=seeds, syncs=st.sampled_from((True, True, False)))
    def begin(self, count: int, seed: int, *, syncs: bool) -> None:
        """Begin a job."""
        self.syncs = syncs
        self.versions = {f"c-{number}": 0 for number in range(count)}
        self._mount({})
        self._under(-1, 0, seed, self._begin_run)

    def teardown(self) -> None:
        """Bring the job to its end: all rows once, the right bill."""
        try:
            if self.versions:
                self._finish()
        finally:
            with contextlib.suppress(AttributeError):
                self.journal.close()
            self.disk.close()
            self.runner.close()
            shutil.rmtree(self.top)

    @precondition(lambda self: self.left)
    @rule(at=st.integers(0, 9), failed=st.booleans())
    def answer(self, at: int, *, failed: bool) -> None:
        """A row has its result."""
        name = sorted(self.left)[at % len(self.left)]
        task, reply = self._attempt(name, 400 if failed else 200)
        code = "http_400" if failed else ""
        self.clerk.finish(task, reply, {}, code=code, message=code)
        self._note(name, task, terminal=True)
        self.left.pop(name)

    @precondition(lambda self: self.left)
    @rule(at=st.integers(0, 9))
    def try_in_vain(self, at: int) -> None:
        """An attempt brought a row no result yet."""
        name = sorted(self.left)[at % len(self.left)]
        task, reply = self._attempt(name, 500)
        self.clerk.note_attempt(task, reply)
        self._note(name, task, terminal=False)

    @rule(calls=cuts, fault=faults, seed=seeds)
    def commit(self, calls: int, fault: int, seed: int) -> None:
        """What is queued is put on the disk."""
        self._under(calls, fault, seed, self._commit)

    @precondition(lambda self: self.left)
    @rule(calls=st.integers(0, 1), fault=st.sampled_from((errno.ENOSPC, errno.EIO)), seed=seeds)
    def commit_at_a_second_try(self, calls: int, fault: int, seed: int) -> None:
        """The disk refuses a write or a sync and is tried once more; then the power goes.

        What was refused is still queued; what could not be synced is never called safe.
        """
        self.answer(0, failed=False)
        draw = random.Random(seed)
        try:
            with self.disk.spinning(calls=calls, fault=fault):
                with contextlib.suppress(StorageError):
                    self._commit()
                self._commit()
        except StorageError:
            self._recover(draw, calm=draw.random() < 0.5)
        else:
            self._recover(draw)

    @rule(calls=cuts, fault=faults, seed=seeds, ordered=st.booleans())
    def publish(self, calls: int, fault: int, seed: int, *, ordered: bool) -> None:
        """The last rows have their results, and the output takes its place."""
        self._answer_all()
        if not self.journal.finished:
            self._under(calls, fault, seed, lambda: self._publish(ordered=ordered))

    @rule(calls=cuts, fault=faults, seed=seeds, stopped=st.booleans())
    def run_again(self, calls: int, fault: int, seed: int, *, stopped: bool) -> None:
        """The run stops, in good order or not, and another one begins."""
        self._under(calls, fault, seed, lambda: self._run_again(stopped=stopped))

    @rule(calls=cuts, fault=faults, seed=seeds)
    def retry_failed(self, calls: int, fault: int, seed: int) -> None:
        """Another run is asked for what has failed."""
        self._under(calls, fault, seed, lambda: self._run_again(retry=True))

    @rule(calls=cuts, fault=faults, seed=seeds)
    def start_over(self, calls: int, fault: int, seed: int) -> None:
        """Another run begins all over: what stands is kept, and nothing of it is counted."""
        with self.disk.spinning():
            self._stop()
        # A name whose sync the disk refused may go again, and what stood before is there instead.
        before = self._bytes() if self.syncs and self.disk.settled else set()
        self.starting_over = True
        self._under(calls, fault, seed, lambda: self._begin_run(fresh=True))
        self.starting_over = False
        assert before <= self._bytes(), "what was there is kept"

    @rule(calls=cuts, fault=faults, seed=seeds)
    def grow(self, calls: int, fault: int, seed: int) -> None:
        """Rows are added to the source, and another run begins."""
        self.versions[f"c-{len(self.versions)}"] = 0
        self._under(calls, fault, seed, self._run_again)

    @rule(calls=cuts, fault=faults, seed=seeds, at=st.integers(0, 9))
    def change(self, calls: int, fault: int, seed: int, at: int) -> None:
        """A row of the source changes, and another run begins."""
        self.versions[f"c-{at % len(self.versions)}"] += 1
        self._under(calls, fault, seed, self._run_again)

    # How it is done.

    def _under(self, calls: int, fault: int, seed: int, work: Callable[[], None]) -> None:
        """Do something; where the power is cut or the disk refuses, look at what is left."""
        try:
            with self.disk.spinning(calls=calls, fault=fault):
                work()
        except PowerCutError:
            self._recover(random.Random(seed))
        except BatcherError:
            assert fault
            draw = random.Random(seed)
            self._recover(draw, calm=draw.random() < 0.5)

    def _recover(self, draw: random.Random, *, calm: bool = False) -> None:
        """Go on from what is left: after a cut, or (`calm`) with the machine still up."""
        Machine.survived += 1
        self.disk.cut()
        survivors = self.disk.survivors(draw, calm=calm)
        with contextlib.suppress(AttributeError):
            self.journal.close()
        self.disk.close()
        self._mount(survivors)
        self._check()
        with self.disk.spinning():
            self._begin_run()

    def _mount(self, files: dict[str, bytes]) -> None:
        self.generation += 1
        self.folder = self.top / str(self.generation)
        self.folder.mkdir()
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        self.paths = Paths(self.folder / "out.jsonl")
        self.disk = Disk(self.folder)

    def _check(self) -> None:
        """Hold what stands against what was said and is sure."""
        partial, output = self.paths.partial, self.paths.output
        whole = output.read_bytes() if output.exists() else None
        if whole not in self.outputs:
            assert self.publishing, "an output that nobody published"
            self._check_output()
        self.outputs, self.publishing = [whole], False
        kept = read(partial if partial.exists() else output)
        for name, said in self.said.items():
            found = _said(kept, name)
            if self.starting_over:
                said[:] = [found] if found else []
            else:
                self._take_back(name, found)
            # What survived is on the disk.
            self.sure[name] = len(said)

    def _take_back(self, name: str, found: Said | None) -> None:
        """Let the last that a row's lines have said be `found`, which must be possible."""
        said, sure = self.said[name], self.sure[name]
        possible = [None, *said][sure:]
        assert found in possible, f"{name}: {found} stands, {sure} of {said} are sure"
        del said[sure + possible.index(found) :]

    def _begin_run(self, *, fresh: bool = False, retry: bool = False) -> None:
        self.left: dict[str, Task] = {}
        self.journal = journal = Journal(
            self.paths,
            durability="fsync" if self.syncs else "flush",
            fresh=fresh,
            reserve_bytes=0,
        )
        self._check_state(fresh=fresh)
        state = journal.state
        marked = retry and not state.retrying and any(True for _ in state.failures())
        if marked:
            state.begin_retry()
        roster = Roster(RowParser(), state)
        members = [
            roster.enter(Line(number, _line(name, version)))
            for number, (name, version) in enumerate(self.versions.items(), 1)
        ]
        self.clerk = Clerk(
            journal, endpoint="e", price=lambda *_: None, bounds=cast("Bounds", None)
        )
        if journal.finished and all(member.standing for member in members):
            return
        journal.begin()
        if fresh:
            self.said, self.sure = {}, {}
        self._enter(members)
        if marked:
            journal.mark_retry()
            for name in self.said:
                if self.said[name] and self.failed.get(name):
                    self.said[name].append(self.said[name][-1]._replace(terminal=False))

    def _enter(self, members: list[Member]) -> None:
        for name, member in zip(self.versions, members, strict=True):
            self.said.setdefault(name, [])
            self.sure.setdefault(name, 0)
            if member.standing:
                continue
            row, nobody = member.row, cast("Lane", None)
            assert isinstance(row, Row)
            task = Task(member, row, nobody, 0.0)
            if member.changed:
                self.journal.state.reopen(member.entry)
            if member.paid:
                task.spend = self.clerk.earlier(member)[0]
            self.left[name] = task

    def _check_state(self, *, fresh: bool) -> None:
        """What the journal has understood is what an independent reader reads."""
        journal = self.journal
        source = self.paths.partial if self.paths.partial.exists() else self.paths.output
        kept = Kept({}, None, 0) if fresh else read(source)
        ledger = journal.state.ledger
        entries = kept.entries.values()
        self.failed = {name: entry.failed for (name, _), entry in kept.entries.items()}
        assert ledger.completed + ledger.failed == sum(entry.terminal for entry in entries)
        assert ledger.spend.attempts == sum(entry.ours["attempts"] for entry in entries)
        tokens = sum(entry.ours["usage"]["total_tokens"] for entry in entries)
        assert ledger.spend.usage.total_tokens == tokens

    def _run_again(self, *, stopped: bool = True, retry: bool = False) -> None:
        if stopped:
            self._stop()
        else:
            self.journal.close()
            kept = read(self.paths.partial if self.paths.partial.exists() else self.paths.output)
            for name in self.said:
                self._take_back(name, _said(kept, name))
        self._begin_run(retry=retry)

    def _stop(self) -> None:
        """End a run in good order."""
        if not self.journal.finished:
            self.journal.note_run(RunNote(MOMENT, MOMENT, 1.0, "sigterm"))
            self._commit()
        self.journal.close()

    def _commit(self) -> None:
        if self.journal.finished:
            return
        self._await(self.journal.commit)
        if self.syncs:
            self._be_sure()

    def _be_sure(self) -> None:
        self.sure = {name: len(said) for name, said in self.said.items()}

    def _publish(self, *, ordered: bool) -> None:
        state = self.journal.state
        totals = state.ledger.totals(started_at=MOMENT, finished_at=MOMENT, wall_s=1.0, version="0")
        self._commit()
        self.publishing = True
        self._await(lambda: self.journal.publish(totals, ordered=ordered))
        self._check_output()
        self.outputs.append(self.paths.output.read_bytes())
        if self.disk.unharmed:
            del self.outputs[:-1]
            self._be_sure()
        self.publishing = False

    def _check_output(self) -> None:
        kept = read(self.paths.output)
        assert kept.totals is not None
        assert {name for name, _ in kept.entries} == set(self.versions)
        assert kept.lines == len(kept.entries)
        assert all(entry.terminal for entry in kept.entries.values())
        for name, said in self.said.items():
            assert _said(kept, name) == said[-1]
        attempts = sum(entry.ours["attempts"] for entry in kept.entries.values())
        assert kept.totals["attempts"] == attempts

    def _finish(self) -> None:
        with self.disk.spinning():
            self._answer_all()
            if not self.journal.finished:
                self._publish(ordered=True)

    def _answer_all(self) -> None:
        while self.left:
            self.answer(0, failed=False)

    def _await(self, work: Callable[[], Awaitable[Any]]) -> None:
        async def wait() -> None:
            await work()

        self.runner.run(wait())

    def _attempt(self, name: str, status: int) -> tuple[Task, Reply]:
        task = self.left[name]
        self.spent += 1
        usage = Usage(self.spent, 0, self.spent)
        task.add_spend(Spend(1, 0, usage))
        return task, Reply(status, {}, b"{}", 0.1)

    def _note(self, name: str, task: Task, *, terminal: bool) -> None:
        assert task.spend is not None
        tokens = task.spend.usage.total_tokens
        self.said[name].append(Said(terminal, task.spend.attempts, tokens))

    def _bytes(self) -> set[bytes]:
        found = (path.read_bytes() for path in self.folder.glob("out.jsonl*"))
        return {content for content in found if content}


def _line(name: str, version: int) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": f"{name} {version}"}]}
    return orjson.dumps({"custom_id": name, "body": body})


def _said(kept: Kept, name: str) -> Said | None:
    entry = kept.entries.get((name, 0))
    if entry is None:
        return None
    ours = entry.ours
    return Said(entry.terminal, ours["attempts"], ours["usage"]["total_tokens"])


def _prove(reckon: Reckoner, *, examples: int, steps: int) -> None:
    Machine.survived = 0
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Machine.survived
    reckon.count(cuts=Machine.survived)


def test_power_cuts(reckon: Reckoner) -> None:
    """Wherever the power is cut, what was committed stands and OUTPUT is whole."""
    _prove(reckon, examples=30, steps=15)


@pytest.mark.crash
def test_many_power_cuts(reckon: Reckoner) -> None:
    """The same, for longer."""
    _prove(reckon, examples=600, steps=40)
