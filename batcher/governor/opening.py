"""The opening of a window: a factor a round, while the rounds stay short.

A round lets the window's number of requests leave and takes the time until three quarters of them
are back. Counting what is back, rather than how long the answers took, also counts the requests
that are still out, so that a round of quick answers among slow ones does not deceive.
"""

from __future__ import annotations

import math

from batcher.governor.looks import Tally

__all__ = ["Opening"]

# Each round shows whether the last growth was borne, so a round risks this factor and no more. TCP
# doubles; here the range is a thousand-fold (4 to 5,000) and a round may last many seconds.
GROWTH = 4.0
# The slowest quarter of a long-tailed endpoint must not hold a round up.
ROUND_SHARE = 0.75
# A round with four times the requests that takes twice as long still delivers twice as much. More
# is overload. The noise of 16 exponential latencies stays below it in about 39 rounds of 40.
SLOWER = 2.0
# A refusal needs time to reach us before the next growth, however fast the answers are.
ROUND_LEAST_S = 0.1


class Opening:
    """Rounds of growth from `size` to `ceiling`.

    Attributes:
        round_s: Time of the last round that was borne; None before the first.
        over: Whether the ceiling or an overload has been reached.
    """

    __slots__ = ("_back_s", "_before", "_ceiling", "_growth", "_size", "over", "round_s")

    def __init__(self, size: int, *, ceiling: int, growth: float | None) -> None:
        self._size = size
        self._before = size
        self._ceiling = ceiling
        self._growth = GROWTH if growth is None else growth
        self._back_s: float | None = None
        self.round_s: float | None = None
        self.over = False

    @property
    def mean_s(self) -> float | None:
        """About the time in flight."""
        return self.round_s

    def begin(self, tally: Tally, now_s: float, next_seq: int) -> None:
        """Begin a round, of requests that leave from now on."""
        self._back_s = None
        tally.reset(
            now_s,
            from_seq=next_seq,
            due_answers=math.ceil(ROUND_SHARE * self._size),
            due_s=math.inf if self.round_s is None else now_s + SLOWER * self._allowed_s(),
        )

    def judge(self, tally: Tally, now_s: float, *, used: bool) -> int:
        """End a round; return the window's size from now on."""
        took_s = max(now_s - tally.began_s, 1e-6)
        if self.round_s is not None and took_s > SLOWER * self._allowed_s():
            if not used and tally.answers < tally.due_answers:
                return self._size
            return self._overloaded(took_s)
        if not used:
            return self._size
        self.round_s = took_s if self.round_s is None else min(self.round_s, took_s)
        if self._size >= self._ceiling:
            self.over = True
            return self._size
        self._before = self._size
        self._size = min(self._ceiling, math.ceil(self._size * self._growth))
        return self._size

    def _allowed_s(self) -> float:
        return max(self.round_s or 0.0, ROUND_LEAST_S)

    def _overloaded(self, took_s: float) -> int:
        """Fall back to what the last good round says that the endpoint can hold (rate x time)."""
        self.over = True
        held = self._size * self._allowed_s() / took_s
        self._size = int(min(self._size, max(self._before, held)))
        return self._size
