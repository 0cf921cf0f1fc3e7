"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Job
from tests.server import Endpoint


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
