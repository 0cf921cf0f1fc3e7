"""Why a run stops before its job is done: signals, deadline, drain; and its exit codes."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from batcher.records import Failure, Hold, Progress, Reply
from batcher.transport import BaseTransport
from tests.harness import Job, as_lines, is_locked, rows, wait_for
from tests.server import Does, Endpoint, Say


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
