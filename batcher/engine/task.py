"""A row under way, from its first attempt to its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.amounts import NOTHING_SPENT, Spend
from batcher.budget import Bound
from batcher.engine.roster import Member
from batcher.governor import Lane, Permit
from batcher.records import Row

if TYPE_CHECKING:
    from batcher.turns import Talk

__all__ = ["Task", "permit_of"]


class Task:
    """What is remembered of a row between its attempts. Made for every row, so it is small.

    Attributes:
        body: What its next attempt sends. It begins as the row's own.
        tokens: What its next attempt is expected to use, for the governor's reservation.
        permit: The governor's leave for the attempt under way.
        bound, weighed: The most that an attempt that sends `weighed` can cost; None until asked.
        spend: All that the row has cost in this job; None before its first attempt.
        last_spend: What its last attempt cost; the ledger learns of it with the row's next line.
        charged: Attempts that count towards `max_attempts`.
        outages_s: When those of the charged failed that an outage may explain.
        stale: Attempts in a row that found their connection stale.
        talk: What was said after its request; None while that is nothing.
        thrown_away: What of `spend` bought answers that nobody has.
        throttled_since_s: When it was first refused for rate without an answer since.
        used: Tokens that its only attempt took, once that is known; else 0.
    """

    __slots__ = (
        "body",
        "bound",
        "charged",
        "fresh",
        "lane",
        "last_spend",
        "member",
        "outages_s",
        "permit",
        "row",
        "spend",
        "stale",
        "talk",
        "throttled_since_s",
        "thrown_away",
        "tokens",
        "used",
        "weighed",
    )

    def __init__(self, member: Member, row: Row, lane: Lane, tokens: float) -> None:
        self.member = member
        self.row = row
        self.body = row.body
        self.lane = lane
        self.tokens = tokens
        self.permit: Permit | None = None
        self.bound: Bound | None = None
        self.weighed: bytes | None = None
        self.spend: Spend | None = None
        self.last_spend = NOTHING_SPENT
        self.charged = 0
        self.fresh = True
        self.stale = 0
        self.used = 0
        self.outages_s: tuple[float, ...] = ()
        self.throttled_since_s: float | None = None
        self.talk: Talk | None = None
        self.thrown_away = NOTHING_SPENT

    def add_spend(self, spend: Spend) -> None:
        """Add what an attempt cost."""
        self.last_spend = spend
        self.spend = so_far = spend if self.spend is None else self.spend.plus(spend)
        self.used = spend.usage.total_tokens if so_far.attempts == 1 else 0

    def throw_away(self) -> None:
        """Note that the last attempt's answer, if one came, is not used."""
        if self.last_spend.attempts:
            self.thrown_away = self.thrown_away.plus(self.last_spend)

    def ask(self, body: bytes) -> None:
        """Send another body from now on: a request like a new one, with attempts of its own."""
        self.body = body
        self.charged = 0
        self.fresh = True
        self.stale = 0
        self.outages_s = ()
        self.throttled_since_s = None

    def forgive(self, since_s: float) -> None:
        """Take back what was charged for failures since then: the endpoint was down."""
        kept = tuple(at_s for at_s in self.outages_s if at_s < since_s)
        self.charged -= len(self.outages_s) - len(kept)
        self.outages_s = kept


def permit_of(task: Task) -> Permit:
    """Give the permit of an attempt under way."""
    assert task.permit is not None
    return task.permit
