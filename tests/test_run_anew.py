"""Running the same command again with a word of what to do: --retry-failed, --fresh, --limit."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from tests.harness import Job, rows, wait_for
from tests.server import GONE, Does, Endpoint, Say, refusal


def test_retry_failed(job: Job, endpoint: Endpoint) -> None:
    """The failed rows are sent again, and their old cost stays on the bill."""
    endpoint.on("r2", GONE, Say())
    endpoint.on("r4", GONE)
    job.write([*rows(5), "{"])
    assert job.run().code == 3
    assert job.run("--retry-failed").code == 3
    assert endpoint.books.by_key == {"r1": 1, "r2": 2, "r3": 1, "r4": 2, "r5": 1}
    codes = job.codes()
    assert (codes["r2"], codes["r4"], codes["row-6"]) == ("200", "400", "invalid_json")
    assert job.result("r2")["batcher"]["attempts"] == 2
    job.audit()
    assert job.run().code == 3
    assert endpoint.books.attempts == 7
    assert job.run("--retry-failed").code == 3
    assert endpoint.books.attempts == 8
    job.audit()


def test_retry_failed_without_failures(job: Job, endpoint: Endpoint) -> None:
    """Nothing had failed: nothing is sent."""
    job.write(rows(2))
    assert job.run().code == 0
    before = job.output.stat().st_ino
    assert job.run("--retry-failed").code == 0
    assert (endpoint.books.attempts, job.output.stat().st_ino) == (2, before)


@pytest.mark.parametrize("again", [["--retry-failed"], []])
def test_retry_failed_goes_on(job: Job, endpoint: Endpoint, again: list[str]) -> None:
    """Stopped in between, the same command sends the rest, and nothing for a third time."""
    for number in (1, 2, 3):
        endpoint.on(f"r{number}", GONE)
    endpoint.on("r2", GONE, refusal(401), Say())
    job.write(rows(4))
    assert job.run().code == 3
    assert job.run("--retry-failed", "--concurrency", "1").code == 5
    assert endpoint.books.by_key == {"r1": 2, "r2": 2, "r3": 1, "r4": 1}
    assert job.run(*again).code == 3
    assert endpoint.books.by_key == {"r1": 2, "r2": 3, "r3": 2, "r4": 1}
    job.audit()


def test_retry_failed_killed(job: Job, endpoint: Endpoint) -> None:
    """Killed in between, the same command goes on; the old output stays until then."""
    endpoint.on("r1", GONE)
    endpoint.on("r2", GONE, Does.HANG, Say())
    job.write(rows(4))
    assert job.run().code == 3
    old = job.output.read_bytes()
    with job.process("--retry-failed", "--concurrency", "1") as process:
        endpoint.wait_until(lambda books: books.by_key["r2"] == 2)
        wait_for(lambda: job.partial.exists() and has_retried(job))
        process.signal(signal.SIGKILL)
        process.wait()
    assert job.output.read_bytes() == old
    assert job.run("--retry-failed").code == 3
    assert endpoint.books.by_key == {"r1": 2, "r2": 3, "r3": 1, "r4": 1}
    job.audit(books=False)


def has_retried(job: Job) -> bool:
    """Whether a result stands in the journal after the mark of --retry-failed."""
    return b'{"id":' in job.partial.read_bytes().partition(b"batch.retry_failed")[2]


def test_retry_failed_while_unfinished(job: Job, endpoint: Endpoint) -> None:
    """Asked of an unfinished job, it sends what had failed until then, and the rest."""
    endpoint.on("r1", GONE, Say())
    endpoint.on("r3", refusal(401), Say())
    job.write(rows(4))
    assert job.run("--concurrency", "1").code == 5
    assert job.run("--retry-failed").code == 0
    assert endpoint.books.by_key == {"r1": 2, "r2": 1, "r3": 2, "r4": 1}
    job.audit()


def test_fresh(job: Job, endpoint: Endpoint) -> None:
    """--fresh starts over; what was there is kept as .bak, never over an older one."""
    job.write(rows(2))
    kept = {}
    for suffix in ("", ".bak", ".bak2", ".bak3"):
        if suffix:
            kept[suffix] = job.output.read_bytes()
        assert job.run("--fresh").code == 0
    found = {path.name: path.read_bytes() for path in job.folder.glob("*.bak*")}
    assert found == {f"out.jsonl{suffix}": content for suffix, content in kept.items()}
    assert endpoint.books.attempts == 8
    job.audit(books=False)
    assert job.totals()["attempts"] == 2


@pytest.mark.parametrize(("number", "code"), [(errno.EPERM, 0), (errno.ENOSPC, 8), (errno.EIO, 8)])
def test_fresh_without_links(
    job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    """Only where a file system knows no links is the old output away until the new one stands."""
    job.write(rows(2))
    assert job.run().code == 0
    before = job.output.read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    assert job.run("--fresh").code == code
    kept = job.output if code else job.folder / "out.jsonl.bak"
    assert kept.read_bytes() == before


def test_fresh_of_an_unfinished_job(job: Job, endpoint: Endpoint) -> None:
    """The journal is kept as well."""
    endpoint.on("r2", refusal(401), Say())
    job.write(rows(2))
    assert job.run("--concurrency", "1").code == 5
    journal = job.partial.read_bytes()
    assert job.run("--fresh").code == 0
    assert (job.folder / "out.jsonl.partial.bak").read_bytes() == journal
    job.audit(books=False)


def test_fresh_that_is_refused(job: Job, endpoint: Endpoint) -> None:
    """Where nothing can be sent, nothing is set aside."""
    job.write(rows(2))
    assert job.run().code == 0
    assert job.run("--fresh", source=str(job.folder / "no such file")).code == 2
    assert job.output.exists()
    assert not list(job.folder.glob("*.bak*"))


def test_limit_and_then_without(job: Job, endpoint: Endpoint) -> None:
    """A job of the first N rows; without it later, the rest are added rows."""
    job.write(rows(10))
    assert job.run("--limit", "3").code == 0
    assert sorted(endpoint.books.keys) == ["r1", "r2", "r3"]
    job.audit()
    assert job.run("--limit", "3").code == 0
    assert endpoint.books.attempts == 3
    assert job.run("--limit", "6").code == 0
    assert job.run().code == 0
    assert endpoint.books.attempts == 10
    job.audit()
