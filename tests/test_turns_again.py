"""Rows in the middle of their turns, when the run is stopped or killed and goes on."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batcher.records import Hold, Progress
from tests.harness import Job, wait_for
from tests.server import Does, Endpoint, Seen
from tests.talking import answer, calling, plan, results_in, tool_row, write_job

# Writes down each call, and waits for a file where the test wants it to.
RECORDING = """
import json, os, time
HERE = os.path.dirname(os.path.abspath(__file__))
def add(call, a, b):
    with open(os.path.join(HERE, "calls.jsonl"), "a") as file:
        file.write(json.dumps([call.id, call.turn, a, b]) + "\\n")
    held = os.path.join(HERE, f"hold-{call.turn}")
    while os.path.exists(held):
        time.sleep(0.01)
    return a + b
"""


def final(seen: Seen) -> Any:
    """A text that says what all the tools said."""
    return answer(seen, {"content": " ".join(results_in(seen))})


def three_turns(endpoint: Endpoint) -> None:
    """Two turns with a call, and the answer; what is asked draws other numbers each time."""
    draws = iter(range(10, 1_000))

    def ask(seen: Seen) -> Any:
        return calling(seen, {"a": next(draws), "b": 1})

    endpoint.always(plan(ask, ask, final))


def calls_of(folder: Path) -> list[list[Any]]:
    """Every call that the functions have seen."""
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def in_journal(job: Job) -> int:
    """Steps that the journal has of rows under way."""
    return job.partial.read_bytes().count(b'"batch.attempt"') if job.partial.exists() else 0


@pytest.mark.parametrize("steps", [1, 2, 3, 4], ids=lambda steps: f"after step {steps}")
def test_killed_in_the_middle_of_a_three_turn_row(job: Job, endpoint: Endpoint, steps: int):
    """What was written down is neither paid nor done again, and the bill is the endpoint's."""
    job.write([tool_row("r1")])
    three_turns(endpoint)
    path = write_job(job, functions=RECORDING)
    # Step 1: the first call is written down; 2: its result; 3, 4: the same of the second turn.
    hold = job.folder / f"hold-{(steps + 1) // 2}"
    if steps % 2:
        hold.touch()
    else:
        said = steps // 2
        endpoint_steps = [lambda s, n=n: calling(s, {"a": n, "b": 1}) for n in (10, 11)]
        endpoint.always(plan(*endpoint_steps[:said], lambda _: Does.HANG))
    with job.process(source=path) as process:
        if steps % 2:
            wait_for(lambda: len(calls_of(job.folder)) == (steps + 1) // 2)
        else:
            endpoint.wait_until(lambda books: books.attempts == steps // 2 + 1)
        wait_for(lambda: in_journal(job) == steps)
        process.signal(signal.SIGKILL)
        process.wait()
    hold.unlink(missing_ok=True)
    three_turns(endpoint)
    before = calls_of(job.folder)
    paid = endpoint.books.attempts
    ran = job.run(source=path)
    assert ran.code == 0, ran.err
    calls = calls_of(job.folder)
    # The call under way is made again, the very same; every other one was made once.
    repeated = before[-1:] if steps % 2 else []
    assert calls[len(before) :][: len(repeated)] == repeated
    assert Counter(map(tuple, calls)) == Counter({tuple(c): 1 for c in calls}) + Counter(
        map(tuple, repeated)
    )
    assert len({call[0] for call in calls}) == 2
    left = 3 - (steps + 1) // 2
    assert endpoint.books.attempts == paid + left
    ours = job.result("r1")["batcher"]
    assert ours["turns"] == 3
    assert "thrown_away" not in ours, "each turn led to the answer"
    text = job.result("r1")["response"]["body"]["choices"][0]["message"]["content"]
    assert text.split() == [str(a + b) for _, _, a, b in {c[0]: c for c in calls}.values()]
    totals = job.totals()
    for name, tokens in endpoint.books.usage.items():
        assert totals["usage"][name] == tokens
    # An answer that died with the process is on no book of ours.
    assert totals["attempts"] == 3
    job.audit(books=False)


def test_an_answer_is_on_the_disk_before_its_tool_is_called(job: Job, endpoint: Endpoint):
    """What a tool does can't be taken back: the journal has each step before the next begins."""
    job.write([tool_row("r1")])
    three_turns(endpoint)
    functions = (
        f"PARTIAL = {str(job.partial)!r}\n"
        "def add(call, a, b):\n"
        "    with open(PARTIAL) as file:\n"
        "        return file.read().count('batch.attempt')\n"
    )
    assert job.run(source=write_job(job, functions=functions)).code == 0
    assert results_in(endpoint.books.seen[-1]) == ["1", "3"]


def test_ids_are_the_same_in_another_run(job: Job, endpoint: Endpoint):
    """A row that is begun anew names its calls as before; other rows name theirs otherwise."""
    unnamed = tool_row("n")
    del unnamed["custom_id"]
    rows = [tool_row("r1"), tool_row("r2"), unnamed, unnamed]
    job.write(rows)
    three_turns(endpoint)
    path = write_job(job, functions=RECORDING)
    assert job.run(source=path).code == 0
    first = {call[0] for call in calls_of(job.folder)}
    assert len(first) == 8
    (job.folder / "calls.jsonl").unlink()
    # Another line above shifts nothing.
    job.write([tool_row("r0"), *rows])
    assert job.run("--fresh", source=path).code == 0
    assert first < {call[0] for call in calls_of(job.folder)}
    assert len(calls_of(job.folder)) == 10


def test_a_changed_request_begins_anew(job: Job, endpoint: Endpoint):
    """What was said after another request under the same id is forgotten; its cost is not."""
    job.write([tool_row("r1")])
    three_turns(endpoint)
    path = write_job(job, functions=RECORDING)
    (job.folder / "hold-1").touch()
    with job.process(source=path) as process:
        wait_for(lambda: len(calls_of(job.folder)) == 1)
        process.signal(signal.SIGKILL)
        process.wait()
    (job.folder / "hold-1").unlink()
    job.write([tool_row("r1", temperature=0)])
    assert job.run(source=path).code == 0
    calls = calls_of(job.folder)
    assert len({call[0] for call in calls}) == len(calls) == 3
    assert job.result("r1")["batcher"]["attempts"] == 4
    job.audit()


def test_stopped_while_a_tool_is_at_work(job: Job, endpoint: Endpoint):
    """SIGTERM awaits the tool, writes its result down, and asks no more; the next run goes on."""
    job.write([tool_row("r1")])
    three_turns(endpoint)
    path = write_job(job, functions=RECORDING)
    hold = job.folder / "hold-1"
    hold.touch()
    with job.process(source=path) as process:
        wait_for(lambda: len(calls_of(job.folder)) == 1)
        process.signal(signal.SIGTERM)
        wait_for(lambda: b"draining" in job.output.with_name("out.jsonl.lock").read_bytes())
        hold.unlink()
        ran = process.wait()
    assert ran.code == 143
    assert endpoint.books.attempts == 1
    assert ran.totals["pending"] == 1
    assert job.run(source=path).code == 0
    assert len(calls_of(job.folder)) == 2
    assert endpoint.books.attempts == 3
    job.audit()


@pytest.mark.parametrize(
    "function",
    [
        pytest.param("import time\ndef add(call, a, b):\n    time.sleep(600)", id="plain"),
        pytest.param("import time\nasync def add(call, a, b):\n    time.sleep(600)", id="blocking"),
        pytest.param("import asyncio\nasync def add(call, a, b):\n    await asyncio.sleep(600)",
                     id="async"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["second signal", "drain"])
def test_a_hanging_tool_holds_nothing_up(job: Job, endpoint: Endpoint, function: str, how: str):
    """A second signal, and the end of `--drain`, give up a tool that never ends."""
    job.write([tool_row("r1")])
    three_turns(endpoint)
    path = write_job(job, functions=function)
    drain = ("--drain", "0.1") if how == "drain" else ()
    with job.process(*drain, source=path) as process:
        wait_for(lambda: in_journal(job) == 1)
        process.signal(signal.SIGTERM)
        if how == "second signal":
            # One that follows at once is taken for an echo of the first.
            time.sleep(0.5)
            process.signal(signal.SIGTERM)
        ran = process.wait()
    assert ran.code == 143
    assert ran.totals["attempts"] == 1


def test_slow_tools_hold_no_request_up(job: Job, endpoint: Endpoint):
    """While tools are at work, rows without any go on with all of the concurrency."""
    job.write([*(tool_row(f"t{n}") for n in range(4)), tool_row("p1", tools=[])])
    three_turns(endpoint)
    endpoint.on("p1", lambda seen: answer(seen, {"content": "fine"}))
    path = write_job(job, functions=RECORDING)
    hold = job.folder / "hold-1"
    hold.touch()
    with job.process("--concurrency", "1", source=path) as process:
        wait_for(lambda: job.partial.exists() and job.written() == {"p1"})
        wait_for(lambda: len(calls_of(job.folder)) == 4)
        hold.unlink()
        assert process.wait().code == 0
    job.audit()


def test_progress_says_that_tools_are_at_work(job: Job, endpoint: Endpoint):
    """While nothing but tools is under way, that is what the run says holds it back."""
    job.write([tool_row("r1")])
    three_turns(endpoint)
    path = write_job(job, functions=RECORDING)
    hold = job.folder / "hold-1"
    hold.touch()
    notes = set()

    def look(progress: Progress) -> None:
        if progress.held_by is Hold.TOOLS:
            notes.add((progress.in_flight, progress.note))
            hold.unlink(missing_ok=True)

    job.watching = look
    assert job.run(source=path).code == 0
    assert notes == {(0, "carrying out the tool calls of 1 row")}


def test_calls_at_once_are_bounded(job: Job, endpoint: Endpoint):
    """`handlers.concurrency` holds over all rows; the time spent waiting is no call's timeout."""
    job.write([tool_row(f"t{n}") for n in range(6)])
    endpoint.always(plan(lambda seen: calling(seen, {"a": 1, "b": 1}), final))
    functions = (
        "import threading, time\n"
        "lock, now, most = threading.Lock(), [0], [0]\n"
        "def add(call, a, b):\n"
        "    with lock:\n        now[0] += 1\n        most[0] = max(most[0], now[0])\n"
        "    time.sleep(0.2)\n"
        "    with lock:\n        now[0] -= 1\n"
        "    return most[0]\n"
    )
    settings = "concurrency = 2\ntimeout = 0.9"
    assert job.run(source=write_job(job, settings, functions)).code == 0
    told = [results_in(seen)[0] for seen in endpoint.books.seen if results_in(seen)]
    assert set(told) <= {"1", "2"}
    assert len(told) == 6
