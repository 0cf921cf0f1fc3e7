"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.crash.figures import Figures, of_report, table, write_into
from tests.harness import STOP_SIGNALS, Job
from tests.program import Program
from tests.purses import PRICES
from tests.reporting import Reporter
from tests.sandboxes import Client, sandbox
from tests.server import Endpoint

_SAFETY = Path(__file__).parents[1] / "docs" / "safety.md"
_figures = [Figures()]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the long proof write its figures down."""
    parser.addoption(
        "--write-figures",
        action="store_true",
        help="write the crash proof's figures into docs/safety.md",
    )


def pytest_configure() -> None:
    """Heed signals that our caller had ignored, as a shell does for what it starts with `&`.

    A run that inherits this rightly ignores them too, and trials that interrupt it would hang.
    """
    usual = {signal.SIGINT: signal.default_int_handler}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual.get(number, signal.SIG_DFL))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Gather the figures of the crash proof."""
    _figures[0] = _figures[0].plus(of_report(report))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell the figures of the crash proof, where any of it ran."""
    figures = _figures[0]
    if figures == Figures():
        return
    failed = len(terminalreporter.stats.get("failed", ()))
    terminalreporter.write_sep("-", "crash proof" + (f" ({failed} FAILED)" if failed else ""))
    for name, count in table(figures):
        terminalreporter.write_line(f"{name:>40}  {count:,}")
    if config.getoption("--write-figures") and not failed:
        write_into(_SAFETY, figures)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A scripted local endpoint with books."""
    with Endpoint() as serving:
        yield serving


@pytest.fixture
def job(
    tmp_path: Path,
    endpoint: Endpoint,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Job:
    """A job at that endpoint, without settings from outside and without jitter in its backoff."""
    for variable in [name for name in os.environ if name.startswith(("BATCHER_", "OPENAI_"))]:
        monkeypatch.delenv(variable)
    # Full jitter is a share of the longest backoff: the least of all shares is no wait at all.
    monkeypatch.setattr(random, "random", lambda: 0.0)
    return Job(tmp_path, endpoint, capsys, monkeypatch)


@pytest.fixture
def priced(job: Job, tmp_path: Path) -> Job:
    """A job with a price table."""
    table = tmp_path / "prices.toml"
    table.write_text(f"list = false\n{PRICES}")
    job.flags = ["--prices", str(table)]
    return job


@pytest.fixture
def program(job: Job, endpoint: Endpoint) -> Program:
    """A program, without settings from outside."""
    return Program(job.folder, endpoint)


@pytest.fixture
def handlers() -> Iterator[None]:
    """The process's signal handlers are as they were."""
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    yield
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Reporter:
    """`batcher report`, run in this process."""
    return Reporter(capsys)


@pytest.fixture
def anyio_backend() -> str:
    """Asyncio alone: aiohttp runs on nothing else."""
    return "asyncio"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a sandbox that never fails."""
    async with sandbox() as plain:
        yield plain
