"""What every transport does with an endpoint that behaves."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from typing import Any

import pytest

from batcher.records import Failure, FailureKind, Reply
from batcher.transport.base import BaseTransport
from tests.driving import BODY, DRIVERS, KEY, PATH, Driver, ask
from tests.hostile import HostileServer, Peer, answer, chunked, repeat

OK = b'{"ok": true}'
PRETTY = b'{\n  "ok": true,\r\n  "text": "\xc3\xa9"\n}\n'
TWO_MEMBERS = gzip.compress(b"[1,") + gzip.compress(b"2]")
GZIPPED = ["Content-Encoding: gzip"]
DEFLATED = ["Content-Encoding: deflate"]

pytestmark = pytest.mark.parametrize("driver", DRIVERS)


def bare_deflate(data: bytes) -> bytes:
    """Compress as some servers do: without zlib's frame."""
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(data) + squeezer.flush()


@pytest.mark.parametrize(
    ("parts", "status", "body"),
    [
        pytest.param([answer(OK)], 200, OK, id="with a length"),
        pytest.param([answer(PRETTY)], 200, PRETTY, id="pretty-printed"),
        pytest.param([answer(b"")], 200, b"", id="empty"),
        pytest.param([chunked(OK)], 200, OK, id="chunked"),
        pytest.param([chunked(*(b"%c" % byte for byte in PRETTY))], 200, PRETTY, id="many chunks"),
        pytest.param([chunked(OK, end=b"0\r\nX-Sum: 1\r\n\r\n")], 200, OK, id="with a trailer"),
        pytest.param(
            [answer(gzip.compress(PRETTY), headers=GZIPPED)], 200, PRETTY, id="gzip with a length"
        ),
        pytest.param(
            [answer(TWO_MEMBERS, headers=["content-encoding: GZIP"])],
            200,
            b"[1,2]",
            id="gzip of two members",
        ),
        pytest.param(
            [answer(gzip.compress(OK) + b"\0\0\0", headers=GZIPPED)], 200, OK, id="gzip, padded"
        ),
        pytest.param(
            [chunked(gzip.compress(PRETTY), headers=GZIPPED)], 200, PRETTY, id="gzip, chunked"
        ),
        pytest.param(
            [answer(zlib.compress(OK), headers=DEFLATED)], 200, OK, id="deflate in zlib's frame"
        ),
        pytest.param([answer(bare_deflate(OK), headers=DEFLATED)], 200, OK, id="bare deflate"),
        pytest.param(
            [answer(OK, headers=["Content-Encoding: identity"])], 200, OK, id="encoding: identity"
        ),
        pytest.param(
            [answer(b"", headers=GZIPPED)], 200, b"", id="nothing, said to be gzip"
        ),
        pytest.param([answer(b"\xff\xfe{")], 200, b"\xff\xfe{", id="no UTF-8"),
        pytest.param([answer(OK, status="200")], 200, OK, id="no reason phrase"),
        pytest.param([answer(b"no", status="400 Bad")], 400, b"no", id="refused"),
        pytest.param([answer(b"", status="503 Later")], 503, b"", id="not available"),
        pytest.param(
            [answer(b"", status="204 Nothing", length=None)], 204, b"", id="204 without a body"
        ),
        pytest.param(
            [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: <a>\r\n\r\n", answer(OK)],
            200,
            OK,
            id="interim answers first",
        ),
        pytest.param([answer(OK)[:25], answer(OK)[25:]], 200, OK, id="piecemeal"),
        pytest.param(
            [answer(b"x" * 1_000_000)], 200, b"x" * 1_000_000, id="a million bytes"
        ),
    ],
)  # fmt: skip
def test_answers(driver: Driver, parts: list[bytes], status: int, body: bytes) -> None:
    """An answer comes out whole and decompressed, and its connection serves again."""

    async def twice(transport: BaseTransport) -> list[Any]:
        return [await ask(transport), await ask(transport)]

    with HostileServer(repeat(*parts)) as server:
        replies = driver.run(twice, server.origin)
    assert [(reply.status, reply.body) for reply in replies] == [(status, body)] * 2
    assert server.connections == 1


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(answer(OK, version="1.0", length=None), id="HTTP/1.0, to the end"),
        pytest.param(answer(OK, length=None), id="HTTP/1.1, to the end"),
        pytest.param(answer(OK, headers=["Connection: close"]), id="says that it closes"),
        pytest.param(answer(OK, version="1.0"), id="HTTP/1.0 with a length"),
    ],
)
def test_last_answers(driver: Driver, head: bytes) -> None:
    """An answer that ends its connection is whole, and the next request opens another."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(head)

    async def twice(transport: BaseTransport) -> list[Any]:
        return [await ask(transport), await ask(transport)]

    with HostileServer(script) as server:
        replies = driver.run(twice, server.origin)
    assert [reply.body for reply in replies] == [OK, OK]
    assert server.connections == 2


def test_headers_of_an_answer(driver: Driver) -> None:
    """An answer's headers are found whatever their case, and its latency is told."""
    with HostileServer(
        repeat(answer(OK, headers=["X-Request-ID: r1", "retry-after: 3"]))
    ) as server:
        reply = driver.ask(server.origin)
    assert isinstance(reply, Reply)
    assert (reply.headers["x-request-id"], reply.headers.get("Retry-After")) == ("r1", "3")
    assert reply.headers.get("x-none") is None
    assert 0 < reply.latency_s < 15


def test_request(driver: Driver) -> None:
    """A request has the path of the base URL, the key, the length and the body as it is."""
    with HostileServer(repeat(answer(OK))) as server:
        driver.ask(server.origin)
    ((head, body),) = server.requests
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert first == f"POST {PATH} HTTP/1.1"
    assert headers.pop("User-Agent").startswith("batcher/")
    assert headers == {
        "Host": server.origin.removeprefix("http://"),
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",
        "Authorization": f"Bearer {KEY}",
        "Content-Length": str(len(BODY)),
    }
    assert body == BODY


def test_paths(driver: Driver) -> None:
    """Each path goes out as it is given: percent signs, queries and all."""
    paths = ["/v1/embeddings", "/v1/a%20b?api-version=1%2F2&x", "/v1/%d%s"]

    async def each(transport: BaseTransport) -> None:
        for path in paths:
            await transport.send(path, BODY)

    with HostileServer(repeat(answer(OK))) as server:
        driver.run(each, server.origin)
    assert [request.head.split(b" ")[1].decode() for request in server.requests] == paths


@pytest.mark.parametrize("size", [0, 70_000, 3 * 1024 * 1024])
def test_large_bodies(driver: Driver, size: int) -> None:
    """A body arrives whole whatever its length."""
    body = bytes(range(32, 96)) * (size // 64)

    async def send(transport: BaseTransport) -> Any:
        return await ask(transport, body)

    with HostileServer(repeat(answer(OK))) as server:
        reply = driver.run(send, server.origin)
    assert reply.body == OK
    assert server.requests[0].body == body


def test_reuse(driver: Driver) -> None:
    """Requests in a row share one connection."""

    async def many(transport: BaseTransport) -> list[Any]:
        return [await ask(transport) for _ in range(30)]

    with HostileServer(repeat(answer(OK))) as server:
        replies = driver.run(many, server.origin)
    assert {reply.body for reply in replies} == {OK}
    assert (server.connections, len(server.requests)) == (1, 30)


def test_many_in_flight(driver: Driver) -> None:
    """Each of many requests under way gets its own answer, over connections that are reused."""

    def echo(peer: Peer) -> None:
        while True:
            peer.send(answer(peer.request().body))

    async def worker(transport: BaseTransport, number: int) -> None:
        for turn in range(4):
            body = b"[%d, %d]" % (number, turn)
            reply = await ask(transport, body)
            assert isinstance(reply, Reply)
            assert reply.body == body

    async def many(transport: BaseTransport) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(60):
                group.create_task(worker(transport, number))

    with HostileServer(echo) as server:
        driver.run(many, server.origin)
    assert len(server.requests) == 240
    assert server.connections == 60


def test_idle_connections_are_closed_at_the_end(driver: Driver) -> None:
    """When a transport is left, none of its connections stays open."""

    async def some(transport: BaseTransport) -> None:
        await asyncio.gather(*(ask(transport) for _ in range(5)))

    with HostileServer(repeat(answer(OK))) as server:
        driver.run(some, server.origin)
        assert server.wait_until_alone()


def test_timeout_leaves_the_young_alone(driver: Driver) -> None:
    """A sweep ends what has passed its time, and nothing else."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.wait_for_close()

    async def hang(transport: BaseTransport) -> Any:
        task = asyncio.create_task(ask(transport))
        await server.wait_for_requests()
        transport.sweep(time.monotonic() + 59)
        await asyncio.sleep(0)
        assert not task.done()
        transport.sweep(time.monotonic() + 61)
        # A second sweep before the first has had its effect changes nothing.
        transport.sweep(time.monotonic() + 61)
        transport.abort()
        return await task

    with HostileServer(script) as server:
        outcome = driver.run(hang, server.origin, timeout_s=60.0)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.sent) == (FailureKind.TIMEOUT, True)
