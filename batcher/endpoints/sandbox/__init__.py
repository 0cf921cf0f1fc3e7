"""A local endpoint that behaves like the real one, and misbehaves on demand.

In a test or a program, on its event loop::

    async with serve(SandboxOptions(faults={"500": 0.01})) as server:
        ...  # server.base_url, server.books()

For a run, in a process of its own that ends with it: `serve_child`. By hand: `batcher sandbox`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import orjson

from batcher.endpoints.sandbox.options import KeyQuota, Latency, Outage, SandboxOptions

if TYPE_CHECKING:
    from batcher.endpoints.child import Child
    from batcher.endpoints.sandbox.server import Server

__all__ = ["KeyQuota", "Latency", "Outage", "SandboxOptions", "serve", "serve_child"]

# A cold interpreter with aiohttp takes half a second; a busy machine ten times that.
_READY_TIMEOUT_S = 30.0


@asynccontextmanager
async def serve(
    options: SandboxOptions | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Server]:
    """Serve a sandbox on this event loop until the block ends.

    Args:
        options: How it behaves; by default it never fails and answers at once.
        host: Address to bind: loopback unless told.
        port: Port to bind; 0 for a free one.
    """
    # The options are wanted without aiohttp, whose import is most of a command's start.
    from batcher.endpoints.sandbox.server import listen

    async with listen(options or SandboxOptions(), host=host, port=port) as server:
        yield server


@asynccontextmanager
async def serve_child(options: SandboxOptions | None = None) -> AsyncIterator[Child]:
    """Serve a sandbox in a process of its own until the block ends.

    Raises:
        BatcherError: It did not come up.
    """
    from batcher.endpoints import child

    config = orjson.dumps((options or SandboxOptions()).to_mapping())
    async with child.serve(__name__, ready_timeout_s=_READY_TIMEOUT_S, config=config) as up:
        yield up
