"""The governor of a run: decides when the next request may leave.

One `Governor` for a run, one `Lane` for each key and model. The governor keeps what all lanes share
(the cap on requests in flight, the user's own rates, whether the endpoint is up); a lane keeps what
the endpoint grants to one model. Neither has a clock: `now_s` is an argument everywhere, monotonic
seconds, free to jump forward and never going back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batcher.governor.breaker import SPELL_GAP_S, Breaker, Spell
from batcher.governor.bucket import Bucket
from batcher.governor.lane import Lane
from batcher.records import Hold

if TYPE_CHECKING:
    from batcher.governor.terms import Limits, Permit

__all__ = ["Governor"]

# Our minute and the provider's do not begin together: half a per cent keeps us below in both.
USER_RATE_MARGIN = 0.995
# What kept a request from leaving so long ago holds nothing back any more.
HELD_S = 1.0
# More than one thing may hold at once; the first of these is named.
HELD_ORDER = (Hold.PAUSE, Hold.RATE, Hold.WINDOW)


class Governor:
    """What all lanes share.

    Attributes:
        limits: What the user set.
        in_flight: Requests under way over all lanes.
        breaker: Whether the endpoint is up.
        requests, tokens: The user's own rates; None where not given.
        metered: Whether either is given.
        troubled: Whether a spell of bad news is under way, so that good news must be heard.
        outages: How many times the endpoint was found down.
        blame: What the last attempt of those that found nobody there failed by, in plain words.
    """

    __slots__ = (
        "_lanes", "_refusals", "_told_wait_s", "blame", "breaker", "in_flight", "limits", "metered",
        "requests", "tokens", "troubled",
    )  # fmt: skip

    def __init__(self, limits: Limits, now_s: float) -> None:
        self.limits = limits
        self.in_flight = 0
        self.breaker = Breaker()
        self.requests = _bucket(limits.rpm, now_s, least=1.0)
        self.tokens = _bucket(limits.tpm, now_s, least=0.0)
        self.metered = self.requests is not None or self.tokens is not None
        self.troubled = False
        self.blame = ""
        self._refusals = Spell()
        self._told_wait_s = 0.0
        self._lanes: dict[str, Lane] = {}

    def lane(self, model: str, now_s: float) -> Lane:
        """Return the lane of a model, the same one each time."""
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = Lane(self, model, self.limits.concurrency, now_s)
        return lane

    @property
    def user_rates(self) -> tuple[float, float]:
        """Requests and tokens a second that the user allows; infinite where not given."""
        requests, tokens = self.requests, self.tokens
        return (
            math.inf if requests is None else requests.per_s,
            math.inf if tokens is None else tokens.per_s,
        )

    @property
    def window(self) -> int:
        """Most requests that may be in flight now."""
        sizes = sum(lane.window.size for lane in self._lanes.values())
        return min(self.limits.concurrency, sizes)

    @property
    def outages(self) -> int:
        """How many times the endpoint was found down."""
        return self.breaker.count

    @property
    def down_since_s(self) -> float | None:
        """First failure of the outage under way; None while the endpoint is up."""
        return self.breaker.spell.since_s if self.breaker.open else None

    @property
    def refused_since_s(self) -> float | None:
        """First refusal since the last success; None when there was none."""
        return self._refusals.since_s

    def outage_since(self, now_s: float) -> float | None:
        """Return the time of the first failure of the present outage; None when there is none.

        Attempts that failed for want of an endpoint since then are nobody's fault.
        """
        del now_s
        return self.down_since_s

    def give_up(self, now_s: float) -> str | None:
        """Return why the run should stop, in plain words; None while it should not."""
        most_s = self.limits.give_up_after_s
        if not self.in_flight:
            # Rows that were refused wait to leave again; while the endpoint is down, probes leave.
            self._refusals.kept_still(now_s)
        if self._told_wait_s > most_s:
            return (
                f"the endpoint asked to wait {self._told_wait_s:,.0f} s, "
                f"longer than the {most_s:,.0f} s allowed"
            )
        down_s = self.breaker.spell.lasted_s(now_s)
        if down_s >= most_s:
            why = f" ({self.blame})" if self.blame else ""
            return f"the endpoint has been down for {down_s:,.0f} s{why}"
        refused_s = self._refusals.lasted_s(now_s)
        if refused_s >= most_s:
            return f"the endpoint has refused every request for its rate for {refused_s:,.0f} s"
        return None

    def hold(self, now_s: float) -> tuple[Hold, str]:
        """Return what holds the run back now, and a few words on it."""
        breaker = self.breaker
        if breaker.open:
            since_s = now_s - (breaker.spell.since_s or now_s)
            wait_s = breaker.probe_wait_s(now_s)
            return Hold.ENDPOINT, f"down for {since_s:.0f} s, next probe in {wait_s:.1f} s"
        held: dict[Hold, Lane] = {}
        for lane in self._lanes.values():
            at_s, by = lane.held(now_s)
            if by is not None and now_s - at_s <= HELD_S:
                held.setdefault(by, lane)
        for by in HELD_ORDER:
            if by in held:
                return by, self._note(by, held[by], now_s)
        return Hold.SOURCE, ""

    def _note(self, by: Hold, lane: Lane, now_s: float) -> str:
        if by is Hold.PAUSE:
            return f"429: paused {lane.paused_until_s - now_s:.0f} s"
        if by is Hold.RATE:
            return lane.rate_note() or "the rate set for the run"
        if self.in_flight >= self.limits.concurrency:
            return f"concurrency {self.limits.concurrency} reached"
        return f"{lane.window.size} in flight is what the endpoint bears"

    def answered(self, permit: Permit, now_s: float, *, good: bool) -> None:
        """Hear that the endpoint answered; `good` unless it refused for rate."""
        down_s = self.down_since_s
        if self.breaker.alive(permit.sent_s):
            for lane in self._lanes.values():
                lane.recover(now_s if down_s is None else down_s, now_s)
        if good:
            self._refusals.over()
            self._told_wait_s = 0.0
        self.troubled = self.breaker.open or self._refusals.since_s is not None

    def refused(self, wait_s: float | None, now_s: float) -> None:
        """Hear that a request was refused for rate, with what it told to wait."""
        self._refusals.bad(
            now_s, gap_s=SPELL_GAP_S + min(wait_s or 0.0, self.limits.give_up_after_s)
        )
        self._told_wait_s = max(self._told_wait_s, wait_s or 0.0)
        self.troubled = True

    def failed(self, row: int, now_s: float, *, refused: bool, probe: bool) -> None:
        """Hear that an attempt found nobody there."""
        self.breaker.failed(row, now_s, refused=refused, probe=probe)
        self.troubled = True

    def wait_s(self, tokens: float, now_s: float) -> float:
        """Seconds until the user's own rates allow a request of `tokens`."""
        wait_s = 0.0 if self.requests is None else self.requests.wait_s(1.0, now_s)
        if self.tokens is not None:
            wait_s = max(wait_s, self.tokens.wait_s(tokens, now_s))
        return wait_s

    def spend(self, tokens: float) -> None:
        """Take a request of `tokens` from the user's own rates."""
        if self.requests is not None:
            self.requests.take(1.0)
        if self.tokens is not None:
            self.tokens.take(tokens)


def _bucket(per_min: float | None, now_s: float, *, least: float) -> Bucket | None:
    if per_min is None:
        return None
    return Bucket(per_min / 60 * USER_RATE_MARGIN, now_s, least=least)
