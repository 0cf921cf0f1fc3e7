"""The climb to the best window, and the bracket that says which sizes are worth a trial."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.governor import Limits
from batcher.governor.bracket import STEPS, Bracket
from tests.bench.governor_sim import Endpoint, Sim


@pytest.mark.parametrize(
    ("knee", "mean_s", "fall"), [(21, 0.146, 0.7), (9, 1.23, 0.62), (5, 0.09, 0.81)]
)
def test_an_opening_that_no_longer_grows_gives_way_to_the_climb(
    knee: int, mean_s: float, fall: float
) -> None:
    """Beyond the best of an endpoint whose answers come in volleys, the window comes back."""
    endpoint = Endpoint(mean_s=mean_s, rtt_s=0.008, knee=knee, fall=fall)
    duration_s = 100 * max(1.0, mean_s)
    figures = Sim(endpoint, Limits(1000, None, None, 900.0), seed=3).run(duration_s)
    late = sum(at_s >= duration_s / 2 for at_s in figures.ok_at)
    assert late >= 0.85 * endpoint.best_per_s(1000) * duration_s / 2


@settings(max_examples=300)
@given(
    best=st.integers(1, 1000),
    size=st.integers(1, 1000),
    visible=st.integers(0, len(STEPS) - 1),
)
def test_the_bracket_closes_around_the_best(best: int, size: int, visible: int) -> None:
    """Clear verdicts on a throughput with one top end within a step of it, in a few trials."""
    most = 1000
    bracket = Bracket()

    def distance(at: int) -> float:
        return abs(math.log(at / best))

    for _ in range(60):
        trial = bracket.target(size, most, visible, may_fall=True)
        if trial is None:
            break
        assert 1 <= trial <= most
        assert trial != size
        assert bracket.low < trial < bracket.high
        if distance(trial) < distance(size):
            bracket.won(size, trial, clear=True)
            size = trial
        else:
            bracket.lost(size, trial, clear=True)
    assert trial is None
    assert distance(size) <= math.log(STEPS[visible]) or abs(size - best) <= 1


@given(size=st.integers(1, 1000), visible=st.integers(0, len(STEPS) - 1))
def test_no_smaller_size_is_tried_where_none_can_be_better(size: int, visible: int) -> None:
    """Where nothing waits in a queue trials go up; at the top there is none."""
    bracket = Bracket()
    bracket.turn()
    trial = bracket.target(size, 1000, visible, may_fall=False)
    assert trial is None if size == 1000 else trial is not None and trial > size


def test_what_is_unclear_moves_no_bound() -> None:
    """A trial that the noise decided neither closes the bracket nor bars a size."""
    bracket = Bracket()
    bracket.lost(100, 130, clear=False)
    bracket.lost(100, 80, clear=False)
    bracket.won(100, 115, clear=False)
    assert (bracket.low, bracket.high) == (0.0, math.inf)
