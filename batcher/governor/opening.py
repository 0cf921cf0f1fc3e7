"""The opening of a window: a factor a round, while the rounds stay short.

A round lets the window's number of requests leave and takes the time until three quarters of them
are back. Counting what is back, rather than how long the answers took, also counts the requests
that are still out, so that a round of quick answers among slow ones does not deceive.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.governor.looks import Tally

__all__ = ["Opening"]

# Each round shows whether the last growth was borne, and risks this factor and no more. TCP
# doubles; here the range is a thousand-fold (4 to 5,000), a round may last many seconds, and 4, 24,
# 144, 864 reaches the end of it in four.
GROWTH = 6.0
# The sends of a round are spread over this share of the time that the last took, so that a refusal
# among the first stops the rest.
SPREAD = 0.25
# The slowest quarter of a long-tailed endpoint must not hold a round up.
ROUND_SHARE = 0.75
# A round that takes longer than those before has met a limit: the next may grow by this factor
# over the square of how much longer, so that the best size is not left behind by far. A quarter
# longer is what the noise of small rounds makes.
GROWTH_LEAST = 1.5
EVEN = 1.25
# It is overload when throughput grew by less than the root of what the size grew by, and in any
# case when the round took twice as long: the climb finds what else there is at less risk. Few
# answers are a poor measure: the time of n exponential latencies is off by 1.5 / sqrt(n) once
# in ten rounds.
SLOWER_MOST = 2.0
SLOWER_NOISE = 1.5
# A round cut short is taken to need the time that the rest would take at its pace, up to so many
# times what it took: answers of equal length come all at once.
LATE_MOST = 4.0
# Rounds that took no longer than this times those before were borne with ease; only they are what
# later ones are measured by.
EASE = 1.5
# A verdict from fewer requests than this is tried once more, by TCP's pace.
ENOUGH = 16
AGAIN_GROWTH = 2.0
# Beyond its best an endpoint takes time as (n / best) ** e, e from 1 (a mere queue) to 2 (a
# throughput that falls as fast as the load grows); this is the middle.
OVERLOAD_EXPONENT = 1.5
# A refusal needs time to reach us before the next growth, however fast the answers are; four
# such rounds are a second.
ROUND_LEAST_S = 0.25


class Opening:
    """Rounds of growth from `size` to `ceiling`.

    Attributes:
        round_s: Time of a round that was borne, over all so far; None before the first.
        floor_s: Lowest mean latency of a round.
        over: Whether the ceiling or an overload has been reached.
    """

    __slots__ = (
        "_before",
        "_borne",
        "_ceiling",
        "_growth",
        "_rounds",
        "_size",
        "floor_s",
        "over",
        "round_s",
    )

    def __init__(self, size: int, *, ceiling: int, growth: float | None) -> None:
        self._size = size
        self._before = size
        self._borne = size
        self._ceiling = ceiling
        self._growth = GROWTH if growth is None else growth
        self._rounds = 0.0
        self.round_s: float | None = None
        self.floor_s = math.inf
        self.over = False

    @property
    def mean_s(self) -> float | None:
        """About the time in flight."""
        return self.round_s

    def begin(self, tally: Tally, now_s: float, next_seq: int) -> None:
        """Begin a round, of requests that leave from now on."""
        tally.reset(
            now_s,
            from_seq=next_seq,
            from_first=True,
            due_answers=math.ceil(ROUND_SHARE * self._size),
            due_s=(
                math.inf
                if self.round_s is None
                else now_s + self._spread_s() + self._most_s() * self._turnover()
            ),
        )

    def judge(self, tally: Tally, now_s: float, *, used: bool) -> int:
        """End a round; return the window's size from now on."""
        if not used:
            return self._size
        took_s = max(now_s - tally.began_s - self._spread_s(), 1e-6) / self._turnover()
        late = math.ceil(ROUND_SHARE * self._size) / max(1, tally.answers)
        slower = (
            took_s * min(LATE_MOST, max(1.0, late)) / max(self.round_s or took_s, ROUND_LEAST_S)
        )
        if self.round_s is not None and took_s >= self._most_s() - 1e-9:
            return self._overloaded(slower)
        if slower <= EASE:
            self._borne = self._size
            self._average(took_s)
        self.floor_s = min(self.floor_s, tally.sum_s / max(1, tally.answers))
        if self._size >= self._ceiling:
            self.over = True
            return self._size
        growth = max(GROWTH_LEAST, self._growth / max(1.0, slower / EVEN) ** 2)
        self._before = self._size
        self._size = min(self._ceiling, math.ceil(self._size * growth))
        return self._size

    @property
    def per_s(self) -> float:
        """Pace of a round's sends; infinite in the first, whose time is not known."""
        if self.round_s is None:
            return math.inf
        return self._size / (SPREAD * max(self.round_s, ROUND_LEAST_S))

    def _spread_s(self) -> float:
        """How much longer a round takes for having its sends spread."""
        return 0.0 if self.round_s is None else ROUND_SHARE * self._size / self.per_s

    def _turnover(self) -> float:
        """How many times the time in flight a round takes by the way it begins.

        Where the window grew by `g`, only the share 1 - 1 / g of the round leaves at once; the rest
        leaves as the requests of the round before come back.
        """
        growth = self._size / self._before
        return 1.0 + max(0.0, 1.0 - (1.0 - ROUND_SHARE) * growth) if self._rounds else 1.0

    def _average(self, took_s: float) -> None:
        """Average the rounds' times, each by its number of requests."""
        known_s = took_s if self.round_s is None else self.round_s
        self._rounds += self._size
        self.round_s = known_s + (took_s - known_s) * self._size / self._rounds

    def _most_s(self) -> float:
        noise = SLOWER_NOISE / math.sqrt(ROUND_SHARE * self._rounds)
        slower = min(SLOWER_MOST, math.sqrt(self._size / self._before))
        return max(1.2, slower) * (1 + noise) * max(self.round_s or 0.0, ROUND_LEAST_S)

    def _overloaded(self, slower: float) -> int:
        """Fall back to what the time of the round says that the endpoint bears.

        Where that rests on a handful of requests, which may have been lucky ones, the opening
        begins again from there, by doubling.
        """
        borne = int(self._size / max(1.0, slower) ** (1 / OVERLOAD_EXPONENT))
        self._size = self._before = max(self._borne, borne)
        if self._rounds < ENOUGH and self._growth > AGAIN_GROWTH:
            self._growth = AGAIN_GROWTH
            self._rounds, self.round_s = 0.0, None
        else:
            self.over = True
        return self._size
