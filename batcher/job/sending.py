"""Sending what is left of a job: the pool put together, and looked after while it works."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from batcher.checks import AnswerRule, Checker
from batcher.daemon import in_daemon
from batcher.endpoints import find, serve
from batcher.engine.clerk import Clerk
from batcher.engine.feed import Feed
from batcher.engine.monitor import Monitor, status_object
from batcher.engine.plan import Plan
from batcher.engine.pool import Pool
from batcher.engine.purse import Purse
from batcher.engine.settle import Settler
from batcher.engine.stop import StopSwitch
from batcher.errors import UsageError
from batcher.governor import Governor, Limits
from batcher.job.funds import Funds
from batcher.job.outcome import Watch
from batcher.journal import Keeper, Lock
from batcher.pricing import load_pricer
from batcher.records import Progress, StopReason
from batcher.retry import RetryPolicy
from batcher.settings import Settings, target_url
from batcher.transport import BaseTransport, Transport, open_transport

if TYPE_CHECKING:
    from batcher.engine.turns import Turns
    from batcher.handlers import Handlers

__all__ = ["Sending"]

_TICK_S: Final = 0.25
# A look that comes so late means that the process was stopped, or starved.
_STALLED_S: Final = 1.0
_STATUS_EVERY_S: Final = 1.0

# Files that a run needs besides its connections.
_OTHER_FILES: Final = 64


class Sending:
    """Works a feed off, keeping the journal on the disk and the user told.

    Args:
        lock: Also tells `batcher status` how it goes; None where there is nothing to tell of.
        watch: Told how it goes.
        switch: Stops it.

    Attributes:
        checker: Holds answers against what rows claim.
        pricer: Usage to money.
        progress: The last that was told; None before the first.
        leased_by: The run, as leases in the journal name it; empty where it took none.

    Raises:
        UsageError: The settings can't be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        lock: Lock | None,
        watch: Watch | None,
        switch: StopSwitch,
    ) -> None:
        self._settings = settings
        self._known = find(settings.endpoint)
        priced = find(settings.priced_as or settings.endpoint)
        self.pricer = load_pricer(settings.prices, provider=priced.provider if priced else None)
        self.checker = Checker(
            AnswerRule.from_table(settings.answer),
            lenient=settings.lenient,
            calls_are_steps=bool(settings.handlers),
        )
        self._handlers = _handlers_of(settings)
        self._lock = lock
        self._watch = watch
        self._switch = switch
        self._status_at_s = 0.0
        self.progress: Progress | None = None
        self.leased_by = ""
        self._pool: Pool | None = None

    async def send(self, journal: Keeper, feed: Feed, plan: Plan | None) -> None:
        """Send what is left, keeping the journal on the disk meanwhile."""
        settings, switch = self._settings, self._switch
        funds = Funds(settings, self.pricer)
        clerk = Clerk(
            journal,
            endpoint=settings.endpoint,
            price=self.pricer.price,
            bounds=funds.bounds,
            prices=self.pricer.source,
        )
        if (why := await funds.open(journal.state.ledger, clerk.run)) is not None:
            switch.throw(StopReason.BUDGET, why)
            return
        if funds.note:
            self._log(funds.note)
        turns = self._turns(clerk)
        most_turns = 1 if turns is None else turns.most
        purse = funds.purse(journal, clerk.run, most_turns=most_turns, eager=self._lock is None)
        self.leased_by = "" if purse is None else clerk.run
        async with self._connected(journal) as transport:
            monitor = self._put_together(
                transport, feed=feed, journal=journal, clerk=clerk, turns=turns, purse=purse
            )
            monitor.plan, monitor.limit = plan, funds.limit
            await self._work(monitor.pool, monitor, transport)
        # No lease may follow the note of the run's end.
        journal.pledge = None
        try:
            await funds.close(journal.state.ledger, switch.reason)
        except UsageError as error:
            # What it spent is known to the journal: the job's next run writes it down.
            self._log(str(error))

    @asynccontextmanager
    async def _connected(self, journal: Keeper) -> AsyncIterator[BaseTransport]:
        """Open what rows are sent through: an endpoint of our own, connections, handlers."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            base_url = settings.base_url
            if self._known and self._known.served:
                self._log(f"starting the endpoint {self._known.name}")
                served = serve(self._known, settings.endpoint_options)
                base_url = await stack.enter_async_context(served)
            transport = await stack.enter_async_context(self._transport(base_url, journal))
            if self._handlers is not None:
                await stack.enter_async_context(self._handlers)
            yield transport

    def _put_together(
        self,
        transport: BaseTransport,
        *,
        feed: Feed,
        journal: Keeper,
        clerk: Clerk,
        turns: Turns | None,
        purse: Purse | None,
    ) -> Monitor:
        """Put the pool together, and who looks on."""
        settings, switch = self._settings, self._switch
        concurrency = _open_files_for(settings.concurrency)
        governor = Governor(
            Limits(concurrency, settings.rpm, settings.tpm, settings.give_up_after_s),
            time.monotonic(),
        )
        settler = Settler(
            policy=RetryPolicy(settings.max_attempts, give_up_after_s=settings.give_up_after_s),
            governor=governor,
            clerk=clerk,
            switch=switch,
            checker=self.checker if settings.check_answers else None,
            turns=turns,
            purse=purse,
        )
        pool = Pool(
            feed=feed,
            governor=governor,
            transport=transport,
            settler=settler,
            clerk=clerk,
            journal=journal,
            switch=switch,
            concurrency=concurrency,
            carrier=self._handlers,
            purse=purse,
        )
        return Monitor(pool=pool, feed=feed, governor=governor, journal=journal, switch=switch)

    def _turns(self, clerk: Clerk) -> Turns | None:
        """Make what takes rows from one answer to the next, where there may be more than one."""
        settings, handlers = self._settings, self._handlers
        if handlers is None and settings.on_invalid == "fail":
            return None
        from batcher.engine.turns import Turns
        from batcher.turns import TurnPolicy

        policy = TurnPolicy(
            on_invalid=settings.on_invalid,
            max_repairs=settings.max_repairs,
            transcript=settings.transcript,
        )
        if handlers is not None:
            policy = handlers.policy(policy)
        return Turns(policy, checker=self.checker, clerk=clerk)

    def _transport(self, base_url: str, journal: Keeper) -> BaseTransport:
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
            held_elsewhere=journal.backlog_bytes,
        )
        if note:
            self._log(note)
        return transport

    def wake(self) -> None:
        """Let the pool look for work: what held it back may be gone."""
        if self._pool is not None:
            self._pool.wake()

    async def _work(self, pool: Pool, monitor: Monitor, transport: Transport) -> None:
        done = anyio.Event()
        journal = monitor.journal
        async with anyio.create_task_group() as group:
            # The list of prices takes longer to load than the first answer to come.
            group.start_soon(in_daemon, self.pricer.warm)
            group.start_soon(journal.commit_until, done)
            group.start_soon(self._tick, pool, monitor, transport, done)
            self._pool = pool
            await pool.run()
            self._pool = None
            done.set()
            journal.wake()
        self._show(monitor.progress())

    async def _tick(
        self, pool: Pool, monitor: Monitor, transport: Transport, done: anyio.Event
    ) -> None:
        """Look after the run until it is done: times, limits, what it shows."""
        drained_s = math.inf
        now_s, stalled = time.monotonic(), False
        while not done.is_set():
            with anyio.move_on_after(_TICK_S):
                await done.wait()
            looked_s, now_s = now_s, time.monotonic()
            # Answers that came during a stall are read first: they are paid for.
            stalled = not stalled and now_s - looked_s > _STALLED_S
            if not stalled:
                transport.sweep(now_s)
            self._notice(monitor, now_s)
            if self._switch.thrown and drained_s == math.inf:
                drain_s = self._settings.drain_s
                drained_s = now_s + (self._settings.timeout_s if drain_s is None else drain_s)
            if self._switch.thrown and self._handlers:
                self._handlers.drain()
            if self._switch.urgent or now_s >= drained_s:
                transport.abort()
                if self._handlers:
                    self._handlers.abort()
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
        if self._lock is not None and progress.elapsed_s >= self._status_at_s:
            self._status_at_s = progress.elapsed_s + _STATUS_EVERY_S
            self._lock.write(status_object(progress))
        self.progress = progress

    def _log(self, text: str) -> None:
        if self._watch is not None:
            self._watch.log(text)


def _handlers_of(settings: Settings) -> Handlers | None:
    """Make what the job names to carry its tools out, or nothing."""
    if not settings.handlers:
        return None
    from batcher.handlers import open_handlers

    return open_handlers(settings)


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
