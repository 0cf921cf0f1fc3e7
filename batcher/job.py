"""One job, run once: lock, journal, plan, endpoint, pool, publication.

Nothing is sent before the whole of what can be refused beforehand has been refused, and nothing is
published before every row of the source has its result.
"""

from __future__ import annotations

import asyncio
import math
import resource
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import anyio

from batcher import __version__
from batcher.checks import AnswerRule, Checker
from batcher.codec import RowParser
from batcher.endpoints import find, serve
from batcher.engine.clerk import Clerk, timestamp
from batcher.engine.daemon import in_daemon
from batcher.engine.feed import Feed
from batcher.engine.monitor import Monitor, status_object
from batcher.engine.plan import Plan, make_plan, require_same_job
from batcher.engine.pool import Pool
from batcher.engine.roster import Roster
from batcher.engine.settle import Settler
from batcher.engine.stop import StopSwitch
from batcher.errors import BatcherError, StorageError, UsageError
from batcher.governor import Governor, Limits
from batcher.journal import Journal, Lock, Paths, RunNote, ScanHalted
from batcher.journal.index import DONE, SEEN
from batcher.pricing import load_pricer
from batcher.records import Progress, StopReason
from batcher.report.labels import agreement
from batcher.retry import RetryPolicy
from batcher.settings import Settings, target_url
from batcher.source import Source
from batcher.transport import BaseTransport, Transport, open_transport

__all__ = ["BrokenOffError", "InterruptedRunError", "Outcome", "Watch", "run"]

_TICK_S: Final = 0.25
_STATUS_EVERY_S: Final = 1.0

# Files that a run needs besides its connections.
_OTHER_FILES: Final = 64

# Room kept on the disk for what is in flight when it fills up: 8,000 tokens or so for each answer.
_RESERVE_BYTES: Final = 4 * 1024 * 1024
_ANSWER_BYTES: Final = 32 * 1024

# timeout(1) signals its child and then the child's whole group: one stop, told twice.
_ECHO_S: Final = 0.3

# Longest time spent, when a run stops, on counting the rows that were not read.
_COUNT_MOST_S: Final = 5.0

_SIGNALS: Final = {
    signal.SIGINT: (StopReason.SIGINT, "interrupted"),
    signal.SIGTERM: (StopReason.SIGTERM, "asked to stop (SIGTERM)"),
    signal.SIGHUP: (StopReason.SIGHUP, "the terminal is gone (SIGHUP)"),
}


class BrokenOffError(BatcherError):
    """A second signal ended the run before it had read what stands there."""

    exit_code = StopReason.SIGTERM.exit_code


class InterruptedRunError(BrokenOffError):
    """The same by SIGINT."""

    exit_code = StopReason.SIGINT.exit_code


class Watch(Protocol):
    """Is told how a run goes."""

    def update(self, progress: Progress) -> None:
        """Take the present state; called about four times a second."""

    def log(self, text: str) -> None:
        """Take a note of one line."""


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        totals: The totals as they stand in the output; when it stopped, those so far, with
            `stop_reason` and `pending`.
        stop: Why it stopped before the job was complete, or None.
        message: The same in plain words, or empty.
        agreement: Labels that agree with the known ones, and labels compared; None without any.
    """

    totals: dict[str, Any]
    stop: StopReason | None
    message: str
    agreement: tuple[int, int] | None = None

    @property
    def exit_code(self) -> int:
        """The exit code that the documentation promises."""
        if self.stop is not None:
            return self.stop.exit_code
        return 3 if self.totals["request_counts"]["failed"] else 0


async def run(
    settings: Settings,
    *,
    watch: Watch | None = None,
    signals: bool = True,
    switch: StopSwitch | None = None,
) -> Outcome:
    """Run a job until it is complete or must stop.

    Args:
        settings: The job.
        watch: Told how it goes.
        signals: Whether SIGINT, SIGTERM and SIGHUP stop it; only in the main thread.
        switch: Stops it when thrown.

    Raises:
        UsageError: Nothing was sent.
        OutputLockedError: Another run holds the output.
        StorageError: Files failed before anything was sent.
    """
    if settings.max_cost_usd is not None:
        # Better no run than one that only seems to be bounded.
        raise UsageError("--max-cost can't be kept yet: nothing was sent; leave it out to run")
    switch = switch or StopSwitch()
    paths = Paths(settings.output)
    paths.check()
    lock = Lock(paths.lock)
    try:
        with _obeyed(_SIGNALS if signals else {}, switch):
            return await _Run(settings, paths, lock, watch, switch).go()
    finally:
        # An unfinished job keeps what its last run said of itself.
        lock.release(remove=not paths.partial.exists())


class _Run:
    """One invocation, from the lock to the publication."""

    def __init__(
        self, settings: Settings, paths: Paths, lock: Lock, watch: Watch | None, switch: StopSwitch
    ) -> None:
        self._settings = settings
        self._paths = paths
        self._lock = lock
        self._watch = watch
        self._switch = switch
        self._began_unix = time.time()
        self._began_s = time.monotonic()
        self._status_at_s = 0.0
        self._progress: Progress | None = None
        self._known = find(settings.endpoint)
        provider = self._known.provider if self._known else None
        self._pricer = load_pricer(settings.prices, provider=provider)

    async def go(self) -> Outcome:
        """Do the whole of it."""
        settings = self._settings
        self._checker = Checker(AnswerRule.from_table(settings.answer))
        parser = RowParser.of(settings, self._checker)
        self._lock.write(status_object(None))
        journal = await self._open_journal()
        source = None
        try:
            retries = self._take_back_failures(journal)
            source = await self._open_source(journal)
            if source is None:
                return await self._stopped(journal, None, None)
            roster = Roster(parser, journal.state)
            plan = await self._plan(journal, source, roster)
            if self._switch.thrown:
                return await self._stopped(journal, source, plan)
            gone = [] if plan is None else self._refuse(journal, plan)
            if journal.totals and plan is not None and not plan.lines and not gone:
                return await self._outcome(journal.totals)
            self._begin(journal, plan, gone)
            if retries:
                journal.mark_retry()
            feed = Feed(source, roster, plan)
            await self._send(journal, feed, plan)
            return await self._end(journal, source, feed, plan)
        finally:
            if source is not None:
                source.close()
            journal.close()

    async def _open_journal(self) -> Journal:
        settings = self._settings
        try:
            return await in_daemon(
                partial(
                    Journal,
                    self._paths,
                    durability=settings.durability,
                    fresh=settings.fresh,
                    reserve_bytes=max(_RESERVE_BYTES, settings.concurrency * _ANSWER_BYTES),
                    halted=lambda: self._switch.urgent,
                )
            )
        except ScanHalted:
            interrupted = self._switch.reason is StopReason.SIGINT
            raise (InterruptedRunError if interrupted else BrokenOffError)(
                self._switch.message
            ) from None

    def _begin(self, journal: Journal, plan: Plan | None, gone: list[int]) -> None:
        """Make ready to write; take back what the source no longer asks for."""
        for name in journal.begin():
            self._log(f"what was there is kept as {name}")
        if journal.failure is not None:
            self._switch.throw(StopReason.STORAGE, str(journal.failure))
        for entry in plan.changed_entries if plan else ():
            journal.state.reopen(entry)
        for entry in gone:
            journal.state.prune(entry)

    def _take_back_failures(self, journal: Journal) -> bool:
        """Reopen what failed, where that is newly asked; say whether there was any."""
        state = journal.state
        if not self._settings.retry_failed or state.retrying:
            return False
        any_failed = any(True for _ in state.failures())
        if any_failed:
            state.begin_retry()
        return any_failed

    def _reads_twice(self, journal: Journal) -> bool:
        return len(journal.state.index) > 0 or self._settings.strict

    async def _open_source(self, journal: Journal) -> Source | None:
        """Open the source; None where the run was stopped first: a pipe may never say a word."""
        spool = self._paths.output.parent if self._reads_twice(journal) else None
        settings = self._settings
        opening = asyncio.ensure_future(
            in_daemon(partial(Source, settings.source, limit=settings.limit, spool_into=spool))
        )
        while not opening.done() and not self._switch.thrown:
            await asyncio.wait([opening], timeout=_TICK_S)
        if not opening.done():
            opening.cancel()
            return None
        return opening.result()

    async def _plan(self, journal: Journal, source: Source, roster: Roster) -> Plan | None:
        if not self._reads_twice(journal):
            return None
        plan = await in_daemon(
            partial(make_plan, source, roster, stopped=lambda: self._switch.thrown)
        )
        source.rewind()
        return plan

    def _refuse(self, journal: Journal, plan: Plan) -> list[int]:
        """Refuse what must be, before anything is sent; return the entries to be pruned."""
        settings = self._settings
        if settings.strict:
            plan.refuse_bad_rows()
        return require_same_job(plan, journal.state, resend=settings.resend, prune=settings.prune)

    async def _send(self, journal: Journal, feed: Feed, plan: Plan | None) -> None:
        """Send what is left, keeping the journal on the disk meanwhile."""
        settings, switch = self._settings, self._switch
        concurrency = _open_files_for(settings.concurrency)
        governor = Governor(
            Limits(concurrency, settings.rpm, settings.tpm, settings.give_up_after_s),
            time.monotonic(),
        )
        clerk = Clerk(journal, endpoint=settings.endpoint, price=self._pricer.price)
        policy = RetryPolicy(settings.max_attempts, give_up_after_s=settings.give_up_after_s)
        settler = Settler(
            policy=policy,
            governor=governor,
            clerk=clerk,
            switch=switch,
            checker=self._checker if settings.check_answers else None,
        )
        async with AsyncExitStack() as stack:
            base_url = settings.base_url
            if self._known and self._known.served:
                self._log(f"starting the endpoint {self._known.name}")
                served = serve(self._known, settings.endpoint_options)
                base_url = await stack.enter_async_context(served)
            transport = await stack.enter_async_context(self._transport(base_url))
            pool = Pool(
                feed=feed,
                governor=governor,
                transport=transport,
                settler=settler,
                clerk=clerk,
                journal=journal,
                switch=switch,
                concurrency=concurrency,
            )
            monitor = Monitor(
                pool=pool,
                feed=feed,
                governor=governor,
                journal=journal,
                switch=switch,
                plan=plan,
            )
            await self._work(pool, monitor, transport)

    def _transport(self, base_url: str) -> BaseTransport:
        settings = self._settings
        headers = dict(settings.headers)
        if settings.api_key is not None:
            bearer = settings.auth_header.lower() == "authorization"
            key = f"Bearer {settings.api_key}" if bearer else settings.api_key
            headers[settings.auth_header] = key
        transport, note = open_transport(
            settings.transport,
            resolve=partial(target_url, base_url),
            headers=headers,
            timeout_s=settings.timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
            ca_file=settings.ca_file,
            trust_env=settings.trust_env,
        )
        if note:
            self._log(note)
        return transport

    async def _work(self, pool: Pool, monitor: Monitor, transport: Transport) -> None:
        done = anyio.Event()
        journal = monitor.journal
        async with anyio.create_task_group() as group:
            # The list of prices takes longer to load than the first answer to come.
            group.start_soon(in_daemon, self._pricer.warm)
            group.start_soon(journal.commit_until, done)
            group.start_soon(self._tick, pool, monitor, transport, done)
            await pool.run()
            done.set()
            journal.wake()
        self._show(monitor.progress())

    async def _tick(
        self, pool: Pool, monitor: Monitor, transport: Transport, done: anyio.Event
    ) -> None:
        """Look after the run until it is done: times, limits, what it shows."""
        drained_s = math.inf
        while not done.is_set():
            with anyio.move_on_after(_TICK_S):
                await done.wait()
            now_s = time.monotonic()
            transport.sweep(now_s)
            self._notice(monitor, now_s)
            if self._switch.thrown and drained_s == math.inf:
                drain_s = self._settings.drain_s
                drained_s = now_s + (self._settings.timeout_s if drain_s is None else drain_s)
            if self._switch.urgent or now_s >= drained_s:
                transport.abort()
            pool.wake()
            self._show(monitor.progress())

    def _notice(self, monitor: Monitor, now_s: float) -> None:
        """Throw the switch where there is cause."""
        if monitor.journal.failure is not None:
            self._switch.throw(StopReason.STORAGE, str(monitor.journal.failure))
        deadline_unix = self._settings.deadline_unix
        if deadline_unix is not None and time.time() >= deadline_unix:
            self._switch.throw(StopReason.DEADLINE, "the deadline has come")
        if (given_up := monitor.governor.give_up(now_s)) is not None:
            self._switch.throw(StopReason.ENDPOINT_DOWN, given_up)

    def _show(self, progress: Progress) -> None:
        if self._watch is not None:
            self._watch.update(progress)
        if progress.elapsed_s >= self._status_at_s:
            self._status_at_s = progress.elapsed_s + _STATUS_EVERY_S
            self._lock.write(status_object(progress))
        self._progress = progress

    def _log(self, text: str) -> None:
        if self._watch is not None:
            self._watch.log(text)

    async def _end(
        self, journal: Journal, source: Source, feed: Feed, plan: Plan | None
    ) -> Outcome:
        """Publish a job that is complete; else leave word of the run."""
        complete = feed.ended and feed.failure is None and not _open_rows(journal)
        try:
            await journal.commit()
            if complete:
                totals = self._totals(journal)
                await journal.publish(totals, ordered=self._settings.ordered)
                return await self._outcome(totals)
        except StorageError as error:
            self._switch.throw(StopReason.STORAGE, str(error))
        return await self._stopped(journal, source, plan, feed)

    async def _stopped(
        self, journal: Journal, source: Source | None, plan: Plan | None, feed: Feed | None = None
    ) -> Outcome:
        """Leave word of a run that stopped, and say how far the job is."""
        reason, message = self._switch.reason, self._switch.message
        if reason is None:
            raise RuntimeError("a run ended without its rows and without a reason")
        pending = await self._pending(journal, source, plan, feed)
        totals = self._totals(journal, stop_reason=reason, pending=pending)
        if not journal.finished and feed is not None:
            wall_s = time.monotonic() - self._began_s
            journal.note_run(
                RunNote(timestamp(self._began_unix), timestamp(time.time()), wall_s, reason.word)
            )
            try:
                await journal.commit()
            except StorageError as error:
                message = f"{message}; {error}" if str(error) not in message else message
        status = status_object(self._progress, stop_reason=reason.word, message=message)
        self._lock.write({**status, "pending": pending})
        return Outcome(totals, reason, message)

    async def _pending(
        self, journal: Journal, source: Source | None, plan: Plan | None, feed: Feed | None
    ) -> int | None:
        """Count the rows without a result; None where the rest of the source can't be counted."""
        open_rows = _open_rows(journal)
        if feed is None or source is None:
            return None if plan is None else open_rows
        if plan is not None or feed.ended:
            return open_rows
        if not source.rereadable:
            return None
        left = await in_daemon(partial(_count_rows, source, lambda: self._switch.urgent))
        return None if left is None else max(0, left - feed.taken) + open_rows

    async def _outcome(self, totals: dict[str, Any]) -> Outcome:
        """Tell of a finished job; with known labels, also how many were met."""
        gold = self._settings.answer.get("gold")
        if gold is None:
            return Outcome(totals, None, "")
        agreed = await in_daemon(partial(agreement, self._paths.output, gold=gold))
        return Outcome(totals, None, "", agreed)

    def _totals(
        self,
        journal: Journal,
        *,
        stop_reason: StopReason | None = None,
        pending: int | None = None,
    ) -> dict[str, Any]:
        state = journal.state
        return state.ledger.totals(
            started_at=state.first_started_at or timestamp(self._began_unix),
            finished_at=timestamp(time.time()),
            wall_s=state.wall_s + time.monotonic() - self._began_s,
            version=__version__,
            stop_reason=stop_reason,
            pending=pending,
            prices=self._pricer.source,
        )


def _open_rows(journal: Journal) -> int:
    """Rows of the source, as far as it was read, that have no result."""
    return sum(1 for flags in journal.state.index.flags if flags & (SEEN | DONE) == SEEN)


def _count_rows(source: Source, stopped: Callable[[], bool]) -> int | None:
    """Count the rows of the whole source, or give up."""
    until_s = time.monotonic() + _COUNT_MOST_S
    count = 0
    try:
        source.rewind()
        while block := source.read_block():
            count += len(block)
            if stopped() or time.monotonic() > until_s:
                return None
    except StorageError:
        return None
    return count


def _open_files_for(concurrency: int) -> int:
    """Raise the limit of open files as far as it is needed; return what it suffices for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = concurrency + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return concurrency
    if hard == resource.RLIM_INFINITY or hard > soft:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(concurrency, soft - _OTHER_FILES))


@contextmanager
def _obeyed(
    signals: Mapping[signal.Signals, tuple[StopReason, str]], switch: StopSwitch
) -> Iterator[None]:
    """Let signals throw the switch; a second one makes it urgent."""
    loop = asyncio.get_running_loop()
    heard_s = -math.inf

    def obey(reason: StopReason, text: str) -> None:
        nonlocal heard_s
        now_s = time.monotonic()
        if now_s - heard_s > _ECHO_S:
            # A deadline may have thrown the switch: only a second signal is urgent.
            switch.urgent = switch.urgent or heard_s > -math.inf
            heard_s = now_s
            switch.throw(reason, text)

    # What the caller had ignored (nohup) stays ignored.
    heard = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, obey, *signals[number])
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
