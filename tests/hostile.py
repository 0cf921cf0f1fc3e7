"""A server of raw bytes that does what it is told, well behaved or not.

It runs in threads, so that it goes on whatever the client's loop does. Each connection is served by
a script, a function that is handed a `Peer` and reads requests and sends bytes as it likes; the
connection is closed when it returns. Nothing here parses more HTTP than the length of a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

__all__ = ["HostileServer", "Peer", "Request", "Script", "answer", "chunked", "repeat"]

# Longer than any test may take: a thread that waits for more is stuck.
_PATIENCE_S = 20.0


class Request(NamedTuple):
    """A request as it came."""

    head: bytes
    body: bytes


class Peer:
    """One connection, seen from the server.

    Attributes:
        number: Which connection of the server's it is, from 1.
        stopping: Set when the server stops; to be waited on rather than slept.
    """

    def __init__(self, server: HostileServer, sock: socket.socket, number: int) -> None:
        self._server = server
        self._sock = sock
        self.number = number
        self.stopping = server.stopping
        self._left = b""

    def request(self, *, with_body: bool = True) -> Request:
        """Read one request, or its head alone.

        Raises:
            ConnectionError: The client has closed.
        """
        while b"\r\n\r\n" not in self._left:
            self._read()
        head, _, self._left = self._left.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while with_body and len(self._left) < length:
            self._read()
        body = self._left[:length] if with_body else b""
        self._left = self._left[length:] if with_body else b""
        request = Request(head, body)
        self._server.note(request)
        return request

    def send(self, *parts: bytes) -> None:
        """Send each part by itself."""
        for part in parts:
            self._sock.sendall(part)

    def reset(self) -> None:
        """Close by a reset rather than a farewell."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(self._sock, ssl.SSLSocket):
            self._sock.detach()
        self._sock.close()

    def drain(self) -> bytes:
        """Wait until the client has closed, and give what it sent."""
        with contextlib.suppress(OSError):
            while True:
                self._read()
        return self._left

    def wait_for_close(self) -> None:
        """Wait until the client has closed."""
        self.drain()

    def _read(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise ConnectionError
        self._left += data


Script = Callable[[Peer], None]


class HostileServer:
    """Listens on a free loopback port while entered.

    Args:
        script: Serves each connection.
        tls: Speaks TLS with it, if given.

    Attributes:
        origin: Scheme, host and port.
        requests: All that came, in order.
        connections: How many there have been.
    """

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        host, port = self._listener.getsockname()
        self.origin = f"{'https' if tls else 'http'}://{host}:{port}"
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self.stopping = threading.Event()
        self.requests: list[Request] = []
        self.connections = 0

    def __enter__(self) -> Self:
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        # On Linux, closing alone would not wake the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(_PATIENCE_S)
        for thread in self._threads:
            thread.join(_PATIENCE_S)
        stuck = [thread for thread in self._threads if thread.is_alive()]
        assert not stuck, "a script does not end"

    def wait_until_alone(self) -> bool:
        """Wait until no connection is open; say whether that came about."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, _PATIENCE_S)

    async def wait_for_requests(self, count: int = 1) -> None:
        """Let the loop go on until so many requests have come."""
        await asyncio.to_thread(self._wait_for_requests, count)

    def note(self, request: Request) -> None:
        """Write a request down."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def _wait_for_requests(self, count: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self.requests) >= count, _PATIENCE_S)

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(_PATIENCE_S)
            with self._lock:
                self.connections += 1
                self._open.add(sock)
                number = self.connections
            thread = threading.Thread(target=self._serve, args=(sock, number))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        sock = plain
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(sock)
            self._script(Peer(self, sock, number))
        except (OSError, ValueError):
            pass
        finally:
            sock.close()
            plain.close()
            with self._changed:
                self._open -= {plain, sock}
                self._changed.notify_all()


def answer(
    body: bytes = b'{"ok": true}',
    *,
    status: str = "200 OK",
    headers: Sequence[str] = (),
    version: str = "1.1",
    length: int | None = -1,
) -> bytes:
    """Compose an answer.

    Args:
        length: What `Content-Length` says; None leaves it out, -1 is the true one.
    """
    lines = [f"HTTP/{version} {status}", "Content-Type: application/json", *headers]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n", headers: Sequence[str] = ()) -> bytes:
    """Compose a chunked answer, a chunk for each part."""
    head = answer(b"", length=None, headers=["Transfer-Encoding: chunked", *headers])
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


def repeat(*parts: bytes) -> Script:
    """Answer each request of a connection by these bytes, until the client closes."""

    def script(peer: Peer) -> None:
        while True:
            peer.request()
            peer.send(*parts)

    return script
