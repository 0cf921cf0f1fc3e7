"""Writes down what comes of a row: the line in the journal, the figures in the ledger."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from batcher.amounts import NO_AMOUNT, NOTHING_SPENT, Amount, Spend, Usage
from batcher.budget import Bound, Bounds, Unbounded
from batcher.codec import encode_attempt, encode_result, encode_success
from batcher.engine.embed import json_text, request_id_of
from batcher.engine.roster import Member
from batcher.engine.task import Task
from batcher.journal import Keeper
from batcher.journal.index import DONE, FAILED
from batcher.records import BadRow, Failure, Reply, Result, Row, RowError
from batcher.retry.refusals import SUCCESSES
from batcher.spend import spend_text

__all__ = ["Clerk", "Pricer", "timestamp"]

Pricer = Callable[[str, Usage, float], Decimal | None]

# Makes a named tuple in a seventh of the time that calling its class takes: see `records`.
_new: Final = tuple.__new__


class Clerk:
    """Keeps the books of one run.

    Args:
        journal: Where lines go.
        endpoint: Its name, for results.
        price: Model, usage and Unix time to US dollars, or None where no price is known.
        bounds: What an attempt may have cost whose usage never came back.
        prices: Where prices come from, to stand beside each cost.

    Attributes:
        run: Names the run in the journal.
    """

    def __init__(
        self,
        journal: Keeper,
        *,
        endpoint: str,
        price: Pricer,
        bounds: Bounds,
        prices: str = "",
    ) -> None:
        self._prices = prices
        self._journal = journal
        self._state = journal.state
        self._ledger = journal.state.ledger
        self._flags = journal.state.index.flags
        self._endpoint = endpoint
        self._price = price
        self._bounds = bounds
        # Ids are unique within an output over all its runs.
        self.run = secrets.token_hex(8)
        self._serial = 0
        # Many rows end within one millisecond.
        self._stamp = 0
        self._stamp_text = ""

    def spend(self, task: Task, outcome: Reply | Failure, usage: Usage | None) -> Spend:
        """Say what one attempt cost. What never left was none."""
        if usage is not None:
            cost = self._price(task.row.model, usage, time.time())
            return _new(Spend, (1, 0, usage, cost, cost is None, NO_AMOUNT))
        lost = outcome.sent if isinstance(outcome, Failure) else outcome.status in SUCCESSES
        if lost:
            return Spend(1, 1, uncertain=self._most(task))
        return NOTHING_SPENT if isinstance(outcome, Failure) else Spend(1)

    def _most(self, task: Task) -> Amount:
        """The most that an attempt may have cost; nothing where nobody can say."""
        bound: Bound | Unbounded | None = task.bound
        if bound is None:
            bound = self._bounds.most(task.row, task.body, time.time())
        return NO_AMOUNT if isinstance(bound, Unbounded) else bound.amount

    def earlier(self, member: Member) -> tuple[Spend, Spend, Any]:
        """Say what a row had cost before this run; its old result, if it has one, is taken back.

        Returns:
            What it cost, how much of that is thrown away, and what had been said after its request;
            None where nothing was, or where it begins anew.
        """
        kept = self._state.reopen(member.entry)
        if kept is None:
            return NOTHING_SPENT, NOTHING_SPENT, None
        assert isinstance(member.row, Row)
        if kept.model != member.row.model:
            self._ledger.remove_spend(kept.model, kept.spend)
            self._ledger.add_spend(member.row.model, kept.spend)
        goes_on = not kept.terminal and kept.request_hash == member.request_hash
        if goes_on and kept.conversation is not None:
            return kept.spend, kept.thrown_away, kept.conversation
        return kept.spend, kept.spend, None

    def finish(
        self,
        task: Task,
        outcome: Reply | Failure | None,
        answer: object,
        *,
        code: str = "",
        message: str = "",
        extra: bytes = b"",
    ) -> None:
        """Write the result of a row.

        Args:
            outcome: None where the last answer is not at hand: it came in an earlier run.
            answer: The body as parsed, or `NOT_JSON`.
            code: Why it failed, or empty.
            message: For `error`, where the last answer does not say it by its status.
        """
        status, request_id, body = None, "", b""
        if isinstance(outcome, Reply):
            status, request_id = outcome.status, request_id_of(outcome)
            body = json_text(outcome.body, answer)
        refused = status is not None and status not in SUCCESSES
        result = self._result(
            task,
            outcome.latency_s if outcome else 0.0,
            status=status,
            request_id=request_id,
            body=body,
            error=RowError(code, message) if code and not refused else None,
            code=code,
            carry=task.row.carry,
            extra=extra if code else _joined(extra, _thrown_away(task)),
        )
        self._write(task.member, result, task.last_spend)

    def succeed(self, task: Task, reply: Reply, usage: Usage, extra: bytes) -> Decimal | None:
        """Write the result of a row whose first attempt brought an answer: `finish`, in less time.

        Args:
            reply: Its body is JSON, and not nested too deeply.
            usage: What it used.
            extra: What its check found.

        Returns:
            What it cost in US dollars, or None where no price is known.
        """
        row, member = task.row, task.member
        now = time.time()
        cost = self._price(row.model, usage, now)
        self._serial = serial = self._serial + 1
        line = encode_success(
            row,
            reply,
            usage,
            cost,
            serial=f"{self.run}{serial:08x}",
            unnamed=member.unnamed,
            endpoint=self._endpoint,
            prices=self._prices,
            request_id=request_id_of(reply),
            finished_at=self._stamp_text if int(now * 1000) == self._stamp else self._now(),
            extra=extra,
        )
        entry = member.entry
        self._journal.append(line, entry, row.line, terminal=True)
        self._ledger.add_success(row.model, usage, cost)
        self._flags[entry] |= DONE
        return cost

    def refuse(self, member: Member) -> None:
        """Write the error result of a row that can't be sent."""
        bad = member.row
        assert isinstance(bad, BadRow)
        kept = self._state.reopen(member.entry)
        named = bad.custom_id is not None and not member.unnamed
        result = Result(
            line=bad.line,
            custom_id=bad.custom_id if named and bad.custom_id is not None else f"row-{bad.line}",
            unnamed=member.unnamed,
            request_hash=member.request_hash,
            model=kept.model if kept else "",
            endpoint=self._endpoint,
            status=None,
            request_id="",
            body=b"",
            error=RowError(bad.code, bad.message),
            code=bad.code,
            finished_at=self._now(),
            latency_s=0.0,
            spend=kept.spend if kept else NOTHING_SPENT,
        )
        self._write(member, result, NOTHING_SPENT)

    def note_attempt(self, task: Task, outcome: Reply | Failure) -> None:
        """Write down an attempt whose row has no result yet; one that never left cost nothing."""
        if not task.last_spend.attempts:
            return
        self._ledger.add_spend(task.row.model, task.last_spend)
        task.last_spend = NOTHING_SPENT
        self.note_turn(task, latency_s=outcome.latency_s)

    def note_turn(self, task: Task, *, latency_s: float = 0.0) -> None:
        """Write down where a row without a result stands: what it cost, and what was said."""
        extra = b""
        if task.talk is not None:
            extra = _joined(b'"conversation":' + task.talk.written(), _thrown_away(task))
        line = encode_attempt(self._result(task, latency_s, extra=extra))
        self._journal.append(line, task.member.entry, task.row.line, terminal=False)

    def _result(
        self,
        task: Task,
        latency_s: float,
        *,
        status: int | None = None,
        request_id: str = "",
        body: bytes = b"",
        error: RowError | None = None,
        code: str = "",
        carry: bytes = b"",
        extra: bytes = b"",
    ) -> Result:
        row = task.row
        # By position: seventeen names at a call cost as much as writing the line.
        made = (
            row.line,
            row.custom_id,
            task.member.unnamed,
            row.request_hash,
            row.model,
            self._endpoint,
            status,
            request_id,
            body,
            error,
            code,
            self._now(),
            latency_s,
            task.spend or NOTHING_SPENT,
            carry,
            extra,
            self._prices,
        )
        return _new(Result, made)

    def _write(self, member: Member, result: Result, spend: Spend) -> None:
        """Queue a result's line; of its spend, `spend` is not in the ledger yet."""
        self._serial += 1
        line = encode_result(result, serial=f"{self.run}{self._serial:08x}")
        self._journal.append(line, member.entry, result.line, terminal=True)
        failed = bool(result.code)
        self._ledger.add(
            model=result.model,
            succeeded=not failed,
            error_code=result.code,
            spend=spend,
        )
        self._state.index.flags[member.entry] |= DONE | FAILED if failed else DONE

    def _now(self) -> str:
        now = time.time()
        stamp = int(now * 1000)
        if stamp != self._stamp:
            self._stamp = stamp
            self._stamp_text = timestamp(now)
        return self._stamp_text


def _thrown_away(task: Task) -> bytes:
    """Write the part of a row's spend that bought nothing; empty where no tokens were used for it.

    All that a failed row has cost is such; it need not be said.
    """
    spend = task.thrown_away
    return b'"thrown_away":{%b}' % spend_text(spend).encode() if any(spend.usage) else b""


def _joined(*members: bytes) -> bytes:
    return b",".join(filter(None, members))


def timestamp(unix_s: float) -> str:
    """Write a moment as RFC 3339 in UTC with milliseconds."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(unix_s)))
    return f"{whole}.{int(unix_s % 1 * 1000):03d}Z"
