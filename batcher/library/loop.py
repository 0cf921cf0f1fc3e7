"""The loop that a run of ours goes on, where the program has none of its own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

__all__ = ["drive"]

_T = TypeVar("_T")


def drive(work: Callable[[], Awaitable[_T]]) -> _T:
    """Run a coroutine function on a loop of its own, the fastest at hand."""
    has_uvloop = sys.platform != "win32" and importlib.util.find_spec("uvloop") is not None
    return anyio.run(work, backend_options={"use_uvloop": has_uvloop})
