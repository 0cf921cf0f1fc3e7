"""When every transport uses a connection again, and when it does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from batcher.records import Failure, FailureKind, Reply
from batcher.transport.base import BaseTransport
from tests.driving import DRIVERS, Driver, ask
from tests.hostile import HostileServer, Peer, answer

OK = b'{"ok": true}'

pytestmark = pytest.mark.parametrize("driver", DRIVERS)


def test_early_refusal(driver: Driver) -> None:
    """A refusal that comes before the whole body went out is read; its connection ends."""

    def script(peer: Peer) -> None:
        peer.request(with_body=False)
        peer.send(answer(b"too long", status="413 Too Long"))
        peer.wait_for_close()

    async def twice(transport: BaseTransport) -> list[Any]:
        large = b" " * 30_000_000
        return [await ask(transport, large), await ask(transport)]

    with HostileServer(script) as server:
        replies = driver.run(twice, server.origin)
    assert [reply.status for reply in replies] == [413, 413]
    assert server.connections == 2


@pytest.mark.parametrize(
    "end",
    [pytest.param(Peer.reset, id="reset"), pytest.param(lambda _: None, id="closed")],
)
def test_stale_connections(driver: Driver, end: Callable[[Peer], None]) -> None:
    """A reused connection that ends without a byte was stale; the next attempt opens another."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(OK))
        if peer.number == 1:
            peer.request()
            end(peer)
        else:
            peer.wait_for_close()

    async def thrice(transport: BaseTransport) -> list[Any]:
        return [await ask(transport) for _ in range(3)]

    with HostileServer(script) as server:
        first, second, third = driver.run(thrice, server.origin)
    assert first.body == third.body == OK
    assert (second.kind, second.sent) == (FailureKind.STALE_CONNECTION, True)
    assert (server.connections, len(server.requests)) == (2, 3)


def test_closed_while_idle(driver: Driver) -> None:
    """A connection that the server closed while it was idle is not used again."""

    async def twice(transport: BaseTransport) -> Any:
        await ask(transport)
        assert await asyncio.to_thread(server.wait_until_alone)
        # The farewell was sent; it may take some turns of the loop until it is read.
        for _ in range(20):
            await asyncio.sleep(0)
        outcome = await ask(transport)
        return await ask(transport) if isinstance(outcome, Failure) else outcome

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(OK))

    with HostileServer(script) as server:
        reply = driver.run(twice, server.origin)
    assert reply.body == OK
    assert server.connections == 2


@pytest.mark.parametrize(
    "within_s",
    [pytest.param(0.0, id="after long work"), pytest.param(5.0, id="with half a head")],
)
def test_failing_is_not_stale(
    driver: Driver, within_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reused connection that ends late, or after a part of an answer, was not stale."""
    monkeypatch.setattr("batcher.transport.base._STALE_WITHIN_S", within_s)

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(OK))
        peer.request()
        if within_s:
            peer.send(answer(OK)[:40])

    async def twice(transport: BaseTransport) -> list[Any]:
        return [await ask(transport) for _ in range(2)]

    with HostileServer(script) as server:
        _, second = driver.run(twice, server.origin)
    assert second.kind is FailureKind.CONNECTION_RESET


@pytest.mark.parametrize(
    "unasked",
    [
        pytest.param(answer(b'"stolen"'), id="a whole answer"),
        pytest.param(answer(b'"stolen"')[:30], id="a part of one"),
        pytest.param(b"garbage", id="garbage"),
    ],
)
def test_unasked_bytes(driver: Driver, unasked: bytes) -> None:
    """What comes beyond an answer is never taken for the next row's."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(OK) + unasked)
        peer.request()
        peer.send(answer(b'"stolen"')[30:] if len(unasked) == 30 else answer(b'"own"'))
        peer.wait_for_close()

    async def twice(transport: BaseTransport) -> list[Any]:
        return [await ask(transport) for _ in range(2)]

    with HostileServer(script) as server:
        outcomes = driver.run(twice, server.origin)
    bodies = [outcome.body for outcome in outcomes if isinstance(outcome, Reply)]
    assert b'"stolen"' not in bodies
    assert server.connections == 2 or isinstance(outcomes[1], Failure)


def test_unasked_answer_later(driver: Driver) -> None:
    """An answer that comes to an idle connection is never taken for the next row's."""
    used, sent = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(OK))
        if peer.number == 1:
            used.wait(10)
            peer.send(answer(b'"stolen"'))
            sent.set()
        peer.wait_for_close()

    async def twice(transport: BaseTransport) -> Any:
        await ask(transport)
        used.set()
        await asyncio.to_thread(sent.wait, 10)
        # It was sent; it may take some turns of the loop until it is read.
        for _ in range(20):
            await asyncio.sleep(0)
        return await ask(transport)

    with HostileServer(script) as server:
        outcome = driver.run(twice, server.origin)
    assert outcome.body == OK
    assert server.connections == 2


def test_abort(driver: Driver) -> None:
    """An abort ends every attempt at once; none of their connections is used again."""

    def script(peer: Peer) -> None:
        peer.request()
        if len(server.requests) > 10:
            peer.send(answer(OK))
        peer.wait_for_close()

    async def stop(transport: BaseTransport) -> list[Any]:
        tasks = [asyncio.create_task(ask(transport)) for _ in range(10)]
        await server.wait_for_requests(10)
        transport.abort()
        outcomes = await asyncio.gather(*tasks)
        assert await asyncio.to_thread(server.wait_until_alone)
        return [*outcomes, await ask(transport)]

    with HostileServer(script) as server:
        *outcomes, last = driver.run(stop, server.origin)
    assert {(each.kind, each.sent) for each in outcomes} == {(FailureKind.CANCELLED, True)}
    assert last.body == OK
    assert server.connections == 11


def test_cancelled_by_others(driver: Driver) -> None:
    """A task that is cancelled from outside stays cancelled, and its connection is closed."""

    def script(peer: Peer) -> None:
        peer.request()
        if peer.number > 1:
            peer.send(answer(OK))
        peer.wait_for_close()

    async def cancel(transport: BaseTransport) -> Any:
        task = asyncio.create_task(ask(transport))
        await server.wait_for_requests()
        # Both at once: whoever cancelled from outside is obeyed.
        transport.abort()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await ask(transport)

    with HostileServer(script) as server:
        reply = driver.run(cancel, server.origin)
    assert reply.body == OK
    assert server.connections == 2
