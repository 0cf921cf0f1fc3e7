"""How many requests of one lane may be in flight: found by what the endpoint delivers.

The window counts answers; when a stretch is over it asks its mode what to do:

- `Opening` (at the start, and after an outage) grows by a factor a round, while rounds stay short.
- `Climbing` compares the throughput of the present size with that of a size a step away.

A surge of failures halves the window at once, whatever the mode.
"""

from __future__ import annotations

import math

from batcher.governor.climbing import Climbing
from batcher.governor.looks import Tally
from batcher.governor.opening import ROUND_LEAST_S, Opening

__all__ = ["START", "Window"]

# The smallest endpoint worth tuning for has about four places; TCP opened with as many for years
# (RFC 3390).
START = 4
# Above this share of failures it is a surge. Scattered failures cost throughput, which is compared
# anyway. Five of them are no coincidence.
SURGE_SHARE = 0.3
SURGE_LEAST = 5
# Failures that go on at an eighth of the window do not come from its size.
SURGE_CUTS_MOST = 3
# What an outage tears down fails moments before nobody answers any more.
CUT_WITH_OUTAGE_S = 5.0
# After an outage: TCP's pace, from a size that was borne before.
REOPEN_GROWTH = 2.0
# Latencies vary: what a rate needs in flight goes up and down by about this much.
WAY_GROWTH = 1.5
# Half the share that made it a surge: it is over.
SURGE_OVER_SHARE = 0.15


class Window:
    """The window of one lane.

    Attributes:
        size: What may be in flight now.
        blocked: Set by the lane when the window alone kept a request from leaving.
        hindered: Set by the lane when a limit on the rate did. A window that does not bind is
            neither judged nor grown; one that binds now and then beside a rate makes way for it.
        moved: Set when the opening has taken a step; for the lane to clear.
    """

    __slots__ = (
        "_cut_s",
        "_cuts",
        "_mode",
        "_tally",
        "_uncut",
        "blocked",
        "hindered",
        "most",
        "moved",
        "size",
    )

    def __init__(self, most: int, now_s: float) -> None:
        """Open with `START`, never above `most`."""
        self.most = most
        self.size = min(START, most)
        self.blocked = False
        self.hindered = False
        self.moved = False
        self._cuts = 0
        self._uncut = 0
        self._cut_s = -math.inf
        self._tally = Tally()
        self._mode: Opening | Climbing = Opening(self.size, ceiling=most, growth=None)
        self._restart(now_s, next_seq=0)

    @property
    def per_s(self) -> float:
        """Pace at which a round of the opening may leave; infinite outside one."""
        return self._mode.per_s if isinstance(self._mode, Opening) else math.inf

    @property
    def mean_s(self) -> float | None:
        """Mean time in flight, once known."""
        return self._mode.mean_s

    def settled(  # hot: an object to carry these would cost more than the call
        self, seq: int, latency_s: float, now_s: float, in_flight: int, next_seq: int, *, good: bool
    ) -> None:
        """Count an answer or a failure; refusals for rate are none of the window's business."""
        tally = self._tally
        if seq >= tally.from_seq:
            if latency_s > tally.clip_s:  # noqa: PLR1730  # min() costs three times as much
                latency_s = tally.clip_s
            if tally.from_first:
                tally.from_first = False
                tally.began_s = now_s - latency_s
            tally.answers += 1
            tally.good += good
            tally.sum_s += latency_s
            tally.sum2_s2 += latency_s * latency_s
            if not good and self._surged():
                self._cut(now_s, next_seq)
                return
        if tally.answers >= tally.due_answers or now_s >= tally.due_s:
            self._judge(now_s, in_flight, next_seq)

    def refused(self, now_s: float, next_seq: int) -> None:
        """Hear that a request was refused for rate: a round under way says nothing any more."""
        if isinstance(self._mode, Opening):
            self._restart(now_s, next_seq)

    def reopen(self, down_s: float, now_s: float, next_seq: int) -> None:
        """Start again after an outage that began at `down_s`.

        From a quarter, by doubling, up to the size from before it. Cuts that the outage's own
        failures made do not count.
        """
        ceiling = (
            max(self.size, self._uncut) if self._cut_s > down_s - CUT_WITH_OUTAGE_S else self.size
        )
        self.size = max(1, ceiling // 4)
        self._cuts = 0
        self._mode = Opening(self.size, ceiling=ceiling, growth=REOPEN_GROWTH)
        self._restart(now_s, next_seq)

    def _restart(self, now_s: float, next_seq: int) -> None:
        self.blocked = self.hindered = False
        self._mode.begin(self._tally, now_s, next_seq)

    def _judge(self, now_s: float, in_flight: int, next_seq: int) -> None:
        mode = self._mode
        if self.hindered and self._tally.answers >= self._tally.due_answers:
            rising = isinstance(mode, Climbing) and mode.rising
            if self.blocked or rising:
                self._make_way(now_s, 1.0 if rising else WAY_GROWTH)
                return
        if isinstance(mode, Opening):
            least_s = self._tally.began_s + ROUND_LEAST_S
            if now_s < least_s:
                self._tally.due_answers, self._tally.due_s = math.inf, least_s
                return
            self.moved = True
            self.size = mode.judge(self._tally, now_s, used=self.blocked and not self.hindered)
            if not mode.over:
                self._restart(now_s, next_seq)
                return
            mode = self._mode = Climbing(
                self.size, self.most, mean_s=mode.round_s, floor_s=mode.floor_s
            )
            mode.begin(self._tally, now_s, 0)
            return
        before = mode.looked
        self.size = mode.judge(
            self._tally, now_s, in_flight, used=self.blocked and not self.hindered
        )
        if mode.looked != before:
            self.blocked = self.hindered = False
            if mode.failed_share < SURGE_OVER_SHARE:
                self._cuts = 0

    def _make_way(self, now_s: float, growth: float) -> None:
        """Grow, or keep a trial, unjudged: the rate keeps the endpoint from overload already."""
        self.moved = True
        self.size = min(self.most, math.ceil(growth * self.size))
        floor_s = self._mode.floor_s
        self._mode = Climbing(self.size, self.most, mean_s=self.mean_s, floor_s=floor_s)
        self._restart(now_s, 0)

    def _surged(self) -> bool:
        bad = self._tally.answers - self._tally.good
        return (
            bad >= SURGE_LEAST
            and bad > SURGE_SHARE * self._tally.answers
            and self._cuts < SURGE_CUTS_MOST
        )

    def _cut(self, now_s: float, next_seq: int) -> None:
        if self._cuts == 0:
            self._uncut = self.size
        self._cuts += 1
        self._cut_s = now_s
        self.moved = True
        self.size = max(1, self.size // 2)
        floor_s = self._mode.floor_s
        self._mode = Climbing(self.size, self.most, mean_s=self.mean_s, floor_s=floor_s)
        self._restart(now_s, next_seq)
