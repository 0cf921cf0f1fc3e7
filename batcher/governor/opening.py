"""The opening of a window: each answer makes room for several more, while answers keep coming.

Growth is clocked by answers, as in TCP's slow start: an endpoint that slows down slows the growth
down before anything has been judged, and no more has left than it answered for. What leaves is
spread over the time of a round, or answers would come in bursts that say nothing in between.

It ends at the ceiling, or when the lag shows that requests wait in a queue.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batcher.governor.lag import Lag

if TYPE_CHECKING:
    from batcher.governor.looks import Tally

__all__ = ["ROUND_LEAST_S", "Opening", "fallen"]

# By this a window grows in a round. TCP doubles; here the range is a thousand-fold (4 to 5,000) and
# a round may last many seconds: four of them for a thousand. More would overrun small endpoints.
GROWTH = 8.0
FIRST_GROWTH = 6.0
# A round is over when as much as this of what it began with is back: a long tail must not hold it
# up.
ROUND_SHARE = 0.75
# What leaves is paced at this many windows a round: twice of what comes back.
SPREAD = 2.0
# It is judged after each eighth of the window, so that growth is nearly continuous.
SHARES = 8
# The lag may rise by a quarter unheeded (the noise of small rounds); beyond that growth falls with
# its square, to nothing where it has doubled.
EVEN = 1.25
SLOWER_MOST = 2.0
# Few answers are a poor measure: the lag of n exponential latencies is off by 1.5 / sqrt(n) once in
# ten rounds.
SLOWER_NOISE = 1.5
# Rounds whose lag was no more than this times those before were borne with ease; only they are what
# later ones are measured by.
EASE = 1.5
# A round that brought less than this is the last: what is left to find is for the climb.
STALLED = 1.1
# A verdict from fewer requests than this is tried once more, by TCP's pace.
ENOUGH = 16
AGAIN_GROWTH = 2.0
# Beyond its best an endpoint's throughput stays (a mere queue) or falls as fast as the load grows;
# this is the middle, as an exponent: per_s = best * (best / n) ** FALL.
FALL = 0.5
# A refusal needs time to reach us before the next growth, however fast the answers are; four
# such rounds are a second.
ROUND_LEAST_S = 0.25


def fallen(size: int, borne: float) -> int:
    """Return the best size, by what was served at `size`: `borne` at the latency of a calm one."""
    return max(1, min(size, int((borne * size**FALL) ** (1 / (1 + FALL)))))


class Opening:
    """Growth from `size` to `ceiling`.

    Attributes:
        again: Whether it opens again, after an outage.
        mean_s: Time in flight over the rounds that were borne; None before the first.
        floor_s: The same, once it rests on enough; infinite before.
        over: Whether the ceiling or an overload has been reached.
        per_s: Pace at which requests may leave; infinite while the time of a round is not known.
    """

    __slots__ = (
        "_answers",
        "_began_s",
        "_borne",
        "_ceiling",
        "_growth",
        "_lag",
        "_lag_s",
        "_room",
        "_seen",
        "_size",
        "_start",
        "again",
        "floor_s",
        "mean_s",
        "over",
        "per_s",
    )

    def __init__(
        self,
        size: int,
        now_s: float,
        *,
        ceiling: int,
        left: int = 0,
        growth: float | None = None,
        known: tuple[float, float] | None = None,
        again: bool = False,
    ) -> None:
        """Start at `size`; of what left before, `left` in number, nothing is judged.

        `known` is the mean time in flight so far, and the number of answers that it rests on.
        """
        self._size = self._start = self._borne = size
        self._room = float(size)
        self._ceiling = ceiling
        self._growth = GROWTH if growth is None else growth
        self._lag = Lag(left, left, now_s)
        self._lag_s = 0.0
        self._answers = 0
        self.mean_s: float | None = None if known is None else known[0]
        self._seen = 0.0 if known is None else known[1]
        self._began_s = now_s
        self.again = again
        self.floor_s = self.mean_s if self.mean_s and self._seen >= ENOUGH else math.inf
        self.over = False
        self.per_s = math.inf

    def begin(self, tally: Tally, now_s: float, next_seq: int) -> None:
        """Go on counting; requests that left before `next_seq` never count."""
        tally.reset(now_s, from_seq=next_seq, due_answers=max(1, self._size // SHARES))

    def judge(self, answers: int, now_s: float, *, left: int, back: int) -> int:
        """Go on from what came back while the window held; return its size from now on.

        Args:
            answers: What came back well since the last time.
            now_s: Monotonic seconds.
            left: How many requests have left so far.
            back: How many of them are under way no more.
        """
        lag_s = self._lag.look(left, back, now_s)
        if lag_s is None:
            return self._size
        self._answers += answers
        self._lag_s += answers * lag_s
        slower = 1.0 if self.mean_s is None else lag_s / max(self.mean_s, ROUND_LEAST_S)
        if self.mean_s is not None and slower > self._slower_most():
            self._overloaded(left, back, now_s)
            return self._size
        self._grow(answers, slower)
        if self._answers >= ROUND_SHARE * self._start and now_s - self._began_s >= ROUND_LEAST_S:
            self._round(self._lag_s / self._answers, now_s)
        return self._size

    def _grow(self, answers: int, slower: float) -> None:
        growth = self._full_growth() / max(1.0, slower / EVEN) ** 2
        self._room += max(0.0, growth - 1.0) * answers
        self._room = min(self._room, self._ceiling, self._full_growth() * self._start)
        self._size = max(self._size, int(self._room))
        if self.mean_s is not None:
            self.per_s = SPREAD * self._size / max(self.mean_s, ROUND_LEAST_S)

    def _round(self, lag_s: float, now_s: float) -> None:
        """Average the lags, each by its number of requests, and begin the next round."""
        known_s = lag_s if self.mean_s is None else self.mean_s
        if lag_s <= EASE * max(known_s, ROUND_LEAST_S):
            self._seen += self._answers
            self.mean_s = known_s + (lag_s - known_s) * self._answers / self._seen
            self._borne = self._start
            if self._seen >= ENOUGH:
                self.floor_s = self.mean_s
        if self._start >= self._ceiling or self._size < STALLED * self._start:
            self.over = True
        self._start, self._began_s = self._size, now_s
        self._answers, self._lag_s = 0, 0.0
        if self.over:
            self.per_s = math.inf

    def _full_growth(self) -> float:
        return min(self._growth, FIRST_GROWTH) if self._seen < ENOUGH else self._growth

    def _slower_most(self) -> float:
        return SLOWER_MOST * (1 + SLOWER_NOISE / math.sqrt(self._seen))

    def _overloaded(self, left: int, back: int, now_s: float) -> None:
        """Fall back to what the endpoint bears, by what it lets through now.

        Where that rests on a handful of requests, which may have been lucky ones, the opening
        begins again from there, by doubling.
        """
        calm_s = max(self.mean_s or 0.0, ROUND_LEAST_S)
        borne = calm_s * self._lag.per_s(back, now_s, calm_s)
        self._size = self._start = max(min(self._borne, self._size), fallen(self._size, borne))
        self._room = float(self._size)
        self.per_s = math.inf
        if self._seen >= ENOUGH or self._growth <= AGAIN_GROWTH:
            self.over = True
            return
        self._growth = AGAIN_GROWTH
        self._lag = Lag(left, back, now_s)
        self._answers, self._lag_s, self._seen, self.mean_s = 0, 0.0, 0.0, None
        self._began_s = now_s
