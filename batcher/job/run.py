"""One job, run once: lock, journal, plan, sending, publication.

Nothing is sent before the whole of what can be refused beforehand has been refused, and nothing is
published before every row of the source has its result.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from functools import partial
from typing import Any, Final

from batcher import __version__
from batcher.codec import RowParser
from batcher.daemon import in_daemon
from batcher.engine.clerk import timestamp
from batcher.engine.feed import Feed, SourceFeed
from batcher.engine.monitor import status_object
from batcher.engine.plan import Plan, make_plan, require_same_job
from batcher.engine.roster import Roster
from batcher.engine.stop import StopSwitch
from batcher.errors import StorageError
from batcher.job.mixture import refuse_mixture
from batcher.job.outcome import BrokenOffError, InterruptedRunError, Outcome, Watch
from batcher.job.pending import count_open, count_pending
from batcher.job.sending import Sending
from batcher.job.signals import obeyed
from batcher.journal import Halted, Journal, Lock, Paths, RunNote
from batcher.journal.reserve import LINE_BYTES
from batcher.records import StopReason
from batcher.settings import Settings
from batcher.source import Source

__all__ = ["run"]

# How often it is looked whether the run was stopped while its source is being opened.
_LOOK_S: Final = 0.25

# Room kept on the disk for what is in flight when it fills up, until larger answers are seen.
_RESERVE_BYTES: Final = 4 * 1024 * 1024


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
    switch = switch or StopSwitch()
    go = partial(_run, watch=watch, signals=signals, switch=switch)
    if not settings.rehearse:
        return await go(settings)
    # Few jobs are rehearsed, and it reads outputs as reports do: the start waits for neither.
    from batcher.job.rehearsal import rehearse

    return await rehearse(settings, go)


async def _run(
    settings: Settings, *, watch: Watch | None, signals: bool, switch: StopSwitch
) -> Outcome:
    paths = Paths(settings.output)
    paths.check(settings.source)
    lock = Lock(paths.lock)
    try:
        with obeyed(switch) if signals else nullcontext():
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
        self._sending = Sending(settings, lock=lock, watch=watch, switch=switch)

    async def go(self) -> Outcome:
        """Do the whole of it."""
        settings = self._settings
        parser = RowParser.of(settings, self._sending.checker)
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
            await self._begin(journal, plan, gone)
            if retries:
                journal.mark_retry()
            feed = SourceFeed(source, roster, plan)
            await self._sending.send(journal, feed, plan)
            return await self._end(journal, source, feed, plan)
        finally:
            if source is not None:
                source.close()
            journal.close()

    async def _open_journal(self) -> Journal:
        settings = self._settings
        if not settings.fresh:
            refuse_mixture(self._paths, endpoint=settings.endpoint)
        try:
            return await in_daemon(
                partial(
                    Journal,
                    self._paths,
                    durability=settings.durability,
                    fresh=settings.fresh,
                    reserve_bytes=max(_RESERVE_BYTES, settings.concurrency * LINE_BYTES),
                    halted=lambda: self._switch.urgent,
                )
            )
        except Halted:
            raise self._broken_off() from None

    def _broken_off(self) -> BrokenOffError:
        interrupted = self._switch.reason is StopReason.SIGINT
        return (InterruptedRunError if interrupted else BrokenOffError)(self._switch.message)

    async def _begin(self, journal: Journal, plan: Plan | None, gone: list[int]) -> None:
        """Make ready to write; take back what the source no longer asks for."""
        try:
            aside = await in_daemon(journal.begin)
        except Halted:
            raise self._broken_off() from None
        for name in aside:
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
            in_daemon(
                partial(
                    Source,
                    settings.source,
                    form=settings.source_format,
                    limit=settings.limit,
                    spool_into=spool,
                )
            )
        )
        while not opening.done() and not self._switch.thrown:
            await asyncio.wait([opening], timeout=_LOOK_S)
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

    def _log(self, text: str) -> None:
        if self._watch is not None:
            self._watch.log(text)

    async def _end(
        self, journal: Journal, source: Source, feed: Feed, plan: Plan | None
    ) -> Outcome:
        """Publish a job that is complete; else leave word of the run."""
        complete = feed.ended and feed.failure is None and not count_open(journal.state)
        try:
            await journal.commit()
            if complete:
                totals = self._totals(journal)
                await journal.publish(totals, ordered=self._settings.ordered)
                return await self._outcome(totals)
        except StorageError as error:
            self._switch.throw(StopReason.STORAGE, str(error))
        except Halted:
            self._log("the output was not published: the same command does it")
        return await self._stopped(journal, source, plan, feed)

    async def _stopped(
        self, journal: Journal, source: Source | None, plan: Plan | None, feed: Feed | None = None
    ) -> Outcome:
        """Leave word of a run that stopped, and say how far the job is."""
        reason, message = self._switch.reason, self._switch.message
        if reason is None:
            raise RuntimeError("a run ended without its rows and without a reason")
        pending = await count_pending(
            journal.state, source, plan, feed, urgent=lambda: self._switch.urgent
        )
        totals = self._totals(journal, stop_reason=reason, pending=pending)
        if not journal.finished and feed is not None:
            wall_s = time.monotonic() - self._began_s
            note = RunNote(
                timestamp(self._began_unix),
                timestamp(time.time()),
                wall_s,
                reason.word,
                run=self._sending.leased_by,
            )
            try:
                # First all that it tells the end of: the note gives the lease back.
                await journal.commit()
                journal.note_run(note)
                await journal.commit()
            except StorageError as error:
                message = f"{message}; {error}" if str(error) not in message else message
        status = status_object(self._sending.progress, stop_reason=reason.word, message=message)
        self._lock.write({**status, "pending": pending})
        return Outcome(totals, reason, message)

    async def _outcome(self, totals: dict[str, Any]) -> Outcome:
        """Tell of a finished job; with known labels, also how many were met."""
        gold = self._settings.answer.get("gold")
        if gold is None:
            return Outcome(totals, None, "")
        # Few jobs have known labels, as above.
        from batcher.report.labels import agreement

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
            prices=self._sending.pricer.source,
        )
