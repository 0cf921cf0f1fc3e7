"""What the lean transport does by itself that aiohttp's session does elsewhere, or not at all."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from batcher.records import Failure, FailureKind
from batcher.transport.base import BaseTransport
from tests.driving import DRIVERS, PATH, Driver, ask
from tests.hostile import HostileServer, Peer, answer, repeat

OK = b'{"ok": true}'

pytestmark = pytest.mark.parametrize("driver", DRIVERS[1:3])


def test_idle_for_long(driver: Driver) -> None:
    """A connection that was idle for long is closed by the sweep, a young one is kept."""

    async def idle(transport: BaseTransport) -> list[int]:
        await asyncio.gather(*(ask(transport) for _ in range(3)))
        transport.sweep(time.monotonic() + 3)
        await ask(transport)
        count = server.connections
        transport.sweep(time.monotonic() + 5)
        assert await asyncio.to_thread(server.wait_until_alone)
        await ask(transport)
        return [count, server.connections]

    with HostileServer(repeat(answer(OK))) as server:
        assert driver.run(idle, server.origin) == [3, 4]


def test_reset_at_the_end(driver: Driver) -> None:
    """An answer without a length that ends by a reset is not taken for whole."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(OK, length=None)[:-3])
        peer.stopping.wait(0.05)
        peer.reset()

    with HostileServer(script) as server:
        outcome = driver.ask(server.origin)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TRUNCATED


def test_unasked_at_once(driver: Driver) -> None:
    """A server that speaks first is not asked anything."""

    def script(peer: Peer) -> None:
        peer.send(b"220 mail ready\r\n")
        peer.wait_for_close()

    with HostileServer(script) as server:
        outcome = driver.ask(server.origin)
    assert isinstance(outcome, Failure)
    assert outcome.kind in {FailureKind.CONNECTION_RESET, FailureKind.PROTOCOL_ERROR}


@pytest.mark.parametrize("at", [len(answer(OK)) - 3, len(answer(OK)) - len(OK), 0])
@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_garbage_after_a_whole_answer(driver: Driver, before: bytes, at: int) -> None:
    """A whole answer counts, whatever comes behind it; its connection is not used again."""
    whole = answer(OK)

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(whole[:at])
        begun.wait(10)
        peer.send((b"" if at else before) + whole[at:] + (b"garbage" if peer.number == 1 else b""))
        peer.wait_for_close()

    async def twice(transport: BaseTransport) -> list[Any]:
        first = asyncio.create_task(ask(transport))
        await server.wait_for_requests(1)
        # What was sent by now is read by itself.
        await asyncio.sleep(0.05)
        begun.set()
        return [await first, await ask(transport)]

    begun = threading.Event()
    with HostileServer(script) as server:
        outcomes = driver.run(twice, server.origin)
    assert [getattr(outcome, "body", outcome) for outcome in outcomes] == [OK, OK]
    assert server.connections == 2


def test_no_line_end_in_a_head(driver: Driver) -> None:
    """Nothing that a path may hold adds a line to the head of a request."""

    async def send(transport: BaseTransport) -> Any:
        return await transport.send(f"{PATH}\r\nX-More: 1", b"{}")

    with HostileServer(repeat(answer(OK))) as server:
        driver.run(send, server.origin)
    assert not any(b"\r\nX-More" in request.head for request in server.requests)
