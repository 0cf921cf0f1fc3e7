"""What happens to a row after an attempt: the retry table, row by row."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from batcher.amounts import Usage
from batcher.answers import NOT_JSON, Family
from batcher.records import Failure, FailureKind, Reply, StopReason
from batcher.retry import (
    Accept,
    Cause,
    Final,
    Retry,
    RetryPolicy,
    Stop,
    Verdict,
    backoff_s,
    charge,
    decide,
    reply_code,
)

POLICY = RetryPolicy()
NOW_UNIX = 1_795_000_000.0
JITTER = 0.5
CHAT_ANSWER: dict[str, Any] = {
    "choices": [{"message": {"content": "Hello"}}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10},
}


def reply(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> Reply:
    """Make an answer; a body that isn't bytes is written as JSON."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return Reply(status, CIMultiDict(headers or {}), raw, 0.1)


def parsed(body: bytes) -> Any:
    """Parse as the engine does."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return NOT_JSON


def judge(
    attempt: Reply | Failure,
    *,
    family: Family = Family.CHAT,
    charged: int = 0,
    policy: RetryPolicy = POLICY,
) -> Verdict:
    """Decide, with everything that a test doesn't care for filled in."""
    answer = parsed(attempt.body) if isinstance(attempt, Reply) else NOT_JSON
    return decide(
        policy, attempt, answer, family=family, charged=charged, now_unix=NOW_UNIX, jitter=JITTER
    )


def error(code: object = None, kind: object = None, message: str = "m") -> dict[str, Any]:
    """Write an error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def outcome(verdict: Verdict) -> tuple[Any, str]:
    """Name a verdict by what it does, and its code."""
    if isinstance(verdict, Retry):
        return verdict.cause, verdict.code
    if isinstance(verdict, Final):
        return Final, verdict.code
    if isinstance(verdict, Stop):
        return verdict.reason, ""
    return Accept, ""


REFUSED, DOWN = (StopReason.REFUSED, ""), (StopReason.ENDPOINT_DOWN, "")
TOO_LARGE_FOR_LIMIT = (
    "Request too large for gpt-4o in organization org-x on tokens per min (TPM): "
    "Limit 30000, Requested 50000. The input or output tokens must be reduced."
)
OVER_LIMIT = "Rate limit reached on tokens per min (TPM): Limit 30000, Used 29937, Requested 385."

TABLE = [
    # First row: failures of the row's own.
    *(
        pytest.param(reply(status), (Cause.OWN, f"http_{status}"), id=f"{status}: retry")
        for status in (408, 409, 500, 501, 505, 520, 599)
    ),
    pytest.param(
        reply(500, error("server_error")), (Cause.OWN, "server_error"), id="500 with a code of ours"
    ),
    pytest.param(
        reply(500, b"<html>"), (Cause.OWN, "http_500"), id="500 with a page: a transient failure"
    ),
    # Second: outages.
    *(
        pytest.param(reply(status), (Cause.OUTAGE, f"http_{status}"), id=f"{status}: outage")
        for status in (502, 503, 504, 522)
    ),
    # Third: refusals for rate.
    pytest.param(reply(429), (Cause.THROTTLED, "http_429"), id="429 without a word"),
    pytest.param(reply(529), (Cause.THROTTLED, "http_529"), id="529: overloaded"),
    pytest.param(
        reply(429, error("rate_limit_exceeded", "tokens", OVER_LIMIT)),
        (Cause.THROTTLED, "rate_limit_exceeded"),
        id="429, the limit is used up",
    ),
    pytest.param(
        reply(503, b"", {"Retry-After": "3"}),
        (Cause.THROTTLED, "http_503"),
        id="503 with a hint: throttled",
    ),
    pytest.param(
        reply(503, b"", {"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"}),
        (Cause.OUTAGE, "http_503"),
        id="503 with the usual rate headers only: outage",
    ),
    pytest.param(
        reply(503, error("server_is_overloaded")),
        (Cause.THROTTLED, "server_is_overloaded"),
        id="503 by the code server_is_overloaded",
    ),
    pytest.param(
        reply(429, b"", {"Retry-After": "3600"}), DOWN, id="429, told to wait longer than we will"
    ),
    pytest.param(
        reply(503, b"", {"Retry-After": "3600"}), DOWN, id="503, told to wait longer than we will"
    ),
    pytest.param(
        reply(429, b"", {"x-ratelimit-reset-requests": "23h"}),
        (Cause.THROTTLED, "http_429"),
        id="429, a long reset of a limit that may not be the one",
    ),
    pytest.param(
        reply(400, error("rate_limit_exceeded")),
        (Cause.THROTTLED, "rate_limit_exceeded"),
        id="a rate limit inside a 400",
    ),
    pytest.param(
        reply(403, error("slow_down")), (Cause.THROTTLED, "slow_down"), id="a rate limit in a 403"
    ),
    pytest.param(
        reply(400, error("429")), (Cause.THROTTLED, "http_429"), id="Azure: 429 as text in a 400"
    ),
    pytest.param(
        reply(429, error("rate_limit_exceeded", "tokens", TOO_LARGE_FOR_LIMIT)),
        (Final, "rate_limit_exceeded"),
        id="429, the request is larger than the limit itself",
    ),
    pytest.param(
        reply(429, error("rate_limit_exceeded", None, "TPM: Limit 6,000, Requested 7,131")),
        (Final, "rate_limit_exceeded"),
        id="429, larger than the limit in another wording",
    ),
    pytest.param(
        reply(429, error("429", None, "Request too large for model x, reduce it")),
        (Final, "http_429"),
        id="429, larger than the limit without figures",
    ),
    pytest.param(
        reply(429, error(None, "invalid_request")),
        (Cause.THROTTLED, "http_429"),
        id="a general type leaves a 429 what it is",
    ),
    pytest.param(
        reply(413, error("rate_limit_exceeded", "tokens")),
        (Final, "rate_limit_exceeded"),
        id="Groq: 413 with a rate limit's code",
    ),
    # Fourth: the account.
    *(
        pytest.param(reply(status, error(code, kind)), REFUSED, id=f"{status} {code} {kind}: stop")
        for status, code, kind in [
            (429, "insufficient_quota", "insufficient_quota"),
            (429, None, "insufficient_quota"),
            (429, "credit_balance_exhausted", "insufficient_quota"),
            (429, "organization_spend_limit_exceeded", None),
            (429, "project_spend_limit_exceeded", None),
            (429, "organization_usage_limit_exceeded", None),
            (400, "billing_hard_limit_reached", None),
            (403, "insufficient_user_quota", "new_api_error"),
            (403, "pre_consume_token_quota_failed", "new_api_error"),
            (400, "400", "budget_exceeded"),
            (429, "429", "budget_exceeded"),
            (400, "401", "auth_error"),
            (400, None, "token_not_found_in_db"),
            (400, "invalid_api_key", None),
            (500, "insufficient_quota", None),
            (200, "insufficient_quota", None),
            (200, 401, None),
            (401, None, None),
            (402, "rate_limit_exceeded", None),
        ]
    ),
    pytest.param(reply(401, b"<html>"), REFUSED, id="401 with a page: stop"),
    pytest.param(
        reply(400, error(None, "invalid_request_error", "Your credit balance is too low to ...")),
        REFUSED,
        id="Anthropic: no credit, in words only",
    ),
    pytest.param(
        reply(429, error("insufficient_quota"), {"x-should-retry": "true"}),
        REFUSED,
        id="x-should-retry never wins over a stop",
    ),
    # Fifth: 200 without an answer.
    pytest.param(reply(200, CHAT_ANSWER), (Accept, ""), id="200 with an answer"),
    pytest.param(reply(201, CHAT_ANSWER), (Accept, ""), id="201 with an answer"),
    pytest.param(reply(200, b""), (Cause.OWN, "empty_answer"), id="200, empty"),
    pytest.param(reply(200, b"\n\n \n"), (Cause.OWN, "empty_answer"), id="200, blank lines"),
    pytest.param(reply(204, b""), (Cause.OWN, "empty_answer"), id="204"),
    pytest.param(reply(200, b"<html>"), (Cause.OWN, "invalid_answer"), id="200, no JSON"),
    pytest.param(reply(200, b'{"id": "x'), (Cause.OWN, "invalid_answer"), id="200, half JSON"),
    pytest.param(reply(200, b"null"), (Cause.OWN, "invalid_answer"), id="200, null"),
    pytest.param(reply(200, {"id": "x"}), (Cause.OWN, "no_choices"), id="200 without choices"),
    pytest.param(reply(200, {"choices": []}), (Cause.OWN, "no_choices"), id="200, no choice"),
    pytest.param(
        reply(200, error("rate_limit_exceeded")),
        (Cause.THROTTLED, "rate_limit_exceeded"),
        id="a rate limit inside a 200",
    ),
    pytest.param(reply(200, error(429)), (Cause.THROTTLED, "http_429"), id="a 429 inside a 200"),
    pytest.param(reply(200, error(502)), (Cause.OUTAGE, "http_502"), id="a 502 inside a 200"),
    pytest.param(reply(200, error(500)), (Cause.OWN, "http_500"), id="a 500 inside a 200"),
    pytest.param(reply(200, error(400)), (Final, "http_400"), id="a 400 inside a 200"),
    pytest.param(
        reply(200, error("context_length_exceeded")),
        (Final, "context_length_exceeded"),
        id="a bad request inside a 200, by its code",
    ),
    pytest.param(
        reply(200, error(None, "invalid_request_error")),
        (Final, "invalid_request_error"),
        id="a bad request inside a 200, by its type",
    ),
    pytest.param(
        reply(200, {"error": "oops"}), (Cause.OWN, "error_in_answer"), id="an unknown error"
    ),
    pytest.param(
        reply(200, {"object": "error", "message": "m", "code": 400}),
        (Final, "http_400"),
        id="older vLLM inside a 200",
    ),
    pytest.param(
        reply(200, {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}),
        (Cause.THROTTLED, "overloaded_error"),
        id="Anthropic overloaded",
    ),
    # Sixth: final refusals.
    *(
        pytest.param(reply(status), (Final, f"http_{status}"), id=f"{status}: final")
        for status in (301, 302, 307, 400, 403, 404, 405, 413, 415, 422, 451)
    ),
    pytest.param(
        reply(404, error("model_not_found")), (Final, "model_not_found"), id="404 without the model"
    ),
    pytest.param(
        reply(503, error("model_not_found")),
        (Cause.OWN, "model_not_found"),
        id="new-api: no channel for the model, a few attempts",
    ),
    pytest.param(
        reply(500, error("context_length_exceeded")),
        (Final, "context_length_exceeded"),
        id="a relay's 500 around a bad request",
    ),
    pytest.param(reply(502, error(400)), (Final, "http_400"), id="a relay's 502 around a 400"),
    # Eighth: the endpoint's own word.
    pytest.param(
        reply(400, b"", {"x-should-retry": "true"}),
        (Cause.OWN, "http_400"),
        id="x-should-retry: true makes a 400 a retry",
    ),
    pytest.param(
        reply(500, b"", {"x-should-retry": "false"}),
        (Final, "http_500"),
        id="x-should-retry: false makes a 500 final",
    ),
    pytest.param(
        reply(429, b"", {"x-should-retry": "false"}),
        (Final, "http_429"),
        id="x-should-retry: false makes a 429 final",
    ),
    pytest.param(
        reply(429, b"", {"x-should-retry": "true"}),
        (Cause.THROTTLED, "http_429"),
        id="x-should-retry: true leaves a 429 to the shared wait",
    ),
    pytest.param(
        reply(200, CHAT_ANSWER, {"x-should-retry": "true"}),
        (Accept, ""),
        id="x-should-retry says nothing about an answer",
    ),
]


@pytest.mark.parametrize(("attempt", "expected"), TABLE)
def test_replies(attempt: Reply, expected: tuple[Any, str]) -> None:
    """The body's code outranks the status, and every row of the retry table holds."""
    assert outcome(judge(attempt)) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FailureKind.CONNECTION_REFUSED, Cause.OUTAGE),
        (FailureKind.CONNECT_TIMEOUT, Cause.OUTAGE),
        (FailureKind.DNS_ERROR, Cause.OUTAGE),
        (FailureKind.TLS_ERROR, Cause.OUTAGE),
        (FailureKind.CONNECTION_RESET, Cause.OWN),
        (FailureKind.TRUNCATED, Cause.OWN),
        (FailureKind.BAD_ENCODING, Cause.OWN),
        (FailureKind.TIMEOUT, Cause.OWN),
        (FailureKind.PROTOCOL_ERROR, Cause.OWN),
        (FailureKind.STALE_CONNECTION, Cause.STALE),
        (FailureKind.CANCELLED, Cause.STALE),
        (FailureKind.TOO_LARGE, Final),
    ],
)
def test_failures(kind: FailureKind, expected: object) -> None:
    """What can't be reached is an outage, what broke is the row's own, too much is final."""
    verdict = judge(Failure(kind, "it broke", 0.1, sent=True))
    assert outcome(verdict) == (expected, kind.value)
    assert isinstance(verdict, Retry | Final)
    assert verdict.message == "it broke"


def test_every_failure_has_a_verdict() -> None:
    """No kind of failure is accepted, and none stops the run."""
    for kind in FailureKind:
        assert isinstance(judge(Failure(kind, "", 0.1, sent=False)), Retry | Final)


@pytest.mark.parametrize(
    ("family", "answer", "usage"),
    [
        (Family.CHAT, CHAT_ANSWER, Usage(8, 2, 10)),
        (Family.COMPLETIONS, {"choices": [{"text": "x"}]}, None),
        (
            Family.EMBEDDINGS,
            {"data": [{}], "usage": {"prompt_tokens": 8, "total_tokens": 8}},
            Usage(8, 0, 8),
        ),
        (Family.RESPONSES, {"output": [{}], "usage": None}, None),
        (
            Family.MESSAGES,
            {"content": [{}], "usage": {"input_tokens": 1, "output_tokens": 2}},
            Usage(1, 2, 3),
        ),
        (Family.OTHER, {"anything": 1}, None),
    ],
)
def test_accept(family: Family, answer: Any, usage: Usage | None) -> None:
    """A success of each family is accepted with the usage that it tells."""
    assert judge(reply(200, answer), family=family) == Accept(usage)


@pytest.mark.parametrize(
    ("family", "code"),
    [
        (Family.CHAT, "no_choices"),
        (Family.COMPLETIONS, "no_choices"),
        (Family.EMBEDDINGS, "no_data"),
        (Family.RESPONSES, "no_output"),
        (Family.MESSAGES, "no_content"),
    ],
)
def test_no_answer_by_family(family: Family, code: str) -> None:
    """An answer without its family's part is retried, and fails under a code of its own."""
    assert outcome(judge(reply(200, {}), family=family)) == (Cause.OWN, code)
    assert outcome(judge(reply(200, {}), family=family, charged=5)) == (Final, code)


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


@pytest.mark.parametrize(
    ("attempt", "code"),
    [
        (reply(400, error("invalid_value")), "invalid_value"),
        (reply(400, error(None, "invalid_request_error")), "http_400"),
        (reply(400, error("400")), "http_400"),
        (reply(404, b"<html>"), "http_404"),
        (reply(403, {"detail": "no"}), "http_403"),
        (reply(400, error("you said: hello")), "http_400"),
        (reply(400, error("400", "budget_exceeded")), "budget_exceeded"),
    ],
)
def test_reply_code(attempt: Reply, code: str) -> None:
    """A refusal is counted under the body's code where that is a word, else under its status."""
    assert reply_code(attempt, parsed(attempt.body)) == code


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500, 503])
@pytest.mark.parametrize("charged", [0, 5])
def test_no_message_quotes_the_endpoint(status: int, charged: int) -> None:
    """An error's text can quote the prompt, so no verdict repeats it."""
    secret = "Der Patient heißt Müller"
    verdict = judge(reply(status, error(secret, secret, secret)), charged=charged)
    assert "Müller" not in repr(verdict)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
codes = (
    st.sampled_from(["insufficient_quota", "rate_limit_exceeded", "429", "slow_down", "None"])
    | st.integers(-1, 700)
    | json_values
)
bodies = json_values | st.fixed_dictionaries(
    {},
    optional={
        "error": json_values
        | st.fixed_dictionaries(
            {}, optional={"code": codes, "type": codes, "message": json_values}
        ),
        "choices": json_values,
        "usage": json_values,
        "object": st.just("error") | json_values,
    },
)
header_texts = st.text(max_size=10) | st.sampled_from(["true", "false", "20", "1e9", "6m0s", "0"])
headers = st.dictionaries(
    st.sampled_from(
        ["retry-after", "retry-after-ms", "x-should-retry", "date"]
        + [f"x-ratelimit-{what}-tokens" for what in ("limit", "remaining", "reset")]
    ),
    header_texts,
)
attempts = st.builds(
    Reply, st.integers(100, 999), headers.map(CIMultiDict), st.just(b"x"), st.just(0.1)
)

failures = st.builds(
    Failure, st.sampled_from(FailureKind), st.just("m"), st.just(0.1), sent=st.booleans()
)


@settings(deadline=None)
@given(
    attempt=attempts | failures,
    answer=bodies | st.just(NOT_JSON),
    family=st.sampled_from(Family),
    charged=st.integers(0, 10),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_decide_always(
    attempt: Reply | Failure, answer: Any, family: Family, charged: int, jitter: float
) -> None:
    """Whatever comes back there is a verdict: bounded attempts, waits within what we give."""
    verdict = decide(
        POLICY, attempt, answer, family=family, charged=charged, now_unix=NOW_UNIX, jitter=jitter
    )
    if isinstance(verdict, Retry):
        assert 0 <= verdict.wait_s <= POLICY.give_up_after_s
        assert verdict.told_s is None or 0 < verdict.told_s <= verdict.wait_s
        assert verdict.cause is not Cause.OWN or charged + 1 < POLICY.max_attempts
    if isinstance(verdict, Accept):
        assert isinstance(attempt, Reply)
        assert 200 <= attempt.status < 300


@settings(deadline=None)
@given(
    attempt=attempts,
    code=st.sampled_from(["insufficient_quota", "invalid_api_key", "budget_exceeded"]),
    charged=st.integers(0, 10),
)
def test_a_stop_is_a_stop(attempt: Reply, code: str, charged: int) -> None:
    """No status, header or number of attempts turns a refused account into anything else."""
    verdict = decide(
        POLICY,
        attempt,
        error(code),
        family=Family.CHAT,
        charged=charged,
        now_unix=NOW_UNIX,
        jitter=JITTER,
    )
    assert outcome(verdict) == REFUSED
