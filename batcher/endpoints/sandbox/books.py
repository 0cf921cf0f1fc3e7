"""The sandbox's books: what it received, answered and charged, to compare a client's totals with.

Every request is counted once as received. Of these, an answer whose tokens are charged is counted
in `usage`, by model and by key; `unreadable` is the part of it whose usage the client could not
read (cut bodies, answers without usage). A reset, a time-out or a client that went away before the
answer is received and not charged. So, for a client that misses nothing:

    client's usage = usage - unreadable
    client's attempts = requests
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any

from batcher.amounts import Usage
from batcher.endpoints.sandbox.options import SandboxOptions

__all__ = ["Account", "Books", "hashed"]


def hashed(key: str) -> str:
    """Name a key without telling it."""
    return sha256(key.encode("utf-8", "replace")).hexdigest()[:12] if key else "none"


@dataclass(slots=True)
class Account:
    """What one key has used of one model, or a sum of such.

    Attributes:
        requests: Answered, or refused for rate.
        charged: Answers charged.
        usage: Of these answers.
    """

    requests: int = 0
    charged: int = 0
    usage: Usage = field(default_factory=Usage)

    def add(self, other: Account) -> None:
        """Add another account's sums to this one."""
        self.requests += other.requests
        self.charged += other.charged
        self.usage = self.usage.plus(other.usage)


@dataclass(slots=True)
class Books:
    """Kept by one sandbox as it serves.

    Attributes:
        options: For the prices.
        requests: All that were received, refused ones included.
        unreadable: Charged answers whose usage the client could not read.
        answers: Whole HTTP answers by status.
        errors: Refusals by code.
        faults: Faults met by name.
        unanswered: Requests that were left without an answer on purpose.
        abandoned: Requests whose client went away before the answer.
        in_flight: Requests under way now.
        most_in_flight: The most that were ever under way.
    """

    options: SandboxOptions
    requests: int = 0
    unreadable: Account = field(default_factory=Account)
    answers: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    abandoned: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    _accounts: dict[tuple[str, str], Account] = field(default_factory=dict)

    def account(self, key: str, model: str) -> Account:
        """Return the account of a key and a model; the books tell the key only hashed."""
        account = self._accounts.get((key, model))
        if account is None:
            account = self._accounts[key, model] = Account()
        return account

    def charge(self, key: str, model: str, usage: Usage, *, readable: bool) -> None:
        """Charge an answer."""
        account = self.account(key, model)
        account.charged += 1
        account.usage = account.usage.plus(usage)
        if not readable:
            self.unreadable.add(Account(charged=1, usage=usage))

    def of_key(self, key: str) -> Account:
        """Return what a key has used of all models."""
        return _sum(at for (name, _), at in self._accounts.items() if name == key)

    def usd(self, usage: Usage) -> Decimal:
        """Return what usage costs at the options' prices."""
        prompt = Decimal(repr(self.options.prompt_usd_per_mtok)) * usage.prompt_tokens
        completion = Decimal(repr(self.options.completion_usd_per_mtok)) * usage.completion_tokens
        return (prompt + completion) / 1_000_000

    def told(self) -> dict[str, Any]:
        """Return the books as JSON values."""
        accounts = self._accounts
        models, keys = ({pair[at]: None for pair in accounts} for at in (1, 0))
        total = _sum(accounts.values())
        return {
            **self._told(total),
            "requests": self.requests,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "answers": {str(status): count for status, count in sorted(self.answers.items())},
            "unanswered": self.unanswered,
            "abandoned": self.abandoned,
            "unreadable": self._told(self.unreadable),
            "by_model": {
                name: self._told(_sum(at for (_, model), at in accounts.items() if model == name))
                for name in models
            },
            "by_key": {hashed(name): self._told(self.of_key(name)) for name in keys},
            "errors": dict(self.errors),
            "faults": dict(self.faults),
        }

    def _told(self, account: Account) -> dict[str, Any]:
        return {
            "requests": account.requests,
            "charged": account.charged,
            "usage": account.usage._asdict(),
            "cost_usd": str(self.usd(account.usage)),
        }


def _sum(accounts: Iterable[Account]) -> Account:
    total = Account()
    for account in accounts:
        total.add(account)
    return total
