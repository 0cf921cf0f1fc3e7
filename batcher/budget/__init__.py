"""A budget that holds whatever is in flight: what an attempt can cost at most, and who may go.

Pure: the engine's `purse` asks, tells what became of each attempt, and keeps word in the journal.
"""

from batcher.budget.account import NO_LIMIT, Budget, Fit, Limit
from batcher.budget.bounds import Bound, Bounds, Unbounded
from batcher.budget.holds import Holds

__all__ = [
    "NO_LIMIT",
    "Bound",
    "Bounds",
    "Budget",
    "Fit",
    "Holds",
    "Limit",
    "Unbounded",
]
