"""From what stands on the command line to `Settings`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batcher.errors import UsageError
from batcher.library.settle import is_job_file, settle
from batcher.settings.layers import misspelt_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.settings import Settings

__all__ = ["is_job_file", "job_of", "settings_for", "variable_notes"]


def job_of(target: str) -> Settings | None:
    """Settle the job that a file names; None where `target` is no job file, but an output.

    Raises:
        UsageError: The job names no output.
    """
    if not is_job_file(target):
        return None
    settings = settings_for(target, {}, sending=False)
    if settings.output == Path():
        raise UsageError(f"{target} names no output")
    return settings


def settings_for(target: str, flags: Mapping[str, Any], *, sending: bool = True) -> Settings:
    """Settle the settings of a command.

    Args:
        target: A source, `-`, or a job file.
        flags: By setting name, as click gives them.
        sending: As in `settings.resolve`.

    Raises:
        UsageError: On the first thing that is wrong.
    """
    return settle(target, flags=flags, sending=sending)


def variable_notes() -> list[str]:
    """Say which variables look like misspelt settings."""
    return misspelt_variables(os.environ)
