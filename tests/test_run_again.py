"""The table "Running the same command again", row by row, kills included."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from batcher.records import Hold, Progress
from tests.harness import Job, lines_of, row, rows, wait_for
from tests.server import GONE, Does, Endpoint, Say, refusal


def test_unfinished_resumes(job: Job, endpoint: Endpoint) -> None:
    """Only rows without a result are sent, and what came before is on the bill."""
    job.write([*rows(20), "{", row("r1")])
    endpoint.on("r8", Does.WAIT)

    def look(progress: Progress) -> None:
        if progress.held_by is Hold.DRAINING:
            endpoint.release()
        elif progress.done == 7:
            signal.raise_signal(signal.SIGINT)

    job.watching = look
    ran = job.run("--concurrency", "1")
    assert (ran.code, ran.totals["pending"], endpoint.books.attempts) == (130, 12 + 2, 8)
    assert not job.output.exists()
    ran = job.run()
    assert (ran.code, endpoint.books.attempts) == (3, 20), ran.err
    assert not any(endpoint.books.outputs_seen)
    job.audit()


def test_killed_at_any_moment(job: Job, endpoint: Endpoint) -> None:
    """`kill -9`, twice: each row once, and what was written is never sent again."""
    job.write([*rows(60), "{", row("again", None), row("again", None)])
    endpoint.on("r9", GONE)
    for at in (17, 45):
        endpoint.on(f"r{at}", lambda seen: Does.HANG if seen.attempt == 1 else Say())
        with job.process("--concurrency", "4") as process:
            endpoint.wait_until(lambda books, key=f"r{at}": books.by_key[key] == 1)  # type: ignore[misc]
            wait_for(lambda: len(job.written()) > 5)
            process.signal(signal.SIGKILL)
            assert process.wait().code == -signal.SIGKILL
        assert not job.output.exists()
        written, before = job.written(), endpoint.books.by_key
    ran = job.run("--ordered")
    assert ran.code == 3, ran.err
    assert [line["batcher"]["row"] for line in job.results()] == list(range(1, 64))
    after = endpoint.books.by_key
    assert {key: after[key] for key in written} == {key: before[key] for key in written}
    assert job.totals()["attempts"] <= endpoint.books.attempts
    job.audit(books=False)


def test_killed_after_all_was_written(job: Job, endpoint: Endpoint) -> None:
    """What was written before a kill is never sent again."""
    job.write(rows(10))
    endpoint.on("r10", Does.HANG, Say())
    with job.process("--concurrency", "1") as process:
        endpoint.wait_until(lambda books: books.by_key["r10"] == 1)
        wait_for(lambda: len(job.written()) == 9)
        process.signal(signal.SIGKILL)
        process.wait()
    assert job.run().code == 0
    assert endpoint.books.by_key == {f"r{n}": 1 + (n == 10) for n in range(1, 11)}
    # The one that the dead process had in flight can't be on the bill.
    assert job.totals()["attempts"] == 10
    job.audit(books=False)


def test_torn_tail(job: Job, endpoint: Endpoint) -> None:
    """A torn last line, and totals whose publication was cut, are cut off; those rows go again."""
    job.write(rows(6))
    assert job.run().code == 0
    *lines, totals = job.output.read_bytes().splitlines(keepends=True)
    job.output.unlink()
    job.partial.write_bytes(b"".join(lines[:4]) + lines[4][:-30])
    assert job.run().code == 0
    assert endpoint.books.attempts == 8
    job.audit(books=False)
    job.output.unlink()
    job.partial.write_bytes(b"".join(lines) + totals)
    assert job.run().code == 0
    assert endpoint.books.attempts == 8
    job.audit(books=False)


@pytest.mark.parametrize(("scripted", "code"), [(Say(), 0), (GONE, 3)])
def test_finished(job: Job, endpoint: Endpoint, scripted: Say, code: int) -> None:
    """Nothing is sent, the file stays, and the exit code is that of the results."""
    endpoint.on("r2", scripted)
    job.write(rows(3))
    assert job.run().code == code
    before = (job.output.read_bytes(), job.output.stat().st_ino)
    ran = job.run()
    assert (ran.code, ran.totals) == (code, job.totals())
    assert (job.output.read_bytes(), job.output.stat().st_ino) == before
    assert endpoint.books.attempts == 3
    job.audit()


def test_finished_needs_no_endpoint(job: Job, endpoint: Endpoint) -> None:
    """A finished job is finished though nobody listens."""
    job.write(rows(3))
    assert job.run().code == 0
    endpoint.close_port()
    assert job.run().code == 0


def test_rows_were_added(job: Job, endpoint: Endpoint) -> None:
    """Added rows are sent; the old output stays until the new one, which holds all, replaces it."""
    job.write(rows(3))
    assert job.run().code == 0
    old = job.output.read_bytes()
    seen: list[bytes] = []

    def look(_: Any) -> Say:
        seen.append(job.output.read_bytes())
        return Say()

    endpoint.always(look)
    job.write([row("new"), *rows(3), row("newer")])
    assert job.run("--ordered").code == 0
    assert seen == [old, old]
    assert endpoint.books.attempts == 5
    assert [line["custom_id"] for line in job.results()] == ["new", "r1", "r2", "r3", "newer"]
    job.audit()


def test_killed_while_rows_were_added(job: Job, endpoint: Endpoint) -> None:
    """Killed in between, the old output is still whole, and the same command goes on."""
    job.write(rows(3))
    assert job.run().code == 0
    old = job.output.read_bytes()
    job.write(rows(5))
    endpoint.on("r5", Does.HANG, Say())
    with job.process("--concurrency", "1") as process:
        endpoint.wait_until(lambda books: books.by_key["r5"] == 1)
        process.signal(signal.SIGKILL)
        process.wait()
    assert job.output.read_bytes() == old
    assert job.run().code == 0
    assert len(job.results()) == 5
    assert endpoint.books.by_key["r1"] == 1
    job.audit(books=False)


def test_unnamed_rows_shift(job: Job, endpoint: Endpoint) -> None:
    """Lines inserted before rows without ids shift nothing; equal requests are told apart."""
    first = [row("a", None), row("same", None), row("same", None), row("b", None)]
    job.write(first)
    assert job.run().code == 0
    job.write([row("new", None), *first[:2], row("same", None), *first[2:], "", row("c", None)])
    assert job.run("--ordered").code == 0
    assert endpoint.books.by_key == {"a": 1, "same": 3, "b": 1, "new": 1, "c": 1}
    lines = job.results()
    assert [line["custom_id"] for line in lines] == [f"row-{n}" for n in (1, 2, 3, 4, 5, 6, 8)]
    said = [line["response"]["body"]["choices"][0]["message"]["content"] for line in lines]
    assert said == [f"echo {key}" for key in ("new", "a", "same", "same", "same", "b", "c")]
    job.audit()


def test_white_space_and_key_order_change_nothing(job: Job, endpoint: Endpoint) -> None:
    """A row is known by what it asks, not by how it is written."""
    job.write([row("a"), row("b", None)])
    assert job.run().code == 0
    job.write(
        [
            json.dumps(dict(reversed(each.items())), indent=None, separators=(" , ", " : "))
            for each in (row("a"), row("b", None))
        ]
    )
    assert job.run().code == 0
    assert endpoint.books.attempts == 2


def test_rows_have_changed(job: Job, endpoint: Endpoint) -> None:
    """A changed row is sent and replaces its old result, whose cost stays on the bill."""
    job.write([row("a", 1), row("b", 2, model="n"), row("c", 3)])
    assert job.run().code == 0
    job.write([row("a", 1), row("bb", 2, model="o"), row("c", 3)])
    assert job.run().code == 0
    assert endpoint.books.by_key == {"a": 1, "b": 1, "c": 1, "bb": 1}
    assert job.result("2")["response"]["body"]["choices"][0]["message"]["content"] == "echo bb"
    assert job.result("2")["batcher"]["attempts"] == 2
    job.audit()
    assert set(job.totals()["by_model"]) == {"m", "o"}


def test_a_bad_row_mended(job: Job, endpoint: Endpoint) -> None:
    """A bad row that was mended is sent; a good one that was spoilt keeps its cost."""
    job.write([row("a", stream=True), row("b"), "{", row("d", None, n="x")])
    assert job.run().code == 3
    job.write([row("a"), row("b", stream=True), row("c", None), row("d", None)])
    ran = job.run()
    assert (ran.code, ran.totals["request_counts"]["failed"]) == (3, 1), ran.err
    assert job.result("b")["batcher"]["attempts"] == 1
    assert endpoint.books.by_key == {"a": 1, "b": 1, "c": 1, "d": 1}
    job.audit()


@pytest.mark.parametrize(
    ("count", "refused"), [pytest.param(100, False, id="100"), pytest.param(101, True, id="101")]
)
def test_too_many_rows_have_changed(
    job: Job, endpoint: Endpoint, count: int, *, refused: bool
) -> None:
    """More than 1% and more than 100: stop with 2, saying how many; --resend does it."""
    job.write(rows(150))
    assert job.run().code == 0
    before = job.output.read_bytes()
    job.write(
        [*(row(f"x{n}", f"r{n}") for n in range(1, count + 1)), *rows(150 - count, start=count + 1)]
    )
    ran = job.run()
    assert ran.code == (2 if refused else 0)
    if refused:
        assert "101 of 150" in ran.err
        assert "--resend" in ran.err
        assert endpoint.books.attempts == 150
        assert job.output.read_bytes() == before
        assert not job.partial.exists()
        assert job.run("--resend").code == 0
    assert endpoint.books.attempts == 150 + count
    job.audit()


@pytest.mark.parametrize("finished", [True, False])
def test_rows_have_vanished(job: Job, endpoint: Endpoint, *, finished: bool) -> None:
    """Vanished rows stop the run with 2; --prune drops them, and keeps their cost in the totals."""
    endpoint.on("r5", Does.WAIT if finished else refusal(401), Say())
    endpoint.release()
    job.write(rows(5))
    assert job.run("--concurrency", "1").code == (0 if finished else 5)
    job.write(rows(3))
    ran = job.run()
    assert ran.code == 2
    assert "--prune" in ran.err
    assert "2 rows" in ran.err
    assert job.run("--prune").code == 0
    assert [line["custom_id"] for line in job.results()] == ["r1", "r2", "r3"]
    pruned = job.totals()["pruned"]
    assert (pruned["rows"], pruned["attempts"]) == (2, 2)
    job.audit()
    job.write(rows(4))
    assert job.run().code == 0
    assert job.totals()["pruned"] == pruned
    job.audit()


@pytest.mark.parametrize("finished", [True, False])
def test_another_jobs_output(job: Job, endpoint: Endpoint, *, finished: bool) -> None:
    """No row of the source stands in the output: stop with 2, whatever flags, and touch nothing."""
    job.write(rows(3))
    if not finished:
        endpoint.on("r3", refusal(401))
    assert job.run("--concurrency", "1").code == (0 if finished else 5)
    path = job.output if finished else job.partial
    before, attempts = path.read_bytes(), endpoint.books.attempts
    job.write(rows(3, start=11))
    for flags in ([], ["--prune"], ["--resend"], ["--retry-failed"]):
        ran = job.run(*flags)
        assert ran.code == 2
        assert "another job" in ran.err
    assert path.read_bytes() == before
    assert endpoint.books.attempts == attempts


@pytest.mark.parametrize("suffix", ["", ".partial"])
@pytest.mark.parametrize(
    "content", [b"important notes\n", b"notes", b'{"a": 1}\n', b'{"a": 1}\n{"id":"b', b"\x7f\xff"]
)
def test_no_jobs_output(job: Job, endpoint: Endpoint, content: bytes, suffix: str) -> None:
    """A file that is no job's output is refused with 2 and left as it is; --fresh sets it aside."""
    path = job.folder / f"out.jsonl{suffix}"
    path.write_bytes(content)
    job.write(rows(2))
    ran = job.run()
    assert (ran.code, path.read_bytes()) == (2, content), ran.err
    assert endpoint.books.attempts == 0
    assert job.run("--fresh").code == 0
    assert (job.folder / f"{path.name}.bak").read_bytes() == content
    job.audit()


@pytest.mark.parametrize("content", [b"", b"\x00\xff"])
def test_an_empty_output(job: Job, content: bytes) -> None:
    """An empty output, or one of zeros, is no job's either."""
    job.output.write_bytes(content)
    job.write(rows(2))
    assert job.run().code == 2
    assert job.output.read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"", bytes(100), bytes(9) + b'del":"m"', bytes(9) + b"}}\n", b'{"id":"batch_r']
)
def test_a_journal_of_which_nothing_is_left(job: Job, content: bytes) -> None:
    """What a crash of the machine may leave of a first write is a journal without rows."""
    job.partial.write_bytes(content)
    job.write(rows(2))
    assert job.run().code == 0
    job.audit()


def test_totals_grow_over_runs(job: Job, endpoint: Endpoint) -> None:
    """Time and cost are those of the whole job: they begin with its first run."""
    endpoint.on("r2", refusal(401), Say())
    job.write(rows(2))
    first = job.run("--concurrency", "1").totals
    assert job.run().code == 0
    totals = job.totals()
    assert totals["started_at"] == first["started_at"]
    assert totals["wall_s"] >= first["wall_s"]
    assert totals["attempts"] == 3
    assert "stop_reason" not in totals
    assert all("object" not in line for line in lines_of(job.output)[:-1])
    job.audit()


def test_a_bad_duplicate_stays_one(job: Job, endpoint: Endpoint) -> None:
    """A second row of an id is a duplicate, whatever else is wrong with it, in every run."""
    job.write([row("a"), row("b", "x"), row("c", "x", stream=True)])
    assert job.run("--limit", "2").code == 0
    assert job.run().code == 3
    assert job.codes()["row-3"] == "duplicate_custom_id"
    assert endpoint.books.by_key == {"a": 1, "b": 1}
    job.audit()
