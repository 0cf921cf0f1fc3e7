"""The lines of an output as typed records: what the library hands to programs.

A `Result` is one row's line, `Totals` the last one; `docs/formats.md` says what each key means.
Their representations show no prompt and no answer, for those end up in logs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Self

import orjson

from batcher.answers import Family
from batcher.checks import read_choices
from batcher.errors import StoppedError, UsageError
from batcher.records import Usage
from batcher.spend import read_spend, read_usage_json

__all__ = [
    "ModelTotals",
    "RequestCounts",
    "Result",
    "ToolCall",
    "Totals",
    "answer_text",
    "read_result",
]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool, as the answer has it.

    Attributes:
        name: The tool.
        arguments: Parsed; None where they are no JSON.
        error: The error code where the call is not as the request asks; None for a good one.
        choice: Number of the choice that it stands in, from 0.
    """

    name: str
    arguments: Any = field(repr=False)
    error: str | None = None
    choice: int = 0

    @classmethod
    def from_json(cls, call: Mapping[str, Any]) -> Self:
        """Read an item of `tool_calls`."""
        return cls(call["name"], call.get("arguments"), call.get("error"), call.get("choice", 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The one result of a row.

    Attributes:
        custom_id: The row's name; `row-<line>` when it was given none.
        row: Its line in the source, or its place among the rows given, from 1.
        model: The `model` that was asked for.
        endpoint: The named endpoint, or the host.
        request_hash: Names the request: 32 hex digits.
        error_code: Why the row failed; None for a success.
        error_message: The same in words, ours or the endpoint's; None where nobody says more.
        status_code: HTTP status of the last whole answer; None when there was none.
        request_id: The endpoint's id of that answer, or empty.
        body: That answer's JSON; None when there was none.
        tool_calls: The calls in it, in order.
        answer: The parsed answer, where the row asked for JSON; else None.
        label: The label that the job's `[answer]` found, of several choices the one that most have;
            else None.
        votes: Of several choices: each label and how many have it, the most frequent first.
        truncated: Whether the text was cut off at its token limit.
        input: The fields that the job carries over.
        attempts: Requests that were sent for this row in this job.
        attempts_without_usage: Those that may have been billed though no usage came back.
        usage: Tokens of all attempts.
        cost_usd: US dollars for all attempts; None where nothing of it is priced.
        unpriced: Whether some of the usage has no known price, so that the cost is a lower bound.
        finished_at: When the last attempt ended, in UTC.
        latency_s: Seconds that it took.
        raw: The whole line.
    """

    custom_id: str
    row: int
    model: str
    endpoint: str
    request_hash: str = field(repr=False)
    error_code: str | None
    error_message: str | None = field(repr=False)
    status_code: int | None
    request_id: str = field(repr=False)
    body: Any = field(repr=False)
    tool_calls: tuple[ToolCall, ...] = field(repr=False)
    answer: Any = field(repr=False)
    label: Any = field(repr=False)
    votes: tuple[tuple[Any, int], ...] = field(repr=False)
    truncated: bool
    input: Mapping[str, Any] = field(repr=False)
    attempts: int
    attempts_without_usage: int = field(repr=False)
    usage: Usage
    cost_usd: Decimal | None
    unpriced: bool = field(repr=False)
    finished_at: datetime = field(repr=False)
    latency_s: float
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def succeeded(self) -> bool:
        """Whether the row has a usable answer, of the shape that it asks for."""
        return self.error_code is None

    @property
    def text(self) -> str:
        """The text of the answer's first choice, of any family; empty where it has none."""
        return answer_text(self.body)

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read a result line.

        Raises:
            ValueError, KeyError, TypeError: It is none.
        """
        raw = orjson.loads(line)
        ours, response = raw["batcher"], raw["response"] or _NOTHING
        spend = read_spend(ours)
        code = ours.get("error_code")
        return cls(
            custom_id=raw["custom_id"],
            row=ours["row"],
            model=ours["model"],
            endpoint=ours["endpoint"],
            request_hash=ours["request_hash"],
            error_code=code,
            error_message=_message(raw["error"], response) if code else None,
            status_code=response.get("status_code"),
            request_id=response.get("request_id", ""),
            body=response.get("body"),
            tool_calls=tuple(map(ToolCall.from_json, ours.get("tool_calls", ()))),
            answer=ours.get("answer"),
            label=ours.get("label"),
            votes=tuple((vote["label"], vote["count"]) for vote in ours.get("votes", ())),
            truncated=ours.get("truncated", False),
            input=ours.get("input", _NOTHING),
            attempts=spend.attempts,
            attempts_without_usage=spend.attempts_without_usage,
            usage=spend.usage,
            cost_usd=spend.cost_usd,
            unpriced=spend.unpriced,
            finished_at=datetime.fromisoformat(ours["finished_at"]),
            latency_s=ours["latency_s"],
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Rows: all, those that succeeded, those that failed. What is left over is pending."""

    total: int
    completed: int
    failed: int

    @classmethod
    def from_json(cls, counts: Mapping[str, int]) -> Self:
        """Read a `request_counts` object."""
        return cls(counts["total"], counts["completed"], counts["failed"])


@dataclass(frozen=True, slots=True)
class ModelTotals:
    """The part of the totals that one model has.

    Attributes:
        request_counts: Its rows.
        usage: Tokens of all attempts.
        cost_usd: US dollars; None where nothing of it is priced.
        attempts: Requests that were sent.
        attempts_without_usage: Those that may have been billed though no usage came back.
    """

    request_counts: RequestCounts
    usage: Usage
    cost_usd: Decimal | None
    attempts: int
    attempts_without_usage: int

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Read a value of `by_model`."""
        spend = read_spend(fields)
        return cls(
            RequestCounts.from_json(fields["request_counts"]),
            spend.usage,
            spend.cost_usd,
            spend.attempts,
            spend.attempts_without_usage,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a job came to, over all its runs.

    Attributes:
        request_counts: Rows.
        usage: Tokens of all attempts.
        cost_usd: US dollars; None where nothing is priced, and a lower bound while
            `unpriced_models` is not empty.
        unpriced_models: Models of which some usage has no known price.
        attempts: Requests that were sent.
        attempts_without_usage: Those that may have been billed though no usage came back.
        by_model: The same for each model.
        errors: Failed rows by error code, the most frequent first.
        started_at, finished_at: Of the job, in UTC.
        wall_s: Seconds that its runs took.
        version: Of the program that wrote them.
        prices: The price list that was used; None where none was.
        stop_reason: Why the run stopped before the job was complete, such as `deadline`; None when
            it is complete.
        message: The same in words, or empty.
        pending: Rows without a result where the run stopped; None where they could not be counted.
        exit_code: What the command line would end with.
        raw: As they stand in the output.
    """

    request_counts: RequestCounts
    usage: Usage
    cost_usd: Decimal | None
    unpriced_models: tuple[str, ...]
    attempts: int
    attempts_without_usage: int
    by_model: Mapping[str, ModelTotals] = field(repr=False)
    errors: Mapping[str, int]
    started_at: datetime
    finished_at: datetime
    wall_s: float
    version: str = field(repr=False)
    prices: str | None = field(repr=False)
    stop_reason: str | None
    message: str
    pending: int | None
    exit_code: int
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def complete(self) -> bool:
        """Whether every row has its result, so that the output stands."""
        return self.stop_reason is None

    def raise_for_stop(self) -> Self:
        """Return these totals if the job is complete.

        Raises:
            StoppedError: The run stopped before every row had its result.
        """
        if self.stop_reason is None:
            return self
        raise StoppedError(self.message or self.stop_reason, exit_code=self.exit_code)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], *, message: str = "", exit_code: int = 0) -> Self:
        """Read a totals object.

        Raises:
            ValueError, KeyError, TypeError: It is none.
        """
        spend = read_spend(raw)
        return cls(
            request_counts=RequestCounts.from_json(raw["request_counts"]),
            usage=read_usage_json(raw["usage"]),
            cost_usd=spend.cost_usd,
            unpriced_models=tuple(raw["unpriced_models"]),
            attempts=spend.attempts,
            attempts_without_usage=spend.attempts_without_usage,
            by_model={name: ModelTotals.from_json(of) for name, of in raw["by_model"].items()},
            errors=raw["errors"],
            started_at=datetime.fromisoformat(raw["started_at"]),
            finished_at=datetime.fromisoformat(raw["finished_at"]),
            wall_s=raw["wall_s"],
            version=raw["version"],
            prices=raw.get("prices"),
            stop_reason=raw.get("stop_reason"),
            message=message,
            pending=raw.get("pending"),
            exit_code=exit_code,
            raw=raw,
        )


def read_result(line: bytes, *, where: str) -> Result:
    """Read a result line.

    Args:
        where: Names the line, for the message.

    Raises:
        UsageError: It is none.
    """
    try:
        return Result.from_line(line)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{where} is no result") from None


def answer_text(body: object) -> str:
    """Give the text of an answer's first choice, of any family; empty where it has none."""
    if not isinstance(body, dict):
        return ""
    if "choices" in body:
        family = Family.CHAT
    elif "output" in body:
        family = Family.RESPONSES
    else:
        family = Family.MESSAGES
    choices = read_choices(body, family)
    return choices[0].text if choices else ""


def _message(error: Mapping[str, Any] | None, response: Mapping[str, Any]) -> str | None:
    """Say why a row failed: in our words, else in the endpoint's."""
    if error is None:
        body = response.get("body")
        error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        return error
    message = error.get("message") if isinstance(error, Mapping) else None
    return message if isinstance(message, str) else None
