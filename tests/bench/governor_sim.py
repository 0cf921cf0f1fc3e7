"""An endpoint with limits, and a driver of the governor against it, in virtual time.

The endpoint shares its capacity among the requests in service: up to `knee` of them each goes at
full speed, beyond it all slow down, so that the throughput falls as (knee / n) ** fall. A limiter
in front refuses at once. The driver does what the engine does: ask for a permit whenever something
happened, send again what was refused or failed. Nothing here knows the governor's constants.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batcher.governor import Governor, Limits, Outcome, Permit, RateHeaders

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Endpoint", "Figures", "Sim"]

# A loop that wakes late: what a busy event loop adds to every timer, at most.
TIMER_LATE_S = 0.002
HEADERS_EVERY_S = 0.05
# What the engine reserves for a request, and what it turns out to use.
TOKENS_RESERVED = 1000.0
TOKENS_USED = 600.0


@dataclass
class Endpoint:
    """What one drawn endpoint does. Rates a second, times in seconds.

    Attributes:
        stated: The limit that its headers state, where that is not what its bucket holds.
        jitter_s: Mean of a random time, exponential, between a permit and the request's arrival.
    """

    mean_s: float = 1.0
    law: str = "constant"
    sigma: float = 0.6
    rtt_s: float = 0.03
    slow_refusals: bool = False
    knee: float = math.inf
    fall: float = 0.5
    per_s: float = math.inf
    brim: float = 1.0
    kind: str = "bucket"
    period_s: float = 60.0
    tells: str = "nothing"
    stated: float | None = None
    jitter_s: float = 0.0
    changes: list[tuple[float, str, float]] = field(default_factory=list)
    failing: float = 0.0
    outage: tuple[float, float] | None = None
    outage_refuses: bool = True

    def latency_s(self, rng: random.Random) -> float:
        """Draw the time that a request takes when alone; `mean_s` on average."""
        if self.law == "constant":
            return self.mean_s
        if self.law == "exponential":
            return rng.expovariate(1 / self.mean_s)
        return self.mean_s * math.exp(rng.gauss(-(self.sigma**2) / 2, self.sigma))


class Limiter:
    """The endpoint's own limiter: a bucket that refills, or a counter of fixed periods."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.end = endpoint
        self.level = endpoint.brim if endpoint.kind == "bucket" else 0.0
        self.at_s = 0.0
        self.began_s = 0.0

    def allow(self, now_s: float) -> bool:
        """Count a request, or refuse it."""
        end = self.end
        if end.per_s == math.inf:
            return True
        self._advance(now_s)
        if end.kind == "bucket":
            allowed = self.level >= 1.0
            self.level -= allowed
        else:
            allowed = self.level < end.per_s * end.period_s
            self.level += allowed
        return allowed

    def _advance(self, now_s: float) -> None:
        end = self.end
        if end.kind == "bucket":
            self.level = min(end.brim, self.level + (now_s - self.at_s) * end.per_s)
        elif now_s - self.began_s >= end.period_s:
            self.began_s += end.period_s * ((now_s - self.began_s) // end.period_s)
            self.level = 0.0
        self.at_s = now_s

    def headers(self, now_s: float) -> RateHeaders:
        """What OpenAI's headers would say."""
        self._advance(now_s)
        end = self.end
        if end.kind == "bucket":
            remaining = math.floor(self.level)
            reset_s = (end.brim - self.level) / end.per_s
            return RateHeaders(end.stated or end.brim, remaining, reset_s)
        limit = end.per_s * end.period_s
        left_s = self.began_s + end.period_s - now_s
        return RateHeaders(limit, max(0.0, limit - self.level), left_s)

    def wait_s(self, now_s: float) -> float:
        """When the next request would be let through."""
        if self.end.kind == "bucket":
            return max(0.0, 1.0 - self.level) / self.end.per_s
        return self.began_s + self.end.period_s - now_s


class Work(NamedTuple):
    """A request under way."""

    row: int
    permit: Permit
    headers: RateHeaders | None


@dataclass
class Figures:
    """What a run came to; times in seconds.

    Attributes:
        windows: The window's size and when it became that.
    """

    ok: int = 0
    sent: int = 0
    refused: int = 0
    sent_at: list[float] = field(default_factory=list)
    ok_at: list[float] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)
    windows: list[tuple[float, int]] = field(default_factory=list)


class Sim:
    """Drives one governor against one endpoint."""

    def __init__(self, endpoint: Endpoint, limits: Limits, *, seed: int) -> None:
        self.end = endpoint
        self.rng = random.Random(seed)
        self.gov = Governor(limits, 0.0)
        self.lane = self.gov.lane("m", 0.0)
        self.limiter = Limiter(endpoint)
        self.now_s = 0.0
        self.figures = Figures()
        self.fresh = 0
        self.again: deque[int] = deque()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._service: list[tuple[float, int, Work]] = []
        self._virtual = 0.0
        self._virtual_at_s = 0.0
        self._serving = 0
        self._wake_s = math.inf
        self._learned_s = -math.inf
        for at_s, name, value in endpoint.changes:
            self._at(at_s, lambda n=name, v=value: setattr(self.end, n, v))  # type: ignore[misc]
        if endpoint.outage:
            self._at(endpoint.outage[0], self._crash)

    def run(self, until_s: float) -> Figures:
        """Run until `until_s` of virtual time."""
        self._pump()
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, act = heapq.heappop(self._events)
            act()
        self.now_s = until_s
        return self.figures

    def _at(self, at_s: float, act: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (at_s, self._order, act))

    def _pump(self) -> None:
        while True:
            row, retry = (self.again[0], True) if self.again else (self.fresh, False)
            answer = self.lane.admit(TOKENS_RESERVED, self.now_s, retry=retry)
            if not isinstance(answer, Permit):
                self._sleep(answer)
                break
            if retry:
                self.again.popleft()
            else:
                self.fresh += 1
            self.figures.sent += 1
            self.figures.sent_at.append(self.now_s)
            arrive_s = self.now_s + self.end.rtt_s / 2
            if self.end.jitter_s:
                arrive_s += self.rng.expovariate(1 / self.end.jitter_s)
            self._at(arrive_s, lambda r=row, p=answer: self._arrive(r, p))  # type: ignore[misc]
        size, windows = self.gov.window, self.figures.windows
        if not windows or windows[-1][1] != size:
            windows.append((self.now_s, size))

    def _sleep(self, wait_s: float) -> None:
        assert wait_s > 0, "a wait of nothing would spin"
        wake_s = self.now_s + wait_s + self.rng.random() * TIMER_LATE_S
        if wake_s < self._wake_s or self._wake_s <= self.now_s:
            self._wake_s = wake_s
            if wake_s < math.inf:
                self._at(wake_s, self._woken)

    def _woken(self) -> None:
        if self.now_s >= self._wake_s:
            self._wake_s = math.inf
            self._pump()

    def _arrive(self, row: int, permit: Permit) -> None:
        end = self.end
        back_s = self.now_s + end.rtt_s / 2
        if end.outage and end.outage[0] <= self.now_s < end.outage[1]:
            self._at(back_s, lambda: self._settle(row, permit, Outcome.OUTAGE))
        elif not self.limiter.allow(self.now_s):
            self.figures.refused += 1
            self.figures.refused_at.append(self.now_s)
            wait_s = self.limiter.wait_s(self.now_s)
            if end.slow_refusals:
                back_s += end.latency_s(self.rng)
            self._at(back_s, lambda: self._settle(row, permit, Outcome.THROTTLED, wait_s))
        elif self.rng.random() < end.failing:
            self._at(back_s, lambda: self._settle(row, permit, Outcome.ERROR))
        else:
            told = self.limiter.headers(self.now_s) if end.tells == "headers" else None
            self._serve(Work(row, permit, told))

    def _speed(self) -> float:
        n = len(self._service)
        return 1.0 if n <= self.end.knee else (self.end.knee / n) ** (1 + self.end.fall)

    def _advance(self) -> None:
        self._virtual += (self.now_s - self._virtual_at_s) * self._speed()
        self._virtual_at_s = self.now_s

    def _serve(self, work: Work) -> None:
        self._advance()
        self._order += 1
        done = self._virtual + max(1e-4, self.end.latency_s(self.rng) - self.end.rtt_s)
        heapq.heappush(self._service, (done, self._order, work))
        self._plan()

    def _plan(self) -> None:
        self._serving += 1
        if self._service:
            left = max(0.0, self._service[0][0] - self._virtual)
            plan = self._serving
            self._at(self.now_s + left / self._speed(), lambda: self._served(plan))

    def _served(self, plan: int) -> None:
        if plan != self._serving:
            return
        self._advance()
        done: list[Work] = []
        while self._service and self._service[0][0] <= self._virtual + 1e-9:
            done.append(heapq.heappop(self._service)[2])
        for work in done:
            self._at(self.now_s + self.end.rtt_s / 2, lambda w=work: self._answer(w))  # type: ignore[misc]
        self._plan()

    def _answer(self, work: Work) -> None:
        if work.headers is not None and self.now_s - self._learned_s >= HEADERS_EVERY_S:
            self._learned_s = self.now_s
            self.lane.learn(work.headers, work.permit.sent_s, self.now_s)
        self._settle(work.row, work.permit, Outcome.OK)

    def _settle(self, row: int, permit: Permit, outcome: Outcome, wait_s: float = 0.0) -> None:
        told = None
        if outcome is Outcome.THROTTLED and self.end.tells != "nothing":
            told = max(1.0, math.ceil(wait_s))
        self.lane.settle(
            permit,
            outcome,
            self.now_s,
            tokens=TOKENS_USED,
            wait_s=told,
            row=row,
            connection_refused=outcome is Outcome.OUTAGE and self.end.outage_refuses,
        )
        if outcome is Outcome.OK:
            self.figures.ok += 1
            self.figures.ok_at.append(self.now_s)
        elif outcome is Outcome.THROTTLED:
            self.again.append(row)
        else:
            self._at(self.now_s + self.rng.random(), lambda: self._retry(row))
        self._pump()

    def _retry(self, row: int) -> None:
        self.again.append(row)
        self._pump()

    def _crash(self) -> None:
        """Everything in service is reset, then nobody listens."""
        self._advance()
        works, self._service = self._service, []
        self._plan()
        for _, _, work in works:
            self._settle(work.row, work.permit, Outcome.ERROR)
