"""The lean transport: aiohttp's connector and parser, without its session, requests and responses.

Half of what a request costs through `ClientSession` is the making of things that are the same every
time. Here the head of a request is built once for each path, and only the content's length varies.
Opening a connection (names, addresses, TLS) is aiohttp's connector's work, the reading of an answer
that of its parser (`wire`). Idle connections are kept in a stack: the one used last is the least
likely to have gone stale, and those that are not needed grow old and are closed.

Not all of those parts are aiohttp's public face. So `fault` looks at start whether they are as they
are known here, and tries them; otherwise the plain transport serves.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from functools import partial
from typing import Any, Final, Self

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey

from batcher.records import Failure, FailureKind, Reply
from batcher.transport.base import KEEP_ALIVE_S, BaseTransport, this_task
from batcher.transport.parser import new_parser
from batcher.transport.request import KNOWN_AIOHTTP, Target
from batcher.transport.session import proxy_for
from batcher.transport.wire import Wire

__all__ = ["LeanTransport"]

_KNOWN_CONNECT: Final = ["self", "req", "traces", "timeout"]
_KNOWN_KEY: Final = (
    "host", "port", "is_ssl", "ssl", "proxy", "proxy_auth", "proxy_headers_hash", "server_hostname",
)  # fmt: skip


# Makes a named tuple in a seventh of the time that calling its class takes: see `records`.
_new: Final = tuple.__new__


class LeanTransport(BaseTransport):
    """See `BaseTransport`; ask `fault` before it is entered."""

    def fault(self) -> str:
        """Say what keeps this transport from serving here; empty when nothing does."""
        if not aiohttp.__version__.startswith(KNOWN_AIOHTTP):
            return f"it does not know aiohttp {aiohttp.__version__}"
        connect = inspect.signature(aiohttp.TCPConnector.connect)
        if list(connect.parameters) != _KNOWN_CONNECT or ConnectionKey._fields != _KNOWN_KEY:
            return "aiohttp's connector has changed"
        if not _parser_works():
            return "aiohttp's parser has changed"
        if self._trust_env and proxy_for(self._url("/")) is not None:
            return "a proxy stands between"
        return ""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._connector = aiohttp.TCPConnector(limit=0, ssl=self._tls())
        made = self._connector._factory  # noqa: SLF001 - what a connection is made of; see `fault`
        if not isinstance(made, partial) or made.func is not ResponseHandler:
            raise RuntimeError("aiohttp's connector has changed")
        factory: Any = partial(Wire, loop, self._max_bytes, self._intake)
        self._connector._factory = factory  # noqa: SLF001 - as above
        self._target: Any = Target.of(self._url("/"))
        self._timeout = aiohttp.ClientTimeout(total=None, connect=self._connect_timeout_s)
        self._idle: deque[Wire] = deque()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._idle.clear()
        await self._connector.close()
        # Connections that were dropped just now close at the loop's next turn.
        await asyncio.sleep(0)

    def sweep(self, now_s: float) -> None:
        """See `Transport`."""
        super().sweep(now_s)
        idle = self._idle
        while idle and now_s - idle[0].idle_since_s > KEEP_ALIVE_S:
            idle.popleft().drop()

    async def _exchange(self, path: str, body: bytes, began_s: float) -> Reply | Failure:
        head = self._known.get(path) or self._remember(path, self._head(path))
        wire = self._reuse(began_s) or await self._open()
        wire.task = this_task()
        try:
            outcome = await wire.ask(head, body)
        except asyncio.CancelledError:
            wire.drop()
            raise
        if isinstance(outcome, FailureKind):
            return self._broken(outcome, wire, began_s)
        now_s = time.monotonic()
        if wire.reusable:
            wire.idle_since_s = now_s
            self._idle.append(wire)
        else:
            wire.drop()
        status, headers, body, encoding = outcome
        if encoding:
            text = await self._decoded(body, encoding)
            if isinstance(text, FailureKind):
                return self._failure(text, began_s)
            body = text
        return _new(Reply, (status, headers, body, now_s - began_s))

    def _reuse(self, now_s: float) -> Wire | None:
        idle = self._idle
        while idle:
            wire = idle.pop()
            if wire.is_open() and now_s - wire.idle_since_s <= KEEP_ALIVE_S:
                return wire
            wire.drop()
        return None

    async def _open(self) -> Wire:
        task = this_task()
        self._opening.add(task)
        self._opened.add(task)
        connection = await self._connector.connect(self._target, [], self._timeout)
        self._opening.discard(task)
        wire = connection.protocol
        assert isinstance(wire, Wire)
        wire.connection = connection
        return wire

    def _broken(self, kind: FailureKind, wire: Wire, began_s: float) -> Failure:
        wire.drop()
        if kind is FailureKind.CONNECTION_RESET and not wire.begun:
            kind = self._reset(this_task(), began_s)
        return self._failure(kind, began_s)


class _Nobody:
    """Stands for a connection while the parser is tried."""

    def pause_reading(self) -> None: ...

    def resume_reading(self, resume_parser: bool = True) -> None: ...  # noqa: FBT001, FBT002 - aiohttp's


def _parser_works() -> bool:
    """Whether the parser does with an answer what `wire` expects of it."""
    loop = asyncio.get_running_loop()
    try:
        parser = new_parser(_Nobody(), loop)
        text = b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 4\r\n\r\n{1"
        messages, upgraded, _ = parser.feed_data(text)
        (interim, _), (head, payload) = messages
        begun = (interim.code, head.code, head.headers.get("x-a"), head.should_close, upgraded)
        parts = [payload.read_nowait(), payload.is_eof(), payload.total_bytes]
        more, _, _ = parser.feed_data(b"2}")
        parts += [payload.read_nowait(), payload.is_eof(), len(more)]
        parser = new_parser(_Nobody(), loop)
        ((head, payload),), _, _ = parser.feed_data(b"HTTP/1.0 200 OK\r\n\r\n[]")
        parser.feed_eof()
        until_end = (head.should_close, payload.read_nowait(), payload.is_eof())
    except (AttributeError, TypeError, ValueError, RuntimeError, AssertionError):
        return False
    return (
        begun == (100, 200, "b", False, False)
        and parts == [b"{1", False, 2, b"2}", True, 0]
        and until_end == (True, b"[]", True)
    )
