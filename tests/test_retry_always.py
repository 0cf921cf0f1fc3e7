"""What holds of every verdict, whatever comes back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from batcher.answers import NOT_JSON, Family
from batcher.records import Failure, FailureKind, Reply
from batcher.retry import Accept, Cause, Retry, decide
from tests.anything import json_values
from tests.verdicts import JITTER, NOW_UNIX, POLICY, REFUSED, error, judge, outcome, reply


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500, 503])
@pytest.mark.parametrize("charged", [0, 5])
def test_no_message_quotes_the_endpoint(status: int, charged: int) -> None:
    """An error's text can quote the prompt, so no verdict repeats it."""
    secret = "Der Patient heißt Müller"
    verdict = judge(reply(status, error(secret, secret, secret)), charged=charged)
    assert "Müller" not in repr(verdict)


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
