"""Disks, files, limits and pipes that fail: a plain message, the right exit code, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.crash.books import read
from tests.crash.conftest import Reckoner
from tests.crash.endpoint import Endpoint
from tests.crash.job import CONCURRENCY, Job, good_row
from tests.crash.kill import HANG_S
from tests.harness import wait_for

# Processes by the dozen take their time; the first of the tests stand for all in the quick suite.
slow = pytest.mark.crash

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system takes a superuser")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint that never fails."""
    with Endpoint(latency_s=0.02, troubles=False) as serving:
        yield serving


@pytest.fixture
def job(tmp_path: Path, endpoint: Endpoint, reckon: Reckoner) -> Job:
    """A job of 60 rows at that endpoint."""
    job = reckon.watch(Job(tmp_path, endpoint))
    reckon.count(faults=1)
    job.write_source([good_row(number) for number in range(60)])
    endpoint.begin_run()
    return job


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of 16 MiB, or of another size that is asked for."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={getattr(request, 'param', '16m')}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(64 * 1024)):
                pass
        except OSError:
            pass
    return filler


@as_root
def test_the_disk_fills_up(
    tmp_path: Path, small_disk: Path, endpoint: Endpoint, reckon: Reckoner
) -> None:
    """A disk that fills up has all that was served, and the job goes on once it is mended."""
    endpoint.padding = 40_000
    job = reckon.watch(Job(tmp_path, endpoint))
    reckon.count(faults=1)
    job.output = small_disk / "out.jsonl"
    job.partial = small_disk / "out.jsonl.partial"
    job.write_source([good_row(number) for number in range(400)])
    filler = small_disk / "filler"
    filler.write_bytes(bytes(10_000_000))
    ran = job.run(expected=8)
    assert "is full" in job.said
    assert "Traceback" not in job.said
    done = read(job.partial)
    assert done.lines == endpoint.seen > 0, "all that was paid for"
    assert job.run(expected=8) == ran
    assert endpoint.seen == 0, "nothing is sent while the disk is full"
    filler.unlink()
    endpoint.padding = 0
    job.complete()


@as_root
@pytest.mark.parametrize("small_disk", ["48m"], indirect=True)
def test_the_disk_fills_up_with_large_answers(
    tmp_path: Path, small_disk: Path, endpoint: Endpoint, reckon: Reckoner
) -> None:
    """Answers of 200 kB, 64 at a time, on a disk that fills up: all that was served is kept."""
    endpoint.padding, endpoint.latency_s = 200_000, 0.3
    job = reckon.watch(Job(tmp_path, endpoint, "--concurrency", "64"))
    reckon.count(faults=1)
    job.output = small_disk / "out.jsonl"
    job.partial = small_disk / "out.jsonl.partial"
    job.write_source([good_row(number) for number in range(400)])
    job.run(expected=8)
    assert "is full" in job.said
    done = read(job.partial)
    assert done.lines == endpoint.seen > 64, "all that was paid for"
    endpoint.padding, endpoint.latency_s = 0, 0.02
    subprocess.run(["mount", "-o", "remount,size=96m", str(small_disk)], check=True)
    job.complete()


@slow
@as_root
def test_a_full_disk_from_the_start(
    tmp_path: Path, small_disk: Path, endpoint: Endpoint, reckon: Reckoner
) -> None:
    """On a disk that is full already nothing is sent."""
    job = reckon.watch(Job(tmp_path, endpoint))
    reckon.count(faults=1)
    job.output = small_disk / "out.jsonl"
    job.partial = small_disk / "out.jsonl.partial"
    job.write_source([good_row(1)])
    _fill(small_disk)
    job.run(expected=8)
    assert endpoint.seen == 0
    assert "full" in job.said


@slow
@as_root
def test_a_read_only_file_system(
    tmp_path: Path, small_disk: Path, endpoint: Endpoint, reckon: Reckoner
) -> None:
    """Where no file can be made, nothing is sent, and the message names the file."""
    job = reckon.watch(Job(tmp_path, endpoint))
    reckon.count(faults=1)
    job.output = small_disk / "out.jsonl"
    job.partial = small_disk / "out.jsonl.partial"
    job.write_source([good_row(1)])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    job.run(expected=2)
    assert endpoint.seen == 0
    assert f"the output {job.output} can't be written: Read-only" in job.said


@slow
@pytest.mark.parametrize("mode", [0o500, 0o000], ids=["read-only", "closed"])
def test_an_unwritable_folder(job: Job, endpoint: Endpoint, mode: int) -> None:
    """A folder that one may not write to, or not even enter: exit 2, nothing sent."""
    folder = job.folder / "locked"
    folder.mkdir()
    job.output = folder / "out.jsonl"
    job.partial = folder / "out.jsonl.partial"
    folder.chmod(mode)
    try:
        job.run(expected=2, wrapper=_unprivileged())
    finally:
        folder.chmod(0o700)
    assert endpoint.seen == 0
    assert f"{job.output} can't be" in job.said
    assert "Permission denied" in job.said
    assert "bug" not in job.said


@slow
def test_a_journal_that_may_not_be_written(job: Job, endpoint: Endpoint) -> None:
    """A journal without leave to write: exit 2, nothing sent, nothing changed."""
    job.partial.write_bytes(b"")
    job.partial.chmod(0o400)
    job.run(expected=2, wrapper=_unprivileged())
    assert endpoint.seen == 0
    assert "Permission denied" in job.said


def test_a_file_of_somebody_elses(job: Job, endpoint: Endpoint) -> None:
    """A file that stands in the journal's place and is none is left as it is: exit 2."""
    job.partial.write_bytes(b"my diary")
    job.run(expected=2, strange=True)
    assert endpoint.seen == 0
    assert job.partial.read_bytes() == b"my diary"


@slow
def test_few_open_files(job: Job) -> None:
    """With a hard limit of 40 open files the run sends fewer at a time, and ends."""
    job.run(expected=0, wrapper=("prlimit", "--nofile=40:40"))
    job.complete()


@slow
def test_too_few_open_files(job: Job, endpoint: Endpoint) -> None:
    """Without any file left for a connection: exit 8 with the reason, and the job goes on later."""
    for limit in range(8, 40, 3):
        job.run(expected=None, wrapper=("prlimit", f"--nofile={limit}:{limit}"))
        if job.code == 8:
            break
    assert job.code == 8
    assert "too many open files" in job.said.lower()
    job.complete()


@slow
@pytest.mark.parametrize("progress", ["none", "bar", "json", "auto"])
def test_nobody_reads_what_is_said(job: Job, endpoint: Endpoint, progress: str) -> None:
    """Standard output and error are closed pipes: the run goes on, and its exit code is right."""
    endpoint.begin_run()
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        process = job.start(("--progress", progress, "--json"), stdout=pipe, stderr=pipe)
        assert process.wait(HANG_S) == 0
    assert read(job.output).lines == 60


@pytest.mark.parametrize(
    "progress", ["json", pytest.param("auto", marks=slow), pytest.param("bar", marks=slow)]
)
def test_the_pipe_is_full(job: Job, endpoint: Endpoint, progress: str) -> None:
    """A full pipe behind standard error holds nothing up; once it is read, the end is told."""
    with _full_pipe() as (reader, pipe), _ended(job.start(("--progress", progress), stderr=pipe)):
        wait_for(job.output.exists)
        pipe.close()
        assert b"60" in reader.read().rsplit(bytes(512))[-1]
    assert read(job.output).lines == 60


@slow
def test_the_pipe_is_full_and_never_read(job: Job, endpoint: Endpoint) -> None:
    """Who reads standard error only once the process has ended does not keep it from ending."""
    with _full_pipe() as (_, pipe), _ended(job.start(("--progress", "json"), stderr=pipe)):
        pass
    assert read(job.output).lines == 60


@contextmanager
def _full_pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as read_end, os.fdopen(writer, "wb", buffering=0) as pipe:
        os.set_blocking(writer, False)
        while pipe.write(bytes(512)):
            pass
        os.set_blocking(writer, True)
        yield read_end, pipe


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
        assert process.wait(HANG_S) == 0
    finally:
        process.kill()
        process.wait()


@slow
def test_stopped_and_continued(job: Job, endpoint: Endpoint) -> None:
    """What was answered while the process was stopped is read, however late: it is paid for."""
    endpoint.latency_s = 1.0
    job.write_source(job.rows[:CONCURRENCY])
    endpoint.begin_run()
    process = job.start(("--timeout", "3", "--max-attempts", "1"))
    with _ended(process):
        assert endpoint.wait_for(CONCURRENCY, HANG_S)
        process.send_signal(signal.SIGSTOP)
        endpoint.settle()
        # Time itself is tried: the timeout of its attempts passes while it stands still.
        time.sleep(3.5)
        process.send_signal(signal.SIGCONT)
    assert endpoint.seen == CONCURRENCY


@slow
def test_the_source_vanishes_and_comes_back(job: Job, endpoint: Endpoint) -> None:
    """Without its source, a job is refused with 2 and untouched; --fresh takes nothing away."""
    job.complete()
    before = job.output.read_bytes()
    job.source.rename(job.folder / "away")
    job.run("--fresh", expected=2, strange=True)
    assert job.output.read_bytes() == before
    assert [path.name for path in job.folder.glob("out*")] == ["out.jsonl"]
    (job.folder / "away").rename(job.source)
    job.complete()


def test_two_at_once(job: Job, endpoint: Endpoint) -> None:
    """A second run on the same output is turned away with 6; the first is not disturbed."""
    endpoint.latency_s = 1.0
    endpoint.begin_run()
    first = job.start(())
    try:
        assert endpoint.wait_for(1, HANG_S)
        second = job.start((), stderr=subprocess.PIPE)
        _, said = second.communicate(timeout=HANG_S)
        assert second.returncode == 6
        assert f"process {first.pid}".encode() in said
        endpoint.latency_s = 0.01
        assert first.wait(HANG_S) == 0
    finally:
        first.kill()
        first.wait()
    assert read(job.output).lines == 60
    assert sum(each.attempts for each in endpoint.runs[-1].values()) == 60


@slow
def test_a_lock_left_by_the_dead(job: Job, endpoint: Endpoint) -> None:
    """The lock file of a killed run holds nobody up, even one that is no JSON."""
    lock = job.folder / "out.jsonl.lock"
    lock.write_bytes(b'{"pid": 1, "half')
    job.complete()
    assert not lock.exists()


def test_a_message_for_every_signal(job: Job, endpoint: Endpoint) -> None:
    """timeout(1) signals twice at once: that is one stop, and what is in flight is awaited."""
    endpoint.latency_s = 0.6
    endpoint.begin_run()
    process = job.start((), stderr=subprocess.PIPE)
    assert endpoint.wait_for(8, HANG_S)
    process.send_signal(signal.SIGTERM)
    # So that the first is taken before the second comes, and within what counts as its echo.
    time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=HANG_S)
    assert process.returncode == 143
    assert b"may have been billed" not in said
    endpoint.settle()
    assert read(job.partial).lines == endpoint.seen
    endpoint.latency_s = 0.01
    job.run(expected=0)


def _unprivileged() -> tuple[str, ...]:
    """Run without the superuser's leave to write to every file."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
