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
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any

from batcher.endpoints.sandbox.options import SandboxOptions
from batcher.records import Usage

__all__ = ["Account", "Books", "hashed"]


def hashed(key: str) -> str:
    """Name a key without telling it."""
    return sha256(key.encode("utf-8", "replace")).hexdigest()[:12] if key else "none"


@dataclass(slots=True)
class Account:
    """What one key, one model, or all of them have used."""

    requests: int = 0
    charged: int = 0
    usage: Usage = field(default_factory=Usage)

    def charge(self, usage: Usage) -> None:
        """Add one charged answer."""
        self.charged += 1
        self.usage = self.usage.plus(usage)


@dataclass(slots=True)
class Books:
    """Kept by one sandbox as it serves."""

    options: SandboxOptions
    total: Account = field(default_factory=Account)
    unreadable: Account = field(default_factory=Account)
    by_model: dict[str, Account] = field(default_factory=dict)
    by_key: dict[str, Account] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    abandoned: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    def model(self, name: str) -> Account:
        """Return a model's account."""
        return self.by_model.setdefault(name, Account())

    def key(self, name: str) -> Account:
        """Return a key's account; `name` is the key itself, which the books tell only hashed."""
        return self.by_key.setdefault(name, Account())

    def charge(self, key: str, model: str, usage: Usage, *, readable: bool) -> None:
        """Charge an answer."""
        self.total.charge(usage)
        self.model(model).charge(usage)
        self.key(key).charge(usage)
        if not readable:
            self.unreadable.charge(usage)

    def usd(self, usage: Usage) -> Decimal:
        """What usage costs at the options' prices."""
        prompt = Decimal(repr(self.options.prompt_usd_per_mtok)) * usage.prompt_tokens
        completion = Decimal(repr(self.options.completion_usd_per_mtok)) * usage.completion_tokens
        return (prompt + completion) / 1_000_000

    def told(self) -> dict[str, Any]:
        """Return the books as JSON values."""
        return {
            "requests": self.total.requests,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "answers": {str(status): count for status, count in sorted(self.answers.items())},
            "unanswered": self.unanswered,
            "abandoned": self.abandoned,
            "charged": self.total.charged,
            "usage": self.total.usage._asdict(),
            "cost_usd": str(self.usd(self.total.usage)),
            "unreadable": {"charged": self.unreadable.charged, **self.unreadable.usage._asdict()},
            "by_model": self._accounts(self.by_model),
            "by_key": self._accounts({hashed(key): at for key, at in self.by_key.items()}),
            "errors": dict(self.errors),
            "faults": dict(self.faults),
        }

    def _accounts(self, accounts: Mapping[str, Account]) -> dict[str, Any]:
        return {
            name: {
                "requests": account.requests,
                "charged": account.charged,
                "usage": account.usage._asdict(),
                "cost_usd": str(self.usd(account.usage)),
            }
            for name, account in accounts.items()
        }
