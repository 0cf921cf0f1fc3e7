"""One attempt over aiohttp: bytes out, bytes in, every failure named.

A transport sends and tells what came of it; it never raises for what an endpoint does. The origin
is the base URL's, always: redirects are not followed and a row's path can't leave it. There is no
queue in here, so nothing waits for a connection, and no timer per request: `sweep` looks over what
is under way and ends what has taken too long.
"""

from __future__ import annotations

import asyncio
import errno
import io
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, Self

import aiohttp
from yarl import URL

from batcher import __version__
from batcher.errors import StorageError, UsageError
from batcher.records import Failure, FailureKind, Reply

__all__ = ["MAX_ANSWER_BYTES", "SessionTransport", "Transport"]

# What the contract promises: a larger answer is `answer_too_large`.
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

# Below uvicorn's 5 s (which vLLM and many relays run on), so that we drop an idle connection before
# the other side does. aiohttp keeps them for 15 s.
_KEEP_ALIVE_S: Final = 4.0

# aiohttp warns of larger bodies given as bytes; as a file it sends them in pieces.
_LARGE_BODY_BYTES: Final = 1024 * 1024

# Jobs have a handful of paths; a source that names a new one in each row must not fill memory.
_MOST_URLS: Final = 1024

_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})
_UNREACHABLE: Final = frozenset(
    {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL}
)


class Transport(Protocol):
    """What sends. The narrow place at which another way of sending plugs in."""

    async def send(self, path: str, body: bytes) -> Reply | Failure:
        """Make one attempt.

        Args:
            path: As the row has it, such as `/v1/chat/completions`.
            body: JSON.

        Raises:
            StorageError: This machine can't open another connection.
        """

    def sweep(self, now_s: float) -> None:
        """End the attempts that have passed their time; call about once a second."""

    def abort(self) -> None:
        """End all attempts under way; each returns a `Failure`."""


class SessionTransport:
    """A `Transport` over one `aiohttp.ClientSession`; an async context manager.

    Args:
        resolve: Path of a row to absolute URL, always on the same origin.
        headers: Sent with every request, the key's among them.
        timeout_s: One attempt, from send to last byte.
        connect_timeout_s: Opening a connection, TLS included.
        ca_file: More certificate authorities to trust, in PEM.
        trust_env: Whether proxies are taken from the environment.
        max_bytes: The longest answer, decoded.
    """

    def __init__(
        self,
        *,
        resolve: Callable[[str], str],
        headers: Mapping[str, str],
        timeout_s: float = 600.0,
        connect_timeout_s: float = 10.0,
        ca_file: Path | None = None,
        trust_env: bool = False,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._resolve = resolve
        self._urls: dict[str, URL] = {}
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": f"batcher/{__version__}",
            **headers,
        }
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._ca_file = ca_file
        self._trust_env = trust_env
        self._max_bytes = max_bytes
        # Attempts under way: who makes them, and when their time is up.
        self._due: dict[asyncio.Task[Any], float] = {}
        self._ended: dict[asyncio.Task[Any], FailureKind] = {}

    async def __aenter__(self) -> Self:
        self._connector = _Connector(
            limit=0,
            keepalive_timeout=_KEEP_ALIVE_S,
            ssl=_tls(self._ca_file) if self._ca_file else True,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
            auto_decompress=False,
            trust_env=self._trust_env,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(self, path: str, body: bytes) -> Reply | Failure:
        """See `Transport`."""
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        began_s = time.monotonic()
        self._due[task] = began_s + self._timeout_s
        try:
            return await self._exchange(path, body, began_s)
        except asyncio.CancelledError:
            kind = self._ended.pop(task, None)
            if kind is None:
                raise
            task.uncancel()
            return self._failure(kind, began_s)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return self._failed(error, task, began_s)
        finally:
            del self._due[task]
            self._connector.fresh.discard(task)

    def sweep(self, now_s: float) -> None:
        """See `Transport`."""
        for task, due_s in self._due.items():
            if due_s <= now_s:
                self._end(task, FailureKind.TIMEOUT)

    def abort(self) -> None:
        """See `Transport`."""
        for task in self._due:
            self._end(task, FailureKind.CANCELLED)

    async def _exchange(self, path: str, body: bytes, began_s: float) -> Reply | Failure:
        url = self._urls.get(path) or self._remember(path)
        data: Any = body if len(body) <= _LARGE_BODY_BYTES else io.BytesIO(body)
        async with self._session.post(url, data=data, allow_redirects=False) as response:
            length = response.content_length
            if length is not None and length <= self._max_bytes:
                raw = await response.read()
            else:
                raw = await self._read_bounded(response)
            headers = response.headers
            decoded = _decoded(raw, headers.get("Content-Encoding"), self._max_bytes)
            if isinstance(decoded, FailureKind):
                return self._failure(decoded, began_s)
            return Reply(response.status, headers, decoded, time.monotonic() - began_s)

    async def _read_bounded(self, response: aiohttp.ClientResponse) -> bytes:
        """Read an answer that did not say its length, up to one byte more than is allowed."""
        parts, size = [], 0
        while part := await response.content.readany():
            parts.append(part)
            size += len(part)
            if size > self._max_bytes:
                response.close()
                break
        return b"".join(parts)

    def _remember(self, path: str) -> URL:
        if len(self._urls) >= _MOST_URLS:
            self._urls.clear()
        url = self._urls[path] = URL(self._resolve(path), encoded=True)
        return url

    def _end(self, task: asyncio.Task[Any], kind: FailureKind) -> None:
        if task not in self._ended:
            self._ended[task] = kind
            task.cancel()

    def _failed(self, error: Exception, task: asyncio.Task[Any], began_s: float) -> Failure:
        number = getattr(error, "errno", None)
        if number in _NO_DESCRIPTORS:
            raise StorageError(
                "too many open files: lower --concurrency, or raise the limit (ulimit -n)"
            ) from None
        kind = _kind(error)
        if kind is FailureKind.CONNECTION_RESET and task not in self._connector.fresh:
            kind = FailureKind.STALE_CONNECTION
        return self._failure(kind, began_s)

    def _failure(self, kind: FailureKind, began_s: float) -> Failure:
        return Failure(kind, _WORDS[kind], time.monotonic() - began_s, kind not in _NEVER_SENT)


class _Connector(aiohttp.TCPConnector):
    """Remembers which tasks had a connection opened for them rather than one reused."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.fresh: set[asyncio.Task[Any]] = set()

    async def _create_connection(self, *arguments: Any, **options: Any) -> Any:
        task = asyncio.current_task()
        if task is not None:
            self.fresh.add(task)
        return await super()._create_connection(*arguments, **options)


_WORDS: Final = {
    FailureKind.CONNECTION_REFUSED: "the endpoint can't be reached: connection refused or no route",
    FailureKind.CONNECT_TIMEOUT: "no connection within --connect-timeout",
    FailureKind.DNS_ERROR: "the endpoint's name can't be resolved",
    FailureKind.TLS_ERROR: "no trusted TLS connection: see --ca-file for a private authority",
    FailureKind.CONNECTION_RESET: "the connection was closed before an answer came",
    FailureKind.STALE_CONNECTION: "a reused connection had gone stale",
    FailureKind.TRUNCATED: "the answer was cut off",
    FailureKind.BAD_ENCODING: "the answer can't be decompressed",
    FailureKind.TOO_LARGE: "the answer is larger than 64 MiB",
    FailureKind.TIMEOUT: "no whole answer within --timeout",
    FailureKind.PROTOCOL_ERROR: "what came back is not HTTP",
    FailureKind.CANCELLED: "broken off when the run stopped",
}

_NEVER_SENT: Final = frozenset(
    {
        FailureKind.CONNECTION_REFUSED,
        FailureKind.CONNECT_TIMEOUT,
        FailureKind.DNS_ERROR,
        FailureKind.TLS_ERROR,
    }
)


def _kind(error: Exception) -> FailureKind:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return FailureKind.DNS_ERROR
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return FailureKind.TLS_ERROR
        case aiohttp.ConnectionTimeoutError():
            return FailureKind.CONNECT_TIMEOUT
        case aiohttp.ClientConnectorError() if error.errno in _UNREACHABLE:
            return FailureKind.CONNECTION_REFUSED
        case aiohttp.ClientPayloadError():
            return FailureKind.TRUNCATED
        case aiohttp.ClientConnectionError() | OSError():
            return FailureKind.CONNECTION_RESET
        case _:
            return FailureKind.PROTOCOL_ERROR


def _decoded(raw: bytes, encoding: str | None, max_bytes: int) -> bytes | FailureKind:
    """Undo `Content-Encoding`, holding no more than `max_bytes` of what comes out."""
    if len(raw) > max_bytes:
        return FailureKind.TOO_LARGE
    name = encoding.strip().lower() if encoding else ""
    if name in ("", "identity"):
        return raw
    if name not in ("gzip", "x-gzip", "deflate"):
        return FailureKind.BAD_ENCODING
    # 47: gzip or zlib by what the first bytes say. Some servers send bare deflate: -15.
    for window_bits in (47, -15) if name == "deflate" else (47,):
        try:
            inflater = zlib.decompressobj(window_bits)
            decoded = inflater.decompress(raw, max_bytes + 1)
        except zlib.error:
            continue
        if len(decoded) > max_bytes:
            return FailureKind.TOO_LARGE
        return decoded if inflater.eof else FailureKind.BAD_ENCODING
    return FailureKind.BAD_ENCODING


def _tls(ca_file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise UsageError(f"--ca-file {ca_file} can't be read as PEM certificates") from None
    return context
