"""A headless Chromium, driven over its DevTools protocol: it says what a page does and shows it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

__all__ = ["Page", "chromium", "opened"]

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)
_PATIENCE_S = 60.0


def chromium() -> str | None:
    """Find Chromium on this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Page:
    """A page that is open.

    Attributes:
        requests: Addresses that it asked for, its own first.
        complaints: What it said on its console, errors that it threw, and what was refused it.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._socket = socket
        self._number = 0
        self._loaded = False

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            message = await self._next()
            if message.get("id") == self._number:
                assert "error" not in message, message
                found: dict[str, Any] = message["result"]
                return found

    async def open(self, path: Path) -> None:
        """Open a file and wait until it is there."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.ask(f"{domain}.enable")
        self._loaded = False
        await self.ask("Page.navigate", url=path.as_uri())
        while not self._loaded:
            await self._next()

    async def value(self, script: str) -> Any:
        """Reckon an expression in the page."""
        found = await self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        return found["result"].get("value")

    async def look(self, *, width: int, scheme: str) -> bytes:
        """Give the page a width and a colour scheme; return its picture as a PNG."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.ask("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.ask("Emulation.setEmulatedMedia", features=features)
        shot = await self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    async def printed(self) -> bytes:
        """Print the page on A4 as a PDF."""
        paper = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": True}
        return base64.b64decode((await self.ask("Page.printToPDF", **paper))["data"])

    async def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = await self._socket.receive_json(timeout=_PATIENCE_S)
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(json.dumps(params))
        elif method == "Page.loadEventFired":
            self._loaded = True
        return message


@contextlib.asynccontextmanager
async def opened(path: Path, folder: Path) -> AsyncIterator[Page]:
    """Open a file in a Chromium of its own, which is gone in the end.

    Args:
        folder: Where Chromium keeps what it keeps.
    """
    program = chromium()
    assert program is not None
    command = (program, *_FLAGS, f"--user-data-dir={folder}", "about:blank")
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        base = await asyncio.wait_for(_address(child), _PATIENCE_S)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{base}/json/list") as answer:
                (target,) = [each for each in await answer.json() if each["type"] == "page"]
            address = target["webSocketDebuggerUrl"]
            async with session.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                await page.open(path)
                yield page
    finally:
        with contextlib.suppress(ProcessLookupError):
            # Chromium's own children are in its group.
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


async def _address(child: asyncio.subprocess.Process) -> str:
    """Read where Chromium listens."""
    assert child.stderr is not None
    while line := await child.stderr.readline():
        text = line.decode(errors="replace")
        if "DevTools listening on ws://" in text:
            return "http://" + text.split("ws://")[1].split("/")[0]
    raise AssertionError("Chromium did not start")
