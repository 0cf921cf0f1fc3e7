"""How many bytes of answers every transport holds at once, and that none is lost or late by it."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest

from batcher.transport import intake
from batcher.transport.base import BaseTransport
from tests.driving import DRIVERS, Driver, ask
from tests.hostile import HostileServer, Peer, answer

COUNT = 12
MIB = 1024 * 1024

pytestmark = pytest.mark.parametrize("driver", DRIVERS)


@pytest.fixture
def few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two MiB of large answers at once."""
    defaults = intake.Intake.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "most_bytes", 2 * MIB)


def _large(peer: Peer) -> None:
    peer.request()
    peer.send(answer(b'"%b"' % (b"x" * 2 * MIB)))
    peer.wait_for_close()


async def _all_held(transport: BaseTransport) -> None:
    for _ in range(2000):
        if len(transport._intake._held) == COUNT:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("they are read")


@pytest.mark.usefixtures("few_bytes")
def test_what_is_held_has_a_bound(driver: Driver) -> None:
    """Large answers that come together are read one after another, and each is whole."""
    most = 0

    async def all_of_them(transport: BaseTransport) -> list[Any]:
        nonlocal most
        tasks = [asyncio.create_task(ask(transport)) for _ in range(COUNT)]
        while not all(task.done() for task in tasks):
            most = max(most, transport._intake._bytes)
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    with HostileServer(_large) as server:
        replies = driver.run(all_of_them, server.origin)
    assert [len(reply.body) for reply in replies] == [2 * MIB + 2] * COUNT
    # One goes on in any case; of each other, the small beginning and what comes with a step.
    assert most < 2 * MIB + 2 * MIB + COUNT * 4 * intake.STEP_BYTES


@pytest.mark.usefixtures("few_bytes")
def test_what_is_not_read_is_not_late(driver: Driver) -> None:
    """While nobody takes what was read, none comes in; that time is not the endpoint's."""
    backlog = [3 * MIB]

    async def late(transport: BaseTransport) -> list[Any]:
        tasks = [asyncio.create_task(ask(transport)) for _ in range(COUNT)]
        await _all_held(transport)
        # By now each is late, but for the time in which we did not read.
        await asyncio.sleep(2.2)
        transport.sweep(asyncio.get_running_loop().time())
        assert not any(task.done() for task in tasks)
        backlog[0] = 0
        transport.sweep(asyncio.get_running_loop().time())
        return await asyncio.gather(*tasks)

    with HostileServer(_large) as server:
        replies = driver.run(late, server.origin, timeout_s=2.0, held_elsewhere=lambda: backlog[0])
    assert [len(reply.body) for reply in replies] == [2 * MIB + 2] * COUNT


@pytest.mark.usefixtures("few_bytes")
def test_small_answers_that_become_large(driver: Driver) -> None:
    """Compressed answers are unpacked once what was unpacked before has been taken, one by one."""
    packed = gzip.compress(b'"%b"' % (b"x" * 2 * MIB))
    backlog = [3 * MIB]

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(packed, headers=["Content-Encoding: gzip"]))
        peer.wait_for_close()

    async def packed_ones(transport: BaseTransport) -> list[Any]:
        tasks = [asyncio.create_task(ask(transport)) for _ in range(COUNT)]
        await _all_held(transport)
        for done, held in enumerate((3 * MIB, 2 * MIB, 3 * MIB)):
            backlog[0] = held
            transport.sweep(asyncio.get_running_loop().time())
            await asyncio.sleep(0.05)
            assert sum(task.done() for task in tasks) == (done > 0), "none beyond the bound"
        backlog[0] = 0
        transport.sweep(asyncio.get_running_loop().time())
        return await asyncio.gather(*tasks)

    with HostileServer(script) as server:
        replies = driver.run(packed_ones, server.origin, held_elsewhere=lambda: backlog[0])
    assert [len(reply.body) for reply in replies] == [2 * MIB + 2] * COUNT


@pytest.mark.usefixtures("few_bytes")
def test_an_abort_ends_what_is_held(driver: Driver) -> None:
    """An answer that is not being read ends at once when the run stops; nothing is left held."""

    async def stop(transport: BaseTransport) -> list[Any]:
        tasks = [asyncio.create_task(ask(transport)) for _ in range(COUNT)]
        await _all_held(transport)
        transport.abort()
        outcomes = await asyncio.gather(*tasks)
        assert not transport._intake._held
        for _ in range(10):
            await asyncio.sleep(0)
        assert not transport._intake._bytes
        return outcomes

    with HostileServer(_large) as server:
        outcomes = driver.run(stop, server.origin, held_elsewhere=lambda: 3 * MIB)
    assert {outcome.kind.value for outcome in outcomes} == {"cancelled"}
