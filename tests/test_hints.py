"""Reading what headers tell about waits and rates."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from batcher.retry.hints import RateHeaders, firm_wait_s, rate_headers, should_retry, told_wait_s

NOW_UNIX = 1_795_000_000.0


def dated(unix: float) -> str:
    """Write an HTTP date."""
    return formatdate(unix, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        pytest.param({}, None, id="nothing told"),
        pytest.param({"Retry-After": "20"}, 20.0, id="seconds"),
        pytest.param({"Retry-After": " 1.5 "}, 1.5, id="a fraction of seconds"),
        pytest.param({"Retry-After": dated(NOW_UNIX + 30)}, 30.0, id="an HTTP date"),
        pytest.param(
            {"Retry-After": dated(NOW_UNIX + 30), "Date": dated(NOW_UNIX + 20)},
            10.0,
            id="a date counts from the answer's own clock",
        ),
        pytest.param(
            {"Retry-After-Ms": "250", "Retry-After": "20"}, 0.25, id="milliseconds come first"
        ),
        pytest.param(
            {"Retry-After-Ms": "soon", "Retry-After": "20"},
            20.0,
            id="a useless value leaves the word to the next",
        ),
        pytest.param({"llm_provider-retry-after": "7"}, 7.0, id="LiteLLM's name for it"),
        pytest.param({"Retry-After": "0"}, None, id="0: no hint"),
        pytest.param({"Retry-After": "-1"}, None, id="negative: no hint"),
        pytest.param({"Retry-After": "soon"}, None, id="a word: no hint"),
        pytest.param({"Retry-After": ""}, None, id="empty: no hint"),
        pytest.param({"Retry-After": "nan"}, None, id="not a number: no hint"),
        pytest.param({"Retry-After": "inf"}, None, id="infinite: no hint"),
        pytest.param({"Retry-After": "1_0"}, None, id="Python's own notation: no hint"),
        pytest.param({"Retry-After": "Mon, 99 Foo 2026 25:61:61 GMT"}, None, id="no such date"),
        pytest.param({"Retry-After": dated(NOW_UNIX - 5)}, None, id="a past date: no hint"),
        pytest.param({"Retry-After": "1e9"}, 1e9, id="31 years, as told"),
        pytest.param({"Retry-After": "9" * 400}, 1e9, id="more digits than a float holds"),
        pytest.param({"Retry-After": dated(NOW_UNIX + 1e8)}, 1e8, id="a far date, as told"),
        pytest.param(
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"},
            360.0,
            id="the reset of a used-up limit",
        ),
        pytest.param(
            {
                "x-ratelimit-remaining-requests": "9",
                "x-ratelimit-reset-requests": "6m0s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "900ms",
            },
            0.9,
            id="of the used-up kind, not of the other",
        ),
        pytest.param(
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "3s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "5s",
            },
            5.0,
            id="both used up: the later",
        ),
        pytest.param(
            {
                "x-ratelimit-limit-requests": "10000",
                "x-ratelimit-remaining-requests": "9000",
                "x-ratelimit-reset-requests": "2h24m0s",
                "x-ratelimit-limit-tokens": "30000",
                "x-ratelimit-remaining-tokens": "50",
                "x-ratelimit-reset-tokens": "59s",
            },
            59.0,
            id="none used up: the one nearest to its limit",
        ),
        pytest.param(
            {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "5.27s"},
            5.27,
            id="nothing known but resets: the larger",
        ),
        pytest.param(
            {"Retry-After": "2", "x-ratelimit-reset-requests": "6m0s"},
            2.0,
            id="what is said outright comes before resets",
        ),
    ],
)
def test_told_wait(headers: dict[str, str], wait_s: float | None) -> None:
    """A wait is read in the contract's order; what is no wait above 0 s is no hint."""
    assert told_wait_s(CIMultiDict(headers), NOW_UNIX) == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("text", "reset_s"),
    [
        ("6m0s", 360.0),
        ("900ms", 0.9),
        ("5.27s", 5.27),
        ("1h2m3s", 3723.0),
        ("2m59.56s", 179.56),
        ("1d", 86400.0),
        ("250µs", 0.00025),
        ("60", 60.0),
        ("0s", 0.0),
        ("-5s", None),
        ("5 s", None),
        ("s", None),
        ("soon", None),
        ("", None),
        ("1795000000", None),
        ("1795000000000", None),
    ],
)
def test_reset_shapes(text: str, reset_s: float | None) -> None:
    """Resets come as Go's durations or as seconds; a point in time is no reset."""
    told = rate_headers({"x-ratelimit-reset-tokens": text})
    assert told.reset_tokens_s == pytest.approx(reset_s)


def test_rate_headers() -> None:
    """Limits, what remains of them and their resets are read for both kinds."""
    headers = CIMultiDict(
        {
            "X-RateLimit-Limit-Requests": "60",
            "X-RateLimit-Remaining-Requests": "0",
            "X-RateLimit-Reset-Requests": "1s",
            "X-RateLimit-Limit-Tokens": "150000",
            "X-RateLimit-Remaining-Tokens": "149984",
            "X-RateLimit-Reset-Tokens": "6m0s",
        }
    )
    assert rate_headers(headers) == RateHeaders(60, 0, 1, 150000, 149984, 360)


@pytest.mark.parametrize("limit", ["-1", "0", "none"])
def test_unstated_limit(limit: str) -> None:
    """A limit of -1 or 0 is none that is stated, and nothing is known to remain of it."""
    headers = {"x-ratelimit-limit-tokens": limit, "x-ratelimit-remaining-tokens": "0"}
    assert rate_headers(headers) == RateHeaders()


def test_no_rate_headers() -> None:
    """An endpoint that tells nothing is not taken to have told zero."""
    assert rate_headers({"content-type": "application/json"}) == RateHeaders()


def test_firm_wait_guesses_nothing() -> None:
    """The reset of a limit that is not used up is no firm wait, though it may be a told one."""
    headers = {"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "6m0s"}
    assert firm_wait_s(headers, NOW_UNIX) is None
    assert told_wait_s(headers, NOW_UNIX) == 360.0


@pytest.mark.parametrize(
    ("text", "word"),
    [("true", True), ("False", False), (" true ", True), ("1", None), ("", None)],
)
def test_should_retry(text: str, word: bool | None) -> None:  # noqa: FBT001 - a table's value
    """The endpoint's own word is true or false; anything else is no word."""
    assert should_retry(CIMultiDict({"X-Should-Retry": text})) is word
    assert should_retry({}) is None


_NAMES = ["retry-after", "retry-after-ms", "llm_provider-retry-after", "date", "x-should-retry"] + [
    f"x-ratelimit-{what}-{kind}"
    for what in ("limit", "remaining", "reset")
    for kind in ("requests", "tokens")
]
texts = st.text(max_size=12) | st.from_regex(r"[-0-9.eEhmsud:, GMT+]{0,20}", fullmatch=True)


@settings(deadline=None)
@given(headers=st.dictionaries(st.sampled_from(_NAMES), texts), now_unix=st.floats(0, 4e9))
def test_any_header_is_read(headers: dict[str, str], now_unix: float) -> None:
    """No header raises; a wait is above 0 s and finite, and no figure is negative."""
    for wait_s in (told_wait_s(headers, now_unix), firm_wait_s(headers, now_unix)):
        assert wait_s is None or 0 < wait_s <= 1e9
    assert all(figure is None or figure >= 0 for figure in rate_headers(headers))
    should_retry(headers)
