"""One lane: a key and a model, with its own window, paces and pause.

`admit` asks, in this order: the run's cap, the endpoint, the pause, the window, the user's rates,
the paces, the retry budget. The quiet case (no limit known, endpoint up) is a handful of
comparisons.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from batcher.governor.pacer import Pacer
from batcher.governor.retries import RetryBudget
from batcher.governor.terms import Outcome, Permit, RateHeaders
from batcher.governor.window import Window
from batcher.records import Hold

if TYPE_CHECKING:
    from batcher.governor.core import Governor

__all__ = ["Lane"]

# An outage shorter than this was a hiccup: work goes on as it was.
OUTAGE_LEAST_S = 1.0
# A wait told as shorter than this would be a spin.
WAIT_LEAST_S = 0.001
# Looking a member up in its Enum costs as much as a comparison.
_OK = Outcome.OK
# Makes a named tuple in a seventh of the time that calling its class takes: see `records`.
_new: Final = tuple.__new__


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
        "_ok",
        "_pacer",
        "_pause_began_s",
        "_retries",
        "_seq",
        "in_flight",
        "model",
        "paused_until_s",
        "window",
    )

    def __init__(self, governor: Governor, model: str, most: int, now_s: float) -> None:
        self._gov = governor
        self.model = model
        self.in_flight = 0
        self.paused_until_s = -math.inf
        self._pause_began_s = -math.inf
        self._seq = 0
        self._ok = 0
        per_s, tokens_per_s = governor.user_rates
        self.window = Window(most, now_s, rate_per_s=per_s)
        self._pacer = Pacer(self.window, now_s, user_per_s=per_s, user_tokens_per_s=tokens_per_s)
        self._retries = RetryBudget(now_s)
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
        if gov.metered or self._pacer.active:
            wait_s = self._meter(tokens, now_s)
            if wait_s > 0.0:
                return wait_s
        if retry:
            wait_s = self._retries.take(self._ok, self.window.size, now_s)
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
        if outcome is _OK:
            self.succeeded(permit, now_s, tokens)
            return
        gov = self._gov
        gov.in_flight -= 1
        self.in_flight -= 1
        if outcome is Outcome.VOID:
            tokens = 0.0
        else:
            self._failed(permit, outcome, now_s, wait_s, row, connection_refused=connection_refused)
        if tokens is not None and (gov.tokens is not None or self._pacer.active):
            self._put_right(permit, tokens, now_s)

    def succeeded(self, permit: Permit, now_s: float, tokens: float | None) -> None:
        """Take back a permit whose request succeeded: `settle` with `Outcome.OK`."""
        gov, window, pacer = self._gov, self.window, self._pacer
        sent_s, _, seq, _ = permit
        gov.in_flight -= 1
        self.in_flight = in_flight = self.in_flight - 1
        self._ok += 1
        if gov.troubled:
            gov.answered(permit, now_s, good=True)
        window.settled(seq, now_s - sent_s, now_s, in_flight, self._seq, good=True)
        if window.moved:
            pacer.repace(now_s)
        if now_s >= pacer.roll_due_s:
            pacer.roll(now_s, ok=self._ok, sent=self._seq)
        if (pacer.active or gov.tokens is not None) and tokens is not None:
            self._put_right(permit, tokens, now_s)

    def learn(self, headers: RateHeaders, sent_s: float, now_s: float) -> None:
        """Take in the rate headers of the answer to a request sent at `sent_s`."""
        self._pacer.learn(headers, sent_s, now_s, self._seq)

    def recover(self, down_s: float, now_s: float) -> None:
        """Go back to work after an outage that began at `down_s`, without a storm."""
        if now_s - down_s < OUTAGE_LEAST_S:
            return
        self.window.reopen(down_s, now_s, self._seq)
        self._pacer.recover(now_s, ok=self._ok, sent=self._seq)

    def held(self, now_s: float) -> tuple[float, Hold | None]:
        """When this lane last kept a request from leaving, and why; what still holds is now."""
        if now_s < self.paused_until_s:
            return now_s, Hold.PAUSE
        if self._blocked_by is Hold.WINDOW and self.in_flight >= self.window.size:
            return now_s, Hold.WINDOW
        return self._blocked_s, self._blocked_by

    def rate_note(self) -> str:
        """Say which rate holds, in a few words."""
        return self._pacer.note()

    def _put_right(self, permit: Permit, tokens: float, now_s: float) -> None:
        """Put right what was reserved by what was used."""
        self._pacer.used(permit.tokens, tokens, now_s)
        if self._gov.tokens is not None:
            self._gov.tokens.give(permit.tokens - tokens, now_s)

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
        if self._pacer.active:
            self._pacer.take(tokens)
        return _new(Permit, (now_s, tokens, seq, probe))

    def _probe(self, tokens: float, now_s: float) -> Permit | float:
        wait_s = self._gov.breaker.probe_wait_s(now_s)
        if wait_s > 0.0:
            return self._held(Hold.ENDPOINT, wait_s, now_s)
        self._gov.breaker.probed(now_s)
        return self._permit(tokens, now_s, probe=True)

    def _meter(self, tokens: float, now_s: float) -> float:
        """Seconds until every rate allows the request, and note what the longest wait is for."""
        gov, pacer = self._gov, self._pacer
        by, wait_s = Hold.RATE, gov.wait_s(tokens, now_s) if gov.metered else 0.0
        pace_wait_s = pacer.wait_s(tokens, now_s) if pacer.active else 0.0
        if pace_wait_s > wait_s:
            by, wait_s = pacer.hold, pace_wait_s
        if wait_s <= 0.0:
            return 0.0
        if by is Hold.RATE:
            self.window.hindered = True
        else:
            # The opening's own pace is the window's hold: it must not keep the window from being
            # judged, and so itself from growing.
            self.window.blocked = True
        return self._held(by, max(wait_s, WAIT_LEAST_S), now_s)

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
                self._pacer.repace(now_s)

    def _refused(self, permit: Permit, wait_s: float | None, now_s: float) -> None:
        self._pacer.refused(permit.seq, permit.sent_s, now_s, sent=self._seq, wait_s=wait_s or 0.0)
        self.window.refused(now_s, self._seq)
        if wait_s is not None and wait_s > 0.0 and permit.sent_s >= self._pause_began_s:
            self._pause_began_s = now_s
            self.paused_until_s = now_s + wait_s
