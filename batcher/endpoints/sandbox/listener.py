"""The sandbox's listening socket, which is not there while an outage refuses connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from batcher.endpoints.sandbox.options import Outage

__all__ = ["Listener"]

# Connections that wait to be accepted: a run opens hundreds at once.
_BACKLOG = 4096


class Listener:
    """Listens for a server, but for windows in which nobody does.

    Attributes:
        port: The port; the same one after a window.
    """

    def __init__(self, server: web.Server, *, host: str, port: int) -> None:
        self._server = server
        self._host = host
        self._sockets: asyncio.Server | None = None
        self._absence: asyncio.Task[None] | None = None
        self.port = port

    async def open(self) -> None:
        """Begin to listen.

        Raises:
            OSError: The address can't be bound.
        """
        loop = asyncio.get_running_loop()
        self._sockets = await loop.create_server(
            self._server, self._host, self.port, backlog=_BACKLOG
        )
        self.port = self._sockets.sockets[0].getsockname()[1]

    def be_absent(self, windows: Sequence[Outage]) -> None:
        """Do not listen within these windows, counted in seconds from now."""
        if windows:
            ordered = sorted(windows, key=lambda window: window.from_s or 0.0)
            self._absence = asyncio.create_task(self._come_and_go(ordered))

    async def close(self) -> None:
        """Listen no more."""
        if self._absence is not None:
            self._absence.cancel()
            await asyncio.wait([self._absence])
        self._shut()

    async def _come_and_go(self, windows: Sequence[Outage]) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for window in windows:
            await asyncio.sleep(began_s + (window.from_s or 0.0) - loop.time())
            self._shut()
            for connection in list(self._server.connections):
                if connection.transport is not None:
                    connection.transport.abort()
            if window.to_s is None:
                return
            await asyncio.sleep(began_s + window.to_s - loop.time())
            await self.open()

    def _shut(self) -> None:
        if self._sockets is not None:
            self._sockets.close()
            self._sockets = None
