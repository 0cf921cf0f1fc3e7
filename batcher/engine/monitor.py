"""How a run is going: figures for the bar, the log and `status`."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from batcher.budget import NO_LIMIT, Limit
from batcher.engine.clerk import timestamp
from batcher.engine.feed import Feed
from batcher.engine.plan import Plan
from batcher.engine.pool import Pool
from batcher.engine.stop import StopSwitch
from batcher.governor import Governor
from batcher.journal import Keeper
from batcher.records import Hold, Progress
from batcher.spend import amount_json, cost_text, spend_json
from batcher.words import plural

__all__ = ["Monitor", "status_object"]

# Rates are those of the last so many seconds: short enough to show a change, long enough to be
# steady.
_WINDOW_S: Final = 10.0


@dataclass(kw_only=True, eq=False, repr=False)
class Monitor:
    """Looks at the parts of a run and says how it goes."""

    pool: Pool
    feed: Feed
    governor: Governor
    journal: Keeper
    switch: StopSwitch
    plan: Plan | None = None
    limit: Limit = NO_LIMIT

    def __post_init__(self) -> None:
        ledger = self.journal.state.ledger
        self._began_s = time.monotonic()
        self._resumed = ledger.completed + ledger.failed
        # Of a run that is over within a moment, this is the only one before the last.
        begun = (self._began_s, self._resumed, ledger.spend.usage.total_tokens)
        self._samples: deque[tuple[float, int, int]] = deque([begun])

    def progress(self) -> Progress:
        """Take a look."""
        now_s = time.monotonic()
        ledger = self.journal.state.ledger
        failed, spend = ledger.failed, ledger.spend
        done = ledger.completed + failed
        rows_per_s, tokens_per_s = self._rates(now_s, done, spend.usage.total_tokens)
        total, exact = self._total(done)
        left = None if total is None else max(0, total - done)
        held_by, note = self._hold(now_s)
        return Progress(
            total=total,
            total_exact=exact,
            done=done,
            failed=failed,
            resumed=self._resumed,
            retrying=self.pool.retrying,
            in_flight=self.pool.in_flight,
            window=self.governor.window,
            rows_per_s=rows_per_s,
            tokens_per_min=tokens_per_s * 60,
            elapsed_s=now_s - self._began_s,
            eta_s=left / rows_per_s if left is not None and rows_per_s else None,
            held_by=held_by,
            note=note,
            spend=spend,
            killed=ledger.killed,
            max_cost_usd=self.limit.usd,
            max_tokens=self.limit.tokens,
        )

    def _rates(self, now_s: float, done: int, tokens: int) -> tuple[float, float]:
        samples = self._samples
        samples.append((now_s, done, tokens))
        while now_s - samples[0][0] > _WINDOW_S:
            samples.popleft()
        span_s = now_s - samples[0][0]
        if not span_s:
            return 0.0, 0.0
        return (done - samples[0][1]) / span_s, (tokens - samples[0][2]) / span_s

    def _total(self, done: int) -> tuple[int | None, bool]:
        if self.plan is not None:
            return self.plan.total, True
        if self.feed.ended:
            return self.feed.taken, True
        share = self.feed.share_read
        if not share or not self.feed.taken:
            return None, False
        # A block that has been read counts as read before its rows are taken, so this errs low.
        return max(done, round(self.feed.taken / share)), False

    def _hold(self, now_s: float) -> tuple[Hold, str]:
        if self.switch.thrown:
            return Hold.DRAINING, self.switch.message
        held_by, note = self.governor.hold(now_s)
        if held_by is Hold.SOURCE and self.pool.in_tools:
            return Hold.TOOLS, f"carrying out the tool calls of {plural(self.pool.in_tools, 'row')}"
        return held_by, note


def status_object(progress: Progress | None, **more: Any) -> dict[str, Any]:
    """What a run says of itself in its lock file, for `batcher status`."""
    status: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname(), **more}
    status["at"] = timestamp(time.time())
    if progress is not None:
        fields = progress._asdict()
        fields["held_by"] = progress.held_by.value
        fields["spend"] = spend_json(progress.spend)
        fields["killed"] = amount_json(progress.killed)
        limit_usd = progress.max_cost_usd
        fields["max_cost_usd"] = None if limit_usd is None else cost_text(limit_usd)
        status["progress"] = fields
    return status
