"""Endpoints that a run can name, and those that it serves itself."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from batcher.endpoints.named import Endpoint, find

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = ["Endpoint", "find", "serve"]


@asynccontextmanager
async def serve(known: Endpoint, options: Mapping[str, Any]) -> AsyncIterator[str]:
    """Serve an endpoint in a process of its own until the block ends; yield its base URL.

    Args:
        known: An endpoint whose `served` is true.
        options: Its table in the job file.

    Raises:
        UsageError: An option is wrong, or what the endpoint needs is not installed.
        BatcherError: It did not come up.
    """
    # Each brings modules that a run on any other endpoint has no use for.
    if known.name == "local":
        from batcher.endpoints import local

        async with local.serve_child(local.LocalOptions.from_mapping(options)) as child:
            yield child.base_url
    else:
        from batcher.endpoints import sandbox

        async with sandbox.serve_child(sandbox.SandboxOptions.from_mapping(options)) as child:
            yield child.base_url
