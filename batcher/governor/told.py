"""The rate that an endpoint tells in its `x-ratelimit-*` headers, for requests or for tokens.

Two kinds of limiter send the same three numbers. A bucket that refills says when it would be full
again, a counter of fixed periods when the next period begins. For both,

    pace = remaining / reset

uses up the limit and no more. With a counter it spreads what remains over what is left of the
period. With a bucket it settles where the bucket is half full: reset = (limit - remaining) / rate,
so the pace equals the rate when remaining = limit / 2, is higher above and lower below.

A bucket need not hold what is stated: some state the minute's limit and keep one of seconds. What
it holds shows in two headers, of which one is near to whole: as the reset grew, what remained fell
by the rate. Where that contradicts the limit, it is believed.

The numbers are those of the time when the request was sent. What has left since is taken off, and
what a bucket has refilled put back, or slow answers would make the pace swing.
"""

from __future__ import annotations

import math

__all__ = ["ToldRate"]

# Headers so far apart tell the kinds apart, even where resets are whole seconds: a bucket's three
# numbers give the same rate again, a counter's reset runs down with the clock.
APART_S = 4.0
SAME_RATE = 0.1
SAME_END = 0.3
# A bucket's pace stays within these of its rate: noise in the headers cannot stop the run, and what
# the bucket holds at first is used up gently.
BUCKET_LEAST = 0.7
BUCKET_MOST = 1.5
# Where the kind is unknown and nothing remains, ask at this share of the rate of a bucket.
ASK_SHARE = 0.2
# A reset as near as this says nothing about a pace: the bucket is full, or the period over.
RESET_LEAST_S = 0.5
# Less than this of the stated limit is no rounding: the bucket holds something else.
CONTRADICTS = 0.8
# A header is near to whole beside one whose reset is so many times as long.
NEARER = 3.0
# A bucket's rate is averaged over about so many headers.
AVERAGE_OVER = 5


class ToldRate:
    """The pace under a told limit.

    Attributes:
        per_s: Amount a second to send now; infinite while nothing is told.
    """

    __slots__ = (
        "_bucket",
        "_end_s",
        "_full_per_s",
        "_fullest",
        "_holds",
        "_period_s",
        "_rate",
        "_ref",
        "_sent_s",
        "per_s",
    )

    def __init__(self) -> None:
        self.per_s = math.inf
        self._rate: float | None = None
        self._bucket: bool | None = None
        self._ref: tuple[float, float, float] | None = None
        self._period_s = 0.0
        self._end_s = math.inf
        self._full_per_s = math.inf
        self._sent_s = -math.inf
        self._fullest = (0.0, math.inf)
        self._holds: float | None = None

    def learn(  # the three headers, and when they were true
        self,
        limit: float | None,
        remaining: float | None,
        reset_s: float | None,
        *,
        sent_s: float,
        now_s: float,
        spent_per_s: float,
    ) -> None:
        """Take in the headers of the answer to a request sent at `sent_s`.

        Args:
            limit: The limit itself.
            remaining, reset_s: What remains of it; seconds until it is whole again.
            sent_s: When the request left: the time that the headers speak of.
            now_s: When they came.
            spent_per_s: What has left a second since then, in requests or tokens.
        """
        if limit is None or remaining is None or reset_s is None:
            return
        if sent_s < self._sent_s or limit <= 0 or remaining < 0 or reset_s < 0:
            return
        self._sent_s = sent_s
        self._period_s = max(self._period_s, reset_s)
        self._end_s = sent_s + reset_s
        limit = self._whole(limit, remaining, reset_s)
        if reset_s < RESET_LEAST_S or remaining >= limit:
            return
        refill = (limit - remaining) / reset_s
        self._tell_apart(sent_s, reset_s, refill)
        self._full_per_s = max(refill, limit / self._period_s)
        left = max(0.0, remaining - spent_per_s * (now_s - sent_s))
        if self._bucket:
            self.per_s = self._of_bucket(limit, left, refill, now_s - sent_s)
        else:
            least = 0.0 if self._bucket is False else ASK_SHARE * refill
            per_s = left / max(self._end_s - now_s, RESET_LEAST_S)
            self.per_s = max(per_s, least, 1.0 / (reset_s + 1.0))

    def step(self, now_s: float) -> None:
        """Note that time has passed: beyond the told reset the limit is whole again."""
        if now_s > self._end_s and self.per_s < self._full_per_s:
            self.per_s = self._full_per_s if self._rate is None else self._rate

    def _whole(self, limit: float, remaining: float, reset_s: float) -> float:
        """Return what the limit is when whole: as stated, unless that is contradicted."""
        most, least_s = self._fullest
        if reset_s <= least_s:
            self._fullest = (remaining, reset_s)
        elif (
            remaining < most
            and self._bucket is not False
            and reset_s >= max(RESET_LEAST_S, NEARER * least_s)
        ):
            whole = most + least_s * (most - remaining) / (reset_s - least_s)
            self._holds = (
                whole if whole < CONTRADICTS * limit or whole * CONTRADICTS > limit else None
            )
        return limit if self._holds is None else self._holds

    def _of_bucket(self, limit: float, left: float, refill: float, since_s: float) -> float:
        """Return the pace that keeps a bucket half full; `left` is before what came in since."""
        rate = refill if self._rate is None else self._rate
        self._rate = rate = rate + (refill - rate) / AVERAGE_OVER
        left = min(limit, left + rate * since_s)
        ratio = left / max(limit - left, 1e-9)
        return rate * min(BUCKET_MOST, max(BUCKET_LEAST, ratio))

    def _tell_apart(self, sent_s: float, reset_s: float, refill: float) -> None:
        if self._ref is None:
            self._ref = (sent_s, reset_s, refill)
            return
        ref_sent_s, ref_reset_s, ref_refill = self._ref
        apart_s = sent_s - ref_sent_s
        if apart_s < APART_S:
            return
        end_moved_s = apart_s + reset_s - ref_reset_s
        if abs(end_moved_s) < SAME_END * apart_s:
            self._bucket, self._rate, self._holds = False, None, None
        elif abs(refill / ref_refill - 1) < SAME_RATE:
            self._bucket = True
        self._ref = (sent_s, reset_s, refill)
