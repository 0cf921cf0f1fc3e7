"""What a sandbox of its own process runs on: uvloop where there is one, and a calm collector."""

from __future__ import annotations

import asyncio
import gc

__all__ = ["new_event_loop", "settle_memory"]


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new uvloop, or asyncio's own loop where uvloop isn't built (Windows)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def settle_memory() -> None:
    """Leave what has been imported to the end of the process out of garbage collection.

    An answer makes a few hundred objects and no cycle: the collector, which runs once for every
    700 objects by default, finds nothing. For a process that does nothing but serve.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
