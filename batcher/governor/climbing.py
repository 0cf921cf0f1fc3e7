"""The climb to the best window size, and staying there.

The base is the present size, with a look at what it delivers. A trial is a size a step away: let
the change take effect (what is above the size settles, then one mean latency passes), then look,
until the difference in throughput stands out from the noise that the latencies themselves show. The
better size becomes the base. Which sizes are worth a trial is the bracket's matter: a size that was
clearly worse is not asked again, and between it and the base the middle is tried. Trials that end
unclear are dear, so each doubles the rest before the next; so does a bracket that is closed, which
is opened again after it. A trial downwards is made only where requests wait in a queue: latency
shows it, or a larger size that delivered less.
"""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import NamedTuple

from batcher.governor.bracket import STEPS, Bracket
from batcher.governor.looks import Look, Tally, contrast

__all__ = ["Climbing"]

# A step must bring this share of what it would bring to an idle endpoint (in logarithms), or the
# larger window is not worth its load. 0.1 keeps 90% of a saturating curve n / (n + h).
GAIN_SHARE = 0.1
# Standard errors by which a difference must stand out.
CLEAR_Z = 1.6
# A size that seems to bring nothing is dropped once this share of the base's own answers has
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
# Latency this many times the lowest seen: go down first.
DEEP_RATIO = 2.0
# Trials cost throughput: rests between them double up to this many times the first, which leaves a
# trial of three rounds at 87% one in ten: a hundredth.
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
        "_bracket",
        "_changed_s",
        "_closed",
        "_deep_tried",
        "_falls",
        "_from_seq",
        "_most",
        "_phase",
        "_rest",
        "_size",
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
        self._bracket = Bracket()
        self._closed = False
        self._falls = False
        self._deep_tried = False
        self._rest = 1
        self._from_seq = 0
        self._changed_s = 0.0
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
                self._closed = True
                self._bracket.down = change < 0
                self._rest = 1
        self._base = look
        if self._closed:
            self._bracket.open()
            self._closed = False
        self._try_next(tally, now_s)

    def _note(self, look: Look) -> None:
        self.mean_s = look.mean_s
        self.failed_share = 1.0 - look.good / look.answers
        self.floor_s = min(self.floor_s * FLOOR_DRIFT, look.mean_s)

    def _try_next(self, tally: Tally, now_s: float) -> None:
        queue = (self.mean_s or 0.0) / self.floor_s
        if queue > DEEP_RATIO and not self._deep_tried:
            self._deep_tried = self._bracket.down = True
        may_fall = queue > QUEUE_RATIO or self._falls or self._rest == REST_MOST
        step = self._visible_step()
        self._trial = self._bracket.target(self._size, self._most, step, may_fall=may_fall)
        if self._trial is None:
            self._closed = True
            self._rest = min(self._rest * 2, REST_MOST)
            self._look_on(tally, now_s)
        else:
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
        verdict = _judged(base, look)
        if not verdict.clear and look.answers < _enough(base, look, verdict):
            tally.due_answers = tally.answers + max(ANSWERS_LEAST, tally.answers // 4)
            return
        self._note(look)
        self._trial = None
        if verdict.margin > 0:
            self._won(base, look, verdict)
            if self.far is None:
                self._try_next(tally, now_s)
            return
        falls = look.size > base.size and verdict.gain < -CLEAR_Z * verdict.error
        self._lost(base, look, clear=verdict.clear, falls=falls)
        self.begin(tally, now_s, 0)

    def _won(self, base: Look, look: Look, verdict: Verdict) -> None:
        self._size, self._base = look.size, look
        self._bracket.won(base.size, look.size, clear=verdict.clear)
        # After a step down the larger size is one that fell.
        self._falls = look.size < base.size
        self._deep_tried = False
        self._rest = 1
        sure = verdict.gain - verdict.error
        unknown = self._bracket.high == math.inf and look.size < self._most
        if unknown and sure > FAR_SHARE * math.log(look.size / base.size) > 0:
            self.far = look.mean_s, look.answers

    def _lost(self, base: Look, look: Look, *, clear: bool, falls: bool) -> None:
        if look.size < base.size:
            # A smaller size was not quicker: there is no queue, and the floor was a lucky spell.
            self.floor_s = max(self.floor_s, look.mean_s)
        if not clear:
            self._rest = min(self._rest * 2, REST_MOST)
        self._falls = falls
        self._bracket.lost(base.size, look.size, clear=clear)


class Verdict(NamedTuple):
    """A trial against its base.

    Attributes:
        gain: What the trial delivers more, in logarithms; negative where it is less.
        error: Standard error of that.
        margin: What it delivers more than it must.
        clear: Whether the margin stands out from the noise.
    """

    gain: float
    error: float
    margin: float
    clear: bool


def _judged(base: Look, look: Look) -> Verdict:
    gain, error = contrast(look, base)
    margin = gain - GAIN_SHARE * math.log(look.size / base.size)
    return Verdict(gain, error, margin, max(abs(margin), AT_STAKE) >= CLEAR_Z * error)


def _enough(base: Look, look: Look, verdict: Verdict) -> float:
    """Return after how many answers the sign of the margin decides."""
    enough: float = max(ANSWERS_MOST, ROUNDS_MOST * look.size)
    if verdict.margin < 0:
        enough = min(enough, max(ANSWERS_LEAST, LOSING_ANSWERS * base.answers))
    return enough
