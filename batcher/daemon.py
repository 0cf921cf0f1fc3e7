"""Blocking work in a daemon thread of its own.

A read of a pipe that nobody writes to can't be broken off, and must not keep the process from
ending: worker threads of the event loop would.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_daemon"]

_T = TypeVar("_T")


async def in_daemon(function: Callable[[], _T]) -> _T:
    """Run a function in a daemon thread and await what it returns or raises."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def tell(set_: Callable[[], None]) -> None:
        if not future.done():
            set_()

    def work() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - handed over to the one who awaits
            failed = error
            _call(lambda: tell(lambda: future.set_exception(failed)))
        else:
            _call(lambda: tell(lambda: future.set_result(result)))

    def _call(callback: Callable[[], None]) -> None:
        # The loop may have closed while a read could not be broken off.
        if not loop.is_closed():
            loop.call_soon_threadsafe(callback)

    threading.Thread(target=work, name="batcher-blocking", daemon=True).start()
    return await future
