"""A token bucket that paces: small burst, debt allowed, refunds kept.

A request takes its amount when the level reaches the smaller of the amount and `ask`, and the level
may go below zero. So a request larger than the whole bucket still leaves, and the average holds.
The brim lies above `ask`, or each wake-up that comes late would lose what ran over meanwhile. What
was reserved and not used is given back in full, above the brim if need be: it was never spent.
"""

from __future__ import annotations

__all__ = ["BURST_S", "Bucket"]

# Enough to bridge a late timer or a busy event loop, too little to look like a burst to a limiter
# that counts by the second.
BURST_S = 0.05
# Refunds beyond a minute's worth are forgotten: limits are stated per minute.
REFUND_MAX_S = 60.0
# A rounding error must not turn into a wait of 1e-17 s: anything closer than this is there.
EPSILON = 1e-9


class Bucket:
    """Amounts at `per_s` a second, at most `BURST_S` of them more than one request asks."""

    __slots__ = ("_ask", "_at_s", "_least", "_level", "_most", "per_s")

    def __init__(self, per_s: float, now_s: float, *, least: float = 1.0) -> None:
        """Start with enough for one. `least` is what is asked: 1 for requests, 0 for tokens."""
        self.per_s = per_s
        self._least = least
        self._ask = least or per_s * BURST_S
        self._most = self._ask + per_s * BURST_S
        self._level = self._ask
        self._at_s = now_s

    def wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until `amount` may be taken; 0 when it may now."""
        if now_s > self._at_s:
            if self._level < self._most:
                self._level = min(self._most, self._level + (now_s - self._at_s) * self.per_s)
            self._at_s = now_s
        short = min(amount, self._ask) - self._level
        return short / self.per_s if short > EPSILON else 0.0

    def take(self, amount: float) -> None:
        """Take `amount`; call after `wait_s` has said 0."""
        self._level -= amount

    def give(self, amount: float, now_s: float) -> None:
        """Give back what was reserved too much; a negative `amount` charges what was too little."""
        self.wait_s(0.0, now_s)
        self._level = min(self._level + amount, max(self._most, self.per_s * REFUND_MAX_S))

    def set_rate(self, per_s: float, now_s: float) -> None:
        """Go on at another rate from now."""
        self.wait_s(0.0, now_s)
        self.per_s = per_s
        self._ask = self._least or per_s * BURST_S
        self._most = self._ask + per_s * BURST_S
