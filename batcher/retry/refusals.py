"""What an answer that is no success means: its code first, then its status.

The body's code outranks the status, since relays wrap a rate limit in a 400, a lack of money in a
429 and an outage in a 200. Only 401 and 402 speak for themselves. The tables hold what providers
and relays document; an unknown code leaves the word to the status.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.answers import ErrorInfo

__all__ = ["SUCCESSES", "Sense", "code_of", "sense_of"]


class Sense(Enum):
    """What an answer means, before waits and attempts are counted.

    `REFUSED` is the account, `ROW` this request however often it is sent, `OWN` a failure that may
    pass.
    """

    REFUSED = auto()
    THROTTLED = auto()
    OUTAGE = auto()
    OWN = auto()
    ROW = auto()


SUCCESSES: Final = range(200, 300)
_ERRORS: Final = range(400, 600)
_SERVER_ERRORS: Final = range(500, 600)
_CONTENT_TOO_LARGE = 413

# Codes and types, in lower case. Sources: OpenAI's error guide; Anthropic's errors page; LiteLLM
# `ProxyErrorTypes`; one-api and new-api `types/error.go`; Moonshot, DashScope, Volcengine.
_MONEY = (
    "insufficient_quota credit_balance_exhausted billing_hard_limit_reached billing_not_active "
    "organization_spend_limit_exceeded project_spend_limit_exceeded "
    "organization_usage_limit_exceeded billing_error budget_exceeded insufficient_user_quota "
    "pre_consume_token_quota_failed insufficient_balance insufficient_credits "
    "exceeded_current_quota_error arrearage accountoverdueerror"
)
_KEY = (
    "invalid_api_key incorrect_api_key authentication_error auth_error invalid_authentication "
    "invalid_authentication_error token_not_found_in_db expired_key api_key_invalid "
    "account_deactivated access_terminated"
)
_RATE = (
    "rate_limit_exceeded rate_limit_error rate_limit_reached rate_limit_reached_error "
    "rate_limited too_many_requests slow_down server_is_overloaded overloaded_error "
    "engine_overloaded_error engine_overloaded resource_exhausted limit_requests throttling "
    "throttling.ratequota throttling.allocationquota throttling_error"
)
# The request itself: it fails however often it is sent, whatever status a relay gives it.
_ROW = (
    "context_length_exceeded string_above_max_length request_too_large tokens_limit_reached "
    "content_filter content_policy_violation unsupported_parameter unsupported_value "
    "invalid_request invalid_prompt data_inspection_failed"
)
_TYPES: Final = {
    **dict.fromkeys(_RATE.split(), Sense.THROTTLED),
    **dict.fromkeys((_MONEY + " " + _KEY).split(), Sense.REFUSED),
}
# A type `invalid_request` can mean anything, so the request's own faults are told by code alone.
_CODES: Final = {**_TYPES, **dict.fromkeys(_ROW.split(), Sense.ROW)}

# 521 to 523: Cloudflare's words for an origin that is down or out of reach.
_OUTAGE_STATUSES = frozenset({502, 503, 504, 521, 522, 523})
# 529: Anthropic's "overloaded".
_RATE_STATUSES = frozenset({429, 529})
_REFUSED_STATUSES = frozenset({401, 402})
_OWN_STATUSES = frozenset({408, 409})

# OpenAI, Groq: `... on tokens per min (TPM): Limit 30000, Requested 50000.`
_LIMIT = re.compile(r"Limit:? ?([0-9][0-9,]{0,15}).{0,60}?Requested:? ?([0-9][0-9,]{0,15})")
# Longer than any such sentence, short beside an error that quotes a prompt.
_MESSAGE_MAX_CHARS = 1000


def sense_of(status: int, error: ErrorInfo | None) -> Sense:
    """Say what an answer means that is no success.

    Args:
        status: HTTP status.
        error: What the body says, where it says anything.

    Source: the retry table in the README.
    """
    if status in _REFUSED_STATUSES:
        return Sense.REFUSED
    sense = None if error is None else _stated_sense(status, error)
    if sense is None:
        sense = _status_sense(status)
    if sense is Sense.THROTTLED and error is not None:
        larger = status == _CONTENT_TOO_LARGE or _is_above_limit(error.message)
        return Sense.ROW if larger else sense
    return sense


def code_of(status: int, error: ErrorInfo | None) -> str:
    """Name an answer that is no success: the body's code, else `http_400` and the like.

    A type stands in for the code where it is as telling as one: `budget_exceeded`, but not
    `invalid_request_error`.
    """
    if error is not None:
        if error.name:
            return error.name
        if error.type.lower() in _TYPES:
            return error.type
        if error.status is not None and error.status in _ERRORS:
            status = error.status
        elif status in SUCCESSES:
            return error.type or "error_in_answer"
    return f"http_{status}"


def _stated_sense(status: int, error: ErrorInfo) -> Sense | None:
    """Say what the body's own words mean; None where they leave it to the status."""
    # Anthropic gives this one no code of its own.
    if error.message.startswith("Your credit balance is too low"):
        return Sense.REFUSED
    named = _CODES.get(error.name.lower()) or _TYPES.get(error.type.lower())
    # new-api says this with 503 while its channels for a model are off, which passes, and also when
    # there never were any, which doesn't: a few attempts tell them apart.
    if named is None and error.name.lower() == "model_not_found" and status in _SERVER_ERRORS:
        named = Sense.OWN
    if named is None and error.status is not None and error.status in _ERRORS:
        named = _status_sense(error.status)
    if named is None and status in SUCCESSES:
        named = Sense.ROW if error.type == "invalid_request_error" else Sense.OWN
    return named


def _status_sense(status: int) -> Sense:
    """Say what a status means where no code says more."""
    if status in _RATE_STATUSES:
        return Sense.THROTTLED
    if status in _REFUSED_STATUSES:
        return Sense.REFUSED
    if status in _OUTAGE_STATUSES:
        return Sense.OUTAGE
    if status in _OWN_STATUSES or status in _SERVER_ERRORS:
        return Sense.OWN
    return Sense.ROW


def _is_above_limit(message: str) -> bool:
    """Whether a refusal for rate says that the request is larger than the limit itself."""
    if message.startswith("Request too large"):
        return True
    found = _LIMIT.search(message[:_MESSAGE_MAX_CHARS])
    if found is None:
        return False
    limit, requested = (int(figure.replace(",", "")) for figure in found.groups())
    return requested > limit
