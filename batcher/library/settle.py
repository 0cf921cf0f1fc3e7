"""From what a command or a program says to `Settings`: reads the job file and looks around."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import Any

from batcher.endpoints.named import Endpoint, find, nearest
from batcher.settings import Settings, Surroundings, resolve
from batcher.settings.jobfile import read_job, read_key

__all__ = ["LocalZone", "is_job_file", "settle"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


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


def settle(
    target: str | None,
    *,
    flags: Mapping[str, Any] = _NOTHING,
    arguments: Mapping[str, Any] = _NOTHING,
    api_key: str | None = None,
    sending: bool = True,
) -> Settings:
    """Settle the settings of a job.

    Args:
        target: A source, `-`, or a job file; None where `arguments` names the source.
        flags: By setting name, as click gives them.
        arguments: What a program gives, keyed and typed as in a job file.
        api_key: The key, where a program gives it.
        sending: As in `settings.resolve`.

    Raises:
        UsageError: On the first thing that is wrong.
    """
    job_file = Path(target) if target is not None and is_job_file(target) else None
    words = flags if job_file is not None or target is None else {**flags, "source": target}
    around = Surroundings(
        environ=os.environ,
        now=datetime.now(LocalZone()),
        find=_find_endpoint,
        read_key=read_key,
        key=api_key,
        nearest=nearest,
    )
    return resolve(
        flags=words,
        job=read_job(job_file) if job_file is not None else {},
        job_file=job_file,
        around=around,
        arguments=arguments,
        sending=sending,
    )


def _find_endpoint(name: str) -> Endpoint | None:
    return find(name)
