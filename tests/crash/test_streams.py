"""A source that is no plain file read from its beginning: standard input, part read; a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.books import read
from tests.crash.conftest import Reckoner
from tests.crash.endpoint import Endpoint
from tests.crash.job import Job, environment
from tests.crash.kill import HANG_S

COUNT = 60


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint that never fails."""
    with Endpoint(latency_s=0.01, troubles=False) as serving:
        yield serving


@pytest.fixture
def job(tmp_path: Path, endpoint: Endpoint, reckon: Reckoner) -> Job:
    """A job of 60 rows at that endpoint."""
    return reckon.good_job(tmp_path, endpoint, COUNT)


@pytest.mark.parametrize("first", ["--strict", "--limit=20"], ids=["strict", "gone on with"])
def test_standard_input_that_was_part_read(job: Job, endpoint: Endpoint, first: str) -> None:
    """What others took from standard input before is no row, however often the rest is read."""
    taken = len(job.rows[0].line) + 1
    for flags in ((first,), ()):
        with job.source.open("rb") as file:
            os.lseek(file.fileno(), taken, os.SEEK_SET)
            done = _run(job, endpoint, "-", *flags, stdin=file)
        assert done.returncode == 0, done.stderr
    kept = read(job.output)
    assert kept.lines == endpoint.seen == COUNT - 1
    assert ("c-0", 0) not in kept.entries


def test_a_named_pipe(job: Job, endpoint: Endpoint) -> None:
    """A FIFO gives its rows once, and each of them is sent once."""
    lines = job.source.read_bytes()
    pipe = job.folder / "rows.fifo"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(lines,), daemon=True)
    writer.start()
    done = _run(job, endpoint, str(pipe))
    writer.join(HANG_S)
    assert done.returncode == 0, done.stderr
    assert not writer.is_alive()
    assert read(job.output).lines == endpoint.seen == COUNT


def _run(
    job: Job, endpoint: Endpoint, source: str, *flags: str, stdin: Any = subprocess.DEVNULL
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "batcher", "run", source, "-o", str(job.output)),
            *("--base-url", endpoint.base_url, "--progress", "none", *flags),
        ],
        stdin=stdin,
        capture_output=True,
        timeout=HANG_S,
        check=False,
        env=environment(),
    )
