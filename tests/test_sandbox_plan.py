"""What the sandbox means to do, as values: faults drawn, limits, outages, latencies."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.endpoints.sandbox import Latency, Outage, SandboxOptions
from batcher.endpoints.sandbox.faults import FaultPlan
from batcher.endpoints.sandbox.limits import Limits, duration
from batcher.endpoints.sandbox.refusals import Refusal


def test_an_outage_in_seconds() -> None:
    """A window in seconds covers its start and not its end."""
    window = Outage(from_s=2, to_s=5)
    assert [window.covers(request=1, now_s=now) for now in (1.9, 2, 4.9, 5)] == [
        False,
        True,
        True,
        False,
    ]


def test_a_limit_refills() -> None:
    """A bucket is full again after its window; refused requests take nothing from it."""
    limits = Limits(SandboxOptions(rpm=60, limit_window_s=2))
    for _ in range(2):
        limits.admit("k", "m", tokens=5, now_s=0)
    for _ in range(10):
        with pytest.raises(Refusal):
            limits.admit("k", "m", tokens=5, now_s=0)
    limits.admit("k", "m", tokens=5, now_s=1)
    with pytest.raises(Refusal):
        limits.admit("k", "m", tokens=5, now_s=1)
    limits.admit("other", "m", tokens=5, now_s=1)


def test_the_three_headers_of_a_limit_agree() -> None:
    """What is missing of the stated limit comes back at the rate until the reset, in any window."""
    limits = Limits(SandboxOptions(rpm=1200, limit_window_s=10))
    for _ in range(50):
        told = limits.admit("k", "m", tokens=5, now_s=0)
    assert told["x-ratelimit-limit-requests"] == "200"
    assert told["x-ratelimit-remaining-requests"] == "150"
    assert told["x-ratelimit-reset-requests"] == "2.5s"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0ms"), (0.9, "900ms"), (5.27, "5.27s"), (360, "6m0s"), (3725, "1h2m5s")],
)
def test_durations_are_written_as_openai_does(seconds: float, written: str) -> None:
    """As in `x-ratelimit-reset-*`."""
    assert duration(seconds) == written


def test_every_fault_is_met_as_often_as_its_probability() -> None:
    """Over many requests, shares are near what was asked for, and the same on every run."""
    plan = FaultPlan({"500": 0.1, "reset": 0.05}, {})
    digests = [number.to_bytes(32, "big") for number in range(10_000)]
    met = [plan.next(None, digest) for digest in digests]
    counts = Counter(met)
    assert 900 < counts["500"] < 1100
    assert 400 < counts["reset"] < 600
    again = FaultPlan({"500": 0.1, "reset": 0.05}, {})
    assert [again.next(None, digest) for digest in reversed(digests)] == met[::-1]


def test_a_request_that_failed_is_answered_in_the_end() -> None:
    """The next attempt draws anew: what fails once does not fail for ever, nor the same way."""
    plan = FaultPlan({"500": 0.5}, {})
    runs = []
    for number in range(50):
        digest = bytes([number])
        attempts = 1
        while plan.next(None, digest) is not None:
            attempts += 1
            assert attempts < 64
        runs.append(attempts)
    assert 1.5 < sum(runs) / len(runs) < 2.5


@given(st.lists(st.integers(0, 30), max_size=200))
def test_retries_meet_faults_by_their_own_number(order: list[int]) -> None:
    """What the nth attempt of a request meets depends on no other request."""
    mixed, alone = FaultPlan({"500": 0.5}, {}), FaultPlan({"500": 0.5}, {})
    seen: dict[int, list[str | None]] = {}
    for number in order:
        seen.setdefault(number, []).append(mixed.next(None, bytes([number])))
    for number, met in seen.items():
        assert [alone.next(None, bytes([number])) for _ in met] == met


@pytest.mark.parametrize(
    ("law", "median"),
    [("0.5", None), ("uniform:1,3", 2), ("lognormal:0.8,0.5", 0.8), ("constant:2", 2)],
)
def test_latency_laws(law: str, median: float | None) -> None:
    """The median draw of each law is what its numbers say; draws never lie below 0."""
    if median is None:
        assert Latency.parse(float(law)).at(0.7) == 0.5
        return
    parsed = Latency.parse(law)
    assert parsed.at(0.5) == pytest.approx(median)
    assert 0 <= parsed.at(0.0) <= parsed.at(0.999999)
    assert Latency.parse(str(parsed)) == parsed
