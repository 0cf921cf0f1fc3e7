"""Signals that stop a run: the first drains, a second one stops at once."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from batcher import early
from batcher.engine.stop import StopSwitch
from batcher.records import StopReason

__all__ = ["obeyed"]

# timeout(1) signals its child and then the child's whole group: one stop, told twice.
_ECHO_S: Final = 0.3

_SIGNALS: Final = {
    signal.SIGINT: (StopReason.SIGINT, "interrupted"),
    signal.SIGTERM: (StopReason.SIGTERM, "asked to stop (SIGTERM)"),
    signal.SIGHUP: (StopReason.SIGHUP, "the terminal is gone (SIGHUP)"),
}


@contextmanager
def obeyed(switch: StopSwitch) -> Iterator[None]:
    """Let signals throw the switch; a second one makes it urgent."""
    loop = asyncio.get_running_loop()
    heard_s = -math.inf

    def obey(reason: StopReason, text: str) -> None:
        nonlocal heard_s
        now_s = time.monotonic()
        if now_s - heard_s > _ECHO_S:
            # A deadline may have thrown the switch: only a second signal is urgent.
            switch.urgent = switch.urgent or heard_s > -math.inf
            heard_s = now_s
            switch.throw(reason, text)

    def hear(number: int, frame: object) -> None:
        del frame
        obey(*_SIGNALS[signal.Signals(number)])
        # The loop may sleep: asyncio's own handling of SIGINT wakes it so.
        loop.call_soon_threadsafe(int)

    # What the caller had ignored (nohup) stays ignored.
    before = {
        number: handler
        for number in _SIGNALS
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }
    # Not the loop's own handlers: when these are taken away, the system's stand for a moment.
    for number in before:
        signal.signal(number, hear)
    for earlier in early.heard():
        obey(*_SIGNALS[signal.Signals(earlier)])
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
