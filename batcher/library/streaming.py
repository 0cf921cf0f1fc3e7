"""Rows of a program in, results out, as both come: no files, bounded memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Mapping,
)
from typing import Any, Final, Self

import anyio

from batcher.engine.stop import StopSwitch
from batcher.errors import StoppedError, UsageError
from batcher.job.streaming import Streaming
from batcher.library.running import Listener, arguments_of, outcome_of, totals_of
from batcher.library.settle import settle
from batcher.records import Progress, StopReason
from batcher.results import Result
from batcher.totals import Totals

__all__ = ["Processing", "process"]

# What speaks of files, of which there are none.
_OF_FILES: Final = (
    "source", "source_format", "output", "ordered", "durability",
    "strict", "retry_failed", "resend", "prune", "fresh", "ledger", "max_cost_month",
)  # fmt: skip


class Processing:
    """Results as they come, in order of completion: an async iterator.

    Nothing is sent before the first result is asked for. Not iterating on holds the run back: what
    is in flight is answered, and no more is sent. Leaving it, by `aclose`, at the end of an
    `async with`, or by dropping it, breaks off what is in flight.
    """

    def __init__(self, work: Streaming, switch: StopSwitch) -> None:
        self._work = work
        self._switch = switch
        self._results = _results(work, switch)

    @property
    def totals(self) -> Totals:
        """What the run has come to so far; final once the results have ended."""
        return totals_of(self._work.outcome)

    def stop(self) -> None:
        """Take no more rows and send nothing more; results of what is in flight still come."""
        self._switch.throw(StopReason.CANCELLED, "asked to stop")

    def __aiter__(self) -> AsyncIterator[Result]:
        return self

    async def __anext__(self) -> Result:
        """Await the next result.

        Raises:
            StoppedError: The run stopped before the rows ended, but for `stop`.
            Exception: What the rows raised, once the results of those before have come.
        """
        return await anext(self._results)

    async def aclose(self) -> None:
        """Break off what is in flight, and end; those attempts may have been billed."""
        await self._results.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def process(
    rows: Iterable[Mapping[str, Any] | str] | AsyncIterable[Mapping[str, Any] | str],
    *,
    api_key: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Processing:
    """Send rows as they come; give a result for each, as it comes.

    Every row has exactly one result, a failure included, told apart by `custom_id`, or by `row`,
    its place among the rows. Nothing is written: for a job that can be resumed, see `run`.

    Args:
        rows: As the lines of a source: requests, Batch lines, or with `request=` any objects; as
            mappings or as JSON text. No more of them are taken than are needed.
        api_key: The key; by default it is where the command line finds it.
        on_progress: Called about four times a second.
        settings: As in `run`, but for those that speak of files.

    Raises:
        UsageError: Bad settings; nothing was sent.
    """
    for name in _OF_FILES:
        if name in settings:
            raise UsageError(f"{name} speaks of files, and process has none: see batcher.run")
    words = {**arguments_of(settings, None), "source": "-", "output": os.devnull}
    settled = settle(None, arguments=words, api_key=api_key)
    switch = StopSwitch()
    watch = None if on_progress is None else Listener(on_progress)
    return Processing(Streaming(settled, rows, watch=watch, switch=switch), switch)


async def _results(work: Streaming, switch: StopSwitch) -> AsyncGenerator[Result, None]:
    """Run in a task of its own while the results are taken; it never outlives this."""
    task = asyncio.create_task(work.run())
    try:
        while (line := await work.next_line()) is not None:
            yield Result.from_line(line)
    finally:
        if not task.done():
            switch.urgent = True
            switch.throw(StopReason.CANCELLED, "cancelled")
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])
        if not task.cancelled():
            # Who left does not ask how it ended, but asyncio complains of what nobody looks at.
            task.exception()
    outcome = outcome_of(task)
    if outcome.stop is not None and outcome.stop is not StopReason.CANCELLED:
        raise StoppedError(outcome.message, exit_code=outcome.exit_code)
