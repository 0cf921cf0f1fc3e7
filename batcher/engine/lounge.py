"""The rows under way that hold no worker: they may not leave yet, or wait for another attempt."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Final

from batcher.engine.task import Task

__all__ = ["Lounge"]

# Rows that are read ahead while those before them, of other models, may not leave yet.
_MOST_READY: Final = 256
_MOST_READY_BYTES: Final = 16 * 1024 * 1024


class Lounge:
    """Where rows wait.

    Attributes:
        ready: Rows that may not leave yet, by model, in order.
        ready_count: How many there are.
        waiting: Rows that wait for another attempt, as a heap by time.
    """

    def __init__(self) -> None:
        self.ready: dict[str, deque[Task]] = {}
        self.ready_count = 0
        self.waiting: list[tuple[float, int, Task]] = []
        self._ready_bytes = 0
        self._pushed = 0
        self._outage_since_s: float | None = None

    @property
    def retrying(self) -> int:
        """Rows that wait for another attempt."""
        ready = (task for tasks in self.ready.values() for task in tasks)
        return len(self.waiting) + sum(not task.fresh for task in ready)

    @property
    def has_room(self) -> bool:
        """Whether another row may be made ready."""
        return self.ready_count < _MOST_READY and self._ready_bytes < _MOST_READY_BYTES

    def make_ready(self, task: Task) -> None:
        """Let a row stand at the end of its model's."""
        self.ready.setdefault(task.row.model, deque()).append(task)
        self.ready_count += 1
        self._ready_bytes += len(task.body)

    def take(self, tasks: deque[Task]) -> Task:
        """Take the first of a model's rows."""
        task = tasks.popleft()
        self.ready_count -= 1
        self._ready_bytes -= len(task.body)
        return task

    def first(
        self,
        payable: Callable[[Task], bool],
        admit: Callable[[Task, float], bool],
        now_s: float,
    ) -> Task | None:
        """Take the first of the rows that are ready to leave, of whichever model, that may.

        Args:
            payable: Says whether the budget can pay for a row; one that it can't is not kept here.
            admit: Says whether a row may leave now.
            now_s: Monotonic seconds.
        """
        for tasks in self.ready.values():
            while tasks and not payable(tasks[0]):
                self.take(tasks)
            if tasks and admit(tasks[0], now_s):
                return self.take(tasks)
        return None

    def retry(self, task: Task, at_s: float) -> None:
        """Let a row wait until a moment."""
        self._pushed += 1
        heapq.heappush(self.waiting, (at_s, self._pushed, task))

    def call(self, now_s: float) -> float | None:
        """Make those ready whose time has come; say when the next one's comes."""
        waiting = self.waiting
        while waiting and waiting[0][0] <= now_s:
            self.make_ready(heapq.heappop(waiting)[2])
        return waiting[0][0] if waiting else None

    def note_outage(self, since_s: float | None) -> None:
        """Take back what rows were charged for an outage, once for each."""
        if since_s is not None and since_s != self._outage_since_s:
            for _, _, waiting in self.waiting:
                waiting.forgive(since_s)
            for ready in self.ready.values():
                for each in ready:
                    each.forgive(since_s)
        self._outage_since_s = since_s
