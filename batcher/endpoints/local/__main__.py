"""The local model as a child process: its configuration is the first line of standard input."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson

from batcher.endpoints.child import announce, die_with_parent, read_config
from batcher.endpoints.local.model import start
from batcher.endpoints.local.server import listen


async def _serve(upstream: str) -> None:
    async with listen(upstream) as port:
        announce(port)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until the parent is gone."""
    config = orjson.loads(read_config())
    # At once: llama.cpp has nothing to save, and would finish its answers first.
    die_with_parent()
    llama = start(Path(config["model"]))
    asyncio.run(_serve(llama.listening_address))


if __name__ == "__main__":
    main()
