"""Carries out the calls of a turn: together, within bounds, and whatever a handler does.

A handler's failure is a `ToolResult`, never an exception here. The time that a call waits for its
turn among the others does not count towards its timeout. When the run stops, turns that have begun
are finished and no other is begun; when it stops at once, what is under way is given up.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from batcher.handlers.content import content_of
from batcher.handlers.errors import HandlerError, HandlersStuckError
from batcher.turns import ToolCall, ToolCode, ToolResult, TurnPolicy

__all__ = ["Handlers"]

# Of an exception's text: enough to act upon; it is paid for with every turn that follows.
_WORDS_MAX_CHARS: Final = 2000


class _Turn:
    """One turn's calls; `begun` once any of them was."""

    begun = False


class Handlers(ABC):
    """What carries tool calls out; an async context manager.

    Args:
        table: The keys of `[handlers]`.
        names: The tools that there are handlers for; None where any will do.
    """

    def __init__(self, table: Mapping[str, Any], names: frozenset[str] | None) -> None:
        tools = table.get("tools")
        self._names = names if tools is None else frozenset(tools)
        self._chosen = tools is not None
        self._max_turns = table.get("max_turns", 10)
        self._tells_errors = table.get("on_error", "tell") == "tell"
        self._timeout_s = table.get("timeout", 60.0)
        self.concurrency = table.get("concurrency", 16)
        self._slots = asyncio.Semaphore(self.concurrency)
        self._under_way: set[asyncio.Task[ToolResult | None]] = set()
        self._draining = self._aborted = False

    @property
    def names(self) -> frozenset[str] | None:
        """The only tools whose calls do not fail their row; None where no call does."""
        return None if self._chosen else self._names

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *_: object) -> None: ...

    @abstractmethod
    async def call(self, call: ToolCall) -> Any:
        """Carry out one call; return its value, or raise whatever went wrong."""

    def policy(self, policy: TurnPolicy) -> TurnPolicy:
        """Add what the table says to a policy."""
        return policy._replace(
            carries_out=True,
            handled=self._names,
            others_end=self._chosen,
            max_turns=self._max_turns,
            tells_errors=self._tells_errors,
        )

    async def run(self, calls: Sequence[ToolCall]) -> list[ToolResult] | None:
        """Carry out the calls of one turn; None where the run stopped first."""
        turn = _Turn()
        tasks = [asyncio.ensure_future(self._one(call, turn)) for call in calls]
        self._under_way.update(tasks)
        try:
            results = await asyncio.gather(*tasks)
        finally:
            self._under_way.difference_update(tasks)
        whole = [result for result in results if result is not None]
        return whole if len(whole) == len(calls) else None

    def drain(self) -> None:
        """Begin with no other turn."""
        self._draining = True

    def abort(self) -> None:
        """Give up what is under way."""
        self._draining = self._aborted = True
        for task in self._under_way:
            task.cancel()

    async def _one(self, call: ToolCall, turn: _Turn) -> ToolResult | None:
        try:
            async with self._slots:
                if self._draining and not turn.begun:
                    return None
                turn.begun = True
                return await self._timed(call)
        except asyncio.CancelledError:
            if self._aborted:
                return None
            raise

    async def _timed(self, call: ToolCall) -> ToolResult:
        what = f"the handler of {call.name}"
        timer = asyncio.timeout(self._timeout_s)
        try:
            async with timer:
                return ToolResult(content_of(await self.call(call)))
        except HandlersStuckError as error:
            return ToolResult("", ToolCode.TIMEOUT, f"{what} was not begun: {error}", str(error))
        except HandlerError as error:
            return ToolResult("", ToolCode.FAILED, f"{what} failed", _words_of(error))
        except Exception as error:  # noqa: BLE001 - whatever a user's code raises costs its row alone
            if timer.expired():
                said = f"did not answer within {self._timeout_s:g} s"
                return ToolResult("", ToolCode.TIMEOUT, f"{what} {said}", f"the tool {said}")
            name = type(error).__name__
            detail = f"{name}: {_words_of(error)}"
            return ToolResult("", ToolCode.FAILED, f"{what} raised {name}", detail)


def _words_of(error: Exception) -> str:
    """What an exception says, fit to be written as JSON: its text is a user's code, too."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception that can't even say what it is
        return "no words"
    return text[:_WORDS_MAX_CHARS].encode("utf-8", "replace").decode()
