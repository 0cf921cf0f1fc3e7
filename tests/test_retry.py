"""What happens to a row after an attempt: the retry table, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from batcher.amounts import Usage
from batcher.answers import Family
from batcher.records import Failure, FailureKind, Reply
from batcher.retry import Accept, Cause, Final, Retry, reply_code
from tests.verdicts import DOWN, REFUSED, error, judge, outcome, parsed, reply

CHAT_ANSWER: dict[str, Any] = {
    "choices": [{"message": {"content": "Hello"}}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10},
}
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
