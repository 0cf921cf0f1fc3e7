"""A line of an output as a typed record: what the library hands to programs.

`docs/formats.md` says what each key means. A record's representation shows no prompt and no answer,
for it ends up in logs. `totals` has the last line's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Self

import orjson

from batcher.amounts import Usage
from batcher.answers import Family
from batcher.checks import read_choices
from batcher.errors import UsageError
from batcher.spend import read_spend

__all__ = ["Result", "ToolCall", "answer_text", "read_result"]

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
