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
from typing import TYPE_CHECKING, Any, NamedTuple

from batcher.governor import Governor, Limits, Outcome, Permit, RateHeaders

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Endpoint", "Figures", "Sim"]

# A loop that wakes late: what a busy event loop adds to every timer, at most.
TIMER_LATE_S = 0.002
HEADERS_EVERY_S = 0.05
SERVICE_LEAST_S = 1e-4
# The mean time in service is taken over so many.
MEAN_OF = 20_000
# Keeps a product of many factors within what a float holds.
LARGE = 1e200
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

    def service_s(self, latency_s: float) -> float:
        """Return the part of a latency that is spent where requests share a capacity."""
        return max(SERVICE_LEAST_S, latency_s - self.rtt_s)

    def speed(self, serving: int) -> float:
        """Return the speed of each of so many requests in service, of that of one alone."""
        return 1.0 if serving <= self.knee else (self.knee / serving) ** (1 + self.fall)

    def best_per_s(self, most: int) -> float:
        """Return the throughput of the best fixed number in flight, at most `most`.

        A closed network of a delay (the way there and back) and a shared processor: what is in
        service has a distribution in product form, whatever the law of the latency.
        """
        rng = random.Random(0)
        mean_s = sum(self.service_s(self.latency_s(rng)) for _ in range(MEAN_OF)) / MEAN_OF
        return max(self._per_s(n, mean_s) for n in self._sizes(mean_s, most))

    def _sizes(self, mean_s: float, most: int) -> range:
        least = int(self.knee)
        far = math.ceil(least * (1 + self.rtt_s / mean_s) * 1.2)
        return range(min(least, most), min(far, most) + 1, max(1, least // 50))

    def _per_s(self, n: int, mean_s: float) -> float:
        """Return the throughput of `n` in flight by the weights of 0 to `n` in service."""
        weight, total, served = 1.0, 1.0, 0.0
        for serving in range(1, n + 1):
            per_s = serving * self.speed(serving) / mean_s
            # The rate into service from the way, over that out of it.
            weight *= (n - serving + 1) / self.rtt_s / per_s
            total += weight
            served += weight * per_s
            if total > LARGE:
                weight, total, served = weight / LARGE, total / LARGE, served / LARGE
        return served / total


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
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self._service: list[tuple[float, int, Work]] = []
        self._virtual = 0.0
        self._virtual_at_s = 0.0
        self._serving = 0
        self._wake_s = math.inf
        self._learned_s = -math.inf
        self._size = 0
        for at_s, name, value in endpoint.changes:
            self._at(at_s, setattr, self.end, name, value)
        if endpoint.outage:
            self._at(endpoint.outage[0], self._crash)

    def run(self, until_s: float) -> Figures:
        """Run until `until_s` of virtual time."""
        self._pump()
        events, pop = self._events, heapq.heappop
        while events and events[0][0] <= until_s:
            self.now_s, _, act, args = pop(events)
            act(*args)
        self.now_s = until_s
        return self.figures

    def _at(self, at_s: float, act: Callable[..., None], *args: Any) -> None:
        self._order += 1
        heapq.heappush(self._events, (at_s, self._order, act, args))

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
            self._at(arrive_s, self._arrive, row, answer)
        size = self.lane.window.size
        if size != self._size:
            self._size = size
            self.figures.windows.append((self.now_s, self.gov.window))

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
            self._at(back_s, self._settle, row, permit, Outcome.OUTAGE)
        elif not self.limiter.allow(self.now_s):
            self.figures.refused += 1
            self.figures.refused_at.append(self.now_s)
            wait_s = self.limiter.wait_s(self.now_s)
            if end.slow_refusals:
                back_s += end.latency_s(self.rng)
            self._at(back_s, self._settle, row, permit, Outcome.THROTTLED, wait_s)
        elif self.rng.random() < end.failing:
            self._at(back_s, self._settle, row, permit, Outcome.ERROR)
        else:
            told = self.limiter.headers(self.now_s) if end.tells == "headers" else None
            self._serve(Work(row, permit, told))

    def _speed(self) -> float:
        return self.end.speed(len(self._service))

    def _advance(self) -> None:
        now_s = self.now_s
        if now_s > self._virtual_at_s:
            self._virtual += (now_s - self._virtual_at_s) * self._speed()
            self._virtual_at_s = now_s

    def _serve(self, work: Work) -> None:
        self._advance()
        self._order += 1
        done = self._virtual + self.end.service_s(self.end.latency_s(self.rng))
        heapq.heappush(self._service, (done, self._order, work))
        self._plan()

    def _plan(self) -> None:
        self._serving += 1
        if self._service:
            left = max(0.0, self._service[0][0] - self._virtual)
            self._at(self.now_s + left / self._speed(), self._served, self._serving)

    def _served(self, plan: int) -> None:
        if plan != self._serving:
            return
        self._advance()
        back_s = self.now_s + self.end.rtt_s / 2
        while self._service and self._service[0][0] <= self._virtual + 1e-9:
            self._at(back_s, self._answer, heapq.heappop(self._service)[2])
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
            self._at(self.now_s + self.rng.random(), self._retry, row)
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
