"""One lane: a key and a model, with its own window, pace and pause.

`admit` asks, in this order: the run's cap, the endpoint, the pause, the window, the pace, the
tokens, the retry budget. The quiet case (no limit known, endpoint up) is a handful of comparisons.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batcher.governor.bucket import Bucket
from batcher.governor.hidden import HiddenRate
from batcher.governor.terms import Outcome, Permit, RateHeaders
from batcher.governor.told import ToldRate
from batcher.governor.window import Window
from batcher.records import Hold

if TYPE_CHECKING:
    from batcher.governor.core import Governor

__all__ = ["Lane"]

# A retry for each success, and ten a second besides (finagle's RetryBudget has the same floor). An
# endpoint that fails now and then never notices, and one that fails always gets ten a second. Less
# than one a success would leave a flaky endpoint's retries to trickle out at the end of the run.
RETRIES_PER_SUCCESS = 1.0
RETRIES_PER_S = 10.0
RETRIES_SAVED_S = 10.0
# A pace that moves with time is brought up to date so often.
REPACE_S = 0.05
# Rates of what was sent and answered are taken over about so long, smoothed over three such spans.
ROLL_S = 1.0
ROLL_SHARE = 0.3
# After an outage: at most this times the usual rate, for this long.
RECOVERY_FACTOR = 1.5
RECOVERY_S = 5.0
# An outage shorter than this was a hiccup: work goes on as it was.
OUTAGE_LEAST_S = 1.0
# A wait told as shorter than this would be a spin.
WAIT_LEAST_S = 0.001
# Before a first span is over, what was sent counts as sent in at least so long.
ROLL_LEAST_S = 0.25
# Looking a member up in its Enum costs as much as a comparison.
_OK = Outcome.OK
# Tokens a request are averaged over about so many.
TOKENS_SHARE = 0.05


class Lane:
    """Admits the requests of one model, and learns from how they settle.

    Attributes:
        in_flight: Requests under way.
        paused_until_s: End of the pause that a refusal asked for.
    """

    __slots__ = (
        "_blocked_by",
        "_blocked_s",
        "_gov",
        "_hidden",
        "_ok",
        "_ok_per_s",
        "_pace",
        "_pace_bound",
        "_pace_hold",
        "_pause_began_s",
        "_recovery_until_s",
        "_repace_s",
        "_retries",
        "_retries_ok",
        "_retries_s",
        "_roll_due_s",
        "_roll_ok",
        "_roll_s",
        "_roll_seq",
        "_sent_per_s",
        "_seq",
        "_tokens",
        "_tokens_each",
        "_told_requests",
        "_told_tokens",
        "in_flight",
        "model",
        "paused_until_s",
        "window",
    )

    def __init__(self, governor: Governor, model: str, most: int, now_s: float) -> None:
        self._gov = governor
        self.model = model
        self.in_flight = 0
        self.window = Window(most, now_s)
        self.paused_until_s = -math.inf
        self._pause_began_s = -math.inf
        self._seq = 0
        self._ok = 0
        self._ok_per_s = 0.0
        self._sent_per_s = 0.0
        self._roll_s = now_s
        self._roll_due_s = now_s + ROLL_S
        self._roll_ok = 0
        self._roll_seq = 0
        self._tokens_each = 0.0
        self._pace: Bucket | None = None
        self._pace_bound = False
        self._pace_hold = Hold.RATE
        self._repace_s = 0.0
        self._tokens: Bucket | None = None
        self._hidden = HiddenRate()
        self._told_requests = ToldRate()
        self._told_tokens = ToldRate()
        self._recovery_until_s = -math.inf
        self._retries = RETRIES_PER_S * RETRIES_SAVED_S
        self._retries_ok = 0
        self._retries_s = now_s
        self._blocked_by: Hold | None = None
        self._blocked_s = -math.inf

    def admit(  # one gate after another, each with its own answer; it is hot
        self, tokens: float, now_s: float, *, retry: bool = False
    ) -> Permit | float:
        """Ask to send one request.

        Args:
            tokens: The most tokens that it is expected to count for.
            now_s: Monotonic seconds, here and everywhere.
            retry: Whether the row was sent before.

        Returns:
            A `Permit`: it counts as in flight; send it now. Or the seconds after which asking again
            makes sense; `math.inf` when only something that settles can change the answer.
        """
        gov = self._gov
        if gov.in_flight >= gov.limits.concurrency:
            if self.in_flight >= self.window.size:
                self.window.blocked = True
            return self._held(Hold.WINDOW, math.inf, now_s)
        if gov.breaker.open:
            return self._probe(tokens, now_s)
        if now_s < self.paused_until_s:
            return self._held(Hold.PAUSE, self.paused_until_s - now_s, now_s)
        if self.in_flight >= self.window.size:
            self.window.blocked = True
            return self._held(Hold.WINDOW, math.inf, now_s)
        if gov.metered or self._pace is not None or self._tokens is not None:
            wait_s = self._meter(tokens, now_s)
            if wait_s > 0.0:
                self.window.hindered |= self._pace_hold is Hold.RATE
                return self._held(self._pace_hold, max(wait_s, WAIT_LEAST_S), now_s)
        if retry:
            wait_s = self._retry_wait_s(now_s)
            if wait_s > 0.0:
                return self._held(Hold.RATE, max(wait_s, WAIT_LEAST_S), now_s)
        return self._permit(tokens, now_s, probe=False)

    def settle(  # what is known of an outcome, named at the call
        self,
        permit: Permit,
        outcome: Outcome,
        now_s: float,
        *,
        tokens: float | None = None,
        wait_s: float | None = None,
        row: int = 0,
        connection_refused: bool = False,
    ) -> None:
        """Take back a permit, and learn from what became of the request.

        Args:
            permit: What `admit` gave; each is settled once.
            outcome: What became of it.
            now_s: Monotonic seconds.
            tokens: What it really counted for; None when that is not known.
            wait_s: What a refusal told to wait; None when it told nothing.
            row: The row's number: an outage takes several rows.
            connection_refused: For `Outcome.OUTAGE`: nobody listens, which one row can tell.
        """
        gov = self._gov
        gov.in_flight -= 1
        self.in_flight -= 1
        if outcome is _OK:
            self._ok += 1
            if gov.troubled:
                gov.answered(permit, now_s, good=True)
            window = self.window
            window.settled(
                permit.seq, now_s - permit.sent_s, now_s, self.in_flight, self._seq, good=True
            )
            if window.moved:
                self._repace(now_s)
            if now_s >= self._roll_due_s:
                self._roll(now_s)
        elif outcome is Outcome.VOID:
            tokens = 0.0
        else:
            self._failed(permit, outcome, now_s, wait_s, row, connection_refused=connection_refused)
        if tokens is not None and (self._tokens is not None or gov.tokens is not None):
            self._refund(permit.tokens, tokens)

    def learn(self, headers: RateHeaders, sent_s: float, now_s: float) -> None:
        """Take in the rate headers of the answer to a request sent at `sent_s`."""
        sent_per_s = self._sent_rate(now_s)
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
        self._repace(now_s)

    def recover(self, down_s: float, now_s: float) -> None:
        """Go back to work after an outage that began at `down_s`, without a storm."""
        if now_s - down_s < OUTAGE_LEAST_S:
            return
        self.window.reopen(down_s, now_s, self._seq)
        if self._ok_per_s > 0.0:
            self._recovery_until_s = now_s + RECOVERY_S
        self._roll_s, self._roll_due_s = now_s, now_s + ROLL_S
        self._roll_ok, self._roll_seq = self._ok, self._seq
        self._repace(now_s)

    def held(self, now_s: float) -> tuple[float, Hold | None]:
        """When this lane last kept a request from leaving, and why; what still holds is now."""
        if now_s < self.paused_until_s:
            return now_s, Hold.PAUSE
        if self._blocked_by is Hold.WINDOW and self.in_flight >= self.window.size:
            return now_s, Hold.WINDOW
        return self._blocked_s, self._blocked_by

    def rate_note(self) -> str:
        """Say which rate holds, in a few words."""
        if self._told_tokens.per_s < math.inf and self._tokens is not None:
            return f"{60 * self._told_tokens.per_s:,.0f} tokens a minute, told by the endpoint"
        if self._hidden.per_s <= self._told_requests.per_s < math.inf or self._hidden.known:
            return f"about {self._hidden.per_s:.3g} requests a second, learned from refusals"
        if self._told_requests.per_s < math.inf:
            return f"{60 * self._told_requests.per_s:,.0f} requests a minute, told by the endpoint"
        return "looking for the rate after a refusal" if self._hidden.per_s < math.inf else ""

    def _held(self, by: Hold, wait_s: float, now_s: float) -> float:
        self._blocked_by = by
        self._blocked_s = now_s
        return wait_s

    def _permit(self, tokens: float, now_s: float, *, probe: bool) -> Permit:
        gov = self._gov
        gov.in_flight += 1
        self.in_flight += 1
        seq = self._seq
        self._seq = seq + 1
        if gov.metered:
            gov.spend(tokens)
        if self._pace is not None:
            self._pace.take(1.0)
        if self._tokens is not None:
            self._tokens.take(tokens)
        return Permit(now_s, tokens, seq, probe)

    def _probe(self, tokens: float, now_s: float) -> Permit | float:
        wait_s = self._gov.breaker.probe_wait_s(now_s)
        if wait_s > 0.0:
            return self._held(Hold.ENDPOINT, wait_s, now_s)
        self._gov.breaker.probed(now_s)
        return self._permit(tokens, now_s, probe=True)

    def _meter(self, tokens: float, now_s: float) -> float:
        """Seconds until every bucket allows the request."""
        wait_s = self._gov.wait_s(tokens, now_s) if self._gov.metered else 0.0
        if self._pace is not None:
            if now_s >= self._repace_s:
                self._repace(now_s)
            if self._pace is not None:
                pace_wait_s = self._pace.wait_s(1.0, now_s)
                if pace_wait_s > 0.0:
                    self._pace_bound = True
                    if self._pace_hold is Hold.WINDOW:
                        # The opening's own pace is the window's hold: it must not keep the
                        # window from being judged, and so itself from growing.
                        self.window.blocked = True
                    wait_s = max(wait_s, pace_wait_s)
        if self._tokens is not None:
            wait_s = max(wait_s, self._tokens.wait_s(tokens, now_s))
        return wait_s

    def _retry_wait_s(self, now_s: float) -> float:
        earned = (self._ok - self._retries_ok) * RETRIES_PER_SUCCESS
        earned += (now_s - self._retries_s) * RETRIES_PER_S
        most = RETRIES_PER_S * RETRIES_SAVED_S + self.window.size
        self._retries = min(self._retries + earned, most)
        self._retries_ok, self._retries_s = self._ok, now_s
        if self._retries < 1.0:
            return (1.0 - self._retries) / RETRIES_PER_S
        self._retries -= 1.0
        return 0.0

    def _refund(self, reserved: float, used: float) -> None:
        self._tokens_each += TOKENS_SHARE * (used - self._tokens_each)
        if self._tokens is not None:
            self._tokens.give(reserved - used)
        if self._gov.tokens is not None:
            self._gov.tokens.give(reserved - used)

    def _failed(  # as settle
        self,
        permit: Permit,
        outcome: Outcome,
        now_s: float,
        wait_s: float | None,
        row: int,
        *,
        connection_refused: bool,
    ) -> None:
        gov = self._gov
        if outcome is Outcome.FINAL:
            gov.answered(permit, now_s, good=True)
            return
        if outcome is Outcome.THROTTLED:
            gov.answered(permit, now_s, good=False)
            gov.refused(wait_s, now_s)
            self._refused(permit, wait_s, now_s)
            return
        if outcome is Outcome.OUTAGE or permit.probe:
            gov.failed(row, now_s, refused=connection_refused, probe=permit.probe)
        if not gov.breaker.open:
            latency_s = now_s - permit.sent_s
            self.window.settled(permit.seq, latency_s, now_s, self.in_flight, self._seq, good=False)
            if self.window.moved:
                self._repace(now_s)

    def _refused(self, permit: Permit, wait_s: float | None, now_s: float) -> None:
        self._hidden.refused(
            permit.seq,
            permit.sent_s,
            now_s,
            pace_per_s=self._sent_rate(now_s),
            wait_s=wait_s or 0.0,
        )
        self.window.refused(now_s, self._seq)
        if wait_s is not None and wait_s > 0.0 and permit.sent_s >= self._pause_began_s:
            self._pause_began_s = now_s
            self.paused_until_s = now_s + wait_s
        self._repace(now_s)

    def _sent_rate(self, now_s: float) -> float:
        """Requests a second of late."""
        span_s = max(now_s - self._roll_s, ROLL_LEAST_S)
        return max(self._sent_per_s, (self._seq - self._roll_seq) / span_s)

    def _roll(self, now_s: float) -> None:
        span_s = now_s - self._roll_s
        ok, sent = (self._ok - self._roll_ok) / span_s, (self._seq - self._roll_seq) / span_s
        first = self._ok_per_s == 0.0
        self._ok_per_s += (ok - self._ok_per_s) * (1.0 if first else ROLL_SHARE)
        self._sent_per_s += (sent - self._sent_per_s) * (1.0 if first else ROLL_SHARE)
        self._roll_s, self._roll_due_s = now_s, now_s + ROLL_S
        self._roll_ok, self._roll_seq = self._ok, self._seq

    def _repace(self, now_s: float) -> None:
        """Bring the pace up to date: the slowest of all reasons for one."""
        self.window.moved = False
        self._repace_s = now_s + REPACE_S
        hidden, told = self._hidden, self._told_requests
        told.step(now_s)
        self._told_tokens.step(now_s)
        others = min(told.per_s, self._opening_per_s(now_s))
        hidden.step(now_s, binding=self._pace_bound and hidden.per_s <= others)
        self._pace_bound = False
        per_s = min(hidden.per_s, others)
        self._pace_hold = Hold.RATE if per_s < others or per_s == told.per_s else Hold.WINDOW
        self._pace = _paced(self._pace, per_s, now_s, least=1.0)
        self._tokens = _paced(self._tokens, self._told_tokens.per_s, now_s, least=0.0)

    def _opening_per_s(self, now_s: float) -> float:
        per_s = self.window.per_s
        if now_s < self._recovery_until_s:
            per_s = min(per_s, RECOVERY_FACTOR * self._ok_per_s)
        return per_s


def _paced(bucket: Bucket | None, per_s: float, now_s: float, *, least: float) -> Bucket | None:
    """Return the bucket at a new rate, or none when there is no limit."""
    if per_s == math.inf:
        return None
    if bucket is None:
        return Bucket(per_s, now_s, least=least)
    bucket.set_rate(per_s, now_s)
    return bucket
