"""The governor's promises, against a few of the endpoints that are drawn at random.

`python -m tests.bench.governor_scenarios` replays hundreds; virtual time makes each the same on
every machine, so that figures may be asserted.
"""

from __future__ import annotations

import pytest

from batcher.governor import Limits
from tests.bench.governor_scenarios import SCENARIOS
from tests.bench.governor_sim import Endpoint, Sim

WITHIN = {
    "hidden rate": ([2, 8, 24, 68], {"limit used": (0.95, 1.0), "refused": (0.0, 0.05)}),
    "told rate": ([0, 4, 9], {"limit used": (0.97, 1.0), "refused": (0.0, 0.02)}),
    "given rate": ([0, 1, 45, 62], {"limit used": (0.97, 1.0), "refused": (0.0, 0.0)}),
    "given tokens": ([1, 9], {"limit used": (0.97, 1.0), "fullest minute": (0.0, 1.05)}),
    "hidden capacity": ([0, 3, 92], {"best throughput": (0.9, 1.1)}),
    "outage": ([0, 3, 4], {"back after s": (0.0, 5.0), "rate in 5 s": (0.0, 2.0)}),
}


@pytest.mark.parametrize(
    ("name", "seed"),
    [pytest.param(name, seed, id=f"{name} {seed}") for name in WITHIN for seed in WITHIN[name][0]],
)
def test_promise(name: str, seed: int) -> None:
    """A drawn endpoint is used as well as promised."""
    drawn = SCENARIOS[name](seed)
    for figure, (least, most) in WITHIN[name][1].items():
        assert least <= drawn.figures[figure] <= most, (figure, drawn)


@pytest.mark.parametrize("seed", [10, 14, 15])
def test_requests_that_overtake_each_other_do_not_hide_the_rate(seed: int) -> None:
    """A first estimate that a shuffled burst has spoilt is given up as soon as it is refuted."""
    endpoint = Endpoint(mean_s=0.02, rtt_s=0.004, per_s=10, brim=20, jitter_s=0.02)
    figures = Sim(endpoint, Limits(256, None, None, 900.0), seed=seed).run(60.0)
    assert figures.ok >= 0.95 * 600
    assert figures.refused <= 0.1 * figures.sent


@pytest.mark.parametrize("stated", [200, 1200])
@pytest.mark.parametrize("law", ["constant", "exponential"])
def test_a_bucket_that_holds_less_than_is_stated(law: str, stated: int) -> None:
    """Headers that state a minute's limit, of a bucket of ten seconds, are not believed in that."""
    endpoint = Endpoint(law=law, per_s=20, brim=200, tells="headers", stated=stated)
    figures = Sim(endpoint, Limits(256, None, None, 900.0), seed=1).run(60.0)
    assert figures.ok >= 0.97 * 1200
    assert figures.refused <= 0.005 * figures.sent
