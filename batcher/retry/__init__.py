"""What happens to a row after an attempt: pure decisions over answers, failures and headers."""

from batcher.retry.decide import (
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
