"""The sizes worth a trial: those between the nearest ones that were seen to be worse.

Where none is known to be worse on a side, a trial steps out, farther each time that it pays;
between the present size and a worse one it takes the middle. So nothing is asked twice, until the
bracket is opened because the endpoint may have changed. What was unclear moves no bound.
"""

from __future__ import annotations

import math

__all__ = ["STEPS", "Bracket"]

# Steps grow while they succeed, as in an accelerating line search. The first is what a tent-shaped
# throughput (up by n, down by 1/n) can be off by and still be above 93% of its best.
STEPS = (1.15, 1.3, 1.6, 2.0)
# What the opening left off at is a guess: begin with a larger step.
FIRST_STEP = 2
# The middle may be so much nearer (as an exponent) than a step that can be seen, and no nearer.
NEAR = 0.7


class Bracket:
    """What is known around the present size.

    Attributes:
        low, high: The nearest sizes seen to be worse; 0 and infinite while none was.
        down: Which way the next trial goes, where both are open.
    """

    __slots__ = ("_step", "down", "high", "low")

    def __init__(self) -> None:
        self.low = 0.0
        self.high = math.inf
        self.down = False
        self._step = FIRST_STEP

    def target(self, size: int, most: int, visible: int, *, may_fall: bool) -> int | None:
        """Return the size to try next; None where both ways are closed.

        Args:
            size: The present size.
            most: What no size may exceed.
            visible: Index of the smallest of `STEPS` that can be told from the noise.
            may_fall: Whether a smaller size could be better at all.
        """
        for _ in range(2):
            if self.down:
                found = self._below(size, visible) if may_fall else None
            else:
                found = self._above(size, most, visible)
            if found is not None:
                return found
            self.turn()
        return None

    def won(self, size: int, trial: int, *, clear: bool) -> None:
        """Hear that `trial` is better than `size`."""
        if trial > size:
            self.low = size if clear else self.low
            self.high = self.high if self.high > trial else math.inf
        else:
            self.high = size if clear else self.high
            self.low = self.low if self.low < trial else 0.0
        self._step = min(self._step + 1, len(STEPS) - 1)

    def lost(self, size: int, trial: int, *, clear: bool) -> None:
        """Hear that `trial` is no better than `size`."""
        if clear and trial > size:
            self.high = trial
        elif clear:
            self.low = trial
        self.turn()

    def turn(self) -> None:
        """Go the other way, by small steps."""
        self.down = not self.down
        self._step = 0

    def open(self) -> None:
        """Forget what was worse: the endpoint may have changed."""
        self.low, self.high = 0.0, math.inf
        self._step = 0

    def _above(self, size: int, most: int, visible: int) -> int | None:
        step = min(most, max(size + 1, int(size * STEPS[max(self._step, visible)])))
        if self.high == math.inf:
            return step if step > size else None
        trial = min(step, round(math.sqrt(size * self.high)))
        near = max(size + 1, int(size * STEPS[visible] ** NEAR))
        return trial if near <= trial < self.high else None

    def _below(self, size: int, visible: int) -> int | None:
        step = max(1, min(size - 1, math.ceil(size / STEPS[max(self._step, visible)])))
        if self.low == 0.0:
            return step if step < size else None
        trial = max(step, round(math.sqrt(size * self.low)))
        near = min(size - 1, math.ceil(size / STEPS[visible] ** NEAR))
        return trial if self.low < trial <= near else None
