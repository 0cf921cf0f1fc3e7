"""Settling: the short road of a usual answer says what the long one would."""

from __future__ import annotations

import copy
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from batcher.amounts import NO_AMOUNT, Spend, Usage
from batcher.budget import Bounds, Budget, Limit
from batcher.checks import Checker
from batcher.codec import RowParser
from batcher.engine.clerk import Clerk
from batcher.engine.purse import Purse
from batcher.engine.roster import Roster
from batcher.engine.settle import Settler
from batcher.engine.stop import StopSwitch
from batcher.engine.task import Task
from batcher.governor import Governor, Limits, Permit
from batcher.journal.relay import Relay
from batcher.ledger import Ledger
from batcher.pricing import load_pricer
from batcher.records import Failure, Reply, Row
from batcher.retry import RetryPolicy
from batcher.source import Line

NOW_S = 1000.0
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
USUAL: dict[str, Any] = {
    "id": "x",
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "word", "refusal": None},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
}

PRICERS = {True: load_pricer("list", provider="openai"), False: load_pricer("none", provider=None)}

# What may stand at any place of an answer instead of what does.
odd = st.sampled_from([None, True, -1, 0, 3, 1.5, "", " ", "stop", "error", [], {}, [1], {"a": 1}])
words = st.sampled_from(["error", "refusal", "tool_calls", "function_call", "cache_write_tokens"])


@contextmanager
def still() -> Iterator[None]:
    """Let time stand still, and a run's name be always the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: 1764000000.5)
        patch.setattr(random, "random", lambda: 0.5)
        patch.setattr(secrets, "token_hex", lambda _: "0f" * 8)
        yield


class LongRoad(Settler):
    """Knows no usual answer."""

    def _is_usual(self, *_: Any) -> bool:
        return False


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """A usual answer, with nothing or a little changed in it."""
    answer = copy.deepcopy(USUAL)
    message = answer["choices"][0]["message"]
    if draw(st.booleans()):
        message["tool_calls"], message["content"] = [copy.deepcopy(CALL)], None
    for _ in range(draw(st.integers(0, 2))):
        places: list[Any] = [answer]
        for place in places:
            places += [v for v in _values(place) if isinstance(v, dict | list)]
        place = draw(st.sampled_from(places))
        if isinstance(place, list):
            place[draw(st.integers(0, len(place))) :] = draw(st.sampled_from([[], [place], [1]]))
            if place and place[-1] is place:
                place[-1] = copy.deepcopy(USUAL["choices"][0])
        else:
            place[draw(st.one_of(st.sampled_from([*place, "x"]), words))] = copy.deepcopy(draw(odd))
    text = orjson.dumps(answer, option=draw(st.sampled_from([None, orjson.OPT_INDENT_2])))
    return text[: draw(st.sampled_from([len(text)] * 9 + [len(text) // 2]))]


def _values(place: Any) -> list[Any]:
    return list(place.values()) if isinstance(place, dict) else list(place)


replies = st.builds(
    Reply,
    st.sampled_from([200] * 9 + [201, 400, 500]),
    st.sampled_from([CIMultiDict(), CIMultiDict({"X-Request-Id": "r-1"})]),
    answers(),
    st.just(0.25),
)


def settle(
    kind: type[Settler],
    raw: bytes,
    outcomes: list[Reply | Failure],
    *,
    checks: bool,
    priced: bool,
    basis: str | None = None,
) -> tuple[Any, ...]:
    """Settle attempts of one row; give all that can be seen of it afterwards."""
    relay, governor = Relay(), Governor(Limits(8, None, None, 900.0), NOW_S)
    checker, switch = Checker(), StopSwitch()
    pricer = PRICERS[priced]
    bounds = Bounds(pricer, priced=False, seen=basis == "seen")
    budget = Budget(Limit(Decimal(1000), 10**9))
    purse = Purse(budget, bounds, relay, run="r") if basis else None
    clerk = Clerk(relay, endpoint="e", price=pricer.price, bounds=bounds, prices="p 1")
    settler = kind(
        policy=RetryPolicy(),
        governor=governor,
        clerk=clerk,
        switch=switch,
        checker=checker if checks else None,
        purse=purse,
    )
    roster = Roster(RowParser(carry=("note",), fault=checker.fault), relay.state)
    member = roster.enter(Line(3, raw))
    assert isinstance(member.row, Row)
    task = Task(member, member.row, governor.lane(member.row.model, NOW_S), 10.0)
    waits = []
    for outcome in outcomes:
        permit = task.lane.admit(10.0, NOW_S, retry=not task.fresh)
        assert isinstance(permit, Permit)
        task.permit = permit
        if purse is not None:
            assert purse.admits(task)
            purse.take(task)
        waits.append(settler.settle(task, outcome, NOW_S + 0.25))
        if waits[-1] is None:
            break
    lines = list(relay._lines)
    totals = relay.state.ledger.totals(started_at="", finished_at="", wall_s=0.0, version="")
    index = relay.state.index
    offsets = [index.offset(entry) for entry in index]
    next_bound = bounds.most(member.row, member.row.body, NOW_S)
    return (
        [budget.spent, budget.reserved, next_bound],
        [*waits, lines, totals, bytes(index.flags), offsets, task.used],
        [governor.in_flight, governor.window, switch.reason, task.charged],
    )


@settings(deadline=None)  # the first of all loads the prices
@given(
    outcomes=st.lists(replies, min_size=1, max_size=2),
    more=st.fixed_dictionaries(
        {},
        optional={
            "custom_id": st.sampled_from(["a", 'ä"\n']),
            "note": st.just("n"),
            "tools": st.just([TOOL]),
            "tool_choice": st.sampled_from(["auto", "required", "none"]),
        },
    ),
    model=st.sampled_from(["gpt-4o-mini", "gpt-4o"]),
    checks=st.booleans(),
    priced=st.booleans(),
    basis=st.sampled_from([None, "bound", "seen"]),
)
def test_both_roads_agree(
    outcomes: list[Reply | Failure],
    more: dict[str, Any],
    model: str,
    *,
    checks: bool,
    priced: bool,
    basis: str | None,
) -> None:
    """Line, totals, index, governor and budget are the same, whichever road an answer takes."""
    body = {"model": model, "messages": [{"role": "user", "content": "q"}], **more}
    if basis != "seen":
        body["max_tokens"] = 3  # fewer than what comes
    raw = orjson.dumps(body)
    with still():
        short = settle(Settler, raw, outcomes, checks=checks, priced=priced, basis=basis)
        long = settle(LongRoad, raw, outcomes, checks=checks, priced=priced, basis=basis)
    assert short == long


@pytest.mark.parametrize("basis", [None, "seen"])
def test_the_usual_is_usual(basis: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A usual answer takes the short road, under a budget too."""
    monkeypatch.setattr(Settler, "_settle_any", None)
    raw = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "q"}]})
    reply = Reply(200, CIMultiDict(), orjson.dumps(USUAL), 0.25)
    settle(Settler, raw, [reply], checks=True, priced=True, basis=basis)


counts = st.integers(0, 10**9)
successes = st.tuples(
    st.sampled_from(["m", "n"]),
    st.builds(Usage, *[counts] * 6),
    st.none() | st.decimals(0, 10, places=12),
)


@given(st.lists(successes, max_size=600))
def test_successes_are_added_as_any_result(each: list[tuple[str, Usage, Decimal | None]]) -> None:
    """Successes that are added up together make the totals of those added one by one."""
    together, singly = Ledger(), Ledger()
    for model, usage, cost in each:
        together.add_success(model, usage, cost)
        spend = Spend(1, 0, usage, cost, cost is None, NO_AMOUNT)
        singly.add(model=model, succeeded=True, error_code=None, spend=spend)
    assert together.by_model() == singly.by_model()
    assert (together.completed, together.spend) == (singly.completed, singly.spend)
