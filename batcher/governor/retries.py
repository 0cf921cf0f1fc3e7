"""How many retries may leave: as many as succeed, and a trickle besides."""

from __future__ import annotations

__all__ = ["RetryBudget"]

# A retry for each success, and ten a second besides (finagle's RetryBudget has the same floor). An
# endpoint that fails now and then never notices, and one that fails always gets ten a second. Less
# than one a success would leave a flaky endpoint's retries to trickle out at the end of the run.
PER_SUCCESS = 1.0
PER_S = 10.0
SAVED_S = 10.0


class RetryBudget:
    """Retries that were earned and not yet spent."""

    __slots__ = ("_at_s", "_ok", "_saved")

    def __init__(self, now_s: float) -> None:
        self._saved = PER_S * SAVED_S
        self._ok = 0
        self._at_s = now_s

    def take(self, ok: int, window: int, now_s: float) -> float:
        """Spend one; return 0, or the seconds until there is one to spend.

        Args:
            ok: Successes so far.
            window: Size of the window: what it holds may all fail at once and be sent again.
            now_s: Monotonic seconds.
        """
        earned = (ok - self._ok) * PER_SUCCESS + (now_s - self._at_s) * PER_S
        self._saved = min(self._saved + earned, PER_S * SAVED_S + window)
        self._ok, self._at_s = ok, now_s
        if self._saved < 1.0:
            return (1.0 - self._saved) / PER_S
        self._saved -= 1.0
        return 0.0
