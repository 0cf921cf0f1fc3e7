"""What a job has cost: results folded into totals."""

from batcher.ledger.account import Account
from batcher.ledger.fold import Ledger

__all__ = ["Account", "Ledger"]
