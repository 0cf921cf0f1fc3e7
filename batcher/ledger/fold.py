"""What a job has cost: results folded into totals.

Rules:
    * Totals are the sum over a job's lines, in any order. A result that replaces another carries
      the other's spend, so the old one is taken out whole before the new one is put in.
    * Cached, cache-write and reasoning tokens are parts of the prompt and of the completion: they
      are added up apart and never to the totals.
    * Money is `Decimal` and exact: no rounding, so that adding and removing cancel. An unknown
      price is no zero: it leaves the cost a lower bound, and the model is named.
    * What attempts may have cost whose usage never came back is kept apart from what is known
      (`uncertain`), and so is what was in flight when a process was killed (`killed`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from functools import reduce
from typing import Any

from batcher.amounts import NO_AMOUNT, Amount, Spend, Usage
from batcher.ledger.account import Account, cost_json, sum_of
from batcher.records import StopReason
from batcher.spend import (
    amount_json,
    read_amount,
    read_count,
    read_part,
    read_spend,
    spend_json,
    usage_json,
)

__all__ = ["Ledger"]

# The part of `uncertain` that stands on no line.
_KILLED = "killed_runs"

# Successes that are added up at once: so many that it costs each next to nothing, few enough that
# they take no room.
_RECENT_MOST = 256

# The name in `errors` of a failed row whose caller gave no code.
_NO_CODE = "unknown"


class Ledger:
    """Folds the results of a job into its totals.

    A row's spend is cumulative: when a row with earlier spend (`add_spend`) or an earlier result
    (`add`) gets a new result, take the earlier one out (`remove_spend`, `remove`) and add the new.
    """

    def __init__(self) -> None:
        self._opened: dict[str, Account] = {}
        # Successes by model that are in no account yet: many are added up in less time.
        self._recent: dict[str, list[tuple[Usage, Decimal | None]]] = {}
        self._errors: Counter[str] = Counter()
        self._pruned: dict[str, Account] = {}
        self._pruned_rows = 0
        self._leases: dict[str, Amount] = {}

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

    def add_success(self, model: str, usage: Usage, cost: Decimal | None) -> None:
        """Count a success of one attempt: `add` with its spend, in less time."""
        recent = self._recent.get(model)
        if recent is None:
            recent = self._recent[model] = []
        recent.append((usage, cost))
        if len(recent) >= _RECENT_MOST:
            self._fold_recent()

    def add_all(
        self,
        *,
        model: str,
        error_code: str,
        rows: int,
        with_cost: int,
        unpriced: int,
        spend: Spend,
    ) -> None:
        """Count so many terminal results of one model and error code (empty: successes).

        Args:
            with_cost, unpriced: How many of them have a cost, and how many are unpriced.
            spend: What all of them have cost.
        """
        account = self._open(model)
        if error_code:
            account.failed += rows
            self._errors[error_code] += rows
        else:
            account.completed += rows
        account.post_sum(spend, with_cost=with_cost, unpriced=unpriced)

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

    def note_lease(self, run: str, amount: Amount) -> None:
        """Take the last word on what a run may have spent beyond what it wrote down."""
        if amount == NO_AMOUNT:
            self._leases.pop(run, None)
        else:
            self._leases[run] = amount

    def read_uncertain(self, uncertain: Mapping[str, Any]) -> None:
        """Add what killed runs may have spent by the `uncertain` object of earlier totals.

        Raises:
            ValueError: It is not what `totals` writes.
        """
        self.note_lease("", self._leases.get("", NO_AMOUNT).plus(read_amount(uncertain, _KILLED)))

    def merge(self, other: Ledger) -> None:
        """Add all that another ledger counted."""
        for mine, theirs in ((self._accounts, other._accounts), (self._pruned, other._pruned)):
            for model, account in theirs.items():
                mine.setdefault(model, Account()).absorb(account)
        self._errors.update(other._errors)
        self._pruned_rows += other._pruned_rows
        for run, amount in other._leases.items():
            self.note_lease(run, self._leases.get(run, NO_AMOUNT).plus(amount))

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
        return sum_of(self._accounts.values()).spend

    def by_model(self) -> dict[str, Spend]:
        """The same, model by model."""
        return {model: account.spend for model, account in self._accounts.items()}

    @property
    def killed(self) -> Amount:
        """The most that runs may have spent unseen whose process was killed."""
        return reduce(Amount.plus, self._leases.values(), NO_AMOUNT)

    @property
    def most(self) -> Amount:
        """The most that the job may have cost so far."""
        return self.spend.most.plus(self.killed)

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
            started_at, finished_at: RFC 3339: of the job's first start, and of its end.
            wall_s: Time that the job's runs took.
            version: Of this program.
            stop_reason: Why the run stopped before the job was complete; named when given.
            prices: What the costs were reckoned with, such as `genai-prices 0.2.3`.
            pending: Rows without a result where the run stopped, which count towards `total`;
                None where nobody knows.
        """
        fields: dict[str, Any] = {
            "object": "batch.totals",
            "custom_id": None,
            **self._spent_fields(pending or 0),
            "errors": self._errors_by_count(),
            "started_at": started_at,
            "finished_at": finished_at,
            "wall_s": round(wall_s, 3),
            "version": version,
        }
        if stop_reason is not None:
            fields |= {"stop_reason": stop_reason.word, "pending": pending}
        if prices is not None:
            fields["prices"] = prices
        if self._pruned_rows or self._pruned:
            fields["pruned"] = self._pruned_fields()
        return fields

    @property
    def _accounts(self) -> dict[str, Account]:
        """The accounts by model, with all that was added."""
        if self._recent:
            self._fold_recent()
        return self._opened

    def _fold_recent(self) -> None:
        for model, recent in self._recent.items():
            self._opened.setdefault(model, Account()).post_successes(recent)
        self._recent.clear()

    def _open(self, model: str) -> Account:
        return self._accounts.setdefault(model, Account())

    def _spent_fields(self, pending: int) -> dict[str, Any]:
        whole = sum_of(self._accounts.values())
        accounts = [
            (m, self._accounts[m]) for m in sorted(self._accounts) if self._accounts[m].shown(m)
        ]
        spend = whole.spend
        return {
            "request_counts": whole.request_counts(pending),
            "usage": usage_json(spend.usage),
            "cost_usd": cost_json(spend),
            "unpriced_models": [model for model, account in accounts if account.unpriced],
            "attempts": spend.attempts,
            "attempts_without_usage": spend.attempts_without_usage,
            **self._uncertain_fields(spend.uncertain),
            "by_model": {model: account.fields() for model, account in accounts},
        }

    def _uncertain_fields(self, of_rows: Amount) -> dict[str, Any]:
        killed = self.killed
        fields = amount_json(of_rows.plus(killed))
        if killed != NO_AMOUNT:
            fields[_KILLED] = amount_json(killed)
        return {} if of_rows.plus(killed) == NO_AMOUNT else {"uncertain": fields}

    def _errors_by_count(self) -> dict[str, int]:
        found = ((code, count) for code, count in self._errors.items() if count)
        return dict(sorted(found, key=lambda item: (-item[1], item[0])))

    def _pruned_fields(self) -> dict[str, Any]:
        spend = sum_of(self._pruned.values()).spend
        by_model = {model: spend_json(self._pruned[model].spend) for model in sorted(self._pruned)}
        return {"rows": self._pruned_rows, **spend_json(spend), "by_model": by_model}
