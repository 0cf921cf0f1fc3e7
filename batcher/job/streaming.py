"""A run without files: rows come from a program, and results go back to it.

It is the same run as any, but for its two ends: a `RowFeed` in the source's place and a `Relay` in
the journal's. What it costs in memory is what every run costs, some 30 bytes a row.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Iterable
from typing import Any

from batcher import __version__
from batcher.codec import RowParser
from batcher.engine.clerk import timestamp
from batcher.engine.feed import RowFeed
from batcher.engine.roster import Roster
from batcher.engine.stop import StopSwitch
from batcher.errors import UsageError
from batcher.job.outcome import Outcome, Watch
from batcher.job.sending import Sending
from batcher.journal import Relay
from batcher.settings import Settings

__all__ = ["Streaming"]


class Streaming:
    """One run over the rows of a program.

    Args:
        rows: JSON objects, or their text.
        watch: Told how it goes.
        switch: Stops it when thrown.

    Raises:
        UsageError: The settings can't be used; nothing was sent.
    """

    def __init__(
        self,
        settings: Settings,
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        watch: Watch | None,
        switch: StopSwitch,
    ) -> None:
        if settings.rehearse:
            raise UsageError("a job is rehearsed, and this is none: nothing was sent")
        self._sending = Sending(settings, lock=None, watch=watch, switch=switch)
        self._relay = Relay()
        roster = Roster(RowParser.of(settings, self._sending.checker), self._relay.state)
        self._feed = RowFeed(rows, roster, settings.limit)
        self._switch = switch
        self._began_unix = time.time()
        self._began_s = time.monotonic()

    @property
    def outcome(self) -> Outcome:
        """How it stands, or how it ended."""
        reason = self._switch.reason
        totals = self._relay.state.ledger.totals(
            started_at=timestamp(self._began_unix),
            finished_at=timestamp(time.time()),
            wall_s=time.monotonic() - self._began_s,
            version=__version__,
            stop_reason=reason,
            prices=self._sending.pricer.source,
        )
        return Outcome(totals, reason, self._switch.message)

    async def run(self) -> Outcome:
        """Send the rows until they end, or the switch is thrown.

        Raises:
            Exception: What the program's rows raised.
        """
        try:
            await self._sending.send(self._relay, self._feed, None)
        finally:
            self._relay.end()
        if self._feed.error is not None:
            raise self._feed.error
        return self.outcome

    async def next_line(self) -> bytes | None:
        """Await the next result's line; None once the run has ended and all have been taken."""
        crowded = self._relay.crowded()
        line = await self._relay.take()
        if crowded and not self._relay.crowded():
            self._sending.wake()
        return line
