"""Fixtures of the proof."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.endpoint import Endpoint
from tests.crash.figures import PROPERTY, Figures
from tests.crash.job import Job, good_row


class Reckoner:
    """Adds up what a test counts, also where it fails."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._figures = Figures()

    def watch(self, job: Job) -> Job:
        """Count what becomes of a job."""
        self._jobs.append(job)
        return job

    def good_job(self, folder: Path, endpoint: Endpoint, count: int) -> Job:
        """Watch a job of good rows, on which one fault of the machine is to be tried."""
        job = self.watch(Job(folder, endpoint))
        self.count(faults=1)
        job.write_source([good_row(number) for number in range(count)])
        endpoint.begin_run()
        return job

    def count(self, **more: int) -> None:
        """Count what is no job's."""
        self._figures = self._figures.plus(Figures(**more))

    def sum(self) -> Figures:
        """All that was counted."""
        total = self._figures
        for job in self._jobs:
            total = total.plus(job.figures)
        return total


@pytest.fixture
def reckon(request: pytest.FixtureRequest) -> Iterator[Reckoner]:
    """Count towards the figures; they travel with the test's report, from any process."""
    reckoner = Reckoner()
    yield reckoner
    request.node.user_properties.append((PROPERTY, tuple(reckoner.sum())))
