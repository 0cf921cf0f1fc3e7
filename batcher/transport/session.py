"""The plain transport: one `aiohttp.ClientSession`, each of its settings chosen on purpose.

It also serves where the lean one does not: through a proxy, and on an aiohttp that the lean one
does not know. Elsewhere the session makes its requests by a class of ours (`request`).
"""

from __future__ import annotations

import asyncio
import io
import time
import urllib.request
from typing import Any, Final, Self

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from yarl import URL

from batcher.records import Failure, FailureKind, Reply
from batcher.transport.base import KEEP_ALIVE_S, BaseTransport, this_task
from batcher.transport.intake import SMALL_BYTES, Pause
from batcher.transport.request import KNOWN_AIOHTTP, Question, Request

__all__ = ["SessionTransport", "proxy_for"]

# aiohttp warns of larger bodies given as bytes; as a file it sends them in pieces.
_LARGE_BODY_BYTES: Final = 1024 * 1024


class SessionTransport(BaseTransport):
    """See `BaseTransport`."""

    def knows_aiohttp(self) -> bool:
        """Whether requests of our own class suit this aiohttp; otherwise they are of its own."""
        return aiohttp.__version__.startswith(KNOWN_AIOHTTP)

    async def __aenter__(self) -> Self:
        tls = self._tls()
        proxy = proxy_for(self._url("/")) if self._trust_env else None
        self._ours = proxy is None and self.knows_aiohttp()
        ours: Any = {"request_class": Request} if self._ours else {"headers": self._headers}
        self._session = aiohttp.ClientSession(
            connector=_Connector(self._opening, self._opened, tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            **ours,
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout_s),
            auto_decompress=False,
            # Not `trust_env`: that asks the environment, and a netrc file, at every request.
            proxy=proxy,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def _exchange(self, path: str, body: bytes, began_s: float) -> Reply | Failure:
        url, question = self._known.get(path) or self._remember(path, self._prepared(path))
        response = await self._session.post(
            url, data=self._data(question, body), allow_redirects=False
        )
        try:
            return await self._read(response, began_s)
        finally:
            # Once it is closed, a request of ours has nothing more to give back or to wait for.
            if not (self._ours and response.closed):
                response.release()
                await response.wait_for_close()

    async def _read(self, response: aiohttp.ClientResponse, began_s: float) -> Reply | Failure:
        content = response.content
        length = response.content_length
        if length is not None and length > self._max_bytes:
            response.close()
            return self._failure(FailureKind.TOO_LARGE, began_s)
        # Nearly every answer has come in one piece, and its connection is free again.
        if content.is_eof() and content.total_bytes <= SMALL_BYTES:
            raw = content.read_nowait()
        elif length is not None and length <= SMALL_BYTES:
            raw = await response.read()
        else:
            raw = await self._read_bounded(response)
        headers = response.headers
        text = await self._decoded(raw, headers.get("Content-Encoding"))
        if isinstance(text, FailureKind):
            return self._failure(text, began_s)
        return Reply(response.status, headers, text, time.monotonic() - began_s)

    def _prepared(self, path: str) -> tuple[URL, Question | None]:
        url = self._url(path)
        return url, Question.of(url, self._head(path)) if self._ours else None

    def _data(self, question: Question | None, body: bytes) -> Any:
        if question is not None:
            return question, body
        return body if len(body) <= _LARGE_BODY_BYTES else io.BytesIO(body)

    async def _read_bounded(self, response: aiohttp.ClientResponse) -> bytes:
        """Read an answer that may be large, up to one byte more than is allowed."""
        parts, size = [], 0
        pause = Pause()
        try:
            while part := await response.content.readany():
                parts.append(part)
                size += len(part)
                if size > self._max_bytes:
                    response.close()
                    break
                if size > SMALL_BYTES:
                    self._intake.grow(pause, size)
                    await pause.over()
        finally:
            self._intake.end(pause)
        return b"".join(parts)


class _Connector(aiohttp.TCPConnector):
    """Tells which tasks have a connection opened for them, and reuses none that is odd."""

    def __init__(
        self, opening: set[asyncio.Task[Any]], opened: set[asyncio.Task[Any]], tls: Any
    ) -> None:
        super().__init__(limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=tls)
        self._opening, self._opened = opening, opened

    async def connect(self, *arguments: Any, **options: Any) -> Connection:
        """Give a connection; never one on which an answer has come that nobody asked for.

        aiohttp would take that answer for the next request's.
        """
        while True:
            connection = await super().connect(*arguments, **options)
            protocol = connection.protocol
            if protocol is None or _is_clean(protocol) or this_task() in self._opened:
                return connection
            connection.close()

    async def _create_connection(self, *arguments: Any, **options: Any) -> Any:
        task = this_task()
        self._opening.add(task)
        self._opened.add(task)
        protocol = await super()._create_connection(*arguments, **options)
        self._opening.discard(task)
        return protocol

    def _release(
        self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False
    ) -> None:
        """End a connection on which a request that was answered early is still being written.

        A mere close waits until the other side has taken the rest, which it may never do.
        """
        transport = protocol.transport
        if transport is not None and transport.get_write_buffer_size() > 0:
            protocol.abort()
            should_close = True
        super()._release(key, protocol, should_close=should_close)


def _is_clean(protocol: ResponseHandler) -> bool:
    return protocol.transport is not None and not protocol.should_close


def proxy_for(url: URL) -> URL | None:
    """Say which proxy the environment names for requests to `url`, if any."""
    proxy = urllib.request.getproxies().get(url.scheme)
    if not proxy or urllib.request.proxy_bypass(url.host or ""):
        return None
    return URL(proxy if "://" in proxy else f"http://{proxy}")
