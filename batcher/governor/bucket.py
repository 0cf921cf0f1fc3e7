"""A token bucket that paces: small burst, debt allowed, refunds kept.

A request takes its amount when the level reaches the smaller of the amount and the bucket, and the
level may go below zero. So a request larger than the whole bucket leaves as soon as the bucket is
full, and the average still holds. What was reserved and not used is given back in full, above the
brim if need be: it was never spent.
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
    """Amounts at `per_s` a second, at most `BURST_S` of them (or one request) at once."""

    __slots__ = ("_at_s", "_least", "_level", "_most", "per_s")

    def __init__(self, per_s: float, now_s: float, *, least: float = 1.0) -> None:
        """Start full. `least` is the smallest brim: 1 for requests."""
        self.per_s = per_s
        self._least = least
        self._most = max(least, per_s * BURST_S)
        self._level = self._most
        self._at_s = now_s

    def wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until `amount` may be taken; 0 when it may now."""
        if now_s > self._at_s:
            if self._level < self._most:
                self._level = min(self._most, self._level + (now_s - self._at_s) * self.per_s)
            self._at_s = now_s
        short = min(amount, self._most) - self._level
        return short / self.per_s if short > EPSILON else 0.0

    def take(self, amount: float) -> None:
        """Take `amount`; call after `wait_s` has said 0."""
        self._level -= amount

    def give(self, amount: float) -> None:
        """Give back what was reserved too much; a negative `amount` charges what was too little."""
        self._level = min(self._level + amount, max(self._most, self.per_s * REFUND_MAX_S))

    def set_rate(self, per_s: float, now_s: float) -> None:
        """Go on at another rate from now."""
        self.wait_s(0.0, now_s)
        self.per_s = per_s
        self._most = max(self._least, per_s * BURST_S)

    def drain(self, now_s: float) -> None:
        """Forget what was saved up, so that a pause does not end in a burst."""
        self.wait_s(0.0, now_s)
        self._level = min(self._level, 0.0)
