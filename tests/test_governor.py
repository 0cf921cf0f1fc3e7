"""The governor through its public face, with time as an argument."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.governor import Outcome, Permit, RateHeaders
from batcher.records import Hold
from tests.lanes import governor, send, send_all, wait_of


def test_a_lane_is_one_for_a_model() -> None:
    """The same model gets the same lane, another model another one."""
    made, lane = governor()
    assert made.lane("gpt-4o", 0.0) is lane
    assert made.lane("gpt-4o-mini", 0.0) is not lane


def test_opening_is_no_burst() -> None:
    """At first no more than a few requests leave, however many are allowed."""
    made, lane = governor(5000)
    permits = send_all(lane, 0.0)
    assert 4 <= len(permits) <= 20
    assert made.in_flight == len(permits) == made.window
    assert wait_of(lane, 0.0) == math.inf


def test_concurrency_is_a_cap_over_all_lanes() -> None:
    """Two lanes together never exceed the user's concurrency."""
    made, lane = governor(6)
    assert len(send_all(lane, 0.0)) + len(send_all(made.lane("other", 0.0), 0.0)) == 6
    assert made.window == 6
    assert made.hold(0.0) == (Hold.WINDOW, "concurrency 6 reached")


def test_window_opens_when_answers_come_back() -> None:
    """A round that comes back lets more leave, spread out rather than at once."""
    made, lane = governor(5000)
    sizes, out = [made.window], send_all(lane, 0.0)
    for now_s in (1.0, 2.0):
        back, out = out, []
        for permit in back:
            lane.settle(permit, Outcome.OK, now_s)
            out += send_all(lane, now_s)
        sizes.append(made.window)
    assert sizes[0] < sizes[1] < sizes[2]
    assert len(out) < sizes[2] / 2


def test_user_rpm_is_the_total_over_all_lanes() -> None:
    """A minute lets `rpm` requests leave, one lane or many."""
    made, lane = governor(rpm=600)
    other = made.lane("other", 0.0)
    sent = 0
    for tick in range(60_000):
        for each in (lane, other):
            answer = each.admit(1.0, tick / 1000)
            if isinstance(answer, Permit):
                sent += 1
                each.settle(answer, Outcome.OK, tick / 1000)
    assert 588 <= sent <= 601
    assert made.hold(60.0) == (Hold.RATE, "the rate set for the run")


def test_request_larger_than_the_token_limit_still_leaves() -> None:
    """It is sent when the bucket is full, and what follows waits until its tokens are earned."""
    _, lane = governor(tpm=6000)
    send(lane, 0.0, tokens=60_000)
    wait_s = wait_of(lane, 0.0, tokens=1)
    assert 590 <= wait_s <= 610
    send(lane, wait_s + 0.001, tokens=1)


def test_unused_tokens_are_given_back() -> None:
    """A reservation is settled with the real usage."""
    _, lane = governor(tpm=6000)
    permit = send(lane, 0.0, tokens=6000)
    assert wait_of(lane, 0.0) > 50
    lane.settle(permit, Outcome.OK, 1.0, tokens=100)
    assert wait_of(lane, 1.0) < 2
    send(lane, 3.0)


def test_void_gives_its_tokens_back() -> None:
    """What never left counts for nothing."""
    made, lane = governor(tpm=6000)
    lane.settle(send(lane, 0.0, tokens=6000), Outcome.VOID, 0.0)
    send(lane, 0.0)
    assert made.in_flight == 1


def test_a_refusal_pauses_everyone_once() -> None:
    """The told wait holds the whole lane; refusals of what had left before do not extend it."""
    made, lane = governor()
    permits = send_all(lane, 0.0)
    lane.settle(permits[0], Outcome.THROTTLED, 0.1, wait_s=12.0)
    assert wait_of(lane, 0.1) == pytest.approx(12.0)
    for permit in permits[1:]:
        lane.settle(permit, Outcome.THROTTLED, 5.0, wait_s=12.0)
    assert wait_of(lane, 5.0) == pytest.approx(7.1)
    assert made.hold(5.1) == (Hold.PAUSE, "429: paused 7 s")
    send(made.lane("other", 0.0), 5.0)
    assert len(send_all(lane, 12.2)) <= 2, "no storm when the pause ends"


def test_a_refusal_without_a_hint_slows_down() -> None:
    """The lane goes on, at a pace."""
    made, lane = governor()
    permits = send_all(lane, 0.0)
    lane.settle(permits[0], Outcome.THROTTLED, 0.02)
    for permit in permits[1:]:
        lane.settle(permit, Outcome.OK, 0.2)
    sent = sum(len(send_all(lane, 0.2 + tick / 1000)) for tick in range(10))
    assert sent <= 3
    assert made.hold(0.21) == (Hold.RATE, "looking for the rate after a refusal")


def test_told_wait_longer_than_allowed_gives_up() -> None:
    """A wait beyond the limit is not sat out, and the reason names it."""
    made, lane = governor(give_up_after_s=900)
    lane.settle(send(lane, 0.0), Outcome.THROTTLED, 0.1, wait_s=3600.0)
    assert "3,600 s" in (made.give_up(0.1) or "")


def test_nothing_but_refusals_gives_up() -> None:
    """Refused for rate without one success for so long: stop; one success starts the count anew."""
    made, lane = governor(give_up_after_s=100)
    now_s = 0.0
    while now_s < 99:
        wait_s = lane.admit(1.0, now_s)
        if isinstance(wait_s, Permit):
            lane.settle(wait_s, Outcome.THROTTLED, now_s, wait_s=10.0)
            wait_s = 10.0
        now_s += min(wait_s, 5.0)
        assert made.give_up(min(now_s, 99.0)) is None
    assert "refused every request" in (made.give_up(101.0) or "")
    assert made.refused_since_s == 0.0
    lane.settle(send(lane, 120.0), Outcome.OK, 121.0)
    assert made.give_up(121.0) is None
    assert made.refused_since_s is None


def openai_headers(limit: float, remaining: float, reset_s: float) -> RateHeaders:
    """The request half of the headers."""
    return RateHeaders(limit, remaining, reset_s)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(RateHeaders(), id="none"),
        pytest.param(openai_headers(-1, -1, 0), id="Azure's -1"),
        pytest.param(openai_headers(0, 0, 60), id="Azure's 0"),
        pytest.param(openai_headers(600, 600, 0), id="an untouched limit"),
    ],
)
def test_headers_that_say_nothing(headers: RateHeaders) -> None:
    """No pace comes from headers without a usable number."""
    made, lane = governor()
    lane.learn(headers, 0.0, 0.5)
    assert len(send_all(lane, 1.0)) == made.window


def test_headers_set_the_pace() -> None:
    """What remains is spread over the time until the reset."""
    made, lane = governor()
    lane.settle(send(lane, 0.0), Outcome.OK, 0.1)
    lane.learn(openai_headers(600, 100, 50), 0.0, 0.1)
    sent = 0
    for tick in range(1, 10_000):
        answer = lane.admit(1.0, 0.1 + tick / 1000)
        if isinstance(answer, Permit):
            sent += 1
            lane.settle(answer, Outcome.OK, 0.1 + tick / 1000)
    assert 15 <= sent <= 25
    assert made.hold(10.1) == (Hold.RATE, "120 requests a minute, told by the endpoint")


def test_quiet_run_is_held_by_its_source() -> None:
    """Nothing holds a run whose requests all leave when asked."""
    made, lane = governor()
    lane.settle(send(lane, 0.0), Outcome.OK, 0.1)
    assert made.hold(0.2) == (Hold.SOURCE, "")


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(list(Outcome)),
        st.floats(0.0, 2.0) | st.sampled_from([0.0, 1e-9, 50.0, 1e5]),
        st.one_of(st.none(), st.floats(-5, 1000), st.just(1e9)),
        st.booleans(),
    ),
    max_size=120,
)


@settings(deadline=None, max_examples=150)
@given(events=EVENTS, concurrency=st.integers(1, 40), metered=st.booleans())
def test_whatever_happens_the_count_holds(
    events: list[tuple[Outcome, float, float | None, bool]],
    concurrency: int,
    *,
    metered: bool,
) -> None:
    """In flight is what was admitted and not settled, never above the cap; no wait is nothing."""
    limit = 6000.0 if metered else None
    made, lane = governor(concurrency, rpm=limit, tpm=limit)
    now_s = 0.0
    out: list[Permit] = []
    for row, (outcome, step_s, wait_s, learn) in enumerate(events):
        now_s += step_s
        while len(out) < concurrency + 5 and isinstance(
            answer := lane.admit(50.0, now_s, retry=row % 3 == 0), Permit
        ):
            out.append(answer)
        assert len(out) == made.in_flight <= concurrency
        if not out or len(out) < concurrency:
            assert isinstance(answer, float)
            assert answer > 0
        if learn:
            lane.learn(RateHeaders(100, row % 100, step_s, 1e4, row, step_s), now_s, now_s)
        if out:
            permit = out.pop(row % len(out))
            lane.settle(
                permit, outcome, now_s, tokens=float(row), wait_s=wait_s, row=row,
                connection_refused=learn,
            )  # fmt: skip
        made.hold(now_s)
        made.give_up(now_s)
        assert 1 <= made.window <= concurrency


@settings(deadline=None, max_examples=50)
@given(EVENTS, st.integers(1, 40))
def test_whatever_happened_it_never_stalls(
    events: list[tuple[Outcome, float, float | None, bool]], concurrency: int
) -> None:
    """With nothing in flight and no wait told, a request leaves within two minutes."""
    _made, lane = governor(concurrency)
    now_s = 0.0
    for row, (outcome, step_s, wait_s, _) in enumerate(events):
        now_s += step_s
        answer = lane.admit(1.0, now_s)
        if isinstance(answer, Permit):
            told = None if wait_s is None else min(wait_s, 60.0)
            lane.settle(answer, outcome, now_s + 0.01, wait_s=told, row=row)
            now_s += 0.01
    begun_s = now_s
    while not isinstance(answer := lane.admit(1.0, now_s), Permit):
        assert answer < math.inf
        now_s += answer
        assert now_s - begun_s < 185
