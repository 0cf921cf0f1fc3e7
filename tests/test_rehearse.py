"""A rehearsal says what would have happened, and touches nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import batcher
from tests.harness import Job, row, rows

PRICED = {"model": "gpt-4o"}


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a folder: its content and when it was written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_it_touches_nothing(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Neither the endpoint nor a file of the job notices; the scratch folder is gone."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    job.write(rows(3))
    assert job.run().code == 0
    job.write([*rows(3), row("r4")])
    before, asked = tree(tmp_path), job.endpoint.books.attempts
    done = job.run("--rehearse")
    assert done.code == 0, done.err
    assert done.totals["request_counts"] == {"total": 4, "completed": 4, "failed": 0}
    assert done.totals["rehearsal"] is True
    assert tree(tmp_path) == before
    assert job.endpoint.books.attempts == asked
    assert not list(scratch.iterdir())


def test_it_needs_no_key_no_output_and_no_endpoint(job: Job):
    """The prices are those of the endpoint that the job names; without one, those of the model."""
    job.write([row("a", **PRICED)])
    for where in (["--base-url", "openai"], ["--header", "X-Team: a"], []):
        done = job.invoke("run", str(job.source), "--rehearse", "--json", *where)
        assert done.code == 0, done.err
        assert float(done.totals["cost_usd"]) > 0
        assert ("openai was not asked" in done.err) == ("openai" in where)
    assert "made up" in done.err


@pytest.mark.parametrize("where", [[], ["--base-url", "sandbox"]])
def test_the_sandbox_is_not_said_to_be_left_alone(job: Job, where: list[str]):
    """Where the job names the sandbox, or nothing, the words name what was asked."""
    job.write([row("a")])
    done = job.invoke("run", str(job.source), "--rehearse", "--json", *where)
    assert "only the sandbox was asked, nothing was paid" in done.err


def test_the_key_and_headers_stay_here(job: Job, monkeypatch: pytest.MonkeyPatch):
    """Even a sandbox that knows keys is never sent the user's."""
    monkeypatch.setenv("BATCHER_API_KEY", "sk-secret")
    job.write([row("a")])
    path = job.folder / "job.toml"
    path.write_text('source = "in.jsonl"\noutput = "o.jsonl"\n[sandbox.keys.other]\nrequests = 5\n')
    done = job.invoke("run", str(path), "--rehearse", "--json", "--base-url", job.endpoint.url)
    assert done.code == 0, done.err


def test_no_handler_is_called(job: Job):
    """A job whose tools are carried out is rehearsed without a call: calls have effects."""
    ran = job.folder / "ran"
    (job.folder / "tools.py").write_text(
        f"def look(**_):\n    open({str(ran)!r}, 'w').close()\n    return 1\n"
    )
    path = job.folder / "job.toml"
    path.write_text('source = "in.jsonl"\noutput = "o.jsonl"\n[handlers]\npython = "tools.py"\n')
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    job.write([row("a", tools=[tool], tool_choice="required")])
    assert job.invoke("run", str(path), "--rehearse", "--json").code == 0
    assert not ran.exists()


def test_bad_rows_and_failures_are_told(job: Job):
    """The exit code is a run's; bad rows are named with their line, failures by their code."""
    path = job.folder / "job.toml"
    path.write_text(
        'source = "in.jsonl"\noutput = "out.jsonl"\nbase_url = "openai"\nmax_attempts = 2\n'
        '[sandbox.script]\nbroken = "500"\n'
    )
    job.write([row("a"), "{", row("b", user="broken"), {"model": "m"}])
    done = job.invoke("run", str(path), "--rehearse", "--json")
    assert done.code == 3
    assert done.totals["errors"] == {"invalid_json": 1, "invalid_request": 1, "http_500": 1}
    assert done.totals["attempts"] == 3
    assert "2 rows can't be sent" in done.err
    assert "invalid_json: line 2" in done.err
    assert "line 4: messages is missing" in done.err
    assert not job.output.exists()


def test_a_stop_is_a_stop(job: Job):
    """Limits hold as in a run: a quota that is used up stops a rehearsal with 5."""
    path = job.folder / "job.toml"
    path.write_text('source = "in.jsonl"\noutput = "out.jsonl"\n[sandbox.keys.k]\nrequests = 2\n')
    job.write(rows(40))
    done = job.invoke("run", str(path), "--rehearse", "--json", "--concurrency", "1")
    assert done.code == 5
    assert done.totals["stop_reason"] == "refused"
    assert done.totals["request_counts"]["completed"] == 2
    assert "the rehearsal stopped" in done.err
    assert "run the same command again" not in done.err


def test_a_program_can_rehearse(job: Job):
    """The library takes it as a setting, and returns the totals."""
    job.write([row("a", **PRICED)])
    totals = batcher.run(job.source, rehearse=True)
    assert totals.request_counts.completed == 1
    assert totals.cost_usd
    assert not job.output.exists()


def test_json_progress_ends_with_the_totals(job: Job):
    """A machine reads the same from standard error."""
    job.write([row("a")])
    with job.process("--rehearse", "--progress", "json") as process:
        done = process.wait()
    assert done.code == 0
    end = json.loads(done.err.splitlines()[-1])
    assert (end["event"], end["totals"]["rehearsal"]) == ("end", True)


def test_made_up_answers_never_pass_for_real_ones(job: Job):
    """A job that was tried out on the sandbox is not finished at a real endpoint, nor mixed."""
    job.write(rows(3))
    made_up = ("run", str(job.source), "-o", str(job.output), "--base-url", "sandbox", "--json")
    assert job.invoke(*made_up).code == 0
    before = job.output.read_bytes()
    done = job.run()
    assert done.code == 2
    assert "made up by the sandbox" in done.err
    assert (job.output.read_bytes(), job.endpoint.books.attempts) == (before, 0)
    assert job.run("--fresh").code == 0
    assert job.endpoint.books.attempts == 3
    job.write(rows(4))
    done = job.invoke(*made_up)
    assert done.code == 2
    assert "its answers are real" in done.err
    assert job.run().code == 0


def test_a_name_that_is_nearly_an_endpoint_is_pointed_out(job: Job):
    """A typing error in the endpoint's name gets the nearest right one."""
    job.write([row("a")])
    done = job.invoke("run", str(job.source), "-o", str(job.output), "--base-url", "opnai")
    assert done.code == 2
    assert "did you mean 'openai'?" in done.err


def test_an_outage_is_sat_out(job: Job):
    """A rehearsal against an endpoint at which nobody listens for a while waits, and completes."""
    path = job.folder / "job.toml"
    outage = 'from_s = 0\nto_s = 0.5\nfault = "refused"\n'
    path.write_text(f'source = "in.jsonl"\noutput = "out.jsonl"\n[[sandbox.outage]]\n{outage}')
    job.write(rows(3))
    done = job.invoke("run", str(path), "--rehearse", "--json")
    assert done.code == 0, done.err
    assert done.totals["request_counts"]["completed"] == 3
