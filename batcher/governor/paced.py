"""The window where a rate is known: it makes way, as long as the endpoint keeps up.

Little's law says how many requests a rate keeps in flight: the rate times the latency. So nothing
has to be searched for: each answer makes room for many more, up to a few times that number, and the
pace of the rate spreads them. Growth is clocked by answers, so an endpoint that stops answering
stops it.

What ends this mode is overload: answers that take several times as long as they did.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batcher.governor.lag import Lag
from batcher.governor.opening import fallen

if TYPE_CHECKING:
    from batcher.governor.looks import Tally

__all__ = ["Paced"]

# Each answer makes room for so many more: three latencies from 4 to what 500 a second need at 8 s.
GROWTH = 16
# Latencies vary, and more so when few answers show them: room for this many times what Little's law
# asks, and some more where that is next to nothing. The rate is pace enough.
NEED_FACTOR = 3.0
NEED_LEAST = 16.0
# No rate is above this; it keeps infinity out of the sums.
RATE_MOST_PER_S = 1e9
# Latency this many times what it was is overload, whatever the law: while the window grows as fast
# as it may, it shows half of an exponential latency.
OVERLOAD = 4.0
STRETCH_ANSWERS = 16
# What a stretch of a window is judged in: eighths, so that growth is nearly continuous.
SHARE = 8
# As in `climbing`: a lucky stretch must not rule for ever.
FLOOR_DRIFT = 1.005


class Paced:
    """A window of `size`, never above `most`.

    Attributes:
        size: What may be in flight.
        mean_s: Time in flight over the last stretch; None before the first.
        floor_s: Lowest of these.
        over: Whether it ended in overload.
    """

    __slots__ = (
        "_answers",
        "_began_s",
        "_lag",
        "_lag_s",
        "_most",
        "floor_s",
        "mean_s",
        "over",
        "size",
    )  # fmt: skip

    # The rate is pace enough.
    per_s = math.inf

    def __init__(self, size: int, most: int, now_s: float, *, left: int = 0) -> None:
        """Go on from `size`; `left` requests have left before `now_s`."""
        self.size = size
        self._most = most
        self._lag = Lag(left, left, now_s)
        self._began_s = now_s
        self._answers = 0
        self._lag_s = 0.0
        self.mean_s: float | None = None
        self.floor_s = math.inf
        self.over = False

    def begin(self, tally: Tally, now_s: float, next_seq: int) -> None:
        """Go on counting; requests that left before `next_seq` never count."""
        tally.reset(now_s, from_seq=next_seq, due_answers=max(1, self.size // SHARE))

    def judge(
        self, answers: int, now_s: float, *, left: int, back: int, rate_per_s: float, full: bool
    ) -> int:
        """Go on from what came back; return the window's size from now on.

        Args:
            answers: What came back well since the last time.
            now_s: Monotonic seconds.
            left: How many requests have left so far.
            back: How many of them are not under way any more.
            rate_per_s: The rate that the window is to make way for.
            full: Whether the window kept a request from leaving since the last time.
        """
        lag_s = self._lag.look(left, back, now_s)
        since_s = now_s - self._began_s if lag_s is None else lag_s
        need = NEED_LEAST + NEED_FACTOR * min(rate_per_s, RATE_MOST_PER_S) * since_s
        self.size = max(self.size, min(self._most, self.size + GROWTH * answers, int(need)))
        if lag_s is not None:
            self._answers += answers
            self._lag_s += answers * lag_s
            if self._answers >= STRETCH_ANSWERS:
                self._stretch(self._lag_s / self._answers, full=full)
        return self.size

    def _stretch(self, lag_s: float, *, full: bool) -> None:
        slower = lag_s / self.floor_s
        if full and slower > OVERLOAD:
            self.over = True
            self.size = fallen(self.size, self.size / slower)
        self.mean_s = lag_s
        self.floor_s = min(self.floor_s * FLOOR_DRIFT, lag_s)
        self._answers, self._lag_s = 0, 0.0
