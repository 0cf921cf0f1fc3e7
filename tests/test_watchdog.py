"""The watchdog: each fault goes on for minutes or hours, and each run ends by its bound.

Time is simulated (see `simulation`); the engine, the governor, the journal and the timers are the
real ones. The bounds are those of `docs/safety.md`, reckoned from the settings of the run.
"""

from __future__ import annotations

import asyncio
import json
import re
from email.utils import formatdate
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import batcher
from batcher.cli.streams import _PATIENCE_S
from batcher.endpoints.child import _STOP_STEP_S
from batcher.engine.settle import _MOST_STALE
from batcher.governor.breaker import PROBE_MOST_S
from batcher.journal.publish import _PIECE_BYTES
from batcher.records import Failure, FailureKind, Reply
from batcher.settings.options import OPTIONS
from tests.simulation import STUCK_THREAD, Answer, HangError, World, reply

ROWS = 6
TIMEOUT_S, ATTEMPTS, GIVE_UP_S, DRAIN_S = 60, 3, 300, 20
# Waits before the second and the third attempt, at most; looks at the clock; requests' own time.
BACKOFF_S, LOOKS_S = 0.5 + 1.0, 2.0
ROW_S = ATTEMPTS * TIMEOUT_S + BACKOFF_S + LOOKS_S


def yes() -> Reply:
    """A usable answer."""
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    message = {"role": "assistant", "content": "yes"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return reply(200, {"choices": [choice], "usage": usage})


async def good(name: str, turn: int) -> Reply:
    """Answer within a second."""
    await asyncio.sleep(0.5)
    return yes()


async def never(name: str, turn: int) -> Reply:
    """Accept and never answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def drip(name: str, turn: int) -> Reply:
    """Send a byte a second for ever."""
    for _ in count():
        await asyncio.sleep(1)
    raise AssertionError


async def unreachable(name: str, turn: int) -> Failure:
    """Let nobody in."""
    await asyncio.sleep(0.01)
    return Failure(FailureKind.CONNECTION_REFUSED, "no connection", 0.01, sent=False)


async def stale(name: str, turn: int) -> Failure:
    """End every reused connection, and have no other."""
    return Failure(FailureKind.STALE_CONNECTION, "stale", 0.01, sent=True)


def says(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Always the same answer."""

    async def answer(name: str, turn: int) -> Reply:
        await asyncio.sleep(0.1)
        return reply(status, body, **headers)

    return answer


def alone(name: str, fault: Answer) -> Answer:
    """One row meets the fault; the others are answered."""

    async def answer(asked: str, turn: int) -> Reply | Failure:
        return await (fault if asked == name else good)(asked, turn)

    return answer


class Runs:
    """Runs a job in simulated time and holds every row against what came of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World(monkeypatch)
        self.source, self.output = folder / "rows.jsonl", folder / "out.jsonl"

    def run(
        self, answer: Answer, *, within_s: float, stop: batcher.Stop | None = None, **more: Any
    ) -> batcher.Totals:
        """Run until it is over, which it must be in time; then audit it."""
        tools = [{"type": "function", "function": {"name": "look"}}] if "handlers" in more else None
        body = {"model": "m", "max_tokens": 10, **({"tools": tools} if tools else {})}
        names = [f"row-{n}" for n in range(ROWS)]
        with self.source.open("w") as file:
            for name in names:
                asked = {**body, "messages": [{"role": "user", "content": name}]}
                file.write(json.dumps({"custom_id": name, "body": asked}) + "\n")
        self.world.serve(answer)
        settings: dict[str, Any] = {
            "timeout": f"{TIMEOUT_S}s", "max_attempts": ATTEMPTS, "drain": f"{DRAIN_S}s",
            "give_up_after": f"{GIVE_UP_S}s", "base_url": "http://127.0.0.1:1/v1",
            "api_key": "k", "prices": "none",
        }  # fmt: skip
        running = batcher.run_async(self.source, self.output, stop=stop, **{**settings, **more})
        totals = self.world.run(running, within_s=within_s)
        self._audit(totals, names)
        return totals

    def _audit(self, totals: batcher.Totals, names: list[str]) -> None:
        counts = totals.request_counts
        assert counts.completed + counts.failed + (totals.pending or 0) == ROWS
        written = self.output if totals.complete else self.output.with_name("out.jsonl.partial")
        lines = [json.loads(line) for line in written.read_bytes().splitlines()]
        ended = [each["custom_id"] for each in lines if "response" in each]
        assert len(set(ended)) == len(ended) == counts.completed + counts.failed
        assert set(ended) <= set(names)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """A job whose time is simulated."""
    return Runs(tmp_path, monkeypatch)


def test_a_hang_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to do and no timer, too long, and turning on the spot: each is seen as such."""

    async def stuck() -> None:
        await asyncio.Event().wait()

    async def ticking() -> None:
        for _ in count():
            await asyncio.sleep(0.25)

    async def spinning() -> None:
        for _ in count():
            await asyncio.sleep(0)

    for work, told in ((stuck, "no timer"), (ticking, "not over"), (spinning, "without end")):
        with pytest.raises(HangError, match=told):
            World(monkeypatch).run(work(), within_s=600)


@pytest.mark.parametrize("fault", [never, drip])
def test_nobody_is_answered(runs: Runs, fault: Answer) -> None:
    """Each row fails after its attempts, be they made one row after another."""
    totals = runs.run(fault, within_s=ROWS * ROW_S)
    assert (totals.exit_code, dict(totals.errors)) == (3, {"timeout": ROWS})
    assert totals.attempts == ROWS * ATTEMPTS


@pytest.mark.parametrize(
    ("fault", "wait_s"),
    [
        pytest.param(unreachable, 0, id="refused connections"),
        pytest.param(says(503), 0, id="503"),
        pytest.param(says(429), 0, id="429"),
        pytest.param(says(429, retry_after="0"), 0, id="429, 0"),
        pytest.param(says(429, retry_after="-1"), 0, id="429, -1"),
        pytest.param(says(429, retry_after="soon"), 0, id="429, soon"),
        pytest.param(says(429, retry_after=formatdate(0, usegmt=True)), 0, id="429, a past date"),
        pytest.param(says(429, retry_after="40"), 0, id="429, 40 s"),
        pytest.param(says(429, retry_after="290"), 0, id="429, 290 s"),
        pytest.param(says(429, retry_after="1e9"), -GIVE_UP_S, id="429, 1e9: at once"),
    ],
)
def test_the_endpoint_refuses_for_ever(runs: Runs, fault: Answer, wait_s: float) -> None:
    """The run gives up after --give-up-after, and every row stays for the next one."""
    bound_s = GIVE_UP_S + wait_s + LOOKS_S
    totals = runs.run(fault, within_s=bound_s)
    assert (totals.stop_reason, totals.exit_code, totals.pending) == ("endpoint_down", 7, ROWS)
    assert runs.world.took_s >= bound_s - 2 * LOOKS_S


def test_the_endpoint_comes_back(runs: Runs) -> None:
    """An outage of minutes costs no row, and is over with the first probe after its end."""
    back_s = 0.8 * GIVE_UP_S

    async def answer(name: str, turn: int) -> Reply | Failure:
        down = runs.world.now_s < back_s
        return await (says(503) if down else good)(name, turn)

    totals = runs.run(answer, within_s=back_s + PROBE_MOST_S + ROWS + LOOKS_S)
    assert (totals.exit_code, totals.request_counts.completed) == (0, ROWS)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"choices": []}'])
def test_no_answer_is_usable(runs: Runs, body: bytes) -> None:
    """Answers that say nothing fail their rows within the attempts, without much of a wait."""
    totals = runs.run(says(200, body), within_s=ROWS * (BACKOFF_S + LOOKS_S))
    assert (totals.exit_code, totals.request_counts.failed) == (3, ROWS)


@pytest.mark.parametrize("name", ["row-0", f"row-{ROWS - 1}"])
@pytest.mark.parametrize(
    ("fault", "bound_s"),
    [
        pytest.param(never, ROW_S, id="never answered"),
        pytest.param(drip, ROW_S, id="dripping"),
        pytest.param(says(500), ROW_S, id="500"),
        pytest.param(says(503), ROW_S, id="503"),
        pytest.param(stale, ROW_S, id="stale"),
        pytest.param(says(429), GIVE_UP_S, id="429"),
        pytest.param(says(429, retry_after="7"), GIVE_UP_S, id="429, 7 s"),
    ],
)
def test_one_row_alone(runs: Runs, name: str, fault: Answer, bound_s: float) -> None:
    """A row that alone meets a fault ends as soon when it is the last as when it is the first."""
    totals = runs.run(alone(name, fault), within_s=ROWS + bound_s + LOOKS_S)
    assert totals.request_counts.completed == ROWS - 1
    # A row that waits for its rate when no other is left: nobody can say whose matter that is.
    assert totals.exit_code == 3 or (totals.exit_code, totals.pending) == (7, 1)


@pytest.mark.parametrize("fault", [never, drip])
def test_a_deadline(runs: Runs, fault: Answer) -> None:
    """A run ends by its deadline and --drain, whatever is in flight."""
    totals = runs.run(alone("row-3", fault), within_s=30 + DRAIN_S + LOOKS_S, deadline="30s")
    assert (totals.stop_reason, totals.exit_code, totals.pending) == ("deadline", 7, 1)


def test_a_stop_drains(runs: Runs) -> None:
    """A run that is asked to stop ends within --drain; one that is asked to at once, at once."""
    for drain_s, ask in ((DRAIN_S, "drain"), (0, "now")):
        stop = batcher.Stop()

        async def answer(name: str, turn: int, stop: batcher.Stop = stop, ask: str = ask) -> Reply:
            asyncio.get_running_loop().call_later(10, getattr(stop, ask))
            return await never(name, turn)

        totals = runs.run(answer, stop=stop, within_s=10 + drain_s + LOOKS_S, fresh=True)
        assert (totals.stop_reason, totals.pending) == ("cancelled", ROWS)


def test_a_budget_waits(runs: Runs) -> None:
    """Rows that wait for the budget wait no longer than those in flight for their answers."""
    totals = runs.run(never, within_s=ROWS * ROW_S, max_tokens_total=2_000)
    assert totals.exit_code in {3, 4}


def test_a_stuck_tool(runs: Runs, tmp_path: Path) -> None:
    """A handler that never returns fails by its own timeout, and holds up neither row nor run."""
    path = tmp_path / "tools.py"
    path.write_text(
        "import threading\n"
        "def look(call):\n"
        f"    threading.current_thread().name = {STUCK_THREAD!r}\n"
        "    threading.Event().wait()\n"
    )
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    calling = json.dumps({"choices": [choice], "usage": usage}).encode()
    handlers = {"python": str(path), "timeout": "40s", "on_error": "fail"}
    totals = runs.run(says(200, calling), within_s=40 + 2 * LOOKS_S, handlers=handlers)
    assert (totals.exit_code, totals.request_counts.failed) == (3, ROWS)


def test_the_waits_that_are_told_are_those_of_the_program() -> None:
    """Each bound in the table of waits is an option of the program, or a figure of its code."""
    text = (Path(__file__).parents[1] / "docs" / "safety.md").read_text()
    table = text.split("## How long anything waits")[1].split("\n\n")[1]
    bounds = dict(re.findall(r"^\| (.*?) \| (.*) \|$", table, re.MULTILINE))
    known = {option.flag for option in OPTIONS if "run" in option.commands}
    flags = set(re.findall(r"`(--[a-z-]+)`", table))
    assert flags <= known
    keys = {option.key for option in OPTIONS}
    assert bounds["a handler of a tool call"].strip("`") in keys
    assert flags >= {"--timeout", "--connect-timeout", "--max-attempts", "--give-up-after"}
    assert bounds["a served endpoint that does not end"].startswith(f"{2 * _STOP_STEP_S:.0f} s,")
    assert bounds["a reader of the last words"].startswith(f"{_PATIENCE_S:.0f} s;")
    again = bounds["an output that is written anew"]
    assert f"{_PIECE_BYTES // 1024**2} MiB" in again
    stuck = bounds["a connection that has gone stale, again and again"]
    assert f"{_MOST_STALE} times" in stuck


def test_slow_answers_are_no_outage(runs: Runs) -> None:
    """One refusal, and then answers that take longer than --give-up-after: the run goes on."""

    async def answer(name: str, turn: int) -> Reply | Failure:
        if (name, turn) == ("row-0", 1):
            return await says(429)(name, turn)
        await asyncio.sleep(2 * GIVE_UP_S)
        return yes()

    most_s = 3 * GIVE_UP_S
    totals = runs.run(answer, within_s=ROWS * most_s, timeout=f"{most_s}s")
    assert (totals.exit_code, totals.request_counts.completed) == (0, ROWS)
