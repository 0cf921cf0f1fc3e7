"""The sandbox as a child process: its options come as the first line of standard input."""

from __future__ import annotations

import asyncio

import orjson

from batcher.endpoints.child import announce, die_with_parent, read_config
from batcher.endpoints.sandbox.loop import new_event_loop, settle_memory
from batcher.endpoints.sandbox.options import SandboxOptions
from batcher.endpoints.sandbox.server import listen


async def _serve(options: SandboxOptions) -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with listen(options, host="127.0.0.1", port=0) as server:
        die_with_parent(lambda: loop.call_soon_threadsafe(over.set))
        announce(server.port)
        await over.wait()


def main() -> None:
    """Serve until the parent is gone."""
    options = SandboxOptions.from_mapping(orjson.loads(read_config() or b"{}"))
    settle_memory()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(options))


if __name__ == "__main__":
    main()
