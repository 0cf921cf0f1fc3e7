"""What a run can't go on with: a full disk, a source that changes, bad usage, a bug."""

from __future__ import annotations

import errno
import importlib
import os
from contextlib import ExitStack
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from batcher.engine.plan import make_plan
from batcher.journal.tape import Tape
from batcher.records import Hold, Progress
from tests.harness import Job, as_lines, row, rows, wait_for
from tests.server import Does, Endpoint, Say, Seen, refusal


def test_full_disk(job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses a write stops the run with 8; what was written stands."""
    real = Tape.write

    def refuse(self: Tape, data: bytes) -> None:
        if endpoint.books.attempts >= 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, data)

    monkeypatch.setattr(Tape, "write", refuse)
    job.write(rows(40))
    endpoint.on("r4", lambda _: _once_written(job, 3))
    ran = job.run("--concurrency", "1")
    assert (ran.code, ran.totals["stop_reason"]) == (8, "storage"), ran.err
    assert "No space left" in ran.err
    assert not job.output.exists()
    before = endpoint.books.attempts
    monkeypatch.setattr(Tape, "write", real)
    assert job.run().code == 0
    assert endpoint.books.by_key["r1"] == endpoint.books.by_key["r3"] == 1
    assert endpoint.books.attempts <= before + 37
    job.audit(books=False)


def _once_written(job: Job, count: int) -> Say:
    """Answer once so many results are in the journal."""
    wait_for(lambda: len(job.written()) >= count)
    return Say()


def test_source_changed_midway(job: Job, endpoint: Endpoint) -> None:
    """A source that changes while it is read stops the run with 8; it resumes on the new one."""

    def change(_: Seen) -> Say:
        with job.source.open("ab") as file:
            file.write(as_lines([row("late")]))
        return Say()

    # Longer than what is read ahead, so that the end is not known when the change comes.
    padding = "x" * 1000
    many = [row(f"r{number}", user=padding) for number in range(1, 801)]
    job.write(many)
    endpoint.on("r1", change)
    ran = job.run()
    assert (ran.code, ran.totals["stop_reason"]) == (8, "storage"), ran.err
    assert "changed" in ran.err
    assert not job.output.exists()
    endpoint.always(Say())
    assert job.run().code == 0
    assert endpoint.books.attempts == len(many) + 1
    job.audit()


def test_source_changed_between_two_readings(
    job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last row that is another when it is read again: exit 8, whoever looks first."""
    job.write(rows(40))
    assert job.run("--limit", "1").code == 0

    def plan_and_change(*arguments: Any, **options: Any) -> Any:
        plan = make_plan(*arguments, **options)
        then = job.source.stat()
        job.source.write_bytes(job.source.read_bytes().replace(b"r40", b"r04"))
        # Nothing but the row itself tells of the change.
        os.utime(job.source, ns=(then.st_atime_ns, then.st_mtime_ns))
        return plan

    monkeypatch.setattr(importlib.import_module("batcher.job.run"), "make_plan", plan_and_change)
    ran = job.run("--concurrency", "1")
    assert (ran.code, ran.totals["stop_reason"]) == (8, "storage"), ran.err
    assert "changed" in ran.err
    assert ran.totals["request_counts"]["completed"] == endpoint.books.attempts == 39


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["run"], id="no source"),
        pytest.param(["run", "nowhere.jsonl", "-o", "{out}", "--base-url", "{url}"], id="no file"),
        pytest.param(["run", "{in}", "--base-url", "{url}"], id="no output"),
        pytest.param(["run", "{in}", "-o", "{out}"], id="no endpoint"),
        pytest.param(["run", "{in}", "-o", "{in}", "--base-url", "{url}"], id="output is source"),
        pytest.param(
            ["run", "{in}", "-o", "{dir}", "--base-url", "{url}"], id="output is a folder"
        ),
        pytest.param(["run", "{in}", "-o", "{out}", "--base-url", "{url}", "--n"], id="bad flag"),
        pytest.param(
            ["run", "{in}", "-o", "{out}", "--base-url", "{url}", "--rpm", "x"], id="bad value"
        ),
    ],
)
def test_bad_usage(job: Job, endpoint: Endpoint, arguments: list[str]) -> None:
    """Bad usage and settings exit with 2: nothing is sent, nothing is written."""
    job.write(rows(1))
    words = {"in": job.source, "out": job.output, "dir": job.folder, "url": endpoint.url}
    ran = job.invoke(*(text.format(**words) for text in arguments))
    assert (ran.code, ran.totals) == (2, {})
    assert ran.err.startswith("batcher: ")
    assert not endpoint.books.seen
    assert [path.name for path in job.folder.iterdir()] == ["in.jsonl"]


def test_a_bug(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug exits with 1 in one line, and quotes neither prompt nor answer."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret prompt")

    monkeypatch.setattr("batcher.engine.settle.Settler.settle", fail)
    job.write(rows(1))
    ran = job.run()
    assert ran.code == 1
    assert "RuntimeError" in ran.err
    assert "secret" not in ran.err
    monkeypatch.undo()


def test_nothing_secret_is_shown(
    job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys, prompts and answers reach neither standard output nor standard error nor our files."""
    monkeypatch.setenv("BATCHER_API_KEY", "sk-very-secret")
    endpoint.on("my prompt", refusal(401, "invalid_api_key", message="sk-very-secret my prompt"))
    job.write([row("other"), row("my prompt"), "{my prompt"])
    ran = job.run("--concurrency", "1")
    assert ran.code == 5
    shown = f"{ran.err}{ran.totals}"
    assert "sk-very-secret" not in shown
    assert "my prompt" not in shown.replace(str(job.folder), "")
    assert endpoint.books.seen[0].headers["Authorization"] == "Bearer sk-very-secret"
    for path in job.folder.glob("out*"):
        assert b"sk-very-secret" not in path.read_bytes()


def test_loop_is_never_blocked(job: Job, endpoint: Endpoint) -> None:
    """While rows are sent, files are read and results written outside of the event loop."""
    endpoint.on("r3", Say(500), Does.WAIT)
    job.write(rows(200))
    watched: list[Hold] = []
    with ExitStack() as stack:

        def look(progress: Progress) -> None:
            if not watched:
                stack.enter_context(blockbuster_ctx("batcher"))
            watched.append(progress.held_by)
            if progress.done == 199:
                endpoint.release()
            elif progress.done == 200:
                stack.close()

        job.watching = look
        ran = job.run()
    assert (ran.code, len(watched) > 1) == (0, True), ran.err
    job.audit()
