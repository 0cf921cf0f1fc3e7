"""The pool: takes rows from the feed, asks the governor, sends, and has what comes back settled.

A worker does one row after another: it takes the next one that may leave, awaits its answer, has it
settled, and takes the next. There is no asyncio task, lock or queue per row. A row that waits, for
its turn or for another attempt, stands in a heap or a queue and holds no worker. A worker that
finds nothing to do parks; whatever makes work possible (an answer, a block of the source, a point
in time) wakes one, and each that finds work wakes the next.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections import deque
from typing import Final

import anyio

from batcher.amounts import NOTHING_SPENT
from batcher.engine.clerk import Clerk
from batcher.engine.feed import Feed
from batcher.engine.purse import Purse
from batcher.engine.settle import Settler
from batcher.engine.stop import StopSwitch
from batcher.engine.task import Task
from batcher.engine.turns import Carrier, Work
from batcher.errors import StorageError
from batcher.governor import Governor, Outcome, Permit
from batcher.journal import Keeper
from batcher.records import BadRow, Failure, StopReason
from batcher.transport import Transport

__all__ = ["Pool"]

# Rows that are read ahead while those before them, of other models, may not leave yet.
_MOST_READY: Final = 256
_MOST_READY_BYTES: Final = 16 * 1024 * 1024

# Rows whose tools are carried out or wait for that, beyond the requests in flight: slow tools must
# not have the whole job in memory.
_MOST_IN_TOOLS: Final = 256

# Before anything is known: English prompts have about four bytes a token.
_TOKENS_PER_BYTE: Final = 0.25

# How much of the estimate each answer makes up.
_LEARNING: Final = 0.02


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
        if purse is not None:
            purse.wake = self.wake
        self.in_flight = 0
        self.in_tools = 0
        # Rows that may not leave yet, by model; and rows that wait for another attempt, by time.
        self._ready: dict[str, deque[Task]] = {}
        self._ready_count = 0
        self._ready_bytes = 0
        self._waiting: list[tuple[float, int, Task]] = []
        self._pushed = 0
        self._outage_since_s: float | None = None
        self._idle: list[asyncio.Future[None]] = []
        self._workers = 0
        self._wake_at_s = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._alarm: asyncio.Task[None] | None = None
        self._tokens_per_byte = _TOKENS_PER_BYTE
        self._most_in_tools = concurrency + _MOST_IN_TOOLS
        self._over = anyio.Event()

    @property
    def retrying(self) -> int:
        """Rows that wait for another attempt."""
        ready = (task for tasks in self._ready.values() for task in tasks)
        return len(self._waiting) + sum(not task.fresh for task in ready)

    async def run(self) -> None:
        """Send all that the feed has, or until the switch is thrown and nothing is in flight."""
        self._loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as group:
            self._group = group
            group.start_soon(self._feed.read_ahead, self.wake)
            self.wake()
            await self._over.wait()
            if self._timer is not None:
                self._timer.cancel()
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
            self.in_flight += 1
            try:
                outcome = await self._transport.send(task.row.path, task.body)
            except StorageError as error:
                self._switch.throw(StopReason.STORAGE, str(error))
                task.lane.settle(_permit(task), Outcome.VOID, time.monotonic())
                if self._purse is not None:
                    self._purse.settle(task, NOTHING_SPENT)
                continue
            finally:
                self.in_flight -= 1
            wait_s = self._settler.settle(task, outcome)
            if isinstance(wait_s, Work):
                self._carry_out(task, wait_s)
            elif wait_s is not None:
                self._wait(task, wait_s)
            elif not isinstance(outcome, Failure):
                self._learn_size(task)

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
        self.wake()

    async def _park(self) -> None:
        if self.in_flight == self.in_tools == 0:
            left = self._waiting or self._ready_count
            purse = self._purse
            if purse is not None and not left:
                if (why := purse.spent(read_all=self._feed.ended)) is not None:
                    self._switch.throw(StopReason.BUDGET, why)
                left = purse.waiting
            if self._switch.thrown or not (left or not self._feed.ended):
                self._over.set()
        idle: asyncio.Future[None] = self._loop.create_future()
        self._idle.append(idle)
        await idle

    def _next(self) -> Task | None:
        """Take the next row that may leave now; None when none may."""
        if self._switch.thrown or self._journal.crowded:
            return None
        now_s = time.monotonic()
        task = self._recalled(now_s) if self._purse is not None else None
        if task is None and (self._waiting or self._ready_count):
            task = self._next_ready(now_s)
        if task is None:
            task = self._next_fresh(now_s)
        if (
            task is not None
            and self._wake_at_s == math.inf
            and (self._idle or self._workers < self._concurrency)
            and self._governor.in_flight < self._governor.window
        ):
            self.wake()
        return task

    def _recalled(self, now_s: float) -> Task | None:
        """Take the first row that waited for the budget and may go now."""
        assert self._purse is not None
        task = self._purse.recall()
        if task is not None and not self._admit(task, now_s):
            self._make_ready(task)
            return None
        return task

    def _next_ready(self, now_s: float) -> Task | None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= now_s:
            self._make_ready(heapq.heappop(waiting)[2])
        if waiting:
            self._wake_in(waiting[0][0] - now_s, now_s)
        if self._ready_count:
            for tasks in self._ready.values():
                while tasks and not self._payable(tasks[0]):
                    self._take_ready(tasks)
                if tasks and self._admit(tasks[0], now_s):
                    return self._take_ready(tasks)
        return None

    def _next_fresh(self, now_s: float) -> Task | None:
        purse = self._purse
        while self._ready_count < _MOST_READY and self._ready_bytes < _MOST_READY_BYTES:
            if self.in_tools >= self._most_in_tools or not (purse is None or purse.looking):
                break
            member = self._feed.take()
            if member is None:
                break
            row = member.row
            if isinstance(row, BadRow):
                self._clerk.refuse(member)
                continue
            tokens = len(row.body) * self._tokens_per_byte
            task = Task(member, row, self._governor.lane(row.model, now_s), tokens)
            if member.paid:
                if (work := self._settler.open(task)) is not None:
                    self._carry_out(task, work)
                    continue
                task.tokens = len(task.body) * self._tokens_per_byte
            if not self._ready.get(row.model):
                if not self._payable(task):
                    continue
                if self._admit(task, now_s):
                    return task
            self._make_ready(task)
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
            self._wake_in(permit, now_s)
        return False

    def _make_ready(self, task: Task) -> None:
        self._ready.setdefault(task.row.model, deque()).append(task)
        self._ready_count += 1
        self._ready_bytes += len(task.body)

    def _take_ready(self, tasks: deque[Task]) -> Task:
        task = tasks.popleft()
        self._ready_count -= 1
        self._ready_bytes -= len(task.body)
        return task

    def _wait(self, task: Task, wait_s: float) -> None:
        now_s = time.monotonic()
        task.tokens = len(task.body) * self._tokens_per_byte
        self._pushed += 1
        heapq.heappush(self._waiting, (now_s + wait_s, self._pushed, task))
        since_s = self._governor.outage_since(now_s)
        if since_s is not None and since_s != self._outage_since_s:
            for _, _, waiting in self._waiting:
                waiting.forgive(since_s)
            for ready in self._ready.values():
                for each in ready:
                    each.forgive(since_s)
        self._outage_since_s = since_s

    def _wake_in(self, wait_s: float, now_s: float) -> None:
        at_s = now_s + wait_s
        if at_s < self._wake_at_s:
            self._wake_at_s = at_s
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(wait_s, self._on_time)

    def _on_time(self) -> None:
        self._wake_at_s = math.inf
        self._timer = None
        # anyio starts no task from a bare callback: it finds the event loop by the task it is in.
        self._alarm = self._loop.create_task(self._on_alarm())

    async def _on_alarm(self) -> None:
        self.wake()

    def _learn_size(self, task: Task) -> None:
        """Let the tokens that a row used correct what the next ones are expected to use."""
        spend = task.spend
        if spend is not None and spend.attempts == 1 and spend.usage.total_tokens:
            seen = spend.usage.total_tokens / len(task.body)
            self._tokens_per_byte += (seen - self._tokens_per_byte) * _LEARNING


def _permit(task: Task) -> Permit:
    assert task.permit is not None
    return task.permit
