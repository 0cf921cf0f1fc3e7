"""The rate that an endpoint allows and does not tell, found from what it refuses.

A refusal says one thing exactly: when that request arrived, the endpoint's bucket was empty.
Between two such moments the endpoint let through what it had refilled and nothing else, so

    rate = (sent - refused in between) / time in between

whatever the latency, the size of its bucket, or the pace in between, provided the bucket did not
run over. It did not where the pace was above that rate all the time. If it did, the rate is higher
than that, and below the pace at which the second refusal came: it lies between the two.

A refusal of a request that was sent before the last reaction says nothing new. All refusals up to
then make one cluster; when it has come in whole, the estimate is made and the pace set just below.
From there the pace rises, slowly while it is near the estimate, faster when it has passed it.
"""

from __future__ import annotations

import math

__all__ = ["HiddenRate"]

# Aim below the estimate: a bucket is emptied by any excess, however small.
AIM = 0.98
# An estimate from fewer is off by more than a tenth: keep the older moment and count on. So it is
# from less time than a refusal takes, in which requests may have overtaken each other.
ACCEPTED_LEAST = 10
# Without an estimate the pace halves at each cluster and doubles in a second, or in as long as
# eight requests take, or in twice the time that a refusal takes to reach us, whichever is longest:
# bisection, as quick as the answers allow.
SEARCH_CUT = 0.5
SEARCH_DOUBLING_S = 1.0
SEARCH_DOUBLING_REQUESTS = 8.0
# With an estimate the pace climbs back to it in the time that a hundred requests take, so that one
# that is refused for looking is one in a hundred, and in no less than twice the time in which a
# refusal reaches us, or there would be more than one. No quicker than estimates are told apart from
# jitter, and no slower than a changed limit may go unnoticed.
SHARE_REFUSED = 0.01
CLIMB_LEAST_S = 2.0
CLIMB_MOST_S = 16.0
# Counting is exact to about a request at either end: estimates that differ by no more than this
# many of those counted, and a little for jitter, are of the same rate and are pooled.
COUNT_ERROR = 2.0
AGREE = 0.02
# The pool remembers about so many requests, so that it follows a rate that drifts.
POOL_MOST = 500.0
# The pace was above the rate all the time, but for the hundredth that counting errs by.
EXACT_SHARE = 0.99
# Where less than this share of the pace has left, something else held requests back, and the bucket
# may have run over: what left is then the most that the rate is known to be.
PACED_SHARE = 0.9
# Where besides that less than this was refused, it was the end of a burst, which says nothing; with
# an estimate to live by, as much as may be refused for good.
FIRST_BURST_SHARE = 0.1
BURST_SHARE = 0.03
# Past the estimate by so much, the limit has risen: grow by this a second; further on, search.
PASSED = 1.03
PASSED_PER_S = 0.03
FAR_PASSED = 1.2
# Where more of a cluster was refused than let through, and at least so many, the estimate is wrong.
REFUTED_LEAST = 5
# A cluster is whole after twice the time that a refusal takes to reach us, and where that varies,
# after four mean deviations more than it takes (RFC 6298): what is still out would be counted as
# let through.
DELAY_SHARE = 0.2
GRACE_FACTOR = 2.0
DEVIATIONS = 4.0
GRACE_LEAST_S = 0.05
# After a silence as long as this (the machine slept) the older moment is no measure.
STALE_S = 300.0
# Slowest pace, one request in two minutes: slower limits come with a hint.
SLOWEST_PER_S = 1 / 120


class HiddenRate:
    """The pace of one lane under a rate that is not told.

    Attributes:
        per_s: Requests a second to send now; infinite until something was refused.
    """

    __slots__ = (
        "_at_s",
        "_climb_s",
        "_delay_s",
        "_deviation_s",
        "_due_s",
        "_estimate",
        "_last_s",
        "_last_seq",
        "_least",
        "_mark_s",
        "_mark_seq",
        "_peak",
        "_pooled",
        "_reacted_s",
        "_refused",
        "per_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.per_s = math.inf
        self._estimate: float | None = None
        self._climb_s = CLIMB_LEAST_S
        self._delay_s = 0.0
        self._deviation_s = 0.0
        self._at_s = 0.0
        self._reacted_s = -math.inf
        self._due_s = math.inf
        self._mark_s: float | None = None
        self._mark_seq = 0
        self._last_s = 0.0
        self._last_seq = 0
        self._refused = 0
        self._least = math.inf
        self._peak = 0.0
        self._pooled = 0.0

    @property
    def known(self) -> bool:
        """Whether an estimate has been made."""
        return self._estimate is not None

    def refused(
        self, seq: int, sent_s: float, now_s: float, *, pace_per_s: float, wait_s: float
    ) -> None:
        """Hear of a refusal.

        Args:
            seq: Number of the refused request in its lane.
            sent_s: When it was sent.
            now_s: When its refusal came.
            pace_per_s: Requests a second of late, for the first refusal of all.
            wait_s: What it told to wait, or 0: to go slower than that is pointless.
        """
        self._felt(now_s - sent_s)
        if self._mark_s is None or seq < self._mark_seq:
            if self._mark_s is None:
                self._mark_s, self._mark_seq = sent_s, seq
                self._last_s, self._last_seq = sent_s, seq
                self._react(now_s, pace_per_s, wait_s)
            return
        self._refused += 1
        if seq > self._last_seq:
            self._last_seq, self._last_s = seq, sent_s
        if self._due_s == math.inf and sent_s >= self._reacted_s:
            self._react(now_s, self.per_s, wait_s)

    def step(self, now_s: float, *, binding: bool) -> None:
        """Move the pace on to `now_s`. `binding`: the pace alone held requests back of late."""
        if now_s >= self._due_s:
            self._conclude(now_s)
        elif binding and self._due_s == math.inf and self.per_s < math.inf:
            self._grow(min(now_s - self._at_s, 1.0))
        self._at_s = now_s

    def _felt(self, delay_s: float) -> None:
        """Take in how long a refusal took to reach us."""
        if self._delay_s == 0.0:
            self._delay_s, self._deviation_s = delay_s, delay_s / DEVIATIONS
            return
        off_s = delay_s - self._delay_s
        self._delay_s += DELAY_SHARE * off_s
        self._deviation_s += DELAY_SHARE * (abs(off_s) - self._deviation_s)

    def _grace_s(self) -> float:
        """Time after which a refusal that has not come is not one."""
        late_s = self._delay_s + DEVIATIONS * self._deviation_s
        return max(GRACE_LEAST_S, GRACE_FACTOR * self._delay_s, late_s)

    def _react(self, now_s: float, pace_per_s: float, wait_s: float) -> None:
        self._peak = pace_per_s
        cut = SEARCH_CUT * pace_per_s
        if self._estimate is not None:
            cut = max(cut, min(pace_per_s, AIM * self._estimate))
        slowest = max(SLOWEST_PER_S, min(1 / wait_s, pace_per_s) if wait_s > 0 else 0.0)
        self.per_s = max(slowest, cut)
        self._least = min(self._least, self.per_s)
        self._reacted_s = self._at_s = now_s
        self._due_s = now_s + self._grace_s()

    def _conclude(self, now_s: float) -> None:
        """Make the estimate from the cluster that has come in, and aim below it."""
        self._due_s = math.inf
        mark_s = self._mark_s
        assert mark_s is not None  # a cluster begins with a mark
        accepted = self._last_seq - self._mark_seq - self._refused
        apart_s = self._last_s - mark_s
        if accepted < ACCEPTED_LEAST or not self._grace_s() < apart_s < STALE_S:
            if apart_s >= STALE_S:
                self._move_mark()
            elif self._refused >= max(REFUTED_LEAST, accepted):
                self._estimate = None
            return
        sent = accepted + self._refused
        kept = sent / apart_s >= PACED_SHARE * self._least
        burst_share = FIRST_BURST_SHARE if self._estimate is None else BURST_SHARE
        if not kept and self._refused < burst_share * sent:
            self._move_mark()
            return
        low, peak = accepted / apart_s, self._peak if kept else sent / apart_s
        exact = kept and self._least >= EXACT_SHARE * low
        if exact:
            self._pool(low, accepted)
        else:
            self._pool(math.sqrt(low * max(low, peak)), ACCEPTED_LEAST)
        known = self._estimate or low
        climb_s = max(1 / (SHARE_REFUSED * known), GRACE_FACTOR * self._delay_s)
        self._climb_s = min(CLIMB_MOST_S, max(CLIMB_LEAST_S, climb_s))
        self.per_s = max(SLOWEST_PER_S, AIM * known)
        self._reacted_s = now_s
        self._move_mark()

    def _pool(self, estimate: float, accepted: int) -> None:
        """Average the estimate with those before where they agree; else begin anew."""
        old = self._estimate
        if old is not None and abs(estimate / old - 1) < AGREE + COUNT_ERROR / accepted:
            self._pooled = min(POOL_MOST, self._pooled + accepted)
            self._estimate = old + (estimate - old) * min(1.0, accepted / self._pooled)
        else:
            self._estimate, self._pooled = estimate, float(accepted)

    def _move_mark(self) -> None:
        self._mark_s, self._mark_seq, self._refused = self._last_s, self._last_seq, 0
        self._least = self.per_s

    def _grow(self, dt_s: float) -> None:
        known = self._estimate
        if known is None or self.per_s > FAR_PASSED * known or self.per_s < SEARCH_CUT * known:
            doubling_s = max(SEARCH_DOUBLING_S, SEARCH_DOUBLING_REQUESTS / self.per_s)
            self.per_s *= 2 ** (dt_s / max(doubling_s, GRACE_FACTOR * self._delay_s))
        elif self.per_s > PASSED * known:
            self.per_s *= 1 + PASSED_PER_S * dt_s / max(1.0, GRACE_FACTOR * self._delay_s)
        else:
            self.per_s += known * (1 - AIM) / self._climb_s * dt_s
