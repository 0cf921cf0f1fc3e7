"""The time in flight, read off the numbers that left and came back.

As many as are back now had left so long ago: the horizontal distance between the two counts. By
Little's law it averages to the mean latency, it needs nothing per request, and it counts what is
still out. The mean of what came back would not: while the number in flight grows it is that of the
quick ones, and where answers stop it says nothing at all.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Lag"]

LEAST_S = 1e-6


class Lag:
    """Looks at the counts from time to time; keeps those that what is in flight reaches back to.

    What leaves between two looks mostly does so right after the first, which made room for it.
    """

    __slots__ = ("_looks",)

    def __init__(self, left: int, back: int, now_s: float) -> None:
        """Begin; what left before, `left` in number, is not judged."""
        self._looks = deque([(left, back, now_s)])

    def look(self, left: int, back: int, now_s: float) -> float | None:
        """Return the lag in seconds; None while what is back left before the first look.

        Args:
            left: How many requests have left so far.
            back: How many of them are under way no more.
            now_s: Monotonic seconds.
        """
        looks = self._looks
        looks.append((left, back, now_s))
        while len(looks) > 1 and looks[1][0] <= back:
            looks.popleft()
        before, _, at_s = looks[0]
        return None if before > back else max(now_s - at_s, LEAST_S)

    def per_s(self, back: int, now_s: float, span_s: float) -> float:
        """Return what came back a second over about the last `span_s`."""
        for _, then, at_s in reversed(self._looks):  # noqa: B007  # the last one is what is wanted
            if now_s - at_s >= span_s:
                break
        return (back - then) / max(now_s - at_s, LEAST_S)
