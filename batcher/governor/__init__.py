"""How many requests may be in flight and how fast they may leave; see `docs/governor.md`."""

from __future__ import annotations

from batcher.governor.core import Governor
from batcher.governor.lane import Lane
from batcher.governor.terms import Limits, Outcome, Permit, RateHeaders

__all__ = ["Governor", "Lane", "Limits", "Outcome", "Permit", "RateHeaders"]
