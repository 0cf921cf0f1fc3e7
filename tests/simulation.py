"""An event loop whose clock jumps to the next timer, and an endpoint within it.

Hours pass in a second, and nothing that waits can hide: a loop without timers, without threads at
work and without an end is stuck, and says so; so is one that goes on beyond its bound, or that
turns and turns while no time passes. What the product asks the time of follows the loop's clock.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self, TypeVar

import anyio.to_thread
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from batcher.records import Failure, Reply
from batcher.transport import BaseTransport

__all__ = [
    "STUCK_THREAD",
    "Answer",
    "HangError",
    "SimulatedLoop",
    "SimulatedTransport",
    "World",
    "reply",
]

# A thread that bears this name is known never to end: the clock does not wait for it.
STUCK_THREAD = "stuck for good"
# Threads in which the product blocks, by name: time stands still while one is at work.
_THREADS = "batcher-blocking"
# How often it is looked whether a thread has ended, in real time.
_LOOK_S = 0.002
_PATIENCE_LOOKS = 5_000
# Turns of the loop at one moment of its clock.
_MOST_TURNS = 50_000
# Turns in which a run that has hung must be taken apart, however much time passes.
_LAST_TURNS = 2_000

_T = TypeVar("_T")

Answer = Callable[[str, int], Awaitable[Reply | Failure]]


class HangError(BaseException):
    """Nothing can go on, or it goes on for too long. Nobody may take it for an ordinary failure."""


class _Selector(selectors.DefaultSelector):
    """Waits for nothing but threads: where only time is left to wait for, it passes."""

    def __init__(self, now_s: float) -> None:
        super().__init__()
        self.now_s = now_s
        self.until_s = float("inf")
        self.writing = 0
        self._turns = 0
        self._hung = False

    def select(self, timeout: float | None = None) -> list[Any]:
        """Give what is ready; else pass the time."""
        ready: list[Any] = super().select(0)
        self._turns += 1
        if self._turns > _MOST_TURNS:
            self._hang("it turns without end while no time passes")
        if ready or timeout == 0:
            return ready
        patience = _PATIENCE_LOOKS
        while self._threads_work():
            if ready := super().select(_LOOK_S):
                return ready
            patience -= 1
            if not patience:
                self._hang("a thread does not end")
        # One may have ended between the two looks.
        if ready := super().select(0):
            return ready
        if timeout is None:
            self._hang("nothing to do, no timer, and not over")
        assert timeout is not None
        if not self._hung:
            self._turns = 0
        self.now_s += timeout
        if self.now_s > self.until_s:
            self._hang("it is not over when it should be")
        return []

    def _threads_work(self) -> bool:
        return self.writing > 0 or any(each.name == _THREADS for each in threading.enumerate())

    def _hang(self, why: str) -> None:
        self._turns = _MOST_TURNS - _LAST_TURNS
        self._hung = True
        self.until_s = float("inf")
        raise HangError(f"{why}, at {self.now_s:,.2f} s")


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop on a clock of its own."""

    def __init__(self, now_s: float) -> None:
        self.selector = _Selector(now_s)
        super().__init__(self.selector)

    def time(self) -> float:
        """Give the clock's time."""
        return self.selector.now_s


class SimulatedTransport(BaseTransport):
    """What sends, down to the socket; what stands for that answers within the loop.

    Args:
        answer: Told which row asks and how often it did, from 1; answers, raises, or never ends.
        options: Those of every transport.
    """

    def __init__(
        self, answer: Callable[[str, int], Awaitable[Reply | Failure]], **options: Any
    ) -> None:
        super().__init__(**options)
        self._answer = answer
        self.asked: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self._due

    async def _exchange(self, path: str, body: bytes, began_s: float) -> Reply | Failure:
        del path, began_s
        name = json.loads(body)["messages"][0]["content"]
        self.asked[name] += 1
        return await self._answer(name, self.asked[name])


class World:
    """Simulated time, and all that the product asks for it.

    Attributes:
        took_s: How long the last run took, simulated.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._loop = SimulatedLoop(0.0)
        self._loop.close()
        self._began_unix = time.time()
        self._monkeypatch = monkeypatch
        self.took_s = 0.0
        self.transport: SimulatedTransport | None = None

    @property
    def now_s(self) -> float:
        """Seconds since the beginning."""
        return self._loop.selector.now_s

    def run(self, work: Coroutine[Any, Any, _T], *, within_s: float = float("inf")) -> _T:
        """Run to the end, which must come within so much simulated time.

        Raises:
            HangError: It does not.
        """
        self._loop = SimulatedLoop(self.now_s)
        selector, patch = self._loop.selector, self._monkeypatch
        began_s = selector.now_s
        selector.until_s = began_s + within_s
        run_sync = anyio.to_thread.run_sync

        async def counted(*args: Any, **options: Any) -> Any:
            selector.writing += 1
            try:
                return await run_sync(*args, **options)
            finally:
                selector.writing -= 1

        with patch.context() as patched:
            patched.setattr(anyio.to_thread, "run_sync", counted)
            patched.setattr(time, "monotonic", self._loop.time)
            patched.setattr(time, "time", lambda: self._began_unix + self.now_s)
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                result = runner.run(work)
                self.took_s = selector.now_s - began_s
                return result

    def serve(self, answer: Answer) -> None:
        """Have runs sent to `answer`."""

        def opened(_: str, **options: Any) -> tuple[BaseTransport, str]:
            self.transport = SimulatedTransport(answer, **options)
            return self.transport, ""

        self._monkeypatch.setattr("batcher.job.sending.open_transport", opened)


def reply(status: int, body: object, **headers: str) -> Reply:
    """Make an answer; `_` in the names of headers stands for a hyphen."""
    fields = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, CIMultiDictProxy(fields), text, 0.1)
