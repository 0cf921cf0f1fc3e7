# ruff: noqa: T201  # it prints its table
"""The governor against endpoints drawn at random, in virtual time.

`python -m tests.bench.governor_scenarios [--draws N] [--seed N] [--only NAME ...]` prints, for each
kind of scenario, the median and the worst of what was drawn, and how many met the target. A few of
the same kind are replayed by the tests.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from batcher.governor import Limits
from tests.bench.governor_sim import TOKENS_USED, Endpoint, Figures, Sim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["LESS", "SCENARIOS", "Drawn", "draw"]


class Drawn(NamedTuple):
    """One draw of a scenario.

    Attributes:
        figures: What came out of it, by the name of the figure.
        ideal: The best possible good answers a second over time, as (from, rate) in order.
        run: All that happened.
    """

    seed: int
    what: str
    figures: dict[str, float]
    ideal: list[tuple[float, float]]
    run: Figures


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


class _Law(TypedDict):
    """How long an endpoint takes, in the words of `Endpoint`."""

    mean_s: float
    law: str
    sigma: float
    rtt_s: float


def _law(rng: random.Random, least_s: float, most_s: float) -> _Law:
    rtt_s = rng.uniform(0.002, 0.015)
    law = rng.choice(["constant", "exponential", "log-normal"])
    mean_s = _log_uniform(rng, least_s, most_s)
    return {"mean_s": mean_s, "law": law, "sigma": rng.uniform(0.3, 1.0), "rtt_s": rtt_s}


def _rate_run(seed: int, what: str, endpoint: Endpoint, limits: Limits | None = None) -> Drawn:
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
    shares = {"limit used": used, "refused": figures.refused / figures.sent}
    return Drawn(seed, what, shares, rates[:-1], figures)


def hidden_rate(seed: int) -> Drawn:
    """A rate that is refused beyond, without a hint."""
    rng = random.Random(f"hidden {seed}")
    per_s = _log_uniform(rng, 10, 500)
    endpoint = Endpoint(
        **_law(rng, 0.02, 8.0),
        per_s=per_s,
        brim=_log_uniform(rng, 1 + per_s * 0.02, 10 * per_s),
        slow_refusals=rng.random() < 0.1,
        failing=rng.choice([0.0, 0.0, 0.01]),
    )
    if rng.random() < 0.3:
        endpoint.changes = [(0.5, "per_s", per_s * _log_uniform(rng, 0.5, 2))]
    what = f"{per_s:.0f}/s brim {endpoint.brim:.0f} {endpoint.law} {endpoint.mean_s:.2f} s"
    what += ", slow refusals" if endpoint.slow_refusals else ""
    what += f", then {endpoint.changes[0][2]:.0f}/s" if endpoint.changes else ""
    return _rate_run(seed, what, endpoint)


def told_rate(seed: int) -> Drawn:
    """A rate told by headers (a bucket or a counter of a minute), or by Retry-After alone."""
    rng = random.Random(f"told {seed}")
    per_s = _log_uniform(rng, 10, 500)
    tells = rng.choice(["headers", "headers", "retry-after"])
    endpoint = Endpoint(
        **_law(rng, 0.02, 8.0),
        per_s=per_s,
        brim=round(per_s * 60) if tells == "headers" else per_s * _log_uniform(rng, 0.5, 60),
        kind=rng.choice(["bucket", "counter"]) if tells == "headers" else "bucket",
        tells=tells,
    )
    what = f"{per_s:.0f}/s {tells} {endpoint.kind} brim {endpoint.brim:.0f}"
    what += f" {endpoint.law} {endpoint.mean_s:.2f} s"
    return _rate_run(seed, what, endpoint)


def given_rate(seed: int) -> Drawn:
    """A rate that the user gives (`--rpm`)."""
    rng = random.Random(f"given {seed}")
    per_s = _log_uniform(rng, 0.5, 500)
    endpoint = Endpoint(**_law(rng, 0.02, 8.0), per_s=per_s, brim=max(2.0, per_s * 0.2))
    most = int(max(256, 4 * per_s * endpoint.mean_s))
    limits = Limits(most, per_s * 60, None, 900.0)
    what = f"{per_s:.1f}/s {endpoint.law} {endpoint.mean_s:.2f} s"
    return _rate_run(seed, what, endpoint, limits)


def hidden_capacity(seed: int) -> Drawn:
    """A best concurrency between 4 and 800, beyond which the throughput falls."""
    rng = random.Random(f"capacity {seed}")
    knee = round(_log_uniform(rng, 4, 800))
    endpoint = Endpoint(
        **_law(rng, 0.05, 4.0),
        knee=knee,
        fall=rng.uniform(0.2, 1.0),
        failing=rng.choice([0.0, 0.0, 0.01]),
    )
    best_per_s = endpoint.best_per_s(1000)
    duration_s = max(200.0, 100 * endpoint.mean_s)
    sim = Sim(endpoint, Limits(1000, None, None, 900.0), seed=seed)
    figures = sim.run(duration_s)
    late = sum(t >= duration_s / 2 for t in figures.ok_at) / (best_per_s * duration_s / 2)
    what = f"knee {knee} fall {endpoint.fall:.2f} {endpoint.law} {endpoint.mean_s:.2f} s"
    share = figures.ok / (best_per_s * duration_s)
    shares = {"best throughput": share, "second half": late}
    return Drawn(seed, what, shares, [(0.0, best_per_s)], figures)


def given_tokens(seed: int) -> Drawn:
    """A rate of tokens that the user gives (`--tpm`); requests use less than is reserved."""
    rng = random.Random(f"tokens {seed}")
    per_s = _log_uniform(rng, 0.5, 500)
    endpoint = Endpoint(**_law(rng, 0.02, 8.0))
    limits = Limits(int(max(256, 4 * per_s * endpoint.mean_s)), None, per_s * 60 * TOKENS_USED, 900)
    duration_s = max(200.0, 100 * endpoint.mean_s)
    figures = Sim(endpoint, limits, seed=seed).run(duration_s)
    minutes = [0] * (int(duration_s / 60) + 1)
    for sent_s in figures.sent_at:
        minutes[int(sent_s / 60)] += 1
    shares = {
        "limit used": figures.sent / (per_s * duration_s),
        "fullest minute": max(minutes) / (per_s * 60),
    }
    what = f"{per_s:.1f}/s {endpoint.law} {endpoint.mean_s:.2f} s"
    return Drawn(seed, what, shares, [(0.0, per_s)], figures)


def flat(seed: int) -> Drawn:
    """No limit at all: one second, 1,000 or 5,000 in flight; 20 s and 40 s from the start."""
    rng = random.Random(f"flat {seed}")
    most = rng.choice([1000, 5000])
    endpoint = Endpoint(mean_s=1.0, law=rng.choice(["constant", "log-normal"]), sigma=0.2)
    figures = Sim(endpoint, Limits(most, None, None, 900.0), seed=seed).run(40.0)
    early = sum(t <= 20 for t in figures.ok_at) / (most * 19)
    what = f"{most} {endpoint.law}"
    shares = {"ideal in 20 s": early, "ideal in 40 s": figures.ok / (most * 39)}
    return Drawn(seed, what, shares, [(0.0, 0.0), (1.0, most)], figures)


def outage(seed: int) -> Drawn:
    """A minute in the middle in which nobody answers."""
    rng = random.Random(f"outage {seed}")
    end_s = 100 + rng.uniform(10, 60)
    law = _law(rng, 0.05, 1.0)
    knee = round(_log_uniform(rng, 8, 400))
    refuses = rng.random() < 0.5
    endpoint = Endpoint(**law, knee=knee, outage=(100.0, end_s), outage_refuses=refuses)
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
    best = [(0.0, usual), (100.0, 0.0), (end_s, usual)]
    return Drawn(seed, what, figures_of, best, figures)


SCENARIOS: dict[str, Callable[[int], Drawn]] = {
    "hidden rate": hidden_rate,
    "told rate": told_rate,
    "given rate": given_rate,
    "given tokens": given_tokens,
    "hidden capacity": hidden_capacity,
    "flat": flat,
    "outage": outage,
}
# Figures of which less is better; of the others, more.
LESS = {"refused", "fullest minute", "back after s", "rate in 5 s", "sent a s in it"}


# What is asked of a figure, by scenario.
TARGETS = {
    ("hidden rate", "limit used"): 0.95,
    ("hidden rate", "refused"): 0.05,
    ("told rate", "limit used"): 0.97,
    ("told rate", "refused"): 0.02,
    ("given rate", "limit used"): 0.97,
    ("given rate", "refused"): 0.0,
    ("given tokens", "limit used"): 0.97,
    ("hidden capacity", "best throughput"): 0.9,
    ("hidden capacity", "second half"): 0.9,
    ("outage", "back after s"): 5.0,
    ("outage", "rate in 5 s"): 2.0,
}


def met(name: str, figure: str, drawn: Sequence[Drawn]) -> str:
    """Say how many of the draws met the target; nothing where there is none."""
    target = TARGETS.get((name, figure))
    if target is None:
        return ""
    sign = -1 if figure in LESS else 1
    count = sum(sign * one.figures[figure] >= sign * target for one in drawn)
    return f"{count} of {len(drawn)}"


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
    print(f"{'scenario':16} {'figure':16} {'median':>8} {'worst':>8} {'met':>10}  the worst draw")
    for name in options.only:
        drawn = [one._replace(run=Figures()) for one in draw(name, options.draws, options.seed)]
        if options.each:
            for one in drawn:
                print("   ", one.seed, one.what, {k: round(v, 3) for k, v in one.figures.items()})
        for figure in drawn[0].figures:
            worst = (max if figure in LESS else min)(drawn, key=lambda d: d.figures[figure])
            median = statistics.median(d.figures[figure] for d in drawn)
            print(
                f"{name:16} {figure:16} {median:8.3f} {worst.figures[figure]:8.3f} "
                f"{met(name, figure, drawn):>10}  "
                f"{worst.seed}: {worst.what}"
            )


if __name__ == "__main__":
    main()
