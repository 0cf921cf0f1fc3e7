"""Attempts made up, and what the retry table says to them."""

from __future__ import annotations

from typing import Any

import orjson
from multidict import CIMultiDict

from batcher.answers import NOT_JSON, Family
from batcher.records import Failure, Reply, StopReason
from batcher.retry import Accept, Final, Retry, RetryPolicy, Stop, Verdict, decide

__all__ = [
    "DOWN",
    "JITTER",
    "NOW_UNIX",
    "POLICY",
    "REFUSED",
    "error",
    "judge",
    "outcome",
    "parsed",
    "reply",
]

POLICY = RetryPolicy()
NOW_UNIX = 1_795_000_000.0
JITTER = 0.5


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
