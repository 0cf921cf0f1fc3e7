"""Settings: durations and deadlines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.settings import values
from batcher.settings.values import UnfitError, deadline_unix, seconds
from tests.settling import EXAMPLE, NOON, settle


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h30m", 9000), ("1d", 86400), ("1.5h", 5400),
     ("0", 0), ("0.25", 0.25), ("1d2h3m4s", 93784)],
)  # fmt: skip
def test_durations(text: str, expected: float) -> None:
    """A duration is seconds, or days to seconds in this order."""
    assert seconds(text) == expected


@given(st.text(alphabet="0dhms.:+- e", max_size=8))
def test_durations_and_schema_agree(text: str) -> None:
    """The schema takes a text exactly when it is a duration; zeros keep it short enough."""
    takes = jsonschema_rs.is_valid(dict(values.duration(zero=True).schema), text)
    try:
        assert seconds(text) == 0
    except UnfitError:
        assert not takes
    else:
        assert takes


class SpringForward(tzinfo):
    """A zone at +01:00 that goes to +02:00 at 02:00 on 29 March 2026."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        assert dt is not None
        late = dt.replace(tzinfo=None) >= datetime(2026, 3, 29, 2)  # noqa: DTZ001 - wall clock
        return timedelta(hours=2 if late else 1)

    def dst(self, _: datetime | None) -> timedelta:
        return timedelta()

    def tzname(self, _: datetime | None) -> str:
        return "spring"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2h30m", "2026-11-22T14:30:00+01:00", id="a duration"),
        pytest.param("90", "2026-11-22T12:01:30+01:00", id="seconds"),
        pytest.param("18:00", "2026-11-22T18:00:00+01:00", id="later today"),
        pytest.param("06:00", "2026-11-23T06:00:00+01:00", id="tomorrow"),
        pytest.param("6:00", "2026-11-23T06:00:00+01:00", id="a short hour"),
        pytest.param("12:00", "2026-11-23T12:00:00+01:00", id="this very moment is tomorrow's"),
        pytest.param("12:00:01", "2026-11-22T12:00:01+01:00", id="with seconds"),
        pytest.param("12:30+02:00", "2026-11-23T12:30:00+02:00", id="past in its offset"),
        pytest.param("06:00+09:00", "2026-11-23T06:00:00+09:00", id="an offset a day ahead"),
        pytest.param("11:30Z", "2026-11-22T11:30:00+00:00", id="UTC"),
    ],
)
def test_deadline(text: str, expected: str) -> None:
    """A deadline is so long from now, or the next such time of day."""
    assert deadline_unix(text, NOON) == datetime.fromisoformat(expected).timestamp()


def test_deadline_over_a_clock_change() -> None:
    """06:00 is 06:00 on the clock, though the night is an hour shorter."""
    now = datetime(2026, 3, 28, 22, tzinfo=SpringForward())
    assert deadline_unix("06:00", now) - now.timestamp() == 7 * 3600


@given(st.times(), st.datetimes(timezones=st.just(UTC)))
def test_deadline_is_within_a_day(time: Any, now: datetime) -> None:
    """The next time of day is always ahead, and at most a day."""
    ahead = deadline_unix(f"{time:%H:%M:%S}", now) - now.timestamp()
    assert 0 < ahead <= 86400


def test_deadline_reaches_the_settings() -> None:
    """The settings hold the moment, whether a flag or a job file's number said it."""
    assert settle({"deadline": "60"}).deadline_unix == NOON.timestamp() + 60
    assert settle(job={**EXAMPLE, "deadline": 60}).deadline_unix == NOON.timestamp() + 60
