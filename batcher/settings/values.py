"""The kinds of value that a setting can have: as text, as a TOML value, as a JSON schema.

Numbers, money, time and choices are here; paths, texts, headers and tables in `forms`.

A flag and a variable bring text; a job file brings typed values, and there `"8"` is no number. So a
kind has a reader for each, and both end in the same value. A reader raises `UnfitError` without
words: the words are the kind's `wants`, and what was given is never quoted, since people do paste a
key into the wrong place.

Nothing here knows the clock: a deadline is a pure function of `now`.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "BOOLEAN",
    "DEADLINE",
    "MONEY",
    "RATE",
    "Kind",
    "UnfitError",
    "choice",
    "deadline_unix",
    "duration",
    "plain_number",
    "seconds",
    "whole",
]

# Longer than any run; a timer of more overflows in some event loops.
MAX_DURATION_S = 366 * 86400.0

_NUMBER = r"\d+(?:\.\d+)?"
_DURATION = re.compile(
    rf"(?:({_NUMBER})d)?(?:({_NUMBER})h)?(?:({_NUMBER})m)?(?:({_NUMBER})s)?", re.ASCII
)
_UNITS_S = (86400.0, 3600.0, 60.0, 1.0)
_DURATION_SCHEMA = {
    "type": ["number", "string"],
    "pattern": rf"^(?=\d)({_NUMBER}d)?({_NUMBER}h)?({_NUMBER}m)?({_NUMBER}s)?$|^{_NUMBER}$",
}
_TIME = re.compile(r"[0-2]?\d:[0-5]\d(?::[0-5]\d)?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)


class UnfitError(ValueError):
    """What was given is not of its kind; it has no text, so that it can't quote a secret."""


class Kind(NamedTuple):
    """One kind of value.

    Attributes:
        metavar: What stands for the value in a help text.
        wants: What a value must be, to follow "must be".
        text: Reads the text of a flag or variable; raises `UnfitError`.
        value: Reads a TOML (or Python) value; raises `UnfitError`.
        schema: JSON schema of the TOML value.
        choices: The words, where there are only some.
        is_path: Whether the value names a file, relative to the job file when it stands there.
        repeats: Whether a flag may be given more than once.
    """

    metavar: str
    wants: str
    text: Callable[[str], Any]
    value: Callable[[Any], Any]
    schema: Mapping[str, Any]
    choices: tuple[str, ...] = ()
    is_path: bool = False
    repeats: bool = False


def plain_number(value: object) -> float:
    """Read a finite number; TOML has `nan` and `inf` too, and a bool is an int."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UnfitError
    return float(value)


def _number_text(text: str) -> float:
    if re.fullmatch(_NUMBER, text, re.ASCII) is None:
        raise UnfitError
    return plain_number(float(text))


def whole(minimum: int) -> Kind:
    """A whole number of at least `minimum`."""

    def value(given: object) -> int:
        if isinstance(given, bool) or not isinstance(given, int) or given < minimum:
            raise UnfitError
        return given

    def text(given: str) -> int:
        if re.fullmatch(r"\d{1,18}", given, re.ASCII) is None:
            raise UnfitError
        return value(int(given))

    schema = {"type": "integer", "minimum": minimum}
    return Kind("N", f"a whole number of at least {minimum}", text, value, schema)


def _positive(number: float) -> float:
    if number <= 0:
        raise UnfitError
    return number


RATE = Kind(
    "N",
    "a number above 0",
    lambda text: _positive(_number_text(text)),
    lambda value: _positive(plain_number(value)),
    {"type": "number", "exclusiveMinimum": 0},
)


def _money(text: str) -> str:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise UnfitError from None
    if not amount.is_finite() or amount <= 0:
        raise UnfitError
    return f"{amount:f}"


MONEY = Kind(
    "USD",
    "an amount of US dollars above 0, such as 2.50",
    _money,
    lambda value: _money(value if isinstance(value, str) else repr(plain_number(value))),
    {"type": ["number", "string"], "exclusiveMinimum": 0, "pattern": r"^\d*\.?\d+$"},
)


def seconds(text: str) -> float:
    """Read `2h30m`, `90s`, `15m`, `1d` or plain seconds.

    Raises:
        UnfitError: When it is none of these, or longer than a year.
    """
    match = _DURATION.fullmatch(text) if text else None
    if match is None:
        total_s = _number_text(text)
    else:
        parts = zip(match.groups(), _UNITS_S, strict=True)
        total_s = sum(float(number) * unit_s for number, unit_s in parts if number)
    if total_s > MAX_DURATION_S:
        raise UnfitError
    return total_s


def duration(*, zero: bool = False) -> Kind:
    """A length of time in seconds; 0 only where `zero` has a meaning."""

    def bounded(length_s: float) -> float:
        if length_s < 0 or length_s > MAX_DURATION_S or (length_s == 0 and not zero):
            raise UnfitError
        return length_s

    wants = "a duration such as 90, 90s, 15m or 2h30m" + ("" if zero else ", above 0")
    return Kind(
        "S",
        wants,
        lambda text: bounded(seconds(text)),
        lambda value: bounded(seconds(value) if isinstance(value, str) else plain_number(value)),
        {**_DURATION_SCHEMA, "minimum" if zero else "exclusiveMinimum": 0},
    )


def deadline_unix(text: str, now: datetime) -> float:
    """Say when a deadline falls.

    Args:
        text: A duration from `now`, or a time of day: its next occurrence, in the zone of `now`
            where it names no offset.
        now: Aware. Its zone should know daylight saving, so that 06:00 tomorrow is 06:00.

    Returns:
        Seconds since the Unix epoch.

    Raises:
        UnfitError: When the text is no deadline.
    """
    if _TIME.fullmatch(text) is None:
        return now.timestamp() + _positive(seconds(text))
    clock = _time_of_day(text)
    here = now if clock.tzinfo is None else now.astimezone(clock.tzinfo)
    then = here.replace(
        hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0, fold=0
    )
    if then.timestamp() <= now.timestamp():
        then += timedelta(days=1)
    return then.timestamp()


def _time_of_day(text: str) -> time:
    try:
        return time.fromisoformat(text if text[1] != ":" else f"0{text}")
    except ValueError:
        raise UnfitError from None


# Any moment will do to see whether a text is a deadline at all.
_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def _deadline(text: str) -> str:
    deadline_unix(text, _SOME_DAY)
    return text


def _deadline_value(value: object) -> str:
    return _deadline(value if isinstance(value, str) else repr(plain_number(value)))


DEADLINE = Kind(
    "D",
    "a duration such as 2h30m, or a time of day such as 06:00 or 06:00+02:00",
    _deadline,
    _deadline_value,
    {"type": ["number", "string"], "exclusiveMinimum": 0},
)


def _truth(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "on": True}.get(text.lower()) or _falsehood(text)


def _falsehood(text: str) -> bool:
    if text.lower() not in {"0", "false", "no", "off"}:
        raise UnfitError
    return False


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise UnfitError
    return value


BOOLEAN = Kind("", "true or false", _truth, _boolean, {"type": "boolean"})


def choice(*words: str) -> Kind:
    """One of some words."""

    def read(given: object) -> str:
        if given not in words:
            raise UnfitError
        return str(given)

    wants = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    return Kind("|".join(words), wants, read, read, {"enum": list(words)}, choices=words)
