"""How many requests of one lane may be in flight: found by what the endpoint delivers.

The window counts answers; when a stretch is over it asks its mode what to do:

- `Opening` (at the start, and after an outage) grows by a factor a round, while rounds stay short.
- `Paced` (where a rate is known) makes way for the rate, while the endpoint keeps up.
- `Climbing` compares the throughput of the present size with that of a size a step away.

A surge of failures halves the window at once, whatever the mode.
"""

from __future__ import annotations

import math

from batcher.governor.climbing import Climbing
from batcher.governor.looks import Tally
from batcher.governor.opening import Opening
from batcher.governor.paced import Paced

__all__ = ["START", "Window"]

# The smallest endpoint worth tuning for has about four places; TCP opened with as many for years
# (RFC 3390).
START = 4
# Above this share of failures it is a surge. Scattered failures cost throughput, which is compared
# anyway. Five of them are no coincidence.
SURGE_SHARE = 0.3
SURGE_LEAST = 5
# It is looked for in stretches of at least so many answers.
SURGE_ANSWERS = 20
# Failures that go on at an eighth of the window do not come from its size.
SURGE_CUTS_MOST = 3
# What an outage tears down fails moments before nobody answers any more.
CUT_WITH_OUTAGE_S = 5.0
# After an outage: TCP's pace, from a size that was borne before.
REOPEN_GROWTH = 2.0
# Where the climb finds the best to be far, the window opens again, as gently: the first opening has
# been wrong already. By doubling it takes one latency for what takes the climb three.
FAR_GROWTH = 2.0
# Half the share that made it a surge: it is over.
SURGE_OVER_SHARE = 0.15


class Window:
    """The window of one lane.

    Attributes:
        size: What may be in flight now.
        blocked: Set by the lane when the window alone kept a request from leaving.
        hindered: Set by the lane when a limit on the rate did. A window that does not bind is
            neither judged nor grown; one that binds now and then beside a rate makes way for it.
        moved: Set when the pace of an opening has changed; for the lane to clear.
        rate_per_s: Set by the lane to the rate that holds, infinite while none is known.
    """

    __slots__ = (
        "_answers_before",
        "_bad_before",
        "_cut_s",
        "_cuts",
        "_mode",
        "_tally",
        "_uncut",
        "blocked",
        "hindered",
        "most",
        "moved",
        "rate_per_s",
        "size",
    )

    def __init__(self, most: int, now_s: float, *, rate_per_s: float = math.inf) -> None:
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
        self.rate_per_s = rate_per_s
        self._mode: Opening | Paced | Climbing = Opening(self.size, now_s, ceiling=most)
        if rate_per_s < math.inf:
            self._mode = Paced(self.size, most, now_s)
        self._bad_before = self._answers_before = 0
        self._restart(now_s, next_seq=0)

    @property
    def per_s(self) -> float:
        """Pace at which requests may leave while the window opens; infinite otherwise."""
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
        if isinstance(self._mode, Opening) and self.rate_per_s < math.inf:
            self._make_way(now_s, next_seq)
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
        self._mode = Opening(
            self.size, now_s, ceiling=ceiling, left=next_seq, growth=REOPEN_GROWTH, again=True
        )
        self._restart(now_s, next_seq)

    def _restart(self, now_s: float, next_seq: int) -> None:
        self.blocked = self.hindered = False
        self._answers_before += self._tally.answers
        self._bad_before += self._tally.answers - self._tally.good
        if self._answers_before >= SURGE_ANSWERS:
            self._answers_before = self._bad_before = 0
        self._mode.begin(self._tally, now_s, next_seq)

    def _judge(self, now_s: float, in_flight: int, next_seq: int) -> None:
        mode = self._mode
        if isinstance(mode, Paced):
            self._judge_paced(mode, now_s, in_flight, next_seq)
            return
        if self._hindered(mode):
            self._make_way(now_s, next_seq)
            self._restart(now_s, 0)
            return
        if isinstance(mode, Opening):
            self._judge_opening(mode, now_s, in_flight, next_seq)
            return
        before = mode.looked
        self.size = mode.judge(
            self._tally, now_s, in_flight, used=self.blocked and not self.hindered
        )
        if mode.far is not None:
            self.moved = True
            self._mode = Opening(
                self.size,
                now_s,
                ceiling=self.most,
                left=next_seq,
                growth=FAR_GROWTH,
                known=mode.far,
            )
            self._restart(now_s, 0)
        elif mode.looked != before:
            self.blocked = self.hindered = False
            if mode.failed_share < SURGE_OVER_SHARE:
                self._cuts = 0

    def _hindered(self, mode: Opening | Climbing) -> bool:
        """Whether a rate takes over: the window opens under one, or binds beside one."""
        if isinstance(mode, Opening):
            return self.rate_per_s < math.inf and not mode.again
        answered = self._tally.answers >= self._tally.due_answers
        return answered and self.hindered and (self.blocked or mode.rising)

    def _judge_opening(self, mode: Opening, now_s: float, in_flight: int, next_seq: int) -> None:
        if self.hindered or not self.blocked:
            # The window is not what holds the run: nothing to learn before a window's worth of
            # answers, which is what a run that waits for its source should pay for.
            self._restart(now_s, 0)
            self._tally.due_answers = max(START, self.size)
            return
        self.moved = True
        back = next_seq - in_flight
        self.size = mode.judge(self._tally.good, now_s, left=next_seq, back=back)
        if mode.over and self.rate_per_s < math.inf:
            self._make_way(now_s, next_seq)
        elif mode.over:
            self._climb()
        self._restart(now_s, 0)

    def _judge_paced(self, mode: Paced, now_s: float, in_flight: int, next_seq: int) -> None:
        self.size = mode.judge(
            self._tally.good,
            now_s,
            left=next_seq,
            back=next_seq - in_flight,
            rate_per_s=self.rate_per_s,
            full=self.blocked,
        )
        if mode.over:
            self._climb()
        self._restart(now_s, 0)

    def _make_way(self, now_s: float, next_seq: int) -> None:
        """Follow the rate that has become known."""
        self.moved = True
        self._mode = Paced(self.size, self.most, now_s, left=next_seq)

    def _climb(self) -> None:
        floor_s = self._mode.floor_s
        self._mode = Climbing(self.size, self.most, mean_s=self.mean_s, floor_s=floor_s)

    def _surged(self) -> bool:
        bad = self._bad_before + self._tally.answers - self._tally.good
        answers = self._answers_before + self._tally.answers
        return bad >= SURGE_LEAST and bad > SURGE_SHARE * answers and self._cuts < SURGE_CUTS_MOST

    def _cut(self, now_s: float, next_seq: int) -> None:
        if self._cuts == 0:
            self._uncut = self.size
        self._cuts += 1
        self._cut_s = now_s
        self.moved = True
        self.size = max(1, self.size // 2)
        self._climb()
        self._restart(now_s, next_seq)
        self._answers_before = self._bad_before = 0
