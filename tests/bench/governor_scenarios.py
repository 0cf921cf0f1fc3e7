# ruff: noqa: T201  # it prints its table
"""The governor against endpoints drawn at random, in virtual time.

`python -m tests.bench.governor_scenarios [--draws N] [--seed N] [--only NAME ...]` prints, for each
kind of scenario, the median and the worst of what was drawn. The same draws are replayed by the
tests in a smaller number.

The endpoint shares its capacity among the requests in service: up to `knee` of them each goes at
full speed, beyond it all slow down, so that the throughput falls as (knee / n) ** fall. A limiter
in front refuses at once. The driver does what the engine does: ask for a permit whenever something
happened, send again what was refused or failed. Nothing here knows the governor's constants.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from batcher.governor import Governor, Limits, Outcome, Permit, RateHeaders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SCENARIOS", "Endpoint", "Figures", "Sim", "draw"]

# A loop that wakes late: what a busy event loop adds to every timer, at most.
TIMER_LATE_S = 0.002
HEADERS_EVERY_S = 0.05


@dataclass
class Endpoint:
    """What one drawn endpoint does. Rates a second, times in seconds."""

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
            return RateHeaders(end.brim, remaining, (end.brim - self.level) / end.per_s)
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
    """What a run came to: shares of 1, and times in seconds."""

    ok: int = 0
    sent: int = 0
    refused: int = 0
    outages: int = 0
    sent_at: list[float] = field(default_factory=list)
    ok_at: list[float] = field(default_factory=list)
    trace: list[tuple[float, int, int, float]] = field(default_factory=list)


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
            answer = self.lane.admit(1000.0, self.now_s, retry=retry)
            if not isinstance(answer, Permit):
                self._sleep(answer)
                return
            if retry:
                self.again.popleft()
            else:
                self.fresh += 1
            self.figures.sent += 1
            self.figures.sent_at.append(self.now_s)
            self._at(self.now_s + self.end.rtt_s / 2, lambda r=row, p=answer: self._arrive(r, p))  # type: ignore[misc]

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
            tokens=600.0,
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


class Drawn(NamedTuple):
    """One draw of a scenario: what came out of it, by the name of the figure."""

    seed: int
    what: str
    figures: dict[str, float]


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _law(rng: random.Random, least_s: float, most_s: float) -> dict[str, float | str]:
    rtt_s = rng.uniform(0.002, 0.015)
    law = rng.choice(["constant", "exponential", "log-normal"])
    mean_s = _log_uniform(rng, least_s, most_s)
    return {"mean_s": mean_s, "law": law, "sigma": rng.uniform(0.3, 1.0), "rtt_s": rtt_s}


def _rate_run(endpoint: Endpoint, *, seed: int, limits: Limits | None = None) -> dict[str, float]:
    duration_s = max(200.0, 100 * endpoint.mean_s)
    rates = [(0.0, endpoint.per_s)]
    if endpoint.changes:
        at_s, _, value = endpoint.changes[0]
        endpoint.changes = [(at_s * duration_s, "per_s", value)]
        rates.append((at_s * duration_s, value))
    rates.append((duration_s, 0.0))
    allowed = sum(r * (t2 - t1) for (t1, r), (t2, _) in pairwise(rates))
    most = int(max(256, 4 * max(r for _, r in rates) * endpoint.mean_s))
    sim = Sim(endpoint, limits or Limits(most, None, None, 900.0), seed=seed)
    figures = sim.run(duration_s)
    accepted = figures.sent - figures.refused
    used = min(1.0, accepted / allowed)
    return {"limit used": used, "refused": figures.refused / figures.sent}


def hidden_rate(seed: int) -> Drawn:
    """A rate that is refused beyond, without a hint."""
    rng = random.Random(f"hidden {seed}")
    per_s = _log_uniform(rng, 10, 500)
    endpoint = Endpoint(
        **_law(rng, 0.02, 8.0),  # type: ignore[arg-type]
        per_s=per_s,
        brim=_log_uniform(rng, 1 + per_s * 0.02, 10 * per_s),
        slow_refusals=rng.random() < 0.1,
        failing=rng.choice([0.0, 0.0, 0.01]),
    )
    if rng.random() < 0.3:
        endpoint.changes = [(0.5, "per_s", per_s * _log_uniform(rng, 0.5, 2))]
    what = f"{per_s:.0f}/s brim {endpoint.brim:.0f} {endpoint.law} {endpoint.mean_s:.2f} s"
    what += f" slow {endpoint.slow_refusals} {endpoint.changes}"
    return Drawn(seed, what, _rate_run(endpoint, seed=seed))


def told_rate(seed: int) -> Drawn:
    """A rate told by headers (a bucket or a counter of a minute), or by Retry-After alone."""
    rng = random.Random(f"told {seed}")
    per_s = _log_uniform(rng, 10, 500)
    tells = rng.choice(["headers", "headers", "retry-after"])
    endpoint = Endpoint(
        **_law(rng, 0.02, 8.0),  # type: ignore[arg-type]
        per_s=per_s,
        brim=round(per_s * 60) if tells == "headers" else per_s * _log_uniform(rng, 0.5, 60),
        kind=rng.choice(["bucket", "counter"]) if tells == "headers" else "bucket",
        tells=tells,
    )
    what = f"{per_s:.0f}/s {tells} {endpoint.kind} brim {endpoint.brim:.0f}"
    what += f" {endpoint.law} {endpoint.mean_s:.2f} s"
    return Drawn(seed, what, _rate_run(endpoint, seed=seed))


def given_rate(seed: int) -> Drawn:
    """A rate that the user gives (`--rpm`)."""
    rng = random.Random(f"given {seed}")
    per_s = _log_uniform(rng, 0.5, 500)
    endpoint = Endpoint(**_law(rng, 0.02, 8.0), per_s=per_s, brim=max(2.0, per_s * 0.2))  # type: ignore[arg-type]
    most = int(max(256, 4 * per_s * endpoint.mean_s))
    limits = Limits(most, per_s * 60, None, 900.0)
    what = f"{per_s:.1f}/s {endpoint.law} {endpoint.mean_s:.2f} s"
    return Drawn(seed, what, _rate_run(endpoint, seed=seed, limits=limits))


def hidden_capacity(seed: int) -> Drawn:
    """A best concurrency between 4 and 800, beyond which the throughput falls."""
    rng = random.Random(f"capacity {seed}")
    knee = round(_log_uniform(rng, 4, 800))
    endpoint = Endpoint(
        **_law(rng, 0.05, 4.0),  # type: ignore[arg-type]
        knee=knee,
        fall=rng.uniform(0.2, 1.0),
        failing=rng.choice([0.0, 0.0, 0.01]),
    )
    best_per_s = knee / endpoint.mean_s
    duration_s = max(200.0, 100 * endpoint.mean_s)
    sim = Sim(endpoint, Limits(1000, None, None, 900.0), seed=seed)
    figures = sim.run(duration_s)
    late = sum(t >= duration_s / 2 for t in figures.ok_at) / (best_per_s * duration_s / 2)
    what = f"knee {knee} fall {endpoint.fall:.2f} {endpoint.law} {endpoint.mean_s:.2f} s"
    share = figures.ok / (best_per_s * duration_s)
    return Drawn(seed, what, {"best throughput": share, "second half": late})


def flat(seed: int) -> Drawn:
    """No limit at all: one second, 1,000 or 5,000 in flight; 20 s and 40 s from the start."""
    rng = random.Random(f"flat {seed}")
    most = rng.choice([1000, 5000])
    endpoint = Endpoint(mean_s=1.0, law=rng.choice(["constant", "log-normal"]), sigma=0.2)
    figures = Sim(endpoint, Limits(most, None, None, 900.0), seed=seed).run(40.0)
    early = sum(t <= 20 for t in figures.ok_at) / (most * 19)
    what = f"{most} {endpoint.law}"
    return Drawn(seed, what, {"ideal in 20 s": early, "ideal in 40 s": figures.ok / (most * 39)})


def outage(seed: int) -> Drawn:
    """A minute in the middle in which nobody answers."""
    rng = random.Random(f"outage {seed}")
    end_s = 100 + rng.uniform(10, 60)
    law = _law(rng, 0.05, 1.0)
    knee = round(_log_uniform(rng, 8, 400))
    refuses = rng.random() < 0.5
    endpoint = Endpoint(**law, knee=knee, outage=(100.0, end_s), outage_refuses=refuses)  # type: ignore[arg-type]
    sim = Sim(endpoint, Limits(500, None, None, 900.0), seed=seed)
    figures = sim.run(end_s + 60)
    usual = sum(60 <= t < 100 for t in figures.ok_at) / 40
    back = next((t for t in figures.ok_at if t > end_s), math.inf) - end_s
    after = [t for t in figures.sent_at if t >= end_s]
    peak = sum(t < end_s + 5 for t in after) / 5 / usual
    in_it = sum(101 < t < end_s for t in figures.sent_at)
    regained = sum(end_s + 20 <= t < end_s + 60 for t in figures.ok_at) / 40 / usual
    what = f"knee {knee} {endpoint.law} {endpoint.mean_s:.2f} s refuses {refuses}"
    figures_of = {
        "back after s": back,
        "rate in 5 s": peak,
        "sent a s in it": in_it / (end_s - 101),
        "regained": regained,
    }
    return Drawn(seed, what, figures_of)


SCENARIOS: dict[str, Callable[[int], Drawn]] = {
    "hidden rate": hidden_rate,
    "told rate": told_rate,
    "given rate": given_rate,
    "hidden capacity": hidden_capacity,
    "flat": flat,
    "outage": outage,
}
# Figures of which less is better; of the others, more.
LESS = {"refused", "back after s", "rate in 5 s", "sent a s in it"}


def draw(name: str, draws: int, seed: int = 0) -> Iterator[Drawn]:
    """Yield `draws` runs of one scenario."""
    for number in range(seed, seed + draws):
        yield SCENARIOS[name](number)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(SCENARIOS))
    parser.add_argument("--each", action="store_true", help="print every draw")
    options = parser.parse_args()
    print(f"{'scenario':16} {'figure':16} {'median':>8} {'worst':>8}  the worst draw")
    for name in options.only:
        drawn = list(draw(name, options.draws, options.seed))
        if options.each:
            for one in drawn:
                print("   ", one.seed, one.what, {k: round(v, 3) for k, v in one.figures.items()})
        for figure in drawn[0].figures:
            worst = (max if figure in LESS else min)(drawn, key=lambda d: d.figures[figure])
            median = statistics.median(d.figures[figure] for d in drawn)
            print(
                f"{name:16} {figure:16} {median:8.3f} {worst.figures[figure]:8.3f}  "
                f"{worst.seed}: {worst.what}"
            )


if __name__ == "__main__":
    main()
