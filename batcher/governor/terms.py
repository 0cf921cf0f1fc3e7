"""The words that the governor and its callers share: what goes in, what comes out."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from batcher.retry.hints import RateHeaders

__all__ = ["Limits", "Outcome", "Permit", "RateHeaders"]


class Limits(NamedTuple):
    """What the user set.

    Attributes:
        concurrency: Most requests in flight, over all lanes.
        rpm: Requests a minute over the whole run; None when not given.
        tpm: Tokens a minute over the whole run; None when not given.
        give_up_after_s: The longest outage, or spell of nothing but refusals, that is sat out.
    """

    concurrency: int
    rpm: float | None
    tpm: float | None
    give_up_after_s: float


class Outcome(Enum):
    """What became of a request, as far as pace is concerned."""

    OK = auto()
    """An answer that counts."""
    THROTTLED = auto()
    """Refused for rate: 429, 503 with a hint, or a body whose code says so."""
    OUTAGE = auto()
    """Nobody there: connection refused, 502, 503, 504."""
    ERROR = auto()
    """Any other failure: 500, a timeout, a reset, a broken body."""
    FINAL = auto()
    """A refusal of this row alone (other 4xx): the endpoint is alive."""
    VOID = auto()
    """Never left, or cancelled by us: says nothing about the endpoint."""


class Permit(NamedTuple):
    """Leave to send one request; handed back when it settles.

    Attributes:
        sent_s: When it was given.
        tokens: The tokens reserved for it.
        seq: How many permits its lane had given before.
        probe: Whether it is a probe of an endpoint that is down.
    """

    sent_s: float
    tokens: float
    seq: int
    probe: bool = False
