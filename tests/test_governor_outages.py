"""The governor: what makes an outage, how it is probed, when it gives up; failures and retries."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import pytest

from batcher.governor import Outcome, Permit
from batcher.records import Hold
from tests.lanes import down, governor, send, send_all, wait_of


@pytest.mark.parametrize(
    ("rows", "connection_refused", "down"),
    [
        pytest.param([1, 1, 1, 1], False, False, id="one row may be the cause itself"),
        pytest.param([1, 2], False, False, id="two rows may be chance"),
        pytest.param([1, 2, 3], False, True, id="three rows are an outage"),
        pytest.param([1], True, True, id="a refused connection is one at once"),
    ],
)
def test_what_makes_an_outage(rows: list[int], *, connection_refused: bool, down: bool) -> None:
    """Different rows must fail as if nobody were there, or nobody listens at all."""
    made, lane = governor()
    for row in rows:
        lane.settle(
            send(lane, 1.0), Outcome.OUTAGE, 2.0, row=row, connection_refused=connection_refused
        )
    assert (made.outage_since(2.0) == 2.0) is down
    assert made.outages == int(down)


def test_a_success_between_makes_no_outage() -> None:
    """Some 502s among answers are noise."""
    made, lane = governor()
    for row in range(30):
        lane.settle(send(lane, row), Outcome.OUTAGE, row + 0.1, row=row)
        lane.settle(send(lane, row), Outcome.OK, row + 0.2, row=row)
    assert made.outage_since(30.0) is None


def test_an_outage_is_probed_one_at_a_time() -> None:
    """While it is down one request at a time leaves, at most 4 s apart; an answer ends it."""
    made, lane = governor()
    down(made, lane, 10.0)
    now_s, probes = 10.0, []
    while now_s < 70:
        answer = lane.admit(1.0, now_s)
        if isinstance(answer, Permit):
            probes.append(now_s)
            assert isinstance(lane.admit(1.0, now_s), float)
            lane.settle(answer, Outcome.OUTAGE, now_s + 0.01, row=1, connection_refused=True)
        now_s += 0.01
    gaps = [round(b - a, 1) for a, b in pairwise(probes)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == 4.0
    hold, note = made.hold(70.0)
    assert hold is Hold.ENDPOINT
    assert note.startswith("down for 60 s")
    lane.settle(send(lane, 80.0), Outcome.OK, 80.1)
    assert made.down_since_s is None
    assert made.outages == 1


def test_a_probe_that_hangs_does_not_block_the_next() -> None:
    """An endpoint that takes connections and never answers is still probed."""
    made, lane = governor()
    down(made, lane, 0.0)
    send(lane, 1.0)
    assert wait_of(lane, 1.0) <= 4.0
    send(lane, 5.0)


def test_an_outage_that_lasts_gives_up() -> None:
    """Down for longer than allowed: stop, with the reason."""
    made, lane = governor(give_up_after_s=60)
    down(made, lane, 0.0)
    for now_s in range(4, 61, 4):
        assert made.give_up(now_s - 3) is None
        lane.settle(send(lane, now_s), Outcome.OUTAGE, now_s, row=2)
    assert "down for" in (made.give_up(60.0) or "")


def test_sleep_is_not_an_outage() -> None:
    """A machine that slept for hours in the middle of an outage has not waited for hours."""
    made, lane = governor(give_up_after_s=900)
    down(made, lane, 0.0)
    assert made.give_up(8 * 3600.0) is None
    lane.settle(send(lane, 8 * 3600.0), Outcome.OUTAGE, 8 * 3600.0, row=2)
    assert made.give_up(8 * 3600.0 + 5) is None


def test_a_surge_of_failures_shrinks_the_window_and_a_few_do_not() -> None:
    """Scattered failures cost nothing; half of all failing halves the window."""
    sizes = []
    for failing_of_20 in (1, 12):
        made, lane = governor()
        out: deque[Permit] = deque()
        for tick in range(2000):
            while out and tick / 100 - out[0].sent_s >= 0.5:
                permit = out.popleft()
                bad = permit.seq % 20 < failing_of_20
                lane.settle(permit, Outcome.ERROR if bad else Outcome.OK, tick / 100)
            out += send_all(lane, tick / 100)
        sizes.append(made.window)
    assert sizes[0] == 256
    assert sizes[1] < 64


def test_retries_have_a_budget_that_delays() -> None:
    """When nothing succeeds, retries leave at a few a second; successes pay for more."""
    _, lane = governor(10)
    sent = 0
    for tick in range(6000):
        answer = lane.admit(1.0, tick / 100, retry=True)
        if isinstance(answer, Permit):
            sent += 1
            lane.settle(answer, Outcome.FINAL if tick % 2 else Outcome.ERROR, tick / 100)
    assert 400 < sent < 1000


def test_an_answer_earns_a_retry() -> None:
    """Where the budget is spent, each answer lets one more retry leave at once."""
    _made, lane = governor()
    first = send(lane, 0.0)
    for _ in range(100):
        lane.settle(send(lane, 0.0, retry=True), Outcome.VOID, 0.0)
    assert wait_of(lane, 0.0, retry=True) > 0
    lane.succeeded(first, 0.0, None)
    lane.settle(send(lane, 0.0, retry=True), Outcome.VOID, 0.0)
    assert wait_of(lane, 0.0, retry=True) > 0
