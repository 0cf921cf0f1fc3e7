"""Every row exactly once, wherever the process dies."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.crash.conftest import Reckoner
from tests.crash.endpoint import Endpoint
from tests.crash.job import Job, SourceRow, bad_row, good_row
from tests.crash.kill import Kill


def _mixed(count: int) -> list[SourceRow]:
    """Rows with ids and without, the same request more than once, and lines that are none."""
    rows = [good_row(number, named=number % 3 != 0) for number in range(count)]
    rows += [good_row(number, named=False) for number in range(0, count, 9)]
    rows[5:5] = [bad_row(1), bad_row(2), bad_row(1)]
    return rows


def test_a_dozen_kills(tmp_path: Path, reckon: Reckoner) -> None:
    """A job that is killed and torn a dozen times ends with each row once and the right bill."""
    draw = random.Random(7)
    with Endpoint(latency_s=0.05) as endpoint:
        job = reckon.watch(Job(tmp_path, endpoint))
        job.write_source(_mixed(100))
        job.attack(draw, 12)
        job.complete()


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param((), id="plain"),
        pytest.param(("--ordered",), id="ordered"),
        pytest.param(("--durability", "flush"), id="flush"),
        pytest.param(("--strict", "--limit", "10000"), id="limit"),
    ],
)
def test_first_runs(tmp_path: Path, reckon: Reckoner, flags: tuple[str, ...], seed: int) -> None:
    """Killed while reading, sending, writing and publishing, a job still ends whole."""
    draw = random.Random(seed)
    rows = _mixed(200)
    if "--strict" in flags:
        rows = [row for row in rows if row.text]
    with Endpoint(latency_s=0.08) as endpoint:
        job = reckon.watch(Job(tmp_path, endpoint, *flags))
        job.write_source(rows)
        job.attack(draw, 12)
        job.complete()


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(3))
def test_retry_failed(tmp_path: Path, reckon: Reckoner, seed: int) -> None:
    """Killed while failed rows are sent again, each of them is still sent and counted once."""
    draw = random.Random(seed)
    with Endpoint(latency_s=0.05) as endpoint:
        job = reckon.watch(Job(tmp_path, endpoint))
        job.write_source(_mixed(800))
        job.complete()
        endpoint.healed = True
        endpoint.latency_s = 0.5
        job.attack(draw, 8, "--retry-failed", resends=True)
        job.complete("--retry-failed", resends=True)


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(3))
def test_a_source_that_grew_and_changed(tmp_path: Path, reckon: Reckoner, seed: int) -> None:
    """Killed while added and changed rows are sent, the new output holds all and the latest."""
    draw = random.Random(seed)
    with Endpoint(latency_s=0.05) as endpoint:
        job = reckon.watch(Job(tmp_path, endpoint))
        rows = _mixed(200)
        job.write_source(rows)
        job.complete()
        changed = [
            good_row(int(row.custom_id[2:]), version=1) if row.custom_id and at % 7 == 0 else row
            for at, row in enumerate(rows)
        ]
        job.write_source([good_row(10_000 + n, named=n % 2 == 0) for n in range(150)] + changed)
        job.attack(draw, 10)
        job.complete()


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(2))
def test_fresh(tmp_path: Path, reckon: Reckoner, seed: int) -> None:
    """Killed while it starts over, a job keeps what was there, byte for byte."""
    draw = random.Random(seed)
    with Endpoint(latency_s=0.05) as endpoint:
        job = reckon.watch(Job(tmp_path, endpoint))
        job.write_source(_mixed(200))
        job.complete()
        before = job.output.read_bytes()
        while job.run("--fresh", kill=Kill.drawn(draw), resends=True) >= 0:
            pass
        job.attack(draw, 8, resends=True)
        job.complete(resends=True)
        kept = [path.read_bytes() for path in tmp_path.glob("*.bak*")]
    assert before in kept


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(2))
def test_resend(tmp_path: Path, reckon: Reckoner, seed: int) -> None:
    """Killed while most rows are sent anew because they have changed, each is paid for once."""
    draw = random.Random(seed)
    with Endpoint(latency_s=0.05) as endpoint:
        job = reckon.watch(Job(tmp_path, endpoint))
        job.write_source([good_row(number) for number in range(400)])
        job.complete()
        endpoint.latency_s = 0.3
        job.write_source([good_row(number, version=1) for number in range(400)])
        job.attack(draw, 6, "--resend")
        job.complete("--resend")


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(3))
def test_prune(tmp_path: Path, reckon: Reckoner, seed: int) -> None:
    """Killed while rows are dropped and others added, a job still bills what the dropped cost."""
    draw = random.Random(seed)
    with Endpoint(latency_s=0.05) as endpoint:
        job = reckon.watch(Job(tmp_path, endpoint))
        job.write_source([good_row(number, named=number % 3 > 0) for number in range(200)])
        job.complete()
        for _ in range(4):
            until = job.figures.kills + 2
            _drop_some(job, draw)
            while job.figures.kills < until:
                if job.run("--prune", kill=Kill.drawn(draw)) >= 0:
                    _drop_some(job, draw)
            job.complete("--prune")


def _drop_some(job: Job, draw: random.Random) -> None:
    """Drop a tenth of a job's rows, and add as many and more."""
    first = 10_000 + draw.randrange(10**6)
    more = [good_row(first + n, named=n % 3 > 0) for n in range(draw.randint(30, 90))]
    job.write_source([row for row in job.rows if draw.random() < 0.9] + more)
