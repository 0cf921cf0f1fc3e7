"""Ctrl-C and its like at any moment: a job that can be resumed, a last line, and nobody left."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.books import read
from tests.crash.conftest import Reckoner
from tests.crash.endpoint import Endpoint
from tests.crash.job import Job, good_row, grown
from tests.crash.kill import HANG_S, Kill
from tests.harness import wait_for

_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint that fails now and then."""
    with Endpoint(latency_s=0.02) as serving:
        yield serving


def _interrupt(job: Job, number: int, delay_s: float, *, twice: bool) -> bool:
    """Start a run and signal it so long after our first line; say whether it was stopped by that.

    Before that line an interrupt is Python's to answer.
    """
    process = job.start((), stderr=subprocess.PIPE, session=True)
    wait_for(lambda: _listens(process.pid))
    try:
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        if twice:
            # Later than what counts as an echo of the first.
            time.sleep(0.35)
            process.send_signal(number)
    try:
        _, said = process.communicate(timeout=HANG_S)
    finally:
        assert _session_is_gone(process.pid), "a process is left"
        process.kill()
    text = said.decode()
    assert "Traceback" not in text, text
    code = process.returncode
    assert code in {0, 3, _CODES[signal.Signals(number)]}, (code, text)
    if code in _CODES.values():
        assert text.strip(), "a last line"
    return code not in (0, 3)


def _listens(pid: int) -> bool:
    """Whether a process has a handler of its own for SIGTERM, or has ended."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"SigCgt:\s*(\w+)", status)
    ended = "State:\tZ" in status
    return ended or (caught is not None and bool(int(caught[1], 16) >> signal.SIGTERM - 1 & 1))


def _session_is_gone(leader: int) -> bool:
    """Whether nobody but the leader itself is left of a session; a child may take a moment."""
    until_s = time.monotonic() + HANG_S
    while time.monotonic() < until_s:
        if not [pid for pid in _session(leader) if pid != leader]:
            return True
        time.sleep(0.01)
    return False


def _session(leader: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _sample(
    job: Job, endpoint: Endpoint, reckon: Reckoner, draw: random.Random, moments: list[float]
) -> None:
    for delay_s in moments:
        number = draw.choice(sorted(_CODES))
        endpoint.begin_run()
        if _interrupt(job, number, delay_s, twice=draw.random() < 0.3):
            reckon.count(interrupts=1)
        elif job.output.exists():
            # Nothing would be left to do.
            job.write_source(job.rows + [good_row(len(job.rows) + at) for at in range(20)])
    job.complete()


def test_interrupted_a_few_times(tmp_path: Path, endpoint: Endpoint, reckon: Reckoner) -> None:
    """Interrupted while it starts, sends and publishes, a job goes on and ends whole."""
    draw = random.Random(5)
    job = reckon.watch(Job(tmp_path, endpoint))
    job.write_source([good_row(number) for number in range(60)])
    _sample(job, endpoint, reckon, draw, [0.0, 0.1, 0.3, 0.4, 0.5])


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(3))
def test_interrupted_at_any_moment(
    tmp_path: Path, endpoint: Endpoint, reckon: Reckoner, seed: int
) -> None:
    """Moments spread evenly over a run: importing, reading, planning, sending, publishing."""
    draw = random.Random(seed)
    job = reckon.watch(Job(tmp_path, endpoint, *(["--ordered"] if seed % 2 else [])))
    job.write_source([good_row(number) for number in range(150)])
    began_s = time.monotonic()
    job.run()
    whole_s = time.monotonic() - began_s
    grown(job, draw)
    _sample(job, endpoint, reckon, draw, [whole_s * at / 17 for at in range(1, 19)])


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(4))
def test_over_the_whole_of_a_short_run(
    tmp_path: Path, endpoint: Endpoint, reckon: Reckoner, seed: int
) -> None:
    """Hundreds of moments from our first line to the last: always the code that is promised.

    No traceback, no death by the signal itself, and half of the moments are near its end.
    """
    draw = random.Random(100 + seed)
    job = reckon.watch(Job(tmp_path, endpoint, *(["--ordered"] if seed % 2 else [])))
    job.write_source([good_row(number) for number in range(20)])
    began_s = time.monotonic()
    job.run()
    whole_s = time.monotonic() - began_s
    grown(job, draw)
    moments = [draw.uniform(0, whole_s) for _ in range(26)]
    moments += [draw.uniform(whole_s * 0.5, whole_s * 1.6) for _ in range(26)]
    _sample(job, endpoint, reckon, draw, moments)


def test_a_second_signal_breaks_a_long_publication_off(
    tmp_path: Path, endpoint: Endpoint, reckon: Reckoner
) -> None:
    """An output that takes long to be written anew: the second signal ends it, and it is resumable.

    Nothing of it is left but the journal; the same command publishes it without sending anything.
    """
    endpoint.padding, endpoint.troubles = 1_500_000, False
    job = reckon.watch(Job(tmp_path, endpoint, "--ordered"))
    job.write_source([good_row(number) for number in range(48)])
    endpoint.begin_run()
    scratch = tmp_path / "out.jsonl.partial.tmp"
    # Each sync of a piece takes seconds, as on a slow disk; those of the journal while it is sent
    # do not.
    slow = Kill(call="fsync", number=1, how="slow", only=scratch.name)
    process = job.start((), kill=slow, stderr=subprocess.PIPE)
    try:
        wait_for(scratch.exists)
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.4)
        assert process.poll() is None, "the first signal lets it be published"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
        process.wait()
    assert time.monotonic() - began_s < 8, "a piece or two, of six"
    assert process.returncode == 143, said
    assert sorted(path.name for path in tmp_path.glob("out*")) == [
        "out.jsonl.lock",
        "out.jsonl.partial",
    ]
    reckon.count(interrupts=1)
    endpoint.begin_run()
    assert job.start(()).wait(HANG_S) == 0
    assert endpoint.seen == 0
    assert read(job.output).lines == 48


@pytest.mark.crash
def test_a_served_endpoint_goes_with_its_run(
    tmp_path: Path, endpoint: Endpoint, reckon: Reckoner
) -> None:
    """Whatever ends a run, the endpoint that it serves itself is gone."""
    job = reckon.watch(Job(tmp_path, endpoint))
    job.write_source([good_row(number) for number in range(20_000)])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for delay_s in (0.3, 0.8):
            process = job.start(("--base-url", "sandbox"), stderr=subprocess.DEVNULL, session=True)
            children: set[int] = set()
            until_s = time.monotonic() + delay_s
            while time.monotonic() < until_s:
                children |= _children(process.pid)
                time.sleep(0.01)
            children |= _children(process.pid)
            process.send_signal(number)
            assert process.wait(HANG_S) is not None
            reckon.count(interrupts=1)
            _await_end(children)


def _children(parent: int) -> set[int]:
    try:
        text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    except OSError:
        return set()
    return {int(word) for word in text.split()}


def _await_end(pids: set[int]) -> None:
    until_s = time.monotonic() + HANG_S
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):  # noqa: PTH110 - no path of ours
        assert time.monotonic() < until_s, "a served endpoint is left"
        time.sleep(0.01)
