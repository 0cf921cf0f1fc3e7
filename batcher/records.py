"""The frozen records that flow through the house.

`bytes -> Row -> Reply | Failure -> verdict -> Result -> bytes`, in one direction. They are named
tuples rather than frozen dataclasses because one of each is made for every row, and a named tuple
costs a third as much to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from batcher.amounts import NO_AMOUNT, Amount, Spend

__all__ = [
    "BadRow",
    "Failure",
    "FailureKind",
    "Hold",
    "Progress",
    "Reply",
    "Result",
    "Row",
    "RowError",
    "StopReason",
]


class Row(NamedTuple):
    """One request, ready to send.

    Attributes:
        line: 1-based number of its line in the source.
        custom_id: The row's name in the output; `row-<line>` when it was given none.
        named: Whether the source gave the name. An unnamed row is known by its `request_hash`.
        request_hash: Hex digest of the path and the final body in canonical form.
        path: The path as the row has it, such as `/v1/chat/completions`.
        body: The final JSON body as it is sent.
        model: The body's `model`.
        carry: A JSON object of the fields that the job copies into the result, or empty.
        claims: `tools`, `tool_choice`, `response_format` of the body where it has any of them: the
            shape that its answer claims; else None.
        max_output_tokens: The most tokens that the answer may have, all choices together, where the
            body bounds it.
        choices: How many answers it asks for.
    """

    line: int
    custom_id: str
    named: bool
    request_hash: str
    path: str
    body: bytes
    model: str
    carry: bytes = b""
    claims: Mapping[str, Any] | None = None
    max_output_tokens: int | None = None
    choices: int = 1


class BadRow(NamedTuple):
    """A line that can't be sent, and why: `code` is one of the contract's bad-row codes."""

    line: int
    custom_id: str | None
    code: str
    message: str


class Reply(NamedTuple):
    """An HTTP answer, whole.

    Attributes:
        status: HTTP status.
        headers: Case-insensitive.
        body: Decoded (no gzip left), bounded by the transport.
        latency_s: From send to last byte.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_s: float


class FailureKind(StrEnum):
    """Why an attempt brought no whole answer; the value is the error code of the result."""

    CONNECTION_REFUSED = "connection_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    DNS_ERROR = "dns_error"
    TLS_ERROR = "tls_error"
    CONNECTION_RESET = "connection_reset"
    STALE_CONNECTION = "stale_connection"
    TRUNCATED = "answer_truncated_in_transit"
    BAD_ENCODING = "answer_undecodable"
    TOO_LARGE = "answer_too_large"
    TIMEOUT = "timeout"
    PROTOCOL_ERROR = "protocol_error"
    CANCELLED = "cancelled"


class Failure(NamedTuple):
    """An attempt without a whole answer.

    Attributes:
        kind: Why.
        message: In plain words, with no secret, prompt or answer.
        latency_s: From send until it failed.
        sent: Whether the request may have reached the endpoint, so that it may have been billed.
    """

    kind: FailureKind
    message: str
    latency_s: float
    sent: bool


class RowError(NamedTuple):
    """The `error` of a result."""

    code: str
    message: str


class Result(NamedTuple):
    """The one terminal outcome of a row, as it goes into the journal.

    Attributes:
        unnamed: 0 for a row with a given id; else which of the rows with this same request it is,
            from 1.
        status: HTTP status of the last whole answer; None when there was none.
        request_id: The endpoint's id of that answer.
        body: That answer's JSON text as it came, or empty when `status` is None.
        error: None for a success and for a final HTTP refusal.
        code: Why the row failed, as `errors` in the totals counts it; empty for a success.
        finished_at: RFC 3339 in UTC, milliseconds, `Z`.
        latency_s: Of the last attempt.
        spend: Every attempt of the row in this job.
        extra: More keys of `batcher` as JSON object text without braces, such as
            `"tool_calls":[...]`; or empty.
        prices: Which list of prices the cost was reckoned with, and its version.
    """

    line: int
    custom_id: str
    unnamed: int
    request_hash: str
    model: str
    endpoint: str
    status: int | None
    request_id: str
    body: bytes
    error: RowError | None
    code: str
    finished_at: str
    latency_s: float
    spend: Spend
    carry: bytes = b""
    extra: bytes = b""
    prices: str = ""


class StopReason(Enum):
    """Why a run stopped before its job was complete: the word in the totals, and the exit code."""

    BUDGET = ("budget", 4)
    REFUSED = ("refused", 5)
    DEADLINE = ("deadline", 7)
    ENDPOINT_DOWN = ("endpoint_down", 7)
    STORAGE = ("storage", 8)
    SIGINT = ("sigint", 130)
    SIGTERM = ("sigterm", 143)
    SIGHUP = ("sighup", 143)
    CANCELLED = ("cancelled", 130)

    def __init__(self, word: str, exit_code: int) -> None:
        self.word = word
        self.exit_code = exit_code


class Hold(StrEnum):
    """What holds the run back at this moment."""

    SOURCE = "source"
    WINDOW = "window"
    RATE = "rate"
    PAUSE = "pause"
    ENDPOINT = "endpoint"
    TOOLS = "tools"
    DRAINING = "draining"


class Progress(NamedTuple):
    """A run at one moment, for a bar, a log line or `status`.

    Attributes:
        total: Rows of the job where that is known, else an estimate or None.
        total_exact: Whether `total` is known rather than estimated.
        done: Rows with a result, those of earlier runs included.
        failed: Of these, the failed ones.
        resumed: Of `done`, those that earlier runs had finished.
        retrying: Rows that wait for another attempt.
        in_flight: Requests under way.
        window: Most requests that the governor lets be under way now.
        rows_per_s: Over the last 10 s or so.
        tokens_per_min: Over the last 10 s or so.
        elapsed_s: Since this run began.
        eta_s: None while unknown.
        held_by: What holds the run back.
        note: A few words on `held_by`, such as `429: paused 12 s`; or empty.
        spend: The job's so far.
        killed: The most that runs may have spent unseen whose process was killed.
        max_cost_usd, max_tokens: The budget; None where there is none.
    """

    total: int | None
    total_exact: bool
    done: int
    failed: int
    resumed: int
    retrying: int
    in_flight: int
    window: int
    rows_per_s: float
    tokens_per_min: float
    elapsed_s: float
    eta_s: float | None
    held_by: Hold
    note: str
    spend: Spend
    killed: Amount = NO_AMOUNT
    max_cost_usd: Decimal | None = None
    max_tokens: int | None = None
