"""What the commands need of the engine, and the one place that imports it.

The engine brings aiohttp, which is most of the start-up: it is loaded once the settings are known
to be good.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batcher.cli.progress import Watcher
    from batcher.records import BadRow, Progress, StopReason
    from batcher.settings import Settings

__all__ = ["CheckReport", "Engine", "Outcome", "Status", "load_engine"]


class Outcome(Protocol):
    """How a run ended."""

    @property
    def totals(self) -> Mapping[str, Any]:
        """The totals object; with `stop_reason` and `pending` when it stopped."""

    @property
    def stop(self) -> StopReason | None:
        """Why it stopped before its job was complete."""

    @property
    def message(self) -> str:
        """The same in plain words, or empty."""

    @property
    def exit_code(self) -> int:
        """The exit code that the documentation promises."""

    @property
    def agreement(self) -> tuple[int, int] | None:
        """Labels that agree with the known ones, and labels compared; None without known ones."""


class CheckReport(Protocol):
    """What a check found."""

    @property
    def rows(self) -> int:
        """Rows in the source, good and bad."""

    @property
    def bad_rows(self) -> int:
        """How many of them can't be sent."""

    @property
    def first_bad(self) -> Sequence[BadRow]:
        """The first of these."""


class Status(Protocol):
    """What the files of an output say."""

    @property
    def state(self) -> str:
        """`running`, `stopped`, `finished` or `none`."""

    @property
    def progress(self) -> Progress | None:
        """The last that a run told."""

    @property
    def totals(self) -> Mapping[str, Any] | None:
        """The totals, once there are some."""

    @property
    def pid(self) -> int | None:
        """The process that runs, while one does."""

    @property
    def host(self) -> str | None:
        """The machine that it runs on."""

    @property
    def stop_reason(self) -> str | None:
        """Why the last run stopped."""


class Engine(Protocol):
    """The module `batcher.engine`."""

    async def run(self, settings: Settings, *, watch: Watcher | None = None) -> Outcome:
        """Send a job."""

    def check(self, settings: Settings) -> CheckReport:
        """Look a source over; send nothing."""

    def status(self, output: Path) -> Status:
        """Read the state of a job from its files."""


def load_engine() -> Engine:
    """Import the engine."""
    return cast("Engine", importlib.import_module("batcher.engine"))
