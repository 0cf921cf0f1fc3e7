"""Where a run's rows come from: files plain and packed, standard input; how many, in what order."""

from __future__ import annotations

import gzip
import json
import stat

import pytest

from tests.harness import Job, as_lines, row, rows
from tests.server import Does, Endpoint, Say, Seen


def test_check(job: Job, endpoint: Endpoint) -> None:
    """`check` says what is bad, sends nothing and writes nothing."""
    job.write([row("a"), "{"])
    checked = job.invoke("check", str(job.source), "--json")
    assert (checked.code, checked.totals["rows"], checked.totals["bad_rows"]) == (2, 2, 1)
    job.write([row("a")])
    assert job.invoke("check", str(job.source), "--json").code == 0
    assert endpoint.books.attempts == 0
    assert [path.name for path in job.folder.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_sources(job: Job, suffix: str) -> None:
    """Plain, .gz and .zst are read alike; a BOM, CRLF and blank lines are tolerated but counted."""
    content = b"\xef\xbb\xbf" + b"\r\n \n".join(json.dumps(each).encode() for each in rows(30))
    if suffix == ".gz":
        half = len(content) // 2
        content = gzip.compress(content[:half]) + gzip.compress(content[half:])
    elif suffix == ".zst":
        content = pytest.importorskip("backports.zstd").compress(content)
    job.source = job.folder / f"in.jsonl{suffix}"
    job.source.write_bytes(content)
    assert job.run().code == 0
    assert job.result("r30")["batcher"]["row"] == 59
    job.audit()


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_cut_source(job: Job, endpoint: Endpoint, suffix: str) -> None:
    """A cut file stops with 8, keeping what was read; the whole file resumes."""
    compressed = job.folder / f"in.jsonl{suffix}"
    lines = as_lines(row(f"r{number}", pad=f"{number * 7919:x}" * 40) for number in range(400))
    zstd = pytest.importorskip("backports.zstd")
    whole = gzip.compress(lines) if suffix == ".gz" else zstd.compress(lines)
    compressed.write_bytes(whole[:-9])
    job.source = compressed
    ran = job.run()
    assert (ran.code, ran.totals["stop_reason"]) == (8, "storage"), ran.err
    assert not job.output.exists()
    before = endpoint.books.attempts
    compressed.write_bytes(whole)
    assert job.run().code == 0
    assert endpoint.books.attempts == 400
    assert before <= 400
    job.audit()


def test_no_gzip_at_all(job: Job) -> None:
    """A source that is not what its name says stops with 8, and says so in a line."""
    job.source = job.folder / "in.jsonl.gz"
    job.write(rows(3))
    ran = job.run()
    assert ran.code == 8
    assert "can't be read on" in ran.err


def test_standard_input(job: Job, endpoint: Endpoint) -> None:
    """Rows come from a pipe; to resume, the same rows are piped again."""
    lines = as_lines(rows(6))
    with job.process("--limit", "4", source="-") as first:
        first.stdin.write(lines)
        ran = first.wait()
    assert (ran.code, ran.totals["request_counts"]["total"]) == (0, 4), ran.err
    with job.process(source="-") as second:
        second.stdin.write(lines)
        ran = second.wait()
    assert (ran.code, ran.totals["request_counts"]["total"]) == (0, 6), ran.err
    assert endpoint.books.attempts == 6
    job.audit()


def test_sends_before_the_source_ends(job: Job, endpoint: Endpoint) -> None:
    """Rows of a pipe are sent as they come."""
    with job.process(source="-") as process:
        process.stdin.write(as_lines(rows(2)))
        process.stdin.flush()
        endpoint.wait_until(lambda books: books.attempts == 2)
        process.stdin.write(as_lines(rows(1, start=3)))
        ran = process.wait()
    assert ran.code == 0, ran.err
    job.audit()


def test_empty_source(job: Job) -> None:
    """No rows are a complete job of none."""
    job.write([])
    assert job.run().code == 0
    assert job.results() == []
    job.audit()


@pytest.mark.parametrize("flags", [[], ["--limit", "5"], ["--limit", "99"]])
def test_limit(job: Job, endpoint: Endpoint, flags: list[str]) -> None:
    """--limit N takes the first N rows, bad ones included."""
    job.write([row("r1"), "{", *rows(8, start=3)])
    assert job.run(*flags).code == 3
    limit = min(int(flags[1]), 10) if flags else 10
    assert len(job.results()) == limit
    assert endpoint.books.attempts == limit - 1
    job.audit()


def test_ordered(job: Job, endpoint: Endpoint) -> None:
    """--ordered publishes in input order, whatever came first."""
    job.write([*rows(30), "{", row("u", None), row("r1")])
    endpoint.on("r2", Does.WAIT)
    job.watching = lambda progress: endpoint.release() if progress.done == 32 else None
    assert job.run("--ordered").code == 3
    numbers = [line["batcher"]["row"] for line in job.results()]
    assert numbers == list(range(1, 34))
    job.audit()


def test_files_are_private(job: Job, endpoint: Endpoint) -> None:
    """Files are made 0600; an existing output keeps its mode."""
    modes: set[int] = set()

    def look(_: Seen) -> Say:
        modes.update(stat.S_IMODE(path.stat().st_mode) for path in job.folder.glob("out*"))
        return Say()

    endpoint.always(look)
    job.write(rows(3))
    assert job.run().code == 0
    assert modes == {0o600}
    assert stat.S_IMODE(job.output.stat().st_mode) == 0o600
    job.output.chmod(0o640)
    job.write(rows(5))
    assert job.run().code == 0
    assert stat.S_IMODE(job.output.stat().st_mode) == 0o640
    job.audit()


def test_standard_input_that_is_closed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was started without standard input is told so, and has lost nothing."""
    monkeypatch.setattr("sys.stdin", None)
    ran = job.run(source="-")
    assert (ran.code, ran.err) == (2, "batcher: standard input can't be read: it is closed\n")
    assert not job.partial.exists()
