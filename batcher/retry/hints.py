"""What headers tell about waiting, rates and retrying.

Headers are hints from strangers: every value is read within a strict grammar, and what doesn't fit
it is as if it had not been sent. Only a wait above 0 s is a hint at all, so that a fallback (the
next header, then backoff) takes over from a useless value instead of a loop without a pause:

=============================================  =========================================
`0`, `-1`, `soon`, ``, `nan`, `inf`            no hint
a date in the past                             no hint
`1e9`, a date far away                         that wait, however long: the caller judges
more digits than a float holds                 `LONGEST_S`
a plain reset of 1e9 or more                   no hint: it is a point in time, not a wait
=============================================  =========================================

Header mappings are case-insensitive.
"""

from __future__ import annotations

import re
from email.utils import mktime_tz, parsedate_tz
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RateHeaders", "firm_wait_s", "rate_headers", "should_retry", "told_wait_s"]

# 31 years: any longer wait is the same wait, and Unix time today is above it.
LONGEST_S = 1e9

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?|\.[0-9]+")
# Go's time.Duration.String, which OpenAI's and Groq's resets are written in: `6m0s`, `1m12.5s`.
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|us|µs|ns|d|h|m|s)"
_PARTS = re.compile(_PART)
_DURATION = re.compile(f"(?:{_PART})+")
_UNIT_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}


class RateHeaders(NamedTuple):
    """The rate limits that an answer tells; None for what it doesn't.

    `limit_*` and `remaining_*` count requests or tokens in the endpoint's window, commonly a
    minute; `reset_*_s` are the seconds until that window is whole again.
    """

    limit_requests: float | None = None
    remaining_requests: float | None = None
    reset_requests_s: float | None = None
    limit_tokens: float | None = None
    remaining_tokens: float | None = None
    reset_tokens_s: float | None = None


_NONE_TOLD = RateHeaders()
_RATE_NAMES = tuple(
    f"x-ratelimit-{what}-{kind}"
    for kind in ("requests", "tokens")
    for what in ("limit", "remaining", "reset")
)


def rate_headers(headers: Mapping[str, str]) -> RateHeaders:
    """Read `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`.

    Azure sends a limit of -1 or 0 for one that it doesn't state: then what remains of it is unknown
    too.
    """
    texts = [headers.get(name) for name in _RATE_NAMES]
    if not any(texts):
        return _NONE_TOLD
    return RateHeaders(*_kind(*texts[:3]), *_kind(*texts[3:]))


def _kind(
    limit_text: str | None, remaining_text: str | None, reset_text: str | None
) -> tuple[float | None, float | None, float | None]:
    """Read limit, remaining and reset of one kind."""
    limit = remaining = reset_s = None
    if limit_text is None:
        remaining = _number(remaining_text)
    else:
        limit = _number(limit_text) or None
        if limit is not None:
            remaining = _number(remaining_text)
    if reset_text is not None:
        reset_s = _duration_s(reset_text)
    return limit, remaining, reset_s


def _number(text: str | None) -> float | None:
    """Read a plain number of at least 0, held to `LONGEST_S` as no count or wait is larger."""
    if text is None:
        return None
    text = text.strip()
    if not (text.isascii() and text.isdecimal()) and not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return min(LONGEST_S, number)


@lru_cache(maxsize=512)  # every answer brings two, and the same few texts come again and again
def _duration_s(text: str) -> float | None:
    """Read `900ms`, `5.27s`, `6m0s`, `1h2m3s`, or plain seconds."""
    text = text.strip()
    if _DURATION.fullmatch(text):
        total_s = sum(float(figure) * _UNIT_S[unit] for figure, unit in _PARTS.findall(text))
        return min(total_s, LONGEST_S)
    plain_s = _number(text)
    return None if plain_s is None or plain_s >= LONGEST_S else plain_s


def told_wait_s(headers: Mapping[str, str], now_unix: float) -> float | None:
    """Say how long the headers of a refusal for rate tell us to wait.

    In this order: `retry-after-ms`, `Retry-After` in seconds or as an HTTP date, LiteLLM's
    `llm_provider-` forms of both, then `x-ratelimit-reset-*` of the exhausted kinds. Where no kind
    is exhausted, the reset of the one nearest to its limit, or the larger one if that is unknown:
    a guess, and an upper bound, as a reset is the time until the whole window is back.

    Args:
        headers: Of the answer.
        now_unix: Seconds; for a date, where the answer has no `Date` of its own.

    Returns:
        Seconds above 0, or None when there is no usable hint.

    Source: openai-python `_parse_retry_after_header`; OpenAI's guide to rate limits.
    """
    firm_s = firm_wait_s(headers, now_unix)
    return _likely_reset_s(rate_headers(headers)) if firm_s is None else firm_s


def firm_wait_s(headers: Mapping[str, str], now_unix: float) -> float | None:
    """As `told_wait_s`, without its guess: what was said outright, or the reset of a used-up limit.

    Endpoints send their rate headers with every answer, so the guess would turn any failure into a
    refusal for rate.
    """
    for prefix in ("", "llm_provider-"):
        millis = _number(headers.get(prefix + "retry-after-ms"))
        if millis:
            return millis / 1000.0
        wait_s = _retry_after_s(headers.get(prefix + "retry-after"), headers, now_unix)
        if wait_s:
            return wait_s
    told = rate_headers(headers)
    request_wait_s = told.reset_requests_s if told.remaining_requests == 0 else None
    token_wait_s = told.reset_tokens_s if told.remaining_tokens == 0 else None
    return max(request_wait_s or 0.0, token_wait_s or 0.0) or None


def _retry_after_s(text: str | None, headers: Mapping[str, str], now_unix: float) -> float | None:
    """Read `Retry-After`; a date counts from the answer's own `Date`, so that clocks may differ."""
    if text is None:
        return None
    wait_s = _number(text)
    if wait_s is not None:
        return wait_s
    at_unix = _date_unix(text)
    if at_unix is None:
        return None
    sent_unix = _date_unix(headers.get("date", ""))
    wait_s = at_unix - (now_unix if sent_unix is None else sent_unix)
    return min(wait_s, LONGEST_S) if wait_s > 0 else None


def _date_unix(text: str) -> float | None:
    """Read an HTTP date; None for anything else, one that is no date of the calendar included."""
    try:
        parsed = parsedate_tz(text)
        return None if parsed is None else float(mktime_tz(parsed))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _likely_reset_s(told: RateHeaders) -> float | None:
    """Guess which limit refused when none is known to be used up."""
    request_share = _share_left(told.remaining_requests, told.limit_requests)
    token_share = _share_left(told.remaining_tokens, told.limit_tokens)
    requests_s = told.reset_requests_s or 0.0
    tokens_s = told.reset_tokens_s or 0.0
    if requests_s and tokens_s and request_share is not None and token_share is not None:
        return requests_s if request_share < token_share else tokens_s
    return max(requests_s, tokens_s) or None


def _share_left(remaining: float | None, limit: float | None) -> float | None:
    return None if remaining is None or not limit else remaining / limit


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Read `x-should-retry`: the endpoint's own word, or None when it gives none."""
    text = headers.get("x-should-retry")
    return None if text is None else {"true": True, "false": False}.get(text.strip().lower())
