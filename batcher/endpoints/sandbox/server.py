"""The sandbox's sockets: aiohttp's low-level server around a `Service`.

There is no router and no middleware: one handler, one decision for each request. A client that goes
away cancels its handler, so that nothing is charged which nobody read.

An ordinary answer is written as one piece of bytes. aiohttp's own `Response`, whose headers are
built and checked one by one, costs as much as the rest of the request; it is kept for what is out
of the ordinary: compression, HTTP/1.0, a connection that is to be closed, a long answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from batcher.endpoints.sandbox.listener import Listener
from batcher.endpoints.sandbox.options import REFUSED, SandboxOptions
from batcher.endpoints.sandbox.service import Outcome, Service

__all__ = ["Server", "listen"]

# Longer answers go through aiohttp's flow control: a slow reader must not fill our memory.
_ONE_PIECE_MAX_BYTES = 32_768

_HUGE_CHUNK = b" " * 2**20

_REASONS: Mapping[int, bytes] = {
    status: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class _Sent(web.StreamResponse):
    """What a handler returns when it has written its answer itself."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002 - aiohttp's own signature
        """Do nothing: the head has been written."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the body has been written."""

    @property
    def keep_alive(self) -> bool | None:
        """The connection stays open."""
        return True


class Server:
    """A sandbox that listens.

    Attributes:
        base_url: The base for an SDK, such as `http://127.0.0.1:40321/v1`.
        port: The port that it listens on.
    """

    def __init__(self, options: SandboxOptions) -> None:
        self.base_url = ""
        self.port = 0
        self._service = Service(options)
        self._options = options
        self._sent = _Sent()
        self._began_s = time.monotonic()
        self._loop = asyncio.get_running_loop()

    def books(self) -> dict[str, Any]:
        """Return what it has answered and charged so far, as `GET /sandbox/books` does."""
        return self._service.books.told()

    def request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
        /,
    ) -> web.BaseRequest:
        """Make a request that may be as long as the options say (aiohttp's default is 1 MiB)."""
        most = self._options.max_body_bytes
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=most
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        books = self._service.books
        books.in_flight += 1
        books.most_in_flight = max(books.most_in_flight, books.in_flight)
        try:
            outcome = await self._decide(request)
            delay_s = self._loaded(outcome.delay_s)
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            if outcome.silent:
                return await self._silent(request, outcome)
            return await self._answer(request, outcome)
        except asyncio.CancelledError:
            books.abandoned += 1
            raise
        finally:
            books.in_flight -= 1

    async def _decide(self, request: web.BaseRequest) -> Outcome:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return self._service.refuse_size()
        now_s = time.monotonic() - self._began_s
        return self._service.decide(
            request.method, _path(request), request.headers, body, now_s=now_s
        )

    async def _answer(self, request: web.BaseRequest, outcome: Outcome) -> web.StreamResponse:
        """Send an answer and enter it into the books."""
        books = self._service.books
        if outcome.counted:
            books.answers[outcome.status] += 1
        if outcome.usage is not None:
            books.charge(outcome.key, outcome.model, outcome.usage, readable=outcome.readable)
        headers = {
            "Content-Type": "application/json",
            "x-request-id": f"req_{books.requests:016x}",
            **outcome.headers,
        }
        if outcome.fault == "truncated":
            return await _truncated(request, outcome, headers)
        if outcome.fault == "bad_gzip":
            headers["Content-Encoding"] = "gzip"
        if self._ordinary(request, outcome) and request.transport is not None:
            request.transport.write(_one_piece(outcome, headers))
            return self._sent
        response = web.Response(status=outcome.status, body=outcome.body, headers=headers)
        if self._options.gzip and outcome.fault != "bad_gzip":
            response.enable_compression()
        return response

    def _ordinary(self, request: web.BaseRequest, outcome: Outcome) -> bool:
        return (
            outcome.status in _REASONS
            and len(outcome.body) <= _ONE_PIECE_MAX_BYTES
            and request.keep_alive
            and request.version == (1, 1)
            and request.method != "HEAD"
            and not self._options.gzip
        )

    def _loaded(self, delay_s: float) -> float:
        """Seconds that an answer takes with so many others under way."""
        capacity = self._options.capacity
        if capacity is None or delay_s <= 0:
            return delay_s
        load = max(1.0, self._service.books.in_flight / capacity)
        return delay_s * float(load ** (1 + self._options.overload))

    async def _silent(self, request: web.BaseRequest, outcome: Outcome) -> web.StreamResponse:
        """Carry out a fault that leaves the client without an answer."""
        self._service.books.unanswered += 1
        if outcome.fault == "too_large":
            return await _huge(request, self._options.huge_bytes)
        if outcome.fault == "timeout":
            await asyncio.sleep(self._options.hang_s)
        transport = request.transport
        if transport is not None and outcome.fault == "garbage":
            transport.write(b"\x16\x03 what is this\r\n\r\n")
            transport.close()
        elif transport is not None:
            transport.abort()
        return self._sent


def _path(request: web.BaseRequest) -> str:
    """The path alone: aiohttp's own `path` makes a URL object first."""
    return request.raw_path.partition("?")[0]


def _one_piece(outcome: Outcome, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"{lines}Content-Length: {len(outcome.body)}\r\n\r\n".encode("latin-1", "replace")
    return _REASONS[outcome.status] + head + outcome.body


async def _truncated(
    request: web.BaseRequest, outcome: Outcome, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send half of a body under the whole one's length, then close."""
    response = web.StreamResponse(
        status=outcome.status, headers={**headers, "Content-Length": str(len(outcome.body))}
    )
    await response.prepare(request)
    await response.write(outcome.body[: len(outcome.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _huge(request: web.BaseRequest, size: int) -> web.StreamResponse:
    """Send blanks for as long as the client reads on."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = size
    await response.prepare(request)
    for at in range(0, size, len(_HUGE_CHUNK)):
        await response.write(_HUGE_CHUNK[: size - at])
    return response


@asynccontextmanager
async def listen(options: SandboxOptions, *, host: str, port: int) -> AsyncIterator[Server]:
    """Serve a sandbox until the block ends.

    Args:
        options: How it behaves.
        host: Address to bind.
        port: Port to bind; 0 for a free one.

    Raises:
        OSError: It can't be bound.
    """
    server = Server(options)
    web_server = web.Server(
        server.handle, request_factory=server.request, handler_cancellation=True, access_log=None
    )
    listener = Listener(web_server, host=host, port=port)
    await listener.open()
    try:
        listener.be_absent([window for window in options.outage if window.fault == REFUSED])
        server.port = listener.port
        shown = f"[{host}]" if ":" in host else host
        server.base_url = f"http://{shown}:{server.port}/v1"
        yield server
    finally:
        await listener.close()
        await web_server.shutdown(0.0)
