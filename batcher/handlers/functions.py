"""Handlers that are functions of a Python file, which is run because the job names it.

A function gets the call, and the arguments by their names: `def get_date(call, order_id): ...`. A
plain function runs in a daemon thread of its own; async ones share an event loop in another thread.
So neither can hold up the requests, nor keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple, Self

from batcher.daemon import in_daemon
from batcher.errors import UsageError
from batcher.handlers.carrier import Handlers
from batcher.handlers.errors import HandlersStuckError
from batcher.turns import ToolCall

__all__ = ["FunctionHandlers"]

# Threads of calls that ran out of time and are still at work, beyond the concurrency: a thread
# can't be ended, and they must not fill the machine.
_MOST_STUCK: Final = 64

# How long async handlers that were broken off may take to end.
_LAST_WORDS_S: Final = 1.0

# In the file: functions by the name of their tool, where that can't be the function's own.
_BY_NAME: Final = "HANDLERS"


class _Raised(NamedTuple):
    """What a function raised: a value, since some exceptions would end more than the call."""

    error: BaseException


class FunctionHandlers(Handlers):
    """Functions by the names of their tools.

    Args:
        table: The keys of `[handlers]`.

    Raises:
        UsageError: The file can't be run, or a tool of the table has no function.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        path: Path = table["python"]
        self._quiet = contextlib.ExitStack()
        with contextlib.redirect_stdout(sys.stderr):
            self._functions = _functions(_load(path), path)
        missing = sorted(set(table.get("tools", ())) - self._functions.keys())
        if missing:
            raise UsageError(f"{path.name} has no function {missing[0]}: see handlers.tools")
        super().__init__(table, frozenset(self._functions))
        self._alive = 0
        self._count = threading.Lock()

    async def __aenter__(self) -> Self:
        # Standard output carries nothing but the totals, whatever a handler prints.
        self._quiet.enter_context(contextlib.redirect_stdout(sys.stderr))
        self._loop = loop = asyncio.new_event_loop()
        threading.Thread(target=_serve, args=[loop], name="batcher-handlers", daemon=True).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._quiet.close()
        ending = asyncio.run_coroutine_threadsafe(_end_all(), self._loop)
        # A handler may hold its loop up for good; it does not hold up the process.
        await asyncio.wait([asyncio.wrap_future(ending)], timeout=_LAST_WORDS_S)

    async def call(self, call: ToolCall) -> Any:
        """See `Handlers`."""
        function = self._functions[call.name]
        arguments = call.arguments
        if isinstance(arguments, str):
            arguments = {"input": arguments}
        bound = partial(function, call, **arguments)
        if not inspect.iscoroutinefunction(function):
            value = await in_daemon(self._counted(bound))
        else:
            value = bound()
        if inspect.isawaitable(value):
            awaiting = asyncio.run_coroutine_threadsafe(_kept(value), self._loop)
            value = await asyncio.wrap_future(awaiting)
        if isinstance(value, _Raised):
            raise _as_exception(value.error)
        return value

    def _counted(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Wrap a plain function: its thread is counted while it lives, and raises nothing."""
        with self._count:
            if self._alive >= self.concurrency + _MOST_STUCK:
                raise HandlersStuckError(f"{self._alive} calls that ran out of time still run")
            self._alive += 1

        def work() -> Any:
            try:
                return function()
            except BaseException as error:  # noqa: BLE001 - a handler may raise SystemExit, too
                return _Raised(error)
            finally:
                with self._count:
                    self._alive -= 1

        return work


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


async def _end_all() -> None:
    """Break off what still runs in this loop, and end it."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.stop)


async def _kept(value: Awaitable[Any]) -> Any:
    try:
        return await value
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - as above
        return _Raised(error)


def _as_exception(error: BaseException) -> Exception:
    if isinstance(error, Exception):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"batcher_handlers_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"handlers.python: there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    # It may import what lies beside it, as a script may.
    sys.path.insert(0, str(path.resolve().parent))
    writes_none, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise UsageError(f"{path.name} can't be run: {type(error).__name__}: {error}") from error
    finally:
        sys.dont_write_bytecode = writes_none
    return module


def _functions(module: ModuleType, path: Path) -> dict[str, Callable[..., Any]]:
    """Find the functions of a file: its own public ones, and what `HANDLERS` names."""
    found: dict[str, Callable[..., Any]] = {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }
    named = getattr(module, _BY_NAME, {})
    if not isinstance(named, Mapping) or not all(map(callable, named.values())):
        raise UsageError(f"{path.name}: {_BY_NAME} is no mapping of tools to functions")
    found |= {str(name): function for name, function in named.items()}
    if not found:
        raise UsageError(f"{path.name} has no public function, so no tool could be carried out")
    return found
