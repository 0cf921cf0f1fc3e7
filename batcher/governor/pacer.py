"""How fast one lane may send: the slowest of what is told, learned, and needed just now.

Four rates meet here: what headers tell, what refusals have taught, the pace of an opening window,
and that of the first seconds after an outage. The user's own rates are the run's and stand in
`Governor`; here they only count for how much a window could use.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batcher.governor.bucket import Bucket
from batcher.governor.hidden import HiddenRate
from batcher.governor.told import ToldRate
from batcher.records import Hold

if TYPE_CHECKING:
    from batcher.governor.terms import RateHeaders
    from batcher.governor.window import Window

__all__ = ["Pacer"]

# A pace that moves with time is brought up to date so often.
REPACE_S = 0.05
# Rates of what was sent and answered are taken over about so long, smoothed over three such spans.
ROLL_S = 1.0
ROLL_SHARE = 0.3
# Before a first span is over, what was sent counts as sent in at least so long.
ROLL_LEAST_S = 0.25
# After an outage: at most this times the usual rate, for this long.
RECOVERY_FACTOR = 1.5
RECOVERY_S = 5.0
# Tokens a request are averaged over about so many.
TOKENS_SHARE = 0.05


class Pacer:
    """The paces of one lane.

    Attributes:
        active: Whether any holds at all.
        hold: What a wait for the requests' pace stands for: a limit on the rate, or the window,
            whose opening is spread in time.
        roll_due_s: When the rates of late want to be taken again.
    """

    __slots__ = (
        "_bound",
        "_hidden",
        "_ok",
        "_ok_per_s",
        "_recovery_until_s",
        "_repace_s",
        "_requests",
        "_rolled_s",
        "_sent",
        "_sent_per_s",
        "_tokens",
        "_tokens_each",
        "_told_requests",
        "_told_tokens",
        "_user_per_s",
        "_user_tokens_per_s",
        "_window",
        "active",
        "hold",
        "roll_due_s",
    )

    def __init__(
        self, window: Window, now_s: float, *, user_per_s: float, user_tokens_per_s: float
    ) -> None:
        """Start without a pace.

        Args:
            window: Tells the pace of its opening, and is told what rate it could use.
            now_s: Monotonic seconds.
            user_per_s, user_tokens_per_s: The user's own rates; infinite where not given.
        """
        self._window = window
        self._user_per_s = user_per_s
        self._user_tokens_per_s = user_tokens_per_s
        self._hidden = HiddenRate()
        self._told_requests = ToldRate()
        self._told_tokens = ToldRate()
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self._tokens_each = 0.0
        self._bound = False
        self._repace_s = 0.0
        self._recovery_until_s = -math.inf
        self._ok_per_s = 0.0
        self._sent_per_s = 0.0
        self._rolled_s = now_s
        self._ok = 0
        self._sent = 0
        self.roll_due_s = now_s + ROLL_S
        self.active = False
        self.hold = Hold.RATE
        self.repace(now_s)

    def wait_s(self, tokens: float, now_s: float) -> float:
        """Seconds until every pace allows a request of `tokens`; 0 when they do now."""
        if now_s >= self._repace_s:
            self.repace(now_s)
        wait_s = 0.0
        if self._requests is not None:
            wait_s = self._requests.wait_s(1.0, now_s)
            if wait_s > 0.0:
                self._bound = True
        if self._tokens is not None:
            tokens_wait_s = self._tokens.wait_s(tokens, now_s)
            if tokens_wait_s > wait_s:
                self.hold = Hold.RATE
                wait_s = tokens_wait_s
        return wait_s

    def take(self, tokens: float) -> None:
        """Count a request that leaves."""
        if self._requests is not None:
            self._requests.take(1.0)
        if self._tokens is not None:
            self._tokens.take(tokens)

    def used(self, reserved: float, used: float, now_s: float) -> None:
        """Put right what was reserved for a request by the tokens that it really used."""
        share = TOKENS_SHARE if self._tokens_each > 0.0 else 1.0
        self._tokens_each += share * (used - self._tokens_each)
        if self._tokens is not None:
            self._tokens.give(reserved - used, now_s)

    def learn(self, headers: RateHeaders, sent_s: float, now_s: float, sent: int) -> None:
        """Take in the headers of the answer to a request sent at `sent_s`; `sent` left so far."""
        sent_per_s = self._sent_rate(now_s, sent)
        self._told_requests.learn(
            headers.limit_requests,
            headers.remaining_requests,
            headers.reset_requests_s,
            sent_s=sent_s,
            now_s=now_s,
            spent_per_s=sent_per_s,
        )
        self._told_tokens.learn(
            headers.limit_tokens,
            headers.remaining_tokens,
            headers.reset_tokens_s,
            sent_s=sent_s,
            now_s=now_s,
            spent_per_s=sent_per_s * self._tokens_each,
        )
        self.repace(now_s)

    def refused(self, seq: int, sent_s: float, now_s: float, *, sent: int, wait_s: float) -> None:
        """Hear of a refusal of request number `seq`; `wait_s` is what it told to wait, or 0."""
        sent_per_s = self._sent_rate(now_s, sent)
        self._hidden.refused(seq, sent_s, now_s, pace_per_s=sent_per_s, wait_s=wait_s)
        self.repace(now_s)

    def recover(self, now_s: float, *, ok: int, sent: int) -> None:
        """Stay near the usual rate in the first seconds after an outage."""
        if self._ok_per_s > 0.0:
            self._recovery_until_s = now_s + RECOVERY_S
        self._rolled_s, self.roll_due_s = now_s, now_s + ROLL_S
        self._ok, self._sent = ok, sent
        self.repace(now_s)

    def roll(self, now_s: float, *, ok: int, sent: int) -> None:
        """Take the rates of late, from what was answered and sent so far; they move the paces."""
        span_s = now_s - self._rolled_s
        share = 1.0 if self._ok_per_s == 0.0 else ROLL_SHARE
        self._ok_per_s += ((ok - self._ok) / span_s - self._ok_per_s) * share
        self._sent_per_s += ((sent - self._sent) / span_s - self._sent_per_s) * share
        self._rolled_s, self.roll_due_s = now_s, now_s + ROLL_S
        self._ok, self._sent = ok, sent
        self.repace(now_s)

    def repace(self, now_s: float) -> None:
        """Bring every pace up to date, and tell the window what rate it could use."""
        window, hidden, told = self._window, self._hidden, self._told_requests
        window.moved = False
        self._repace_s = now_s + REPACE_S
        told.step(now_s)
        self._told_tokens.step(now_s)
        others = min(told.per_s, self._window_per_s(now_s))
        hidden.step(now_s, binding=self._bound and hidden.per_s <= others)
        self._bound = False
        per_s = min(hidden.per_s, others)
        self.hold = Hold.RATE if per_s < others or per_s == told.per_s else Hold.WINDOW
        self._requests = _paced(self._requests, per_s, now_s, least=1.0)
        self._tokens = _paced(self._tokens, self._told_tokens.per_s, now_s, least=0.0)
        self.active = self._requests is not None or self._tokens is not None
        window.rate_per_s = min(hidden.per_s, told.per_s, self._user_per_s, self._by_tokens())

    def note(self) -> str:
        """Say which rate holds, in a few words."""
        hidden, told = self._hidden, self._told_requests
        if self._told_tokens.per_s < math.inf and self._tokens is not None:
            return f"{60 * self._told_tokens.per_s:,.0f} tokens a minute, told by the endpoint"
        if hidden.per_s <= told.per_s < math.inf or hidden.known:
            return f"about {hidden.per_s:.3g} requests a second, learned from refusals"
        if told.per_s < math.inf:
            return f"{60 * told.per_s:,.0f} requests a minute, told by the endpoint"
        return "looking for the rate after a refusal" if hidden.per_s < math.inf else ""

    def _by_tokens(self) -> float:
        """Requests a second that the tokens allow; infinite where unknown."""
        tokens_per_s = min(self._told_tokens.per_s, self._user_tokens_per_s)
        return tokens_per_s / self._tokens_each if self._tokens_each > 0.0 else math.inf

    def _window_per_s(self, now_s: float) -> float:
        per_s = self._window.per_s
        if now_s < self._recovery_until_s:
            per_s = min(per_s, RECOVERY_FACTOR * self._ok_per_s)
        return per_s

    def _sent_rate(self, now_s: float, sent: int) -> float:
        """Requests a second of late."""
        span_s = max(now_s - self._rolled_s, ROLL_LEAST_S)
        return max(self._sent_per_s, (sent - self._sent) / span_s)


def _paced(bucket: Bucket | None, per_s: float, now_s: float, *, least: float) -> Bucket | None:
    """Return the bucket at a new rate, or none when there is no limit."""
    if per_s == math.inf:
        return None
    if bucket is None:
        return Bucket(per_s, now_s, least=least)
    bucket.set_rate(per_s, now_s)
    return bucket
