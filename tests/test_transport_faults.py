"""What every transport makes of an endpoint that misbehaves: a named failure, and no harm."""

from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc
import zlib
from typing import Any

import pytest

from batcher.records import Failure, FailureKind, Reply
from batcher.transport.base import BaseTransport
from tests.driving import ANSWER, DRIVERS, PATH, Driver, ask
from tests.hostile import HostileServer, Peer, Script, answer, chunked, repeat

OK = b'{"ok": true}'
TOLD = b'{"answer": "%b"}' % ANSWER.encode()
GZIPPED = ["Content-Encoding: gzip"]
MOST_BYTES = 100_000
# 64 kB that hold 64 MB.
BOMB = zlib.compress(bytes(64_000_000))

pytestmark = pytest.mark.parametrize("driver", DRIVERS)


def then_close(*parts: bytes) -> Script:
    """Send this to a request, and close."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(*parts)

    return script


def then_reset(*parts: bytes) -> Script:
    """Send this to a request, and reset the connection once the client has it."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(*parts)
        # A reset throws away what the client has not read yet.
        peer.stopping.wait(0.05)
        peer.reset()

    return script


def endless(head: bytes, part: bytes) -> Script:
    """Send the same again and again until the client has had enough."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(head)
        while not peer.stopping.is_set():
            peer.send(part)

    return script


BROKEN = [
    pytest.param(then_close(), "connection_reset", id="closed before an answer"),
    pytest.param(then_reset(), "connection_reset", id="reset before an answer"),
    pytest.param(then_close(answer(TOLD)[:40]), "connection_reset", id="closed in the head"),
    pytest.param(then_reset(answer(TOLD)[:40]), "connection_reset", id="reset in the head"),
    pytest.param(then_close(answer(TOLD)[:-3]), "answer_truncated_in_transit", id="closed early"),
    pytest.param(then_reset(answer(TOLD)[:-3]), "answer_truncated_in_transit", id="reset early"),
    pytest.param(
        then_close(answer(TOLD, length=10_000)), "answer_truncated_in_transit", id="length too long"
    ),
    pytest.param(
        then_close(chunked(TOLD, end=b"")), "answer_truncated_in_transit", id="no last chunk"
    ),
    pytest.param(
        then_reset(chunked(TOLD)[:-12]), "answer_truncated_in_transit", id="reset in a chunk"
    ),
    pytest.param(
        repeat(answer(TOLD, headers=GZIPPED)), "answer_undecodable", id="gzip that is none"
    ),
    pytest.param(
        repeat(answer(gzip.compress(TOLD)[:-9], headers=GZIPPED)),
        "answer_undecodable",
        id="gzip without its end",
    ),
    pytest.param(
        repeat(answer(gzip.compress(TOLD)[:-8] + b"\0" * 8, headers=GZIPPED)),
        "answer_undecodable",
        id="gzip with a wrong checksum",
    ),
    pytest.param(
        repeat(answer(gzip.compress(b"") * 1000, headers=GZIPPED)),
        "answer_undecodable",
        id="gzip of a thousand members",
    ),
    pytest.param(
        repeat(answer(TOLD, headers=["Content-Encoding: deflate"])),
        "answer_undecodable",
        id="deflate that is none",
    ),
    pytest.param(
        repeat(answer(TOLD, headers=["Content-Encoding: br"])), "answer_undecodable", id="brotli"
    ),
    pytest.param(
        repeat(answer(TOLD, headers=["Content-Encoding: rot13"])),
        "answer_undecodable",
        id="an unknown encoding",
    ),
    pytest.param(
        repeat(answer(b" " * (MOST_BYTES + 1))), "answer_too_large", id="longer than allowed"
    ),
    pytest.param(
        then_close(answer(b" ", length=10**9)), "answer_too_large", id="says that it is huge"
    ),
    pytest.param(
        endless(chunked(end=b""), b"400\r\n" + b" " * 1024 + b"\r\n"),
        "answer_too_large",
        id="chunks without end",
    ),
    pytest.param(
        endless(chunked(end=b""), b"1\r\n \r\n" * 1000), "answer_too_large", id="tiny chunks"
    ),
    pytest.param(
        endless(answer(b"", length=None), b" " * 1024), "answer_too_large", id="a body without end"
    ),
    pytest.param(
        repeat(answer(gzip.compress(b" " * (MOST_BYTES + 1)), headers=GZIPPED)),
        "answer_too_large",
        id="longer than allowed, unpacked",
    ),
    pytest.param(
        repeat(answer(OK, headers=[f"X-Large: {ANSWER * 10_000}"])),
        "protocol_error",
        id="a huge header",
    ),
    pytest.param(
        repeat(answer(OK, headers=[f"X-{number}: {ANSWER}" for number in range(5000)])),
        "protocol_error",
        id="thousands of headers",
    ),
    pytest.param(
        endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"m" * 100 + b"\r\n"),
        "protocol_error",
        id="headers without end",
    ),
    pytest.param(
        endless(b"HTTP/1.1 200 ", b"O" * 1000), "protocol_error", id="a first line without end"
    ),
    pytest.param(then_close(b"220 mail ready\r\n"), "protocol_error", id="another protocol"),
    pytest.param(then_close(TOLD), "protocol_error", id="no head"),
    pytest.param(then_close(b"\x16\x03\x01\x02\x00"), "protocol_error", id="TLS"),
    pytest.param(
        repeat(answer(TOLD, length=None, headers=["Content-Length: 1x"])),
        "protocol_error",
        id="a length that is no number",
    ),
    pytest.param(
        repeat(answer(TOLD, headers=["Transfer-Encoding: chunked"])),
        "protocol_error",
        id="a length and chunks",
    ),
    pytest.param(
        repeat(answer(TOLD, headers=["Content-Length: 1"])), "protocol_error", id="two lengths"
    ),
]


@pytest.mark.parametrize(("script", "kind"), BROKEN)
def test_broken_answers(driver: Driver, script: Script, kind: str) -> None:
    """A broken answer is a failure of its own name, and nothing is sent a second time."""
    with HostileServer(script) as server:
        outcome = driver.ask(server.origin, max_bytes=MOST_BYTES)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.sent) == (kind, True)
    assert len(server.requests) == 1


def test_broken_chunks(driver: Driver) -> None:
    """A chunk whose length is no number is refused, and no part of it is taken for an answer."""
    script = repeat(chunked(TOLD, end=f"{ANSWER}\r\n\r\n".encode()))
    with HostileServer(script) as server:
        outcome = driver.ask(server.origin)
    # Which of them depends on whether the head came by itself.
    assert isinstance(outcome, Failure)
    assert outcome.kind in {FailureKind.TRUNCATED, FailureKind.PROTOCOL_ERROR}


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(then_close(answer(TOLD)[:-3]), id="truncated"),
        pytest.param(then_reset(answer(TOLD)[:40]), id="reset"),
        pytest.param(endless(answer(b"", length=None), b" " * 1024), id="too large"),
        pytest.param(then_close(TOLD), id="no HTTP"),
    ],
)
def test_after_a_broken_answer(driver: Driver, script: Script) -> None:
    """After a broken answer the next request gets its own."""

    def script_of_first(peer: Peer) -> None:
        (script if peer.number == 1 else repeat(answer(OK)))(peer)

    async def twice(transport: BaseTransport) -> Any:
        await ask(transport)
        return await ask(transport)

    with HostileServer(script_of_first) as server:
        second = driver.run(twice, server.origin, max_bytes=MOST_BYTES)
    assert second.body == OK


def test_a_bomb_is_not_unpacked(driver: Driver) -> None:
    """Memory does not follow what a compressed answer claims to hold."""
    with HostileServer(repeat(answer(BOMB, headers=["Content-Encoding: deflate"]))) as server:
        tracemalloc.start()
        try:
            outcome = driver.ask(server.origin, max_bytes=1024 * 1024)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TOO_LARGE
    assert peak_bytes < 8 * 1024 * 1024


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(endless(b"", b""), id="silence"),
        pytest.param(endless(answer(TOLD, length=10**6)[:-9], b"."), id="drips"),
        pytest.param(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="interim answers alone"),
    ],
)
def test_never_ending(driver: Driver, script: Script) -> None:
    """However an endpoint keeps us waiting, the sweep ends it, and the connection is closed."""

    def slowly(peer: Peer) -> None:
        send = peer.send

        def drip(*parts: bytes) -> None:
            send(*parts)
            peer.stopping.wait(0.002)

        peer.send = drip  # type: ignore[method-assign]
        script(peer)

    async def hang(transport: BaseTransport) -> Any:
        task = asyncio.create_task(ask(transport))
        await server.wait_for_requests()
        transport.sweep(time.monotonic() + 30)
        return await task

    with HostileServer(slowly) as server:
        outcome = driver.run(hang, server.origin, timeout_s=30.0)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TIMEOUT


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Same", "308 Same"])
@pytest.mark.parametrize("to_itself", [True, False])
def test_redirects(driver: Driver, status: str, *, to_itself: bool) -> None:
    """A redirect is an answer like another: nothing goes where it points."""
    with HostileServer(repeat(answer(OK))) as other:
        place = "" if to_itself else other.origin
        script = repeat(answer(b"", status=status, headers=[f"Location: {place}{PATH}"]))
        with HostileServer(script) as server:
            reply = driver.ask(server.origin)
    assert isinstance(reply, Reply)
    assert reply.status == int(status[:3])
    assert (len(server.requests), other.connections) == (1, 0)
