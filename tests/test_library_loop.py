"""batcher within a program's loop: runs side by side, threads, cancelling, what is told."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest

import batcher
from tests.harness import rows
from tests.program import Program
from tests.server import Does, Endpoint


def test_a_loop_that_runs_is_respected(program: Program) -> None:
    """`run` says what to do within a loop, rather than fail in its depths."""

    async def main() -> None:
        program.run()

    with pytest.raises(batcher.UsageError, match="await batcher"):
        asyncio.run(main())


def test_two_runs_at_once(program: Program, endpoint: Endpoint, handlers: None) -> None:
    """Two runs share a loop of plain asyncio with the program's own work."""
    program.write(rows(20))
    policy = asyncio.get_event_loop_policy if sys.version_info < (3, 14) else lambda: None
    before = type(policy())
    beats = 0

    async def main() -> tuple[batcher.Totals, batcher.Totals]:
        nonlocal beats

        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0)

        beating = asyncio.create_task(beat())
        try:
            return await asyncio.gather(program.run_async("a.jsonl"), program.run_async("b.jsonl"))
        finally:
            beating.cancel()

    first, second = asyncio.run(main())
    assert first.request_counts == second.request_counts == batcher.RequestCounts(20, 20, 0)
    assert endpoint.books.attempts == 40
    assert beats > 10
    assert type(policy()) is before


def test_same_output_twice(program: Program, endpoint: Endpoint) -> None:
    """A second run of the same output in one process is refused while the first one goes."""
    endpoint.always(Does.WAIT)
    program.write(rows(2))

    async def main() -> batcher.Totals:
        first = asyncio.create_task(program.run_async())
        await asyncio.to_thread(endpoint.wait_until, lambda books: books.in_flight == 2)
        with pytest.raises(batcher.OutputLockedError):
            await program.run_async()
        endpoint.release()
        return await first

    assert asyncio.run(main()).complete


def test_run_in_a_thread_and_stop(program: Program, endpoint: Endpoint) -> None:
    """`run` works in a thread, and `Stop` stops it from outside: what is in flight is awaited."""
    endpoint.always(Does.WAIT)
    program.write(rows(9))
    stop = batcher.Stop()
    found: list[batcher.Totals] = []
    thread = threading.Thread(target=lambda: found.append(program.run(concurrency=2, stop=stop)))
    thread.start()
    endpoint.wait_until(lambda books: books.in_flight == 2)
    stop.drain()
    endpoint.release()
    thread.join(20)
    (totals,) = found
    assert (totals.stop_reason, totals.pending, totals.complete) == ("cancelled", 7, False)
    assert totals.request_counts.completed == endpoint.books.attempts == 2
    with pytest.raises(batcher.StoppedError, match="asked to stop") as caught:
        totals.raise_for_stop()
    assert caught.value.exit_code == totals.exit_code == 130
    assert program.run().request_counts.completed == 9
    assert endpoint.books.attempts == 9


def test_stop_at_once(program: Program, endpoint: Endpoint) -> None:
    """`Stop.now` breaks off what is in flight, and the bill says that it may be charged."""
    endpoint.always(Does.WAIT)
    program.write(rows(9))
    stop = batcher.Stop()

    async def main() -> batcher.Totals:
        run = asyncio.create_task(program.run_async(concurrency=2, stop=stop))
        await asyncio.to_thread(endpoint.wait_until, lambda books: books.in_flight == 2)
        stop.now()
        return await run

    totals = asyncio.run(main())
    assert (totals.stop_reason, totals.attempts_without_usage) == ("cancelled", 2)
    endpoint.release()
    assert program.run().attempts == endpoint.books.attempts == 11


def cancelled_at_two(program: Program, endpoint: Endpoint, on_cancel: Any, times: int) -> None:
    """Cancel a run with two requests in flight, so many times; it ends cancelled."""

    async def main() -> None:
        draining = asyncio.Event()

        def look(progress: batcher.Progress) -> None:
            if progress.held_by == "draining":
                draining.set()

        run = asyncio.create_task(
            program.run_async(concurrency=2, on_cancel=on_cancel, on_progress=look)
        )
        await asyncio.to_thread(endpoint.wait_until, lambda books: books.in_flight == 2)
        for _ in range(times):
            run.cancel()
            await asyncio.sleep(0)
        await draining.wait()
        if on_cancel == "drain" and times == 1:
            # What is broken off is broken off by now.
            endpoint.release()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())


def test_cancelling_drains(program: Program, endpoint: Endpoint) -> None:
    """A cancelled run awaits what is in flight and keeps its answers; nothing is paid twice."""
    endpoint.always(Does.WAIT)
    program.write(rows(9))
    cancelled_at_two(program, endpoint, "drain", 1)
    assert endpoint.books.attempts == 2
    assert sum(1 for _ in batcher.read_results(program.output, unfinished=True)) == 2
    totals = program.run()
    assert (totals.attempts, totals.attempts_without_usage) == (9, 0)
    assert endpoint.books.attempts == 9


@pytest.mark.parametrize(("on_cancel", "times"), [("stop", 1), ("drain", 2)])
def test_cancelling_stops(program: Program, endpoint: Endpoint, on_cancel: str, times: int) -> None:
    """Asked to stop, or cancelled again, a run breaks off; what it broke off is on the bill."""
    endpoint.always(Does.WAIT)
    program.write(rows(9))
    cancelled_at_two(program, endpoint, on_cancel, times)
    endpoint.release()
    totals = program.run()
    assert (totals.attempts, totals.attempts_without_usage) == (11, 2)


def test_a_timeout_cancels(program: Program, endpoint: Endpoint) -> None:
    """`asyncio.timeout` ends a run as it ends anything else."""
    endpoint.always(Does.WAIT)
    program.write(rows(9))

    async def main() -> None:
        async with asyncio.timeout(0.2):
            await program.run_async(on_cancel="stop")

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_progress_is_told(program: Program) -> None:
    """`on_progress` hears of the run, to its last state."""
    seen: list[batcher.Progress] = []
    program.write(rows(5))
    program.run(on_progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (5, 5)


def test_what_a_listener_raises_comes_out(program: Program) -> None:
    """An exception of the program's own function reaches it as it is; what was paid for is kept."""

    def look(progress: batcher.Progress) -> None:
        if progress.done:
            raise LookupError

    program.write(rows(3))
    with pytest.raises(LookupError):
        program.run(on_progress=look)
    assert program.run().attempts == 3
