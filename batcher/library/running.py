"""A job from within a program: nothing of the program's is taken, neither its loop nor its signals.

The run is a task of its own. Cancelling who awaits it does not cut it off in the middle of a line:
it throws the run's switch, awaits its end, and is cancelled then. So nothing that was paid for is
lost on the way, and a run that was asked to break off counts what it broke off.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import anyio

from batcher.engine.stop import StopSwitch
from batcher.errors import UsageError
from batcher.job import run as run_job
from batcher.library.loop import drive
from batcher.library.settle import settle
from batcher.records import Progress, StopReason
from batcher.settings import Settings
from batcher.totals import Totals

if TYPE_CHECKING:
    from batcher.job import Outcome

__all__ = [
    "Listener",
    "Stop",
    "arguments_of",
    "outcome_of",
    "run",
    "run_async",
    "totals_of",
    "unbroken",
]

_T = TypeVar("_T")

# What the command line shows; a program shows what it likes.
_NOT_FOR_PROGRAMS: Final = {
    "progress": "give on_progress a function",
    "json": "run returns the totals",
}


class Stop:
    """Stops a run from outside, from any thread.

    Hand it to a run as `stop`; it stops every run that it was handed to.
    """

    def __init__(self) -> None:
        self.switch = StopSwitch()

    def drain(self) -> None:
        """Send nothing more; await what is in flight, at most as long as the setting `drain`."""
        self.switch.throw(StopReason.CANCELLED, "asked to stop")

    def now(self) -> None:
        """Break off what is in flight, too; those attempts count as ones without usage."""
        self.switch.urgent = True
        self.drain()


class Listener:
    """Tells a program's function how a run goes."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self.update = tell

    def log(self, text: str) -> None:
        """Notes are for people."""


def run(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    api_key: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Stop | None = None,
    **settings: Any,
) -> Totals:
    """Send a file of requests; write one result a row and the totals; return the totals.

    The same call again goes on where the last one stopped. Rows that fail are no error of the run:
    see `Totals.request_counts` and `Totals.errors`. Where a loop runs already, await `run_async`.

    Args:
        source: JSONL, plain, `.gz` or `.zst`; or a job file, `.toml`, which names the rest.
        output: Where the finished results go.
        api_key: The key; by default it is where the command line finds it.
        on_progress: Called about four times a second, in the loop of the run.
        stop: Stops the run from another thread.
        settings: By the names and in the types of a job file, such as `base_url="openai"`,
            `max_cost=2.5`, `answer={"labels": ["yes", "no"]}`. They win over the environment,
            which wins over the job file.

    Returns:
        The totals of the whole job; with a `stop_reason` where the run stopped before it was
        complete, as at a deadline. `Totals.raise_for_stop` makes that an exception.

    Raises:
        UsageError: Bad usage, settings or source; nothing was sent.
        OutputLockedError: Another run holds the output.
        StorageError: Files failed before anything was sent.
    """
    _require_no_loop()
    settled = settle(_target(source), arguments=arguments_of(settings, output), api_key=api_key)
    return drive(lambda: _totals(settled, on_progress, stop, on_cancel="drain"))


async def run_async(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    api_key: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Stop | None = None,
    on_cancel: Literal["drain", "stop"] = "drain",
    **settings: Any,
) -> Totals:
    """Do as `run`, in the loop that runs; several runs may go at once.

    Args:
        source: As in `run`.
        output: As in `run`.
        api_key: As in `run`.
        on_progress: As in `run`.
        stop: As in `run`.
        on_cancel: What cancelling this call does. `drain` sends nothing more and awaits what is in
            flight, at most as long as the setting `drain`; a second cancellation breaks it off.
            `stop` breaks it off at once: what was in flight may have been billed, and is counted
            so. Either way results that came are kept, and the job goes on when it is run again.
        settings: As in `run`.

    Raises:
        UsageError: Bad usage, settings or source; nothing was sent.
        OutputLockedError: Another run holds the output.
        StorageError: Files failed before anything was sent.
    """
    settled = settle(_target(source), arguments=arguments_of(settings, output), api_key=api_key)
    return await _totals(settled, on_progress, stop, on_cancel=on_cancel)


async def unbroken(work: Coroutine[Any, Any, _T], switch: StopSwitch, *, urgent: bool) -> _T:
    """Await a run to its end; a cancellation throws its switch and is passed on afterwards.

    Args:
        work: The run.
        switch: Stops it.
        urgent: Whether the first cancellation breaks off what is in flight; the second one does.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            # A cancelled scope of anyio's cancels again and again, but not through a shield.
            with anyio.CancelScope(shield=cancelled is not None):
                await asyncio.wait([task])
        except asyncio.CancelledError as error:
            switch.urgent = switch.urgent or urgent or cancelled is not None
            switch.throw(StopReason.CANCELLED, "cancelled")
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            # How it ended is no longer asked, but asyncio complains of what nobody looks at.
            task.exception()
        raise cancelled
    return outcome_of(task)


def outcome_of(task: asyncio.Task[_T]) -> _T:
    """Give what a task returned; raise what it raised, out of the groups that it went through."""
    try:
        return task.result()
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None


def arguments_of(settings: dict[str, Any], output: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Take a program's settings, and its output among them.

    Raises:
        UsageError: One is the command line's alone.
    """
    for name, instead in _NOT_FOR_PROGRAMS.items():
        if name in settings:
            raise UsageError(f"{name} is the command line's: {instead}")
    return settings if output is None else {**settings, "output": os.fspath(output)}


def _target(source: str | os.PathLike[str]) -> str:
    return os.fspath(source)


async def _totals(
    settings: Settings,
    on_progress: Callable[[Progress], None] | None,
    stop: Stop | None,
    *,
    on_cancel: str,
) -> Totals:
    switch = StopSwitch() if stop is None else stop.switch
    watch = None if on_progress is None else Listener(on_progress)
    work = run_job(settings, watch=watch, signals=False, switch=switch)
    outcome = await unbroken(work, switch, urgent=on_cancel == "stop")
    return totals_of(outcome)


def totals_of(outcome: Outcome) -> Totals:
    """Make the totals of how a run ended."""
    return Totals.from_json(outcome.totals, message=outcome.message, exit_code=outcome.exit_code)


def _require_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError("a loop runs in this thread already: await batcher.run_async(...) instead")
