"""Names that can't be resolved: for a whole run, and until some moment in the middle of one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.crash.books import read
from tests.crash.conftest import Reckoner
from tests.crash.endpoint import Endpoint
from tests.crash.job import Job
from tests.crash.kill import HANG_S

COUNT = 40

# No name under `.invalid` is ever given to anybody: RFC 2606.
NAME = "endpoint.invalid"

# A server of names that never answers must not hold these trials up.
_IMPATIENT = ("env", "RES_OPTIONS=timeout:1 attempts:1")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint that never fails, called by a name."""
    with Endpoint(latency_s=0.01, troubles=False) as serving:
        serving.base_url = f"http://{NAME}:{urlsplit(serving.base_url).port}/v1"
        yield serving


@pytest.fixture
def job(tmp_path: Path, endpoint: Endpoint, reckon: Reckoner) -> Job:
    """A job of 40 rows at that endpoint."""
    return reckon.good_job(tmp_path, endpoint, COUNT)


@pytest.mark.parametrize("transport", ["lean", pytest.param("session", marks=pytest.mark.crash)])
def test_a_name_that_nobody_has(job: Job, endpoint: Endpoint, transport: str) -> None:
    """The run gives up with 7 and says why; no row fails by it, and the job goes on later."""
    job.run("--transport", transport, "--give-up-after", "1", expected=7, wrapper=_IMPATIENT)
    assert "the endpoint's name can't be resolved" in job.said
    assert f"the {COUNT} pending rows" in job.said
    assert endpoint.seen == read(job.partial).lines == 0
    endpoint.base_url = endpoint.base_url.replace(NAME, "127.0.0.1")
    job.complete()


@pytest.mark.crash
@pytest.mark.parametrize("transport", ["lean", "session"])
def test_a_name_that_comes_to_exist(job: Job, endpoint: Endpoint, transport: str) -> None:
    """A run that has begun without its endpoint's name completes once the name is there."""
    hosts, named = job.folder / "hosts", f"127.0.0.1 {NAME}\n"
    inside = _among(hosts)
    hosts.write_text(named)
    asked = [*inside, "getent", "hosts", NAME]
    tried = subprocess.run(asked, check=False, capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"a name of our own takes a name space of mounts: {tried.stderr.strip()}")
    hosts.write_text("")
    process = job.start(
        ("--transport", transport, "--progress", "json", "--give-up-after", str(HANG_S)),
        wrapper=inside,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        assert any(b'"held_by":"endpoint"' in line for line in process.stderr), "taken for down"
        hosts.write_text(named)
        process.communicate(timeout=HANG_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert endpoint.seen == COUNT
    endpoint.base_url = endpoint.base_url.replace(NAME, "127.0.0.1")
    job.reckon(0)


def _among(hosts: Path) -> tuple[str, ...]:
    """Run with another list of hosts, which can be written to meanwhile."""
    hosts.touch()
    bound = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", bound, str(hosts), *_IMPATIENT)
