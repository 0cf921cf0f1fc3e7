"""What every transport promises, and what those over aiohttp have in common.

An attempt is made by the task that awaits `send`. When its time is up, `sweep` cancels that task's
wait, and `send` turns the cancellation into a `Failure`: so there is one place that ends attempts,
whatever they are waiting for, and no timer for each.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, Self

import aiohttp
from yarl import URL

from batcher import __version__
from batcher.errors import StorageError, UsageError
from batcher.records import Failure, FailureKind, Reply
from batcher.transport.encoding import decoded
from batcher.transport.intake import SMALL_BYTES, Intake

__all__ = ["KEEP_ALIVE_S", "MAX_ANSWER_BYTES", "BaseTransport", "Transport", "this_task"]

# What the contract promises: a larger answer is `answer_too_large`.
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

# Below uvicorn's 5 s (which vLLM and many relays run on), so that we drop an idle connection before
# the other side does. aiohttp keeps them for 15 s.
KEEP_ALIVE_S: Final = 4.0

# A stale connection tells so within a round trip. One that ends later, ends because the endpoint
# failed at this very request.
_STALE_WITHIN_S: Final = 5.0

# Jobs have a handful of paths; a source that names a new one in each row must not fill memory.
_MOST_URLS: Final = 1024

_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})


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


class BaseTransport(ABC):
    """A `Transport` that names the failures of aiohttp's parts; an async context manager.

    Args:
        resolve: Path of a row to absolute URL, always on the same origin.
        headers: Sent with every request, the key's among them.
        timeout_s: One attempt, from send to last byte.
        connect_timeout_s: Opening a connection, name lookup and TLS included.
        ca_file: More certificate authorities to trust, in PEM.
        trust_env: Whether proxies are taken from the environment.
        max_bytes: The longest answer, decoded.
        held_elsewhere: How many bytes of answers those hold who took them.
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
        held_elsewhere: Callable[[], int] = int,
    ) -> None:
        self._resolve = resolve
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
        self._intake = Intake(elsewhere=held_elsewhere, postpone=self._postpone)
        self._known: dict[str, Any] = {}
        # Attempts under way: who makes them, and when their time is up.
        self._due: dict[asyncio.Task[Any], float] = {}
        self._ended: dict[asyncio.Task[Any], FailureKind] = {}
        # Attempts that wait for a connection to open, and those that had one opened.
        self._opening: set[asyncio.Task[Any]] = set()
        self._opened: set[asyncio.Task[Any]] = set()

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *_: object) -> None: ...

    @abstractmethod
    async def _exchange(self, path: str, body: bytes, began_s: float) -> Reply | Failure:
        """Make the attempt; what goes wrong is raised as aiohttp raises it, or returned."""

    async def send(self, path: str, body: bytes) -> Reply | Failure:
        """See `Transport`."""
        task = this_task()
        cancelled_before = task.cancelling()
        began_s = time.monotonic()
        self._due[task] = began_s + self._timeout_s
        try:
            return await self._exchange(path, body, began_s)
        except asyncio.CancelledError:
            kind = self._ended.pop(task, None)
            # Whoever else cancelled this task is obeyed.
            if kind is None or task.uncancel() > cancelled_before:
                raise
            return self._failure(kind, began_s, sent=task not in self._opening)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return self._failed(error, task, began_s)
        finally:
            del self._due[task]
            if self._opened:
                self._opening.discard(task)
                self._opened.discard(task)
            if self._ended and self._ended.pop(task, None) is not None:
                task.uncancel()

    def sweep(self, now_s: float) -> None:
        """See `Transport`."""
        self._intake.look()
        for task, due_s in self._due.items():
            # What we don't read is not late.
            if due_s <= now_s and not self._intake.holds(task):
                self._end(task, FailureKind.TIMEOUT)

    def abort(self) -> None:
        """See `Transport`."""
        for task in self._due:
            self._end(task, FailureKind.CANCELLED)

    def _end(self, task: asyncio.Task[Any], kind: FailureKind) -> None:
        if task not in self._ended:
            self._ended[task] = kind
            task.cancel()

    def _postpone(self, task: asyncio.Task[Any] | None, by_s: float) -> None:
        if task in self._due:
            self._due[task] += by_s

    async def _decoded(self, raw: bytes, encoding: str | None) -> bytes | FailureKind:
        """Undo the encoding of an answer; a small one may become a large one."""
        if encoding:
            await self._intake.turn()
        text = decoded(raw, encoding, self._max_bytes)
        if encoding and len(text) > SMALL_BYTES:
            self._intake.hand_on(len(text))
        return text

    def _url(self, path: str) -> URL:
        return URL(self._resolve(path), encoded=True)

    def _head(self, path: str) -> bytes:
        """Build the head of a request to `path`, but for the length of its content."""
        url = self._url(path)
        lines = [f"POST {url.raw_path_qs} HTTP/1.1", f"Host: {url.host_port_subcomponent}"]
        lines += [f"{name}: {value}" for name, value in self._headers.items()]
        if any(character in line for line in lines for character in "\r\n\0"):
            raise ValueError("a line end in the head of a request")
        head = "\r\n".join([*lines, "Content-Length: "]).encode().replace(b"%", b"%%")
        return head + b"%d\r\n\r\n"

    def _remember(self, path: str, value: Any) -> Any:
        if len(self._known) >= _MOST_URLS:
            self._known.clear()
        self._known[path] = value
        return value

    def _tls(self) -> ssl.SSLContext | bool:
        """Say whom to trust: what the system trusts, and what is in the `ca_file`."""
        if self._ca_file is None:
            return True
        context = ssl.create_default_context()
        try:
            context.load_verify_locations(cafile=self._ca_file)
        except (OSError, ssl.SSLError):
            raise UsageError(
                f"--ca-file {self._ca_file} can't be read as PEM certificates"
            ) from None
        return context

    def _failed(self, error: Exception, task: asyncio.Task[Any], began_s: float) -> Failure:
        if getattr(error, "errno", None) in _NO_DESCRIPTORS:
            raise StorageError(
                "too many open files: lower --concurrency, or raise the limit (ulimit -n)"
            ) from None
        kind = _kind(error)
        if kind is FailureKind.CONNECTION_RESET and not _had_begun(error):
            kind = self._reset(task, began_s)
        return self._failure(kind, began_s, sent=task not in self._opening)

    def _reset(self, task: asyncio.Task[Any], began_s: float) -> FailureKind:
        """Name the end of a connection of which no byte of an answer had come."""
        reused = task not in self._opened
        if reused and time.monotonic() - began_s < _STALE_WITHIN_S:
            return FailureKind.STALE_CONNECTION
        return FailureKind.CONNECTION_RESET

    def _failure(self, kind: FailureKind, began_s: float, *, sent: bool = True) -> Failure:
        sent = sent and kind not in _NEVER_SENT
        return Failure(kind, _WORDS[kind], time.monotonic() - began_s, sent)


_WORDS: Final = {
    FailureKind.CONNECTION_REFUSED: "no connection: refused, no route, or closed while it opened",
    FailureKind.CONNECT_TIMEOUT: "no connection within --connect-timeout",
    FailureKind.DNS_ERROR: "the endpoint's name can't be resolved",
    FailureKind.TLS_ERROR: "no trusted TLS connection: see --ca-file for a private authority",
    FailureKind.CONNECTION_RESET: "the connection was closed before an answer came",
    FailureKind.STALE_CONNECTION: "a reused connection had gone stale",
    FailureKind.TRUNCATED: "the answer was cut off",
    FailureKind.BAD_ENCODING: "the answer can't be decompressed",
    FailureKind.TOO_LARGE: "the answer is larger than 64 MiB",
    FailureKind.TIMEOUT: "no whole answer within --timeout",
    FailureKind.PROTOCOL_ERROR: "what came back is not HTTP, or its headers are too large",
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


def this_task() -> asyncio.Task[Any]:
    """Give the task that makes the attempt: whoever awaits `send` is one."""
    task = asyncio.current_task()
    assert task is not None
    return task


def _kind(error: Exception) -> FailureKind:
    match error:
        # A name that can't even be asked for: numbers that are no address, a label too long.
        case aiohttp.ClientConnectorDNSError() | aiohttp.InvalidURL() | UnicodeError():
            return FailureKind.DNS_ERROR
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return FailureKind.TLS_ERROR
        case aiohttp.ConnectionTimeoutError() | TimeoutError():
            return FailureKind.CONNECT_TIMEOUT
        case aiohttp.ClientConnectorError() if error.errno == errno.ETIMEDOUT:
            return FailureKind.CONNECT_TIMEOUT
        case aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError():
            return FailureKind.CONNECTION_REFUSED
        case aiohttp.ClientPayloadError():
            return FailureKind.TRUNCATED
        case aiohttp.ClientConnectionError() | OSError():
            return FailureKind.CONNECTION_RESET
        case _:
            return FailureKind.PROTOCOL_ERROR


def _had_begun(error: Exception) -> bool:
    """Whether a part of the answer's head had come."""
    return isinstance(error, aiohttp.ServerDisconnectedError) and not (
        error.message is None or isinstance(error.message, str)
    )
