"""What a job has cost: results folded into totals.

Rules:
    * Totals are the sum over a job's lines, in any order. A result that replaces another carries
      the other's spend, so the old one is taken out whole before the new one is put in.
    * Cached, cache-write and reasoning tokens are parts of the prompt and of the completion: they
      are added up apart and never to the totals.
    * Money is `Decimal` and exact: no rounding, so that adding and removing cancel. An unknown
      price is no zero: it leaves the cost a lower bound, and the model is named.

The counters are plain integers per model, because a fold runs for every row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Context, Decimal
from typing import Any

from batcher.records import Spend, StopReason, Usage
from batcher.spend import (
    cost_text,
    read_count,
    read_part,
    read_spend,
    read_usage_json,
    spend_json,
    spend_text,
    usage_json,
)

__all__ = [
    "Account",
    "Ledger",
    "cost_text",
    "read_spend",
    "read_usage_json",
    "spend_json",
    "spend_text",
    "usage_json",
]

# Sums stay exact: list prices have up to 24 decimals a token, and 60 digits hold 10^36 dollars so.
_EXACT = Context(prec=60)

# The name in `errors` of a failed row whose caller gave no code.
_NO_CODE = "unknown"


class Account:
    """Counters of results and of what they cost: of one model, or of whatever else is added up."""

    __slots__ = (
        "attempts",
        "cache_write",
        "cached",
        "completed",
        "completion",
        "cost",
        "failed",
        "prompt",
        "reasoning",
        "total",
        "unpriced",
        "with_cost",
        "without_usage",
    )

    def __init__(self) -> None:
        self.completed = self.failed = self.attempts = self.without_usage = 0
        self.prompt = self.completion = self.total = 0
        self.cached = self.cache_write = self.reasoning = 0
        # How many spends have a cost, how many are unpriced: counts, so that a removal undoes them.
        self.with_cost = self.unpriced = 0
        self.cost = Decimal(0)

    def post(self, spend: Spend, sign: int) -> None:
        """Put a spend in (`sign` 1) or take it out (-1)."""
        attempts, without_usage, usage, cost, unpriced = spend
        prompt, completion, total, cached, cache_write, reasoning = usage
        self.attempts += sign * attempts
        self.prompt += sign * prompt
        self.completion += sign * completion
        self.total += sign * total
        if without_usage:
            self.without_usage += sign * without_usage
        if cached:
            self.cached += sign * cached
        if cache_write:
            self.cache_write += sign * cache_write
        if reasoning:
            self.reasoning += sign * reasoning
        if cost is not None:
            self.with_cost += sign
            self.cost = (_EXACT.add if sign > 0 else _EXACT.subtract)(self.cost, cost)
        if unpriced:
            self.unpriced += sign

    def absorb(self, other: Account) -> None:
        """Add another account's counters to this one's."""
        for name in Account.__slots__:
            if name != "cost":
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.cost = _EXACT.add(self.cost, other.cost)

    def shown(self, model: str) -> bool:
        """Whether anything is left to tell; rows that were never sent may well name no model."""
        if not model and not self.attempts:
            return False
        return any(getattr(self, name) for name in Account.__slots__)

    def request_counts(self, pending: int = 0) -> dict[str, int]:
        """The account's rows, as the Batch API names them."""
        total = self.completed + self.failed + pending
        return {"total": total, "completed": self.completed, "failed": self.failed}

    def fields(self) -> dict[str, Any]:
        """The account as a value of `by_model`."""
        spend = self.spend
        return {
            "request_counts": self.request_counts(),
            "usage": usage_json(spend.usage),
            "cost_usd": _cost(spend),
            "attempts": spend.attempts,
            "attempts_without_usage": spend.attempts_without_usage,
        }

    @property
    def spend(self) -> Spend:
        """The account's spend as a record."""
        parts = (self.cached, self.cache_write, self.reasoning)
        usage = Usage(self.prompt, self.completion, self.total, *parts)
        cost = self.cost if self.with_cost else None
        return Spend(self.attempts, self.without_usage, usage, cost, self.unpriced > 0)


class Ledger:
    """Folds the results of a job into its totals.

    A row's spend is cumulative: when a row with earlier spend (`add_spend`) or an earlier result
    (`add`) gets a new result, take the earlier one out (`remove_spend`, `remove`) and add the new.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._errors: Counter[str] = Counter()
        self._pruned: dict[str, Account] = {}
        self._pruned_rows = 0

    def add(self, *, model: str, succeeded: bool, error_code: str | None, spend: Spend) -> None:
        """Count a row's terminal result.

        Args:
            model: The row's model; an empty one without attempts is left out of `by_model`.
            succeeded: Whether the row counts as completed.
            error_code: Why it failed, as `errors` shall name it; unused for a success.
            spend: All that the row has cost in this job.
        """
        account = self._accounts.get(model) or self._open(model)
        if succeeded:
            account.completed += 1
        else:
            account.failed += 1
            self._errors[error_code or _NO_CODE] += 1
        account.post(spend, 1)

    def remove(self, *, model: str, succeeded: bool, error_code: str | None, spend: Spend) -> None:
        """Take out a result that was added with the same arguments and is being replaced."""
        account = self._accounts.get(model) or self._open(model)
        if succeeded:
            account.completed -= 1
        else:
            account.failed -= 1
            self._errors[error_code or _NO_CODE] -= 1
        account.post(spend, -1)

    def add_spend(self, model: str, spend: Spend) -> None:
        """Count what a row without a result has cost so far."""
        self._open(model).post(spend, 1)

    def remove_spend(self, model: str, spend: Spend) -> None:
        """Take out what `add_spend` counted, for the row's result carries it now."""
        self._open(model).post(spend, -1)

    def add_pruned(self, *, model: str, spend: Spend, rows: int = 1) -> None:
        """Count what rows cost that have been dropped from the job; they count as rows no more."""
        self._pruned_rows += rows
        self._pruned.setdefault(model, Account()).post(spend, 1)
        self._open(model).post(spend, 1)

    def read_pruned(self, pruned: Mapping[str, Any]) -> None:
        """Add the `pruned` object of earlier totals.

        Raises:
            ValueError: It is not what `totals` writes.
        """
        self._pruned_rows += read_count(pruned, "rows")
        for model, fields in read_part(pruned, "by_model").items():
            self.add_pruned(model=model, spend=read_spend(fields), rows=0)

    def merge(self, other: Ledger) -> None:
        """Add all that another ledger counted."""
        for mine, theirs in ((self._accounts, other._accounts), (self._pruned, other._pruned)):
            for model, account in theirs.items():
                mine.setdefault(model, Account()).absorb(account)
        self._errors.update(other._errors)
        self._pruned_rows += other._pruned_rows

    @property
    def completed(self) -> int:
        """Rows whose result is a success."""
        return sum(account.completed for account in self._accounts.values())

    @property
    def failed(self) -> int:
        """Rows whose result is a failure."""
        return sum(account.failed for account in self._accounts.values())

    @property
    def spend(self) -> Spend:
        """All that the job has cost so far."""
        return _sum(self._accounts.values()).spend

    def totals(
        self,
        *,
        started_at: str,
        finished_at: str,
        wall_s: float,
        version: str,
        stop_reason: StopReason | None = None,
        pending: int | None = None,
        prices: str | None = None,
    ) -> dict[str, Any]:
        """Give the totals object, in the contract's order.

        Args:
            started_at: RFC 3339, when the job was first started.
            finished_at: RFC 3339.
            wall_s: Time that the job's runs took.
            version: Of this program.
            stop_reason: Why the run stopped before the job was complete; named when given.
            prices: What the costs were reckoned with, such as `genai-prices 0.2.3`.
            pending: Rows without a result where the run stopped; they count towards `total`. None
                where they could not be counted.
        """
        whole = _sum(self._accounts.values())
        accounts = [
            (m, self._accounts[m]) for m in sorted(self._accounts) if self._accounts[m].shown(m)
        ]
        spend = whole.spend
        fields: dict[str, Any] = {
            "object": "batch.totals",
            "custom_id": None,
            "request_counts": whole.request_counts(pending or 0),
            "usage": usage_json(spend.usage),
            "cost_usd": _cost(spend),
            "unpriced_models": [model for model, account in accounts if account.unpriced],
            "attempts": spend.attempts,
            "attempts_without_usage": spend.attempts_without_usage,
            "by_model": {model: account.fields() for model, account in accounts},
            "errors": self._errors_by_count(),
            "started_at": started_at,
            "finished_at": finished_at,
            "wall_s": round(wall_s, 3),
            "version": version,
        }
        if stop_reason is not None:
            fields["stop_reason"] = stop_reason.word
            fields["pending"] = pending
        if prices is not None:
            fields["prices"] = prices
        if self._pruned_rows or self._pruned:
            fields["pruned"] = self._pruned_fields()
        return fields

    def _open(self, model: str) -> Account:
        return self._accounts.setdefault(model, Account())

    def _errors_by_count(self) -> dict[str, int]:
        found = ((code, count) for code, count in self._errors.items() if count)
        return dict(sorted(found, key=lambda item: (-item[1], item[0])))

    def _pruned_fields(self) -> dict[str, Any]:
        spend = _sum(self._pruned.values()).spend
        by_model = {model: spend_json(self._pruned[model].spend) for model in sorted(self._pruned)}
        return {"rows": self._pruned_rows, **spend_json(spend), "by_model": by_model}


def _sum(accounts: Iterable[Account]) -> Account:
    whole = Account()
    for account in accounts:
        whole.absorb(account)
    return whole


def _cost(spend: Spend) -> str | None:
    return None if spend.cost_usd is None else cost_text(spend.cost_usd)
