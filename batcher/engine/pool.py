"""The pool: takes rows from the feed, asks the governor, sends, and has what comes back settled.

A worker does one row after another: it takes the next one that may leave, awaits its answer, lets
the loop take in what else has come, and the first to go on settles all of that. There is no asyncio
task, lock or queue per row. A row that waits, for its turn or for another attempt, stands in the
lounge and holds no worker. A worker that finds nothing to do parks; whatever makes work possible
(an answer, a block of the source, a point in time) wakes one, and each that finds work wakes the
next.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

from batcher.amounts import NOTHING_SPENT
from batcher.engine.alarm import Alarm
from batcher.engine.clerk import Clerk
from batcher.engine.feed import Feed
from batcher.engine.guess import Guess
from batcher.engine.lounge import Lounge
from batcher.engine.purse import Purse
from batcher.engine.settle import Settler
from batcher.engine.stop import StopSwitch
from batcher.engine.task import Task, permit_of
from batcher.errors import StorageError
from batcher.governor import Governor, Outcome, Permit
from batcher.journal import Keeper
from batcher.records import BadRow, Failure, Reply, StopReason
from batcher.transport import Transport

if TYPE_CHECKING:
    from batcher.engine.turns import Carrier, Work

__all__ = ["Pool"]

# Rows whose tools are carried out or wait for that, beyond the requests in flight: slow tools must
# not have the whole job in memory.
_MOST_IN_TOOLS: Final = 256


class Pool:
    """Works a feed off.

    Args:
        concurrency: Most requests in flight.
        settler: Judges what comes back.
        purse: Says which rows a budget can pay for; None without a budget.
        switch: Stops the run; what is in flight is awaited.
        carrier: Carries tool calls out; None where the job names nothing that does.

    Attributes:
        in_flight: Requests under way.
        in_tools: Rows whose tools are being carried out; they hold no worker and no window.
    """

    def __init__(
        self,
        *,
        feed: Feed,
        governor: Governor,
        transport: Transport,
        settler: Settler,
        clerk: Clerk,
        journal: Keeper,
        switch: StopSwitch,
        concurrency: int,
        carrier: Carrier | None = None,
        purse: Purse | None = None,
    ) -> None:
        self._carrier = carrier
        self._feed = feed
        self._governor = governor
        self._transport = transport
        self._settler = settler
        self._clerk = clerk
        self._journal = journal
        self._switch = switch
        self._concurrency = concurrency
        self._purse = purse
        self.in_flight = 0
        self.in_tools = 0
        self._answered: deque[tuple[Task, Reply | Failure]] = deque()
        # Workers whose answer has been settled, and that will look for work in this turn.
        self._asking = 0
        self._lounge = Lounge()
        self._idle: list[asyncio.Future[None]] = []
        self._workers = 0
        self._guess = Guess()
        self._most_in_tools = concurrency + _MOST_IN_TOOLS
        self._over = anyio.Event()

    @property
    def retrying(self) -> int:
        """Rows that wait for another attempt."""
        return self._lounge.retrying

    async def run(self) -> None:
        """Send all that the feed has, or until the switch is thrown and nothing is in flight."""
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self.wake)
        async with anyio.create_task_group() as group:
            self._group = group
            group.start_soon(self._feed.read_ahead, self.wake)
            self.wake()
            await self._over.wait()
            self._alarm.cancel()
            group.cancel_scope.cancel()

    def wake(self) -> None:
        """Let one more worker look for work."""
        if self._feed.failure is not None:
            self._switch.throw(StopReason.STORAGE, str(self._feed.failure))
        while self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
                return
        if self._workers < self._concurrency and not self._over.is_set():
            self._workers += 1
            self._group.start_soon(self._work)

    async def _work(self) -> None:
        while True:
            task = self._next()
            if task is None:
                await self._park()
                continue
            purse = self._purse
            self.in_flight += 1
            try:
                if (purse is not None and not purse.covered) and (
                    not await purse.leased() or self._switch.thrown
                ):
                    self._give_back(task)
                    continue
                outcome = await self._transport.send(task.row.path, task.body)
            except StorageError as error:
                self._switch.throw(StopReason.STORAGE, str(error))
                self._give_back(task)
                continue
            self._answered.append((task, outcome))
            del outcome  # or each worker would hold its last, of up to 64 MiB, until its next
            try:
                await asyncio.sleep(0)
            finally:
                self._settle_answered()
            self._asking -= 1

    def _settle_answered(self) -> None:
        """Settle what has come in the loop's last turn, whatever ends the wait for it.

        One answer after another takes much less time than each between other work. Until then they
        are in flight, so that the pool can't be over before.
        """
        if not (answered := self._answered):
            return
        self.in_flight -= len(answered)
        self._asking += len(answered)
        settle, guess, purse = self._settler.settle, self._guess, self._purse
        now_s = time.monotonic()
        while answered:
            task, outcome = answered.popleft()
            wait_s = settle(task, outcome, now_s)
            if wait_s is None:
                if task.used:
                    guess.learn(task)
                if purse is not None:
                    purse.end(task)
            elif isinstance(wait_s, (int, float)):
                self._wait(task, wait_s)
            else:
                self._carry_out(task, wait_s)

    def _give_back(self, task: Task) -> None:
        """Undo what was taken for a row that did not leave."""
        self.in_flight -= 1
        task.lane.settle(permit_of(task), Outcome.VOID, time.monotonic())
        if self._purse is not None:
            self._purse.settle(task, NOTHING_SPENT)

    def _carry_out(self, task: Task, work: Work) -> None:
        self.in_tools += 1
        self._group.start_soon(self._in_tools, task, work)

    async def _in_tools(self, task: Task, work: Work) -> None:
        """Have a row's tools carried out, and let it go on."""
        assert self._carrier is not None
        assert self._settler.turns is not None
        results = None
        # First the answer must be safe: what a tool does can't be taken back.
        if await self._journal.settled():
            results = await self._carrier.run(work.calls)
        self.in_tools -= 1
        if results is not None:
            wait_s = self._settler.turns.carried_out(task, work, results)
            if wait_s is not None:
                self._wait(task, wait_s)
            elif self._purse is not None:
                self._purse.end(task)
        self.wake()

    async def _park(self) -> None:
        if self.in_flight == self.in_tools == 0:
            left = self._lounge.waiting or self._lounge.ready_count
            purse = self._purse
            if purse is not None and not left:
                if (why := purse.spent(read_all=self._feed.ended)) is not None:
                    self._switch.throw(StopReason.BUDGET, why)
                left = purse.waiting
            if self._switch.thrown or not (left or not self._feed.ended):
                self._over.set()
        self._idle.append(idle := self._loop.create_future())
        await idle

    def _next(self) -> Task | None:
        """Take the next row that may leave now; None when none may."""
        if self._switch.thrown or self._journal.crowded(self.in_flight):
            return None
        now_s, lounge = time.monotonic(), self._lounge
        task = self._recalled(now_s) if self._purse is not None else None
        if task is None and (lounge.waiting or lounge.ready_count):
            task = self._next_ready(now_s)
        if task is None:
            task = self._next_fresh(now_s)
        if (
            task is not None
            and self._alarm.at_s == math.inf
            and (self._idle or self._workers < self._concurrency)
            and self._governor.in_flight + self._asking < self._governor.window
        ):
            self.wake()
        return task

    def _recalled(self, now_s: float) -> Task | None:
        """Take the first row that waited for the budget and may go now."""
        assert self._purse is not None
        task = self._purse.recall()
        if task is not None and not self._admit(task, now_s):
            self._lounge.make_ready(task)
            return None
        return task

    def _next_ready(self, now_s: float) -> Task | None:
        lounge = self._lounge
        next_s = lounge.call(now_s)
        if next_s is not None:
            self._alarm.set_in(next_s - now_s, now_s)
        return lounge.first(self._payable, self._admit, now_s) if lounge.ready_count else None

    def _next_fresh(self, now_s: float) -> Task | None:
        purse, lounge = self._purse, self._lounge
        while lounge.has_room:
            if self.in_tools >= self._most_in_tools or not (purse is None or purse.looking):
                break
            if (member := self._feed.take()) is None:
                break
            row = member.row
            if isinstance(row, BadRow):
                self._clerk.refuse(member)
                continue
            tokens = len(row.body) * self._guess.per_byte
            task = Task(member, row, self._governor.lane(row.model, now_s), tokens)
            if member.paid:
                if (work := self._settler.open(task)) is not None:
                    self._carry_out(task, work)
                    continue
                task.tokens = len(task.body) * self._guess.per_byte
            if not lounge.ready.get(row.model):
                if not self._payable(task):
                    continue
                if self._admit(task, now_s):
                    return task
            lounge.make_ready(task)
        return None

    def _payable(self, task: Task) -> bool:
        """Whether the budget can pay for a row now; if not, the purse has it."""
        return self._purse is None or self._purse.admits(task)

    def _admit(self, task: Task, now_s: float) -> bool:
        permit = task.lane.admit(task.tokens, now_s, retry=not task.fresh)
        if isinstance(permit, Permit):
            task.permit = permit
            if self._purse is not None:
                self._purse.take(task)
            return True
        if permit < math.inf:
            self._alarm.set_in(permit, now_s)
        return False

    def _wait(self, task: Task, wait_s: float) -> None:
        now_s = time.monotonic()
        task.tokens = len(task.body) * self._guess.per_byte
        self._lounge.retry(task, now_s + wait_s)
        self._lounge.note_outage(self._governor.outage_since(now_s))
