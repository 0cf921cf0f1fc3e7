"""The climb to the best window size, and staying there.

The base is the present size, with a look at what it delivers. A trial is a size a step away: let
the change take effect (what is above the size settles, then one mean latency passes), then look,
until the difference in throughput stands out from the noise that the latencies themselves show. The
better size becomes the base. Steps grow while they succeed; rests between trials grow while they
fail. A trial downwards is made only where requests wait in a queue, which latency shows.
"""

from __future__ import annotations

import math
from enum import Enum, auto

from batcher.governor.looks import Look, Tally, contrast

__all__ = ["Climbing"]

# Steps grow while they succeed, as in an accelerating line search. The first is what a tent-shaped
# throughput (up by n, down by 1/n) can be off by and still be above 93% of its best.
STEPS = (1.15, 1.3, 1.6, 2.0)
# What the opening left off at is a guess: begin with a larger step.
FIRST_STEP = 2
# A step must bring this share of what it would bring to an idle endpoint (in logarithms), or the
# larger window is not worth its load. 0.1 keeps 90% of a saturating curve n / (n + h).
GAIN_SHARE = 0.1
# Standard errors by which a difference must stand out.
CLEAR_Z = 1.6
# A larger size that seems to bring nothing is dropped once this share of the base's own answers has
# been seen there: to look on would cost, and what is unclear is so by the base as much.
LOSING_ANSWERS = 1.0
# A step smaller than so many standard errors would be judged by luck.
VISIBLE_Z = 2.0
# A difference that could not be more than this is not worth another answer: the sign decides.
AT_STAKE = 0.05
# The answers after which the sign decides in any case, and the rounds for large windows.
ANSWERS_MOST = 120
ROUNDS_MOST = 4
# Fewer answers than this say nothing about their spread.
ANSWERS_LEAST = 10
# A base is looked at for two rounds, and for at least this many answers.
BASE_ROUNDS = 2
BASE_ANSWERS_LEAST = 16
# A look begins so many mean latencies after a change, and does not count if it began before
# SETTLED of those that it found itself: by then most answers are to requests that felt the change.
WARM = 1.5
SETTLED = 1.2
# A step that brought this share of what it could: the endpoint is far from its best, go faster.
FAR_SHARE = 0.7
# Latency this many times the lowest seen: go down first, and far.
DEEP_RATIO = 2.0
# Failed trials cost throughput: rests between them double up to this many times the first, which
# leaves a trial of three rounds at 87% one in ten: a hundredth.
REST_MOST = 16
# Latency above the lowest seen is time in a queue. Below this ratio there is none to shrink, and
# smaller sizes are tried only at the longest rest, in case the lowest was never low.
QUEUE_RATIO = 1.15
# The lowest latency seen is forgotten by so much a look, or a lucky spell would rule for ever.
FLOOR_DRIFT = 1.005
# A base that has moved by so many standard errors is another endpoint: what was known is dropped.
MOVED_Z = 3.0


class Phase(Enum):
    DRAIN = auto()
    WARM = auto()
    LOOK = auto()


class Climbing:
    """The climb from `size`, never above `most`.

    Attributes:
        mean_s: Mean time in flight at the last look; None before one.
        floor_s: Lowest mean time in flight seen, slowly forgotten.
        looked: Number of looks taken.
        far: Set when a larger size brought nearly all that it could, so that the best must be far:
            the mean time in flight, and the answers that it rests on.
        failed_share: Share of failures in the last look.
    """

    __slots__ = (
        "_base",
        "_changed_s",
        "_deep_tried",
        "_down",
        "_from_seq",
        "_most",
        "_phase",
        "_rest",
        "_size",
        "_step",
        "_trial",
        "failed_share",
        "far",
        "floor_s",
        "looked",
        "mean_s",
    )

    def __init__(self, size: int, most: int, *, mean_s: float | None, floor_s: float) -> None:
        self._size = size
        self._most = most
        self._base: Look | None = None
        self._trial: int | None = None
        self._phase = Phase.DRAIN
        self._down = False
        self._step = FIRST_STEP
        self._rest = 1
        self._from_seq = 0
        self._changed_s = 0.0
        self._deep_tried = 0
        self.floor_s = floor_s
        self.mean_s = mean_s
        self.looked = 0
        self.far: tuple[float, float] | None = None
        self.failed_share = 0.0

    @property
    def rising(self) -> bool:
        """Whether a larger size is on trial."""
        return self._trial is not None and self._trial > self._size

    def begin(self, tally: Tally, now_s: float, next_seq: int) -> None:
        """Let the size take effect; requests that left before `next_seq` never count."""
        self._from_seq = max(self._from_seq, next_seq)
        self._phase = Phase.DRAIN
        self._changed_s = now_s
        tally.reset(now_s, from_seq=self._from_seq, due_s=now_s)

    def judge(self, tally: Tally, now_s: float, in_flight: int, *, used: bool) -> int:
        """Go on from what the tally says; return the window's size from now on."""
        if self._phase is Phase.DRAIN:
            if in_flight <= self._now():
                self._phase = Phase.WARM
                self._changed_s = now_s
                tally.reset(
                    now_s, from_seq=self._from_seq, due_s=now_s + WARM * (self.mean_s or 0.0)
                )
        elif self._phase is Phase.WARM:
            self._look_on(tally, now_s)
        elif not used:
            self._idle(tally, now_s)
        else:
            look = tally.look(self._now(), now_s)
            if tally.began_s - self._changed_s < SETTLED * look.mean_s:
                self._look_on(tally, now_s)
            elif self._trial is None:
                self._base_seen(look, tally, now_s)
            else:
                self._trial_seen(look, tally, now_s)
        return self._now()

    def _now(self) -> int:
        return self._size if self._trial is None else self._trial

    def _look_on(self, tally: Tally, now_s: float) -> None:
        self._phase = Phase.LOOK
        self.looked += 1
        if self._trial is None:
            due = self._rest * max(BASE_ROUNDS * self._size, BASE_ANSWERS_LEAST)
        else:
            due = max(self._trial // 2, ANSWERS_LEAST)
        tally.reset(now_s, from_seq=self._from_seq, due_answers=due)

    def _idle(self, tally: Tally, now_s: float) -> None:
        """Something else holds the run back: nothing can be learned about the window."""
        if self._trial is not None:
            self._trial = None
            self.begin(tally, now_s, 0)
        else:
            self._look_on(tally, now_s)

    def _base_seen(self, look: Look, tally: Tally, now_s: float) -> None:
        self._note(look)
        old = self._base
        if old is not None:
            change, error = contrast(look, old)
            if abs(change) <= MOVED_Z * error:
                look = old.merged(look)
            else:
                self._down = change < 0
                self._rest = 1
        self._base = look
        self._try_next(tally, now_s)

    def _note(self, look: Look) -> None:
        self.mean_s = look.mean_s
        self.failed_share = 1.0 - look.good / look.answers
        self.floor_s = min(self.floor_s * FLOOR_DRIFT, look.mean_s)

    def _try_next(self, tally: Tally, now_s: float) -> None:
        queue = (self.mean_s or 0.0) / self.floor_s
        if queue > DEEP_RATIO and self._deep_tried != self._size:
            self._deep_tried = self._size
            self._down, self._step = True, len(STEPS) - 1
        may_fall = self._size > 1 and (queue > QUEUE_RATIO or self._rest == REST_MOST)
        may_rise = self._size < self._most
        may = (may_rise, may_fall)
        if may[not self._down] and not may[self._down]:
            self._down, self._step = not self._down, 0
        if not (may_fall if self._down else may_rise):
            self._look_on(tally, now_s)
            return
        factor = STEPS[max(self._step, self._visible_step())]
        if self._down:
            self._trial = min(self._size - 1, math.ceil(self._size / factor))
        else:
            self._trial = min(self._most, max(self._size + 1, int(self._size * factor)))
        self.begin(tally, now_s, 0)

    def _visible_step(self) -> int:
        """Return the smallest step that an affordable look can tell from the noise."""
        base = self._base
        assert base is not None  # steps are taken from a base that was looked at
        answers = max(ANSWERS_MOST, ROUNDS_MOST * base.size) / 2
        error = math.sqrt(base.spread2 * (1 / base.answers + 1 / answers))
        visible = (math.log(step) >= VISIBLE_Z * error for step in STEPS)
        return next((index for index, seen in enumerate(visible) if seen), len(STEPS) - 1)

    def _trial_seen(self, look: Look, tally: Tally, now_s: float) -> None:
        base = self._base
        assert base is not None  # a trial is made from a base that was looked at
        high, low = (base, look) if self._down else (look, base)
        change, error = contrast(high, low)
        margin = change - GAIN_SHARE * math.log(high.size / low.size)
        losing = margin < 0 and not self._down
        unclear = max(abs(margin), AT_STAKE) < CLEAR_Z * error
        enough: float = max(ANSWERS_MOST, ROUNDS_MOST * look.size)
        if losing:
            enough = min(enough, max(ANSWERS_LEAST, LOSING_ANSWERS * base.answers))
        if unclear and look.answers < enough:
            tally.due_answers = tally.answers + max(ANSWERS_LEAST, tally.answers // 4)
            return
        self._note(look)
        if (margin < 0) if self._down else (margin > 0):
            self._size, self._base = look.size, look
            self._trial = None
            most = math.log(high.size / low.size)
            far = abs(change) > FAR_SHARE * most
            self._step = min(self._step + 1, len(STEPS) - 1) if far else 0
            if change - error > FAR_SHARE * most and not self._down and look.size < self._most:
                self.far = look.mean_s, look.answers
                return
            self._rest = 1
            self._try_next(tally, now_s)
            return
        if self._down:
            # A smaller size was not quicker: there is no queue, and the floor was a lucky spell.
            self.floor_s = max(self.floor_s, look.mean_s)
        self._trial = None
        self._step = 0
        self._rest = min(self._rest * 2, REST_MOST)
        self._down = not self._down
        self.begin(tally, now_s, 0)
