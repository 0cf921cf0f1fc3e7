"""A request as aiohttp's connector and session ask for one, its head built once for all rows.

aiohttp's own `ClientRequest` is made anew for every request: its headers are merged and written
again, its body is wrapped, and a task is started that sends it. Here what never changes is kept.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from aiohttp.connector import Connection
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

__all__ = ["KNOWN_AIOHTTP", "Question", "Request", "Target", "write_request"]

KNOWN_AIOHTTP: Final = "3.14."
"""Whose connector, session and parser the parts of ours were written for, and tested with."""


# From here on, copying the body to send it in one piece costs more than a second system call.
_LARGE_BODY_BYTES: Final = 64 * 1024


class Target(NamedTuple):
    """What aiohttp's connector asks of a request."""

    url: URL
    port: int | None
    connection_key: ConnectionKey
    ssl: bool = True
    proxy: URL | None = None
    server_hostname: str | None = None

    @classmethod
    def of(cls, url: URL) -> Target:
        """Take the origin of a URL as the target."""
        key = ConnectionKey(
            url.raw_host or "", url.port, url.scheme == "https", True, None, None, None
        )
        return cls(url, url.port, key)

    def is_ssl(self) -> bool:
        """Whether TLS is spoken."""
        return self.connection_key.is_ssl


def write_request(transport: asyncio.WriteTransport, head: bytes, body: bytes) -> None:
    """Write a request whose head lacks the length of its content."""
    head = head % len(body)
    if len(body) < _LARGE_BODY_BYTES:
        transport.write(head + body)
    else:
        transport.write(head)
        transport.write(body)


class Question(NamedTuple):
    """What the requests to one URL have in common.

    Attributes:
        head: The head of a request but for the length of its content.
    """

    head: bytes
    target: Target
    info: RequestInfo

    @classmethod
    def of(cls, url: URL, head: bytes) -> Question:
        """Prepare the requests to a URL."""
        nothing: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
        return cls(head, Target.of(url), RequestInfo(url, "POST", nothing, url))


class _Sent:
    """Stands for what has written a request, of which only this is asked."""

    output_size = 0


class Request:
    """One POST, made by aiohttp's session in the place of its `ClientRequest`.

    Args:
        data: A `Question`, and the body.
    """

    _SENT: Any = _Sent()
    _body = None
    _upload_gen = 0
    method = "POST"
    proxy = None
    server_hostname = None
    ssl = True

    def __init__(
        self,
        _method: str,
        url: URL,
        *,
        data: tuple[Question, bytes],
        loop: asyncio.AbstractEventLoop,
        response_class: type[aiohttp.ClientResponse],
        timer: Any,
        session: aiohttp.ClientSession,
        **_: Any,
    ) -> None:
        self.url = url
        self._question, self._content = data
        self._loop = loop
        self._response_class = response_class
        self._timer = timer
        self._session = session
        self._upload_tracker: Any = None

    @property
    def connection_key(self) -> ConnectionKey:
        """What a connection must have been opened for to carry this."""
        return self._question.target.connection_key

    @property
    def port(self) -> int | None:
        """Of the origin."""
        return self._question.target.port

    def is_ssl(self) -> bool:
        """Whether TLS is spoken."""
        return self._question.target.is_ssl()

    async def send(self, connection: Connection) -> aiohttp.ClientResponse:
        """Write all of it, and give what will be the answer."""
        protocol = connection.protocol
        if protocol is None or (transport := protocol.transport) is None:
            raise aiohttp.ClientConnectionResetError("closed before it was asked")
        write_request(transport, self._question.head, self._content)
        return self._response_class(
            self.method,
            self.url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self._question.info,
            traces=[],
            loop=self._loop,
            session=self._session,
            stream_writer=self._SENT,
        )
