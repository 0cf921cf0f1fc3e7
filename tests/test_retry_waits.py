"""How long a row waits after an attempt, and how many it has."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from batcher.records import Failure, FailureKind
from batcher.retry import Cause, Final, Retry, backoff_s, charge
from tests.verdicts import NOW_UNIX, POLICY, error, judge, outcome, reply


def test_waits_as_told() -> None:
    """A refusal for rate waits exactly as long as told, and says so."""
    verdict = judge(reply(429, b"", {"Retry-After": formatdate(NOW_UNIX + 30, usegmt=True)}))
    assert verdict == Retry(Cause.THROTTLED, 30.0, 30.0, "http_429", "HTTP 429")


def test_waits_by_resets_only_when_refused_for_rate() -> None:
    """The usual rate headers of an answer delay a 429, and not a 500."""
    headers = {"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"}
    refused, broken = judge(reply(429, b"", headers)), judge(reply(500, b"", headers))
    assert isinstance(refused, Retry)
    assert (refused.wait_s, refused.told_s) == (360.0, 360.0)
    assert isinstance(broken, Retry)
    assert (broken.wait_s, broken.told_s) == (0.25, None)


@pytest.mark.parametrize(
    ("told", "wait_s", "told_s"), [("20", 20.0, 20.0), ("0", 0.25, None), ("3600", 0.25, None)]
)
def test_own_failures_wait_as_told(told: str, wait_s: float, told_s: float | None) -> None:
    """A 500 waits as told, unless that is no wait or more than the whole run would wait."""
    verdict = judge(reply(500, b"", {"Retry-After": told}))
    assert isinstance(verdict, Retry)
    assert (verdict.wait_s, verdict.told_s) == (wait_s, told_s)


def test_backoff_doubles_up_to_its_cap() -> None:
    """Backoff is the jitter's share of a bound that doubles from 0.5 s to 8 s."""
    bounds = [backoff_s(POLICY, charged=charged, jitter=1.0) for charged in range(7)]
    assert bounds == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert backoff_s(POLICY, charged=3, jitter=0.0) == 0.0
    assert backoff_s(POLICY, charged=10**6, jitter=0.5) == 4.0


def test_attempts_run_out() -> None:
    """The sixth failure of its own ends a row under the code of that failure."""
    assert isinstance(judge(reply(500), charged=4), Retry)
    last = judge(reply(500, error("server_error")), charged=5)
    assert last == Final("server_error", "HTTP 500 (server_error); gave up after 6 attempts")


def test_x_should_retry_never_wins_over_attempts() -> None:
    """A word to retry does not add to the attempts of a row."""
    assert isinstance(judge(reply(400, b"", {"x-should-retry": "true"}), charged=5), Final)


def test_throttled_and_stale_do_not_count() -> None:
    """A refusal for rate and a stale connection are repeated however many attempts there were."""
    stale = Failure(FailureKind.STALE_CONNECTION, "stale", 0.0, sent=True)
    assert outcome(judge(reply(429), charged=99)) == (Cause.THROTTLED, "http_429")
    assert outcome(judge(stale, charged=99)) == (Cause.STALE, "stale_connection")


def test_outage_counts_when_the_caller_says_so() -> None:
    """An outage is left to the caller, who counts it while other rows succeed."""
    verdict = judge(reply(502), charged=5)
    assert isinstance(verdict, Retry)
    assert verdict.cause is Cause.OUTAGE
    assert charge(POLICY, verdict, charged=3, since_s=0.0) is verdict
    assert charge(POLICY, verdict, charged=5, since_s=9.0) == Final(
        "http_502", "HTTP 502; gave up after 6 attempts"
    )


def test_last_attempt_leaves_an_outage_time_to_show() -> None:
    """Whatever the jitter, a row's last attempt comes two seconds after its first failure."""
    verdict = judge(reply(502), charged=4)
    assert isinstance(verdict, Retry)
    waits_s = [
        charge(POLICY, verdict._replace(wait_s=0.25), charged=4, since_s=since_s)[1]
        for since_s in (0.0, 0.5, 1.75, 60.0)
    ]
    assert waits_s == [2.0, 1.5, 0.25, 0.25]
