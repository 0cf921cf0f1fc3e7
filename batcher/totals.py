"""The totals of a job as typed records: what the library hands to programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from batcher.amounts import Usage
from batcher.errors import StoppedError
from batcher.spend import read_spend, read_usage_json

__all__ = ["ModelTotals", "RequestCounts", "Totals"]


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
