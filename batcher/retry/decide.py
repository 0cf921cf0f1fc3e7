"""What happens to a row after an attempt: the answer or failure in, a verdict out.

The theory, from the strongest word to the weakest:

1. A stop outranks everything: an account without money or with a bad key fails every row alike,
   and a million rows must not learn it one by one.
2. The endpoint's own `x-should-retry` outranks the table, but neither a stop nor the number of
   attempts. It says nothing about an answer that is fine.
3. The body's code outranks the status, which decides the rest: see `refusals`.

A retry has one of four causes, for they are paid for differently. The row's own failures (`OWN`)
count towards `max_attempts`. A refusal for rate (`THROTTLED`) is the run's matter and never the
row's. A failure that says that the endpoint is down (`OUTAGE`) counts only while others succeed,
which the caller alone knows: it calls `charge` then. A reused connection that had gone stale
(`STALE`) is nobody's fault.

No message here holds a word that an endpoint wrote, beyond a code: an error's text can quote the
prompt. Time and jitter are arguments.
"""

from __future__ import annotations

import math
from enum import Enum
from http import HTTPStatus
from typing import NamedTuple, TypeAlias

from batcher.amounts import Usage
from batcher.answers import (
    NOT_JSON,
    Family,
    embedded_error,
    missing_part,
    plain_usage_of,
    read_usage,
)
from batcher.records import Failure, FailureKind, Reply, StopReason
from batcher.retry.hints import firm_wait_s, should_retry, told_wait_s
from batcher.retry.refusals import SUCCESSES, Sense, code_of, sense_of

__all__ = [
    "Accept",
    "Cause",
    "Final",
    "Retry",
    "RetryPolicy",
    "Stop",
    "Verdict",
    "backoff_s",
    "charge",
    "decide",
    "reply_code",
]


class RetryPolicy(NamedTuple):
    """How long we keep trying.

    Attributes:
        max_attempts: Attempts of a row that count, the first included.
        base_s: The longest first backoff; it doubles from there. openai-python: 0.5.
        cap_s: The longest backoff. openai-python: 8.
        give_up_after_s: A longer wait that an endpoint asks for stops the run.
    """

    max_attempts: int = 6
    base_s: float = 0.5
    cap_s: float = 8.0
    give_up_after_s: float = 900.0


class Cause(Enum):
    """Why an attempt is repeated, and so what it counts towards."""

    OWN = "own"
    THROTTLED = "throttled"
    OUTAGE = "outage"
    STALE = "stale"


class Accept(NamedTuple):
    """A usable answer; `usage` is None where it told none."""

    usage: Usage | None


class Retry(NamedTuple):
    """Try again.

    Attributes:
        cause: What the attempt counts towards.
        wait_s: Not before so many seconds.
        told_s: The wait that the endpoint asked for, where it asked; `wait_s` is never shorter.
        code: Under which the failure is known.
        message: In plain words, safe to show.
    """

    cause: Cause
    wait_s: float
    told_s: float | None
    code: str
    message: str


class Final(NamedTuple):
    """The row has failed; `message` is safe to show."""

    code: str
    message: str


class Stop(NamedTuple):
    """No row can succeed: the run stops, and this row stays without a result."""

    reason: StopReason
    message: str


Verdict: TypeAlias = Accept | Retry | Final | Stop

# An outage shows in several rows. With full jitter one row could use up its attempts before the
# others' answers are there, and fail for what is nobody's fault.
OUTAGE_SHOWS_S = 2.0

# Looking a member up in its Enum costs as much as a comparison.
_OK, _CHAT = HTTPStatus.OK.value, Family.CHAT

# Makes a named tuple in a seventh of the time that calling its class takes: see `records`.
_new = tuple.__new__

_CAUSES = {Sense.THROTTLED: Cause.THROTTLED, Sense.OUTAGE: Cause.OUTAGE}

# No answer came. Refused, no route, no name: nothing of the endpoint could be reached, so the run
# waits and probes, for waiting costs nothing and names and routes come back. A TLS handshake that
# fails is of that kind as well: behind a balancer or during a renewal it passes, and where the
# certificate is wrong no row must fail for it; `give_up_after_s` bounds the wait.
_FAILURES = {
    FailureKind.CONNECTION_REFUSED: Cause.OUTAGE,
    FailureKind.CONNECT_TIMEOUT: Cause.OUTAGE,
    FailureKind.DNS_ERROR: Cause.OUTAGE,
    FailureKind.TLS_ERROR: Cause.OUTAGE,
    FailureKind.STALE_CONNECTION: Cause.STALE,
    # We broke it off ourselves, so it says nothing about the row.
    FailureKind.CANCELLED: Cause.STALE,
}


def backoff_s(policy: RetryPolicy, *, charged: int, jitter: float) -> float:
    """Say how long to wait before the next attempt: exponential, with full jitter.

    Args:
        policy: Its `base_s` and `cap_s`.
        charged: Attempts counted so far, the last one not included.
        jitter: Uniform in [0, 1), drawn by the caller.

    Source: openai-python `_calculate_retry_timeout` (0.5 s, doubling, 8 s at most); full jitter
    spreads a crowd best (AWS Architecture Blog, "Exponential Backoff And Jitter").
    """
    doublings = min(max(charged, 0), 64)
    return jitter * min(policy.cap_s, policy.base_s * 2.0**doublings)


def charge(
    policy: RetryPolicy, retry: Retry, *, charged: int, since_s: float = math.inf
) -> Retry | Final:
    """Count a retry towards its row's attempts: it stands, or it was the last.

    `decide` has done so for `OWN`. The caller does it for `OUTAGE` while no outage is on.

    Args:
        policy: Its `max_attempts`.
        retry: What `decide` said.
        charged: Attempts counted so far, this one not included.
        since_s: For `OUTAGE`: seconds since the row first failed so; the wait before its last
            attempt ends no sooner than `OUTAGE_SHOWS_S` after that.
    """
    if charged + 2 == policy.max_attempts and since_s < OUTAGE_SHOWS_S:
        return retry._replace(wait_s=max(retry.wait_s, OUTAGE_SHOWS_S - since_s))
    if charged + 1 < policy.max_attempts:
        return retry
    return Final(retry.code, f"{retry.message}; gave up after {charged + 1} attempts")


def decide(
    policy: RetryPolicy,
    attempt: Reply | Failure,
    answer: object,
    *,
    family: Family,
    charged: int,
    now_unix: float,
    jitter: float,
) -> Verdict:
    """Say what happens to a row after an attempt.

    Args:
        policy: How long we keep trying.
        attempt: What came back.
        answer: The reply's body, parsed, or `NOT_JSON`; of no interest for a failure.
        family: Of the path that the request went to.
        charged: Attempts counted towards `max_attempts` so far, this one not included.
        now_unix: Seconds, for dates in headers.
        jitter: Uniform in [0, 1), drawn by the caller.

    A `Retry` for `OWN` is within `max_attempts`; for one for `OUTAGE` see `charge`.

    Source: the retry table in the README; openai-python `_should_retry`.
    """
    if isinstance(attempt, Failure):
        return _decide_failure(policy, attempt, charged=charged, jitter=jitter)
    if attempt.status == _OK and family is _CHAT and (usage := plain_usage_of(answer)) is not None:
        return _new(Accept, (usage,))
    wrong = _wrong(attempt, answer, family)
    if wrong is None:
        return Accept(read_usage(answer, family))
    sense, code = wrong
    hints = _hints(attempt, sense, now_unix)
    if sense is Sense.OUTAGE and attempt.status == HTTPStatus.SERVICE_UNAVAILABLE and hints.firm_s:
        sense = Sense.THROTTLED
    cause, told = _CAUSES.get(sense, Cause.OWN), _told(attempt.status, code)
    retry = Retry(cause, backoff_s(policy, charged=charged, jitter=jitter), None, code, told)
    return _weigh(policy, sense, hints, retry, charged=charged)


def reply_code(reply: Reply, answer: object) -> str:
    """Say under which code a refusal is counted in the totals.

    Returns:
        The body's error code where it has one that is a word, else `http_400` and the like.
    """
    return code_of(reply.status, embedded_error(answer))


def _decide_failure(
    policy: RetryPolicy, failure: Failure, *, charged: int, jitter: float
) -> Verdict:
    """Judge an attempt that brought no whole answer."""
    code = failure.kind.value
    message = failure.message or code
    if failure.kind is FailureKind.TOO_LARGE:
        return Final(code, message)
    cause = _FAILURES.get(failure.kind, Cause.OWN)
    wait_s = 0.0
    if cause is not Cause.STALE:
        wait_s = backoff_s(policy, charged=charged, jitter=jitter)
    retry = Retry(cause, wait_s, None, code, message)
    return charge(policy, retry, charged=charged) if cause is Cause.OWN else retry


def _wrong(reply: Reply, answer: object, family: Family) -> tuple[Sense, str] | None:
    """Say what is wrong with a reply and under which code; None where it is an answer."""
    error = embedded_error(answer)
    if error is not None or reply.status not in SUCCESSES:
        return sense_of(reply.status, error), code_of(reply.status, error)
    if answer is NOT_JSON:
        # DeepSeek keeps a connection open with blank lines, and may then send nothing else.
        return Sense.OWN, "invalid_answer" if reply.body.strip() else "empty_answer"
    missing = missing_part(answer, family)
    return None if missing is None else (Sense.OWN, missing)


class _Hints(NamedTuple):
    """What the headers say: `x-should-retry`, a wait said outright, and the wait to keep."""

    word: bool | None
    firm_s: float | None
    told_s: float | None


def _hints(reply: Reply, sense: Sense, now_unix: float) -> _Hints:
    """Read the headers; a guessed wait is for refusals for rate alone."""
    firm_s = firm_wait_s(reply.headers, now_unix)
    told_s = told_wait_s(reply.headers, now_unix) if sense is Sense.THROTTLED else firm_s
    return _Hints(should_retry(reply.headers), firm_s, told_s)


def _weigh(
    policy: RetryPolicy, sense: Sense, hints: _Hints, retry: Retry, *, charged: int
) -> Verdict:
    """Let the endpoint's own word, its waits and the number of attempts have their say."""
    if sense is Sense.REFUSED:
        return Stop(StopReason.REFUSED, f"the endpoint refuses the account: {retry.message}")
    longest_s = policy.give_up_after_s
    if sense is Sense.THROTTLED and hints.firm_s is not None and hints.firm_s > longest_s:
        asked = f"the endpoint asks for a wait of {hints.firm_s:.0f} s"
        return Stop(
            StopReason.ENDPOINT_DOWN, f"{asked}, longer than {longest_s:.0f} s: {retry.message}"
        )
    if hints.word is False or (sense is Sense.ROW and hints.word is None):
        return Final(retry.code, retry.message)
    # A longer one is a guess, or belongs to this row's failure alone: no reason to stop the run.
    if hints.told_s is not None and hints.told_s <= longest_s:
        retry = retry._replace(told_s=hints.told_s, wait_s=max(hints.told_s, retry.wait_s))
    return charge(policy, retry, charged=charged) if retry.cause is Cause.OWN else retry


def _told(status: int, code: str) -> str:
    """Say what came back, in words that quote nothing."""
    return f"HTTP {status}" if code == f"http_{status}" else f"HTTP {status} ({code})"
