"""What a stretch of answers says about the throughput at one window size.

Throughput is taken by Little's law, size / mean time in flight, failures' time included. Against
counting answers a second it is blind to how they bunch, which they do when requests left together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Look", "Tally"]

# One answer of a thousand mean latencies (a hang, a clock that jumped) must not decide alone. Ten
# means are above the 99.9th percentile of a log-normal law with sigma 1.
CLIP_RATIO = 10.0
# No comparison is better than this: a floor on the relative standard error.
NOISE_FLOOR = 0.01


class Tally:
    """Running sums over a stretch, and when the stretch is to be judged.

    Attributes:
        from_first: The stretch begins when the first request that counts was sent.
        from_seq: Requests that left before this one do not count.
        due_answers, due_s: The stretch is judged when either is reached.
    """

    __slots__ = (
        "answers",
        "began_s",
        "clip_s",
        "due_answers",
        "due_s",
        "from_first",
        "from_seq",
        "good",
        "sum2_s2",
        "sum_s",
    )

    def __init__(self) -> None:
        self.clip_s = math.inf
        self.reset(0.0)

    def reset(
        self,
        now_s: float,
        *,
        from_seq: int = 0,
        from_first: bool = False,
        due_answers: float = math.inf,
        due_s: float = math.inf,
    ) -> None:
        """Begin a stretch."""
        self.answers = 0
        self.good = 0
        self.sum_s = 0.0
        self.sum2_s2 = 0.0
        self.began_s = now_s
        self.from_seq = from_seq
        self.from_first = from_first
        self.due_answers = due_answers
        self.due_s = due_s

    def look(self, size: int, now_s: float) -> Look:
        """Sum up the stretch, in which `size` requests were in flight."""
        answers = max(1, self.answers)
        mean_s = max(self.sum_s / answers, 1e-6)
        spread2 = max(0.0, self.sum2_s2 / answers / mean_s**2 - 1.0)
        # Requests that hang bring no answers: then the time they have been out speaks.
        mean_s = max(mean_s, 0.5 * size * (now_s - self.began_s) / answers)
        self.clip_s = CLIP_RATIO * mean_s
        return Look(size, answers, max(self.good, 0.5), mean_s, spread2)


class Look(NamedTuple):
    """A stretch summed up: answers, of these good, their mean latency and its squared variation."""

    size: int
    answers: float
    good: float
    mean_s: float
    spread2: float

    @property
    def per_s(self) -> float:
        """Good answers a second, by Little's law."""
        return self.size * self.good / (self.answers * self.mean_s)

    @property
    def error2(self) -> float:
        """Squared relative standard error of `per_s`."""
        share_bad = 1.0 - self.good / self.answers
        return (self.spread2 + share_bad) / self.answers + NOISE_FLOOR**2

    def merged(self, newer: Look) -> Look:
        """Pool with a newer look at the same size, counting this one half."""
        weight = self.answers / 2
        total = weight + newer.answers
        share = weight / total
        return Look(
            self.size,
            total,
            self.good / 2 + newer.good,
            self.mean_s * share + newer.mean_s * (1 - share),
            self.spread2 * share + newer.spread2 * (1 - share),
        )


def contrast(high: Look, low: Look) -> tuple[float, float]:
    """Return ln(throughput of `high` / of `low`) and its standard error."""
    return math.log(high.per_s / low.per_s), math.sqrt(high.error2 + low.error2)
