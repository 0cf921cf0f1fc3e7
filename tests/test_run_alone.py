"""One run at a time owns an output, and no run touches its source."""

from __future__ import annotations

import fcntl
import signal

import pytest

from tests.harness import Job, rows
from tests.server import Does, Endpoint, Say


def test_one_run_at_a_time(job: Job, endpoint: Endpoint) -> None:
    """Another run of the same output is refused with 6, and disturbs nothing."""
    endpoint.on("r2", Does.WAIT)
    job.write(rows(3))
    with job.process("--concurrency", "1") as process:
        endpoint.wait_until(lambda books: books.in_flight == 1 and books.attempts == 2)
        for flags in ([], ["--fresh"], ["--retry-failed"]):
            ran = job.run(*flags)
            assert (ran.code, ran.totals) == (6, {})
            assert str(process.pid) in ran.err
        endpoint.release()
        ran = process.wait()
    assert ran.code == 0, ran.err
    assert endpoint.books.attempts == 3
    job.audit()


def test_a_look_turns_no_run_away(
    job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that begins while `status` looks at the lock waits for that moment and goes on."""
    job.write(rows(1))
    lock = job.output.with_name("out.jsonl.lock")
    lock.write_bytes(b"{}")
    with lock.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(
            "batcher.journal.files.time.sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN)
        )
        assert job.run().code == 0
    job.audit()


@pytest.mark.parametrize("suffix", ["", ".partial", ".partial.tmp", ".lock"])
@pytest.mark.parametrize("how", ["same", "symlink", "hard link", "other way"])
def test_the_source_is_spared(job: Job, endpoint: Endpoint, suffix: str, how: str) -> None:
    """Where the source stands in the place of one of the run's files, it is left as it is."""
    job.write(rows(1))
    source = job.source.rename(job.folder / f"out.jsonl{suffix}")
    named = job.folder / "named"
    if how == "symlink":
        named.symlink_to(source)
    elif how == "hard link":
        named.hardlink_to(source)
    else:
        (job.folder / "deep").mkdir()
        named = source if how == "same" else job.folder / "deep" / ".." / source.name
    before = source.read_bytes()
    ran = job.run("--fresh", source=str(named))
    assert (ran.code, endpoint.books.attempts) == (2, 0)
    assert "source" in ran.err
    assert source.read_bytes() == before
    assert not list(job.folder.glob("*.bak*"))


def test_lock_dies_with_its_process(job: Job, endpoint: Endpoint) -> None:
    """A killed run leaves its lock file, and that locks nobody out."""
    endpoint.on("r1", Does.HANG, Say())
    job.write(rows(1))
    with job.process() as process:
        endpoint.wait_until(lambda books: books.in_flight == 1)
        process.signal(signal.SIGKILL)
        assert process.wait().code == -signal.SIGKILL
    assert job.output.with_name("out.jsonl.lock").exists()
    assert job.run().code == 0
    job.audit(books=False)
