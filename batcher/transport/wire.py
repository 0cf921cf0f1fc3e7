"""One connection of the lean transport: a request out, an answer in, then the next.

The protocol has three states: idle (no question), asking (a question waits for its answer) and
closed. `ask` writes a whole request and returns a future; the future's result is a whole answer, or
why there is none. A connection is used again only if nothing about it is odd: the answer was
complete, the other side did not say that it closes, the request was all written, and not a byte
came that nobody had asked for (it could be taken for the next row's answer).

What is no usual answer (`glance`) goes through a parser, aiohttp's, which is llhttp: it finds the
end of an answer, and refuses what is no HTTP. It keeps the parts of a body in a `StreamReader`;
they are taken out after every read, so that nothing grows in there. Reading is paused for a large
body alone, while many are held (`intake`). The parser is made anew for every answer: half an answer
that came unasked must not be continued by the next one.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from batcher.records import FailureKind
from batcher.transport.glance import Answer, at_a_glance
from batcher.transport.intake import SMALL_BYTES, STEP_BYTES, Intake
from batcher.transport.parser import content_length, new_parser
from batcher.transport.request import write_request

__all__ = ["Wire"]

# An endpoint that goes on announcing an answer keeps the loop from everyone else's.
_MOST_INTERIM: Final = 64

_SWITCHING: Final = 101
_LAST_INTERIM: Final = 199


class Wire(asyncio.Protocol):
    """One connection; made by aiohttp's connector, which calls what has no underscore.

    Args:
        loop: The running loop.
        max_bytes: The longest body, as it comes.
        intake: Says when a large body is to be read later.

    Attributes:
        task: Who awaits the present answer.
    """

    step_bytes = STEP_BYTES

    def __init__(self, loop: asyncio.AbstractEventLoop, max_bytes: int, intake: Intake) -> None:
        self._loop = loop
        self._max_bytes = max_bytes
        self._intake = intake
        self.task: asyncio.Task[Any] | None = None
        self.transport: asyncio.Transport | None = None
        # aiohttp's `Connection`, which must be told when it is over.
        self.connection: Any = None
        self.idle_since_s = 0.0
        self.reusable = False
        # Whether a byte of the present answer has come.
        self.begun = False
        self._waiter: asyncio.Future[Answer | FailureKind] | None = None
        self._parser: Any = None
        self._head: RawResponseMessage | None = None
        self._payload: StreamReader | None = None
        self._parts: list[bytes] = []
        self._interim = 0
        self._large = False
        self._closed: asyncio.Future[None] | None = None
        self._lost = False

    def ask(self, head: bytes, body: bytes) -> asyncio.Future[Answer | FailureKind]:
        """Send a request over an idle connection."""
        transport = self.transport
        waiter: asyncio.Future[Answer | FailureKind] = self._loop.create_future()
        if transport is None:
            waiter.set_result(FailureKind.CONNECTION_RESET)
            return waiter
        self._waiter = waiter
        self.begun = self.reusable = False
        write_request(transport, head, body)
        return waiter

    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self.transport is not None and not self.transport.is_closing()

    def drop(self) -> None:
        """Close it at once, whatever is under way."""
        self._waiter = None
        self.abort()

    def hold(self) -> None:
        """Read no more of the present answer for now."""
        if self.transport is not None:
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Read on."""
        if self.transport is not None:
            self.transport.resume_reading()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # What sockets and TLS give is one, though uvloop's is not derived from it.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        waiter = self._waiter
        if waiter is None:
            self.abort()
            return
        if self._parser is None:
            answer = at_a_glance(data, self._max_bytes)
            if answer is not None:
                self._waiter = None
                self.reusable = self._all_sent()
                if not waiter.done():
                    waiter.set_result(answer)
                return
            self._parser = new_parser(self, self._loop)
            self._interim = 0
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Feed the parser, and take what it has found."""
        self.begun = True
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except Exception:  # noqa: BLE001 - whatever the parser trips over is no answer
            self._stumble(data)
            return
        odd = upgraded
        for head, payload in messages:
            if self._head is not None:
                odd = True
            elif head.code > _LAST_INTERIM or head.code == _SWITCHING:
                self._head, self._payload = head, payload
            else:
                self._interim += 1
        if self._interim > _MOST_INTERIM:
            self._fail(FailureKind.PROTOCOL_ERROR)
            return
        if self._payload is not None:
            self._take(odd=odd)

    def _stumble(self, data: bytes) -> None:
        """Take an answer that was whole before the parser gave up; else there is none."""
        if self._payload is not None:
            self._take(odd=True)
            if self._waiter is not None:
                self._fail(FailureKind.TRUNCATED)
            return
        head, end, rest = data.partition(b"\r\n\r\n")
        if not rest:
            self._fail(FailureKind.PROTOCOL_ERROR)
            return
        # It tells nothing of what it read in the piece that it gave up in: the head goes before.
        self._parser = new_parser(self, self._loop)
        self._parse(head + end)
        if self._waiter is not None:
            self._parse(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.transport = None
        self._lost = True
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        if self._waiter is not None:
            self._end_of_stream(clean=exc is None)
        self._parser = None
        self._part()

    # What aiohttp's connector calls, and its parser.

    @property
    def closed(self) -> asyncio.Future[None] | None:
        """Done once the connection is closed; None when it was closed before anyone asked."""
        if self._closed is None and not self._lost:
            self._closed = self._loop.create_future()
        return self._closed

    @property
    def should_close(self) -> bool:
        """Whether it is of no use any more."""
        return not self.reusable

    def is_connected(self) -> bool:
        """Whether it can be asked."""
        return self.is_open()

    def close(self) -> None:
        """Close it."""
        if self.transport is not None:
            self.transport.close()
            self.transport = None

    def abort(self) -> None:
        """Close it without a farewell."""
        self.reusable = False
        if self.transport is not None:
            self.transport.abort()
            self.transport = None
        self._part()

    def pause_reading(self) -> None:
        """Not needed: what has come is taken at once."""

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's
        """Not needed: aiohttp never has cause to pause it."""

    def _take(self, *, odd: bool) -> None:
        """Take what has come of the body; it may be all."""
        payload = self._payload
        assert payload is not None
        assert self._head is not None
        part = payload.read_nowait()
        if payload.is_eof():
            body = b"".join((*self._parts, part)) if self._parts else part
            self._finish(body, odd=odd)
            return
        if part:
            self._parts.append(part)
        if payload.total_bytes > self._max_bytes or (content_length(self._head) > self._max_bytes):
            self._fail(FailureKind.TOO_LARGE)
        elif payload.total_bytes > SMALL_BYTES:
            self._large = True
            self._intake.grow(self, payload.total_bytes)

    def _finish(self, body: bytes, *, odd: bool) -> None:
        head = self._head
        assert head is not None
        self.reusable = not odd and not head.should_close and self._all_sent()
        if len(body) > self._max_bytes:
            self._tell(FailureKind.TOO_LARGE)
        else:
            headers = head.headers
            encoding = headers.get("Content-Encoding", "")
            self._tell(Answer(head.code, headers, body, encoding))

    def _all_sent(self) -> bool:
        transport = self.transport
        return transport is not None and transport.get_write_buffer_size() == 0

    def _end_of_stream(self, *, clean: bool) -> None:
        """The other side has closed: the end of an answer without a length, or else too early."""
        payload = self._payload
        if payload is None:
            self._tell(FailureKind.CONNECTION_RESET)
            return
        if clean:
            try:
                self._parser.feed_eof()
            except Exception:  # noqa: BLE001 - as above
                clean = False
        if clean and payload.is_eof():
            self._parts.append(payload.read_nowait())
            self._finish(b"".join(self._parts), odd=True)
        else:
            self._tell(FailureKind.TRUNCATED)

    def _fail(self, kind: FailureKind) -> None:
        self._tell(kind)
        self.abort()

    def _tell(self, outcome: Answer | FailureKind) -> None:
        waiter = self._waiter
        self._waiter = self._head = self._payload = self._parser = None
        self._parts = []
        if waiter is not None and not waiter.done():
            waiter.set_result(outcome)
        self._be_done()

    def _be_done(self) -> None:
        if self._large:
            self._large = False
            self._intake.end(self)

    def _part(self) -> None:
        """Let aiohttp's connector forget this connection."""
        self._be_done()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()
