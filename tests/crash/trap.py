"""`python trap.py CALL NUMBER HOW ARGS...`: batcher, killed at a chosen operating system call.

CALL is a function of `os`; of its calls that touch the job's folder (named by `TRAP_FOLDER`) the
NUMBERth is the last: HOW is `before`, `after`, or `torn` for a write of which half is carried out.
With `slow` nothing is killed: from the NUMBERth on, each of these calls takes three seconds more.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SLOW_S = 3.0


def _arm(call: str, number: int, how: str, folder: str) -> None:
    real: Callable[..., Any] = getattr(os, call)
    left = [number]

    def trapped(*arguments: Any, **options: Any) -> Any:
        if not _touches(arguments[0], folder):
            return real(*arguments, **options)
        left[0] -= 1
        if left[0] > 0:
            return real(*arguments, **options)
        if how == "slow":
            time.sleep(_SLOW_S)
            return real(*arguments, **options)
        if how == "torn":
            real(arguments[0], bytes(arguments[1])[: max(1, len(arguments[1]) // 2)])
        elif how == "after":
            real(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    setattr(os, call, trapped)


def _touches(target: Any, folder: str) -> bool:
    if isinstance(target, int):
        try:
            target = Path(f"/proc/self/fd/{target}").readlink()
        except OSError:
            return False
    path = os.path.realpath(os.fspath(target))
    return path.startswith(folder) and not path.endswith(".lock")


def main() -> None:
    """Arm the trap and be batcher."""
    call, number, how = sys.argv[1:4]
    _arm(call, int(number), how, os.environ["TRAP_FOLDER"])
    sys.argv[1:] = sys.argv[4:]
    from batcher.cli import main as batcher

    batcher()


if __name__ == "__main__":
    main()
