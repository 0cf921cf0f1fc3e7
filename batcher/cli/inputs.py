"""From what stands on the command line to `Settings`: reads the job file and looks around."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batcher.settings import Settings, Surroundings, resolve
from batcher.settings.jobfile import read_job, read_key
from batcher.settings.layers import misspelt_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.settings.resolve import NamedEndpoint

__all__ = ["LocalZone", "is_job_file", "settings_for", "variable_notes"]


class LocalZone(tzinfo):
    """The system's zone with its rules, so that 06:00 after a clock change is still 06:00."""

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        """Give the offset at a local time."""
        if dt is None:
            return None
        local = time.mktime((*dt.timetuple()[:8], -1))
        return timedelta(seconds=time.localtime(local).tm_gmtoff)

    def dst(self, dt: datetime | None) -> timedelta | None:
        """Nothing here needs to know how much of the offset is daylight saving."""
        del dt
        return None

    def tzname(self, dt: datetime | None) -> str | None:
        """Give the zone's name."""
        del dt
        return "local"

    def fromutc(self, dt: datetime) -> datetime:
        """Turn a UTC time into a local one."""
        stamp = dt.replace(tzinfo=UTC).timestamp()
        return datetime.fromtimestamp(stamp).replace(tzinfo=self)  # noqa: DTZ006 - then made aware


def is_job_file(target: str) -> bool:
    """Whether the argument of `run` or `check` is a job file rather than a source."""
    return target.endswith(".toml")


def settings_for(target: str, flags: Mapping[str, Any], *, sending: bool = True) -> Settings:
    """Settle the settings of a command.

    Args:
        target: A source, `-`, or a job file.
        flags: By setting name, as click gives them.
        sending: As in `settings.resolve`.

    Raises:
        UsageError: On the first thing that is wrong.
    """
    job_file = Path(target) if is_job_file(target) else None
    job = read_job(job_file) if job_file else {}
    words = dict(flags) if job_file else {**flags, "source": target}
    around = Surroundings(
        environ=os.environ,
        now=datetime.now(LocalZone()),
        find=_find_endpoint,
        read_key=read_key,
    )
    return resolve(flags=words, job=job, job_file=job_file, around=around, sending=sending)


def variable_notes() -> list[str]:
    """Say which variables look like misspelt settings."""
    return misspelt_variables(os.environ)


def _find_endpoint(name: str) -> NamedEndpoint | None:
    from batcher.endpoints.named import find

    return find(name)
