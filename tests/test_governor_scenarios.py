"""The governor's promises, against a few of the endpoints that are drawn at random.

`python -m tests.bench.governor_scenarios` replays hundreds; virtual time makes each the same on
every machine, so that figures may be asserted.
"""

from __future__ import annotations

import pytest

from tests.bench.governor_scenarios import SCENARIOS

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
