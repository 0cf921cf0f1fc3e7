"""The refusals that faults and keys bring about, in the endpoint's words and headers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus

from batcher.endpoints.sandbox.limits import duration
from batcher.endpoints.sandbox.options import SandboxOptions
from batcher.endpoints.sandbox.refusals import Refusal

__all__ = ["HOLLOW", "REFUSALS", "HtmlRefusal", "bare_status"]

_SLOW = "Rate limit reached. Please slow down."
_MONEY = "You exceeded your current quota, please check your plan and billing details."

_SAID: Mapping[str, tuple[str, str | None]] = {
    "400": ("Something about this request is wrong.", "invalid_value"),
    "402": ("Insufficient credits.", "insufficient_credits"),
    "403": ("You are not allowed to do this.", "permission_denied"),
    "404": ("There is nothing here.", "not_found"),
    "408": ("The request timed out.", "request_timeout"),
    "409": ("Another request is in the way.", "conflict"),
    "413": ("The request is too large.", "request_too_large"),
    "422": ("The request can't be processed.", "unprocessable_entity"),
    "500": ("The server had an error while processing your request. Sorry about that!", None),
    "502": ("Bad gateway.", None),
    "503": ("The service is unavailable.", None),
    "504": ("The gateway timed out.", None),
}

# 200s that hold no answer, and what they hold.
HOLLOW: Mapping[str, bytes] = {
    "empty": b"",
    "blank": b"\n\n\n",
    "html": b"<html><head><title>Welcome</title></head><body>Welcome</body></html>",
    "error_in_200": b'{"error":{"message":"Provider returned error","code":502}}',
    "rate_limit_in_200": b'{"error":{"message":"Rate limited upstream","code":429}}',
    "quota_in_200": (
        b'{"error":{"message":"You exceeded your current quota.",'
        b'"type":"insufficient_quota","code":"insufficient_quota"}}'
    ),
}

_REDIRECTS_END = 400


class HtmlRefusal(Refusal):
    """A refusal by a proxy, which knows no JSON."""

    def body(self, *, anthropic: bool) -> bytes:  # noqa: ARG002 - a proxy knows no family
        """Return an HTML page."""
        return f"<html><body><h1>{self.status} {self.message}</h1></body></html>".encode()


def bare_status(name: str) -> Refusal:
    """Return the refusal for a fault that is a status alone."""
    said, code = _SAID.get(name, (f"Status {name}, as asked for.", None))
    status = int(name)
    if status < _REDIRECTS_END:
        return Refusal(status, said, headers={"Location": "/v1/elsewhere"})
    return Refusal(status, said, code=code)


def _limited(headers: Mapping[str, str], code: str = "rate_limit_exceeded") -> Refusal:
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, _SLOW, code=code, headers=headers)


def _hint(options: SandboxOptions) -> dict[str, str]:
    return {"retry-after": f"{options.retry_after_s:g}"}


def _quota(status: HTTPStatus) -> Refusal:
    return Refusal(status, _MONEY, code="insufficient_quota", kind="insufficient_quota")


def _date(options: SandboxOptions) -> dict[str, str]:
    return {"retry-after": formatdate(time.time() + options.retry_after_s, usegmt=True)}


REFUSALS: Mapping[str, Callable[[SandboxOptions], Refusal]] = {
    "401": lambda _: Refusal(
        HTTPStatus.UNAUTHORIZED, "Incorrect API key provided.", code="invalid_api_key"
    ),
    "429": lambda options: _limited(_hint(options)),
    "429_ms": lambda options: _limited({"retry-after-ms": f"{options.retry_after_s * 1000:.0f}"}),
    "429_date": lambda options: _limited(_date(options)),
    "429_reset": lambda options: _limited(
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": duration(options.retry_after_s),
        }
    ),
    "429_silent": lambda _: _limited({}),
    "429_too_large": lambda _: Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Request too large on tokens per min (TPM): Limit 30000, Requested 50000.",
        code="rate_limit_exceeded",
        kind="tokens",
    ),
    "slow_down": lambda options: _limited(_hint(options), "slow_down"),
    "503_hint": lambda options: Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE, "Come back later.", headers=_hint(options)
    ),
    "overloaded": lambda options: Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The server is overloaded.",
        code="server_is_overloaded",
        headers=_hint(options),
    ),
    "502_html": lambda _: HtmlRefusal(
        HTTPStatus.BAD_GATEWAY, "Bad Gateway", headers={"Content-Type": "text/html"}
    ),
    "insufficient_quota": lambda _: _quota(HTTPStatus.TOO_MANY_REQUESTS),
    "insufficient_quota_403": lambda _: _quota(HTTPStatus.FORBIDDEN),
    "400_retry": lambda _: Refusal(
        HTTPStatus.BAD_REQUEST, "Try that again.", headers={"x-should-retry": "true"}
    ),
    "500_no_retry": lambda _: Refusal(
        HTTPStatus.INTERNAL_SERVER_ERROR, "Leave it.", headers={"x-should-retry": "false"}
    ),
}
