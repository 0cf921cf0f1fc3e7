"""Why a run stops before its job is done: signals, deadline, drain, lock, disk; and exit codes."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import importlib
import itertools
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from batcher.engine.plan import make_plan
from batcher.journal.tape import Tape
from batcher.records import Failure, Hold, Progress, Reply
from batcher.transport import BaseTransport
from tests.harness import Job, as_lines, row, rows, wait_for
from tests.server import Does, Endpoint, Say, Seen, refusal


def signal_when_in_flight(job: Job, endpoint: Endpoint, number: int, *, count: int) -> None:
    """Signal this process once so many are in flight, and let them go once the run drains."""
    sent = False

    def look(progress: Progress) -> None:
        nonlocal sent
        if progress.held_by is Hold.DRAINING:
            endpoint.release()
        elif not sent and progress.in_flight >= count:
            sent = True
            signal.raise_signal(number)

    job.watching = look


@pytest.mark.parametrize(
    ("number", "word", "code"),
    [
        (signal.SIGINT, "sigint", 130),
        (signal.SIGTERM, "sigterm", 143),
        (signal.SIGHUP, "sighup", 143),
    ],
)
def test_signal_drains(job: Job, endpoint: Endpoint, number: int, word: str, code: int) -> None:
    """A signal stops the sending, awaits what is in flight and keeps its answers."""
    endpoint.always(Does.WAIT)
    job.write(rows(9))
    signal_when_in_flight(job, endpoint, number, count=2)
    ran = job.run("--concurrency", "2")
    assert (ran.code, ran.totals["stop_reason"], ran.totals["pending"]) == (code, word, 7)
    assert ran.totals["request_counts"] == {"total": 9, "completed": 2, "failed": 0}
    assert ran.totals["attempts"] == endpoint.books.attempts == 2
    assert not job.output.exists()
    assert job.run().code == 0
    assert endpoint.books.attempts == 9
    job.audit()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_exit_code_of_a_process(job: Job, endpoint: Endpoint, number: int, code: int) -> None:
    """The process itself exits with the promised code, after draining."""
    endpoint.always(Does.WAIT)
    job.write(rows(50))
    with job.process("--concurrency", "2") as process:
        endpoint.wait_until(lambda books: books.in_flight == 2)
        process.signal(number)
        endpoint.release()
        ran = process.wait()
    assert (ran.code, ran.totals["pending"] > 0) == (code, True), ran.err
    assert ran.totals["attempts"] == endpoint.books.attempts
    assert "run the same command again" in ran.err
    assert job.run().code == 0
    assert endpoint.books.attempts == 50
    job.audit()


def when_it_has_come(monkeypatch: pytest.MonkeyPatch, number: int, then: Callable[[], Any]) -> None:
    """Do something once so many answers have come, before anyone has looked at the last of them."""
    send = BaseTransport.send
    came = itertools.count(1)

    async def sent(self: BaseTransport, path: str, body: bytes) -> Reply | Failure:
        outcome = await send(self, path, body)
        if next(came) == number:
            then()
        return outcome

    monkeypatch.setattr(BaseTransport, "send", sent)


def test_a_signal_as_an_answer_comes(
    job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal between an answer's arrival and its settling costs nothing."""
    when_it_has_come(monkeypatch, 5, lambda: signal.raise_signal(signal.SIGINT))
    job.write(rows(20))
    ran = job.run("--concurrency", "4")
    assert (ran.code, ran.totals["pending"] > 0) == (130, True)
    assert ran.totals["attempts"] == ran.totals["request_counts"]["completed"]
    assert ran.totals["attempts"] == endpoint.books.attempts
    assert job.run().code == 0
    assert endpoint.books.attempts == 20
    job.audit()


def test_a_worker_cancelled_as_an_answer_comes(
    job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that has come is kept whoever cancels the wait for its turn."""
    when_it_has_come(monkeypatch, 5, lambda: asyncio.current_task().cancel())  # type: ignore[union-attr]
    job.write(rows(20))
    # One at a time, so that nothing else is under way, which may be lost.
    assert job.run("--concurrency", "1").code == 1
    assert len(job.written()) == endpoint.books.attempts == 5
    assert job.run().code == 0
    assert endpoint.books.attempts == 20
    job.audit()


def test_second_signal_stops_at_once(
    job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second signal breaks off what is in flight; those attempts are on the bill as unsure."""
    monkeypatch.setattr("batcher.job.signals._ECHO_S", 0.0)
    endpoint.always(lambda seen: Does.HANG if seen.attempt == 1 else Say())
    job.write(rows(5))

    def look(progress: Progress) -> None:
        if progress.in_flight == 2:
            signal.raise_signal(signal.SIGTERM)

    job.watching = look
    ran = job.run("--concurrency", "2")
    # There was no time to count what is left.
    assert (ran.code, ran.totals["pending"]) == (143, None)
    assert (ran.totals["attempts"], ran.totals["attempts_without_usage"]) == (2, 2)
    job.watching = lambda _: None
    endpoint.always(Say())
    assert job.run().code == 0
    job.audit()


def test_drain_is_bounded(job: Job, endpoint: Endpoint) -> None:
    """--drain bounds the wait for what is in flight."""
    endpoint.on("r2", Does.HANG, Say())
    job.write(rows(5))
    signal_when_in_flight(job, endpoint, signal.SIGINT, count=1)
    ran = job.run("--concurrency", "1", "--drain", "0.1")
    assert (ran.code, ran.totals["pending"], ran.totals["attempts"]) == (130, 4, 2)
    assert job.run().code == 0
    job.audit()


def test_deadline(job: Job, endpoint: Endpoint) -> None:
    """The deadline stops the sending; the first cause of a stop decides."""
    endpoint.always(Does.WAIT)
    job.write(rows(5))

    def look(progress: Progress) -> None:
        if progress.held_by is Hold.DRAINING:
            job.watching = lambda _: None
            signal.raise_signal(signal.SIGTERM)
            endpoint.release()

    job.watching = look
    ran = job.run("--concurrency", "2", "--deadline", "0.3")
    assert (ran.code, ran.totals["stop_reason"]) == (7, "deadline")
    assert ran.totals["attempts"] == endpoint.books.attempts
    endpoint.always(Say())
    assert job.run().code == 0
    job.audit()


def test_published_though_stopped(job: Job, endpoint: Endpoint) -> None:
    """Where the drain brought the last rows in, the job is complete whatever stopped it."""
    endpoint.always(Does.WAIT)
    job.write(rows(2))
    signal_when_in_flight(job, endpoint, signal.SIGTERM, count=2)
    assert job.run().code == 0
    job.audit()


def test_ignored_signal_stays_ignored(job: Job, endpoint: Endpoint) -> None:
    """Under nohup, a terminal that goes away stops nothing."""
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        endpoint.on("r1", Does.WAIT)
        job.write(rows(3))

        def look(_: Progress) -> None:
            signal.raise_signal(signal.SIGHUP)
            endpoint.release()

        job.watching = look
        assert job.run().code == 0
    finally:
        signal.signal(signal.SIGHUP, old)
    job.audit()


@pytest.mark.parametrize("resumed", [False, True], ids=["first run", "resumed"])
def test_pipe_that_never_ends(job: Job, endpoint: Endpoint, *, resumed: bool) -> None:
    """A signal stops a run that waits for its standard input."""
    job.write(rows(2))
    if resumed:
        assert job.run().code == 0
    with job.process(source="-") as process:
        process.stdin.write(as_lines(rows(2)))
        process.stdin.flush()
        if resumed:
            wait_for(lambda: is_locked(job))
        else:
            endpoint.wait_until(lambda books: books.attempts == 2 and not books.in_flight)
        process.signal(signal.SIGTERM)
        # Standard input stays open until the process has ended.
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        ran = process.wait()
    assert (ran.code, ran.totals["stop_reason"]) == (143, "sigterm"), ran.err
    assert ran.totals["pending"] is None
    assert job.run().code == 0
    assert endpoint.books.attempts == 2
    job.audit()


def is_locked(job: Job) -> bool:
    """Whether a run holds the job's output."""
    path = job.output.with_name("out.jsonl.lock")
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return bool(path.read_bytes())
    return False


def test_one_run_at_a_time(job: Job, endpoint: Endpoint) -> None:
    """Another run of the same output is refused with 6, and disturbs nothing."""
    endpoint.on("r2", Does.WAIT)
    job.write(rows(3))
    with job.process("--concurrency", "1") as process:
        endpoint.wait_until(lambda books: books.in_flight == 1 and books.attempts == 2)
        for flags in ([], ["--fresh"], ["--retry-failed"]):
            ran = job.run(*flags)
            assert (ran.code, ran.totals) == (6, {})
            assert str(process.pid) in ran.err
        endpoint.release()
        ran = process.wait()
    assert ran.code == 0, ran.err
    assert endpoint.books.attempts == 3
    job.audit()


def test_a_look_turns_no_run_away(
    job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that begins while `status` looks at the lock waits for that moment and goes on."""
    job.write(rows(1))
    lock = job.output.with_name("out.jsonl.lock")
    lock.write_bytes(b"{}")
    with lock.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(
            "batcher.journal.files.time.sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN)
        )
        assert job.run().code == 0
    job.audit()


@pytest.mark.parametrize("suffix", ["", ".partial", ".partial.tmp", ".lock"])
@pytest.mark.parametrize("how", ["same", "symlink", "hard link", "other way"])
def test_the_source_is_spared(job: Job, endpoint: Endpoint, suffix: str, how: str) -> None:
    """Where the source stands in the place of one of the run's files, it is left as it is."""
    job.write(rows(1))
    source = job.source.rename(job.folder / f"out.jsonl{suffix}")
    named = job.folder / "named"
    if how == "symlink":
        named.symlink_to(source)
    elif how == "hard link":
        named.hardlink_to(source)
    else:
        (job.folder / "deep").mkdir()
        named = source if how == "same" else job.folder / "deep" / ".." / source.name
    before = source.read_bytes()
    ran = job.run("--fresh", source=str(named))
    assert (ran.code, endpoint.books.attempts) == (2, 0)
    assert "source" in ran.err
    assert source.read_bytes() == before
    assert not list(job.folder.glob("*.bak*"))


def test_lock_dies_with_its_process(job: Job, endpoint: Endpoint) -> None:
    """A killed run leaves its lock file, and that locks nobody out."""
    endpoint.on("r1", Does.HANG, Say())
    job.write(rows(1))
    with job.process() as process:
        endpoint.wait_until(lambda books: books.in_flight == 1)
        process.signal(signal.SIGKILL)
        assert process.wait().code == -signal.SIGKILL
    assert job.output.with_name("out.jsonl.lock").exists()
    assert job.run().code == 0
    job.audit(books=False)


def test_full_disk(job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses a write stops the run with 8; what was written stands."""
    real = Tape.write

    def refuse(self: Tape, data: bytes) -> None:
        if endpoint.books.attempts >= 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, data)

    monkeypatch.setattr(Tape, "write", refuse)
    job.write(rows(40))
    endpoint.on("r4", lambda _: _once_written(job, 3))
    ran = job.run("--concurrency", "1")
    assert (ran.code, ran.totals["stop_reason"]) == (8, "storage"), ran.err
    assert "No space left" in ran.err
    assert not job.output.exists()
    before = endpoint.books.attempts
    monkeypatch.setattr(Tape, "write", real)
    assert job.run().code == 0
    assert endpoint.books.by_key["r1"] == endpoint.books.by_key["r3"] == 1
    assert endpoint.books.attempts <= before + 37
    job.audit(books=False)


def _once_written(job: Job, count: int) -> Say:
    """Answer once so many results are in the journal."""
    wait_for(lambda: len(job.written()) >= count)
    return Say()


def test_source_changed_midway(job: Job, endpoint: Endpoint) -> None:
    """A source that changes while it is read stops the run with 8; it resumes on the new one."""

    def change(_: Seen) -> Say:
        with job.source.open("ab") as file:
            file.write(as_lines([row("late")]))
        return Say()

    # Longer than what is read ahead, so that the end is not known when the change comes.
    padding = "x" * 1000
    many = [row(f"r{number}", user=padding) for number in range(1, 801)]
    job.write(many)
    endpoint.on("r1", change)
    ran = job.run()
    assert (ran.code, ran.totals["stop_reason"]) == (8, "storage"), ran.err
    assert "changed" in ran.err
    assert not job.output.exists()
    endpoint.always(Say())
    assert job.run().code == 0
    assert endpoint.books.attempts == len(many) + 1
    job.audit()


def test_source_changed_between_two_readings(
    job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last row that is another when it is read again: exit 8, whoever looks first."""
    job.write(rows(40))
    assert job.run("--limit", "1").code == 0

    def plan_and_change(*arguments: Any, **options: Any) -> Any:
        plan = make_plan(*arguments, **options)
        then = job.source.stat()
        job.source.write_bytes(job.source.read_bytes().replace(b"r40", b"r04"))
        # Nothing but the row itself tells of the change.
        os.utime(job.source, ns=(then.st_atime_ns, then.st_mtime_ns))
        return plan

    monkeypatch.setattr(importlib.import_module("batcher.job.run"), "make_plan", plan_and_change)
    ran = job.run("--concurrency", "1")
    assert (ran.code, ran.totals["stop_reason"]) == (8, "storage"), ran.err
    assert "changed" in ran.err
    assert ran.totals["request_counts"]["completed"] == endpoint.books.attempts == 39


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["run"], id="no source"),
        pytest.param(["run", "nowhere.jsonl", "-o", "{out}", "--base-url", "{url}"], id="no file"),
        pytest.param(["run", "{in}", "--base-url", "{url}"], id="no output"),
        pytest.param(["run", "{in}", "-o", "{out}"], id="no endpoint"),
        pytest.param(["run", "{in}", "-o", "{in}", "--base-url", "{url}"], id="output is source"),
        pytest.param(
            ["run", "{in}", "-o", "{dir}", "--base-url", "{url}"], id="output is a folder"
        ),
        pytest.param(["run", "{in}", "-o", "{out}", "--base-url", "{url}", "--n"], id="bad flag"),
        pytest.param(
            ["run", "{in}", "-o", "{out}", "--base-url", "{url}", "--rpm", "x"], id="bad value"
        ),
    ],
)
def test_bad_usage(job: Job, endpoint: Endpoint, arguments: list[str]) -> None:
    """Bad usage and settings exit with 2: nothing is sent, nothing is written."""
    job.write(rows(1))
    words = {"in": job.source, "out": job.output, "dir": job.folder, "url": endpoint.url}
    ran = job.invoke(*(text.format(**words) for text in arguments))
    assert (ran.code, ran.totals) == (2, {})
    assert ran.err.startswith("batcher: ")
    assert not endpoint.books.seen
    assert [path.name for path in job.folder.iterdir()] == ["in.jsonl"]


def test_a_bug(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug exits with 1 in one line, and quotes neither prompt nor answer."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret prompt")

    monkeypatch.setattr("batcher.engine.settle.Settler.settle", fail)
    job.write(rows(1))
    ran = job.run()
    assert ran.code == 1
    assert "RuntimeError" in ran.err
    assert "secret" not in ran.err
    monkeypatch.undo()


def test_nothing_secret_is_shown(
    job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys, prompts and answers reach neither standard output nor standard error nor our files."""
    monkeypatch.setenv("BATCHER_API_KEY", "sk-very-secret")
    endpoint.on("my prompt", refusal(401, "invalid_api_key", message="sk-very-secret my prompt"))
    job.write([row("other"), row("my prompt"), "{my prompt"])
    ran = job.run("--concurrency", "1")
    assert ran.code == 5
    shown = f"{ran.err}{ran.totals}"
    assert "sk-very-secret" not in shown
    assert "my prompt" not in shown.replace(str(job.folder), "")
    assert endpoint.books.seen[0].headers["Authorization"] == "Bearer sk-very-secret"
    for path in job.folder.glob("out*"):
        assert b"sk-very-secret" not in path.read_bytes()


def test_loop_is_never_blocked(job: Job, endpoint: Endpoint) -> None:
    """While rows are sent, files are read and results written outside of the event loop."""
    endpoint.on("r3", Say(500), Does.WAIT)
    job.write(rows(200))
    watched: list[Hold] = []
    with ExitStack() as stack:

        def look(progress: Progress) -> None:
            if not watched:
                stack.enter_context(blockbuster_ctx("batcher"))
            watched.append(progress.held_by)
            if progress.done == 199:
                endpoint.release()
            elif progress.done == 200:
                stack.close()

        job.watching = look
        ran = job.run()
    assert (ran.code, len(watched) > 1) == (0, True), ran.err
    job.audit()
