"""Signals of a process that is ours, where no run listens: as it starts, and once it has ended.

Before anything has begun a signal ends the process at once, with a line and the promised exit code.
From where there is something to leave in order (a bar on a terminal, a lock), it is put down until
the run listens; once the run has ended, it is ignored: only how it ended remains to be told.

Python itself answers before the first line of ours, and nobody can help that.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any, Final

__all__ = ["begin", "heard", "let_go", "put_down", "settle"]

# As shells have them; SIGHUP stops as SIGTERM does.
_CODES: Final = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}
_LAST_WORDS: Final = b"batcher: interrupted\n"
_STANDARD_ERROR: Final = 2

_taken: list[signal.Signals] = []
_heard: list[int] = []


def begin() -> None:
    """Say that the process is ours; what its caller had ignored (nohup) stays ignored."""
    for number in _CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            _taken.append(number)
            signal.signal(number, _leave)


def put_down() -> None:
    """From now on put signals down; `heard` gives them."""
    for number in _taken:
        signal.signal(number, _note)


def heard() -> list[int]:
    """Give the signals that were put down, each once."""
    found = _heard[:]
    _heard.clear()
    return found


def let_go() -> None:
    """Give signals back to Python: there is something to clean up, or a listener of its own."""
    for number in _taken:
        usual = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)


def settle() -> None:
    """Ignore signals: else one that comes a moment later would change how a run has ended."""
    for number in _taken:
        signal.signal(number, signal.SIG_IGN)


def _leave(number: int, frame: Any) -> None:
    del frame
    with contextlib.suppress(OSError):
        os.write(_STANDARD_ERROR, _LAST_WORDS)
    os._exit(_CODES[signal.Signals(number)])


def _note(number: int, frame: Any) -> None:
    del frame
    _heard.append(number)
