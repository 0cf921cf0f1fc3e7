"""What every transport makes of a connection that can't be had."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from batcher.errors import StorageError
from batcher.records import Failure, FailureKind
from batcher.transport.base import BaseTransport
from tests.driving import DRIVERS, Driver, ask
from tests.hostile import HostileServer, answer, repeat

OK = b'{"ok": true}'

pytestmark = pytest.mark.parametrize("driver", DRIVERS)


def test_connection_refused(driver: Driver) -> None:
    """Where nothing listens, the attempt was never sent."""
    with HostileServer(repeat(answer(OK))) as server:
        pass
    outcome = driver.ask(server.origin)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.sent) == (FailureKind.CONNECTION_REFUSED, False)


@pytest.mark.parametrize("host", ["nowhere.invalid", "127.1", "a" * 70 + ".example"])
def test_unknown_names(driver: Driver, host: str) -> None:
    """A name that no one knows is said to be that."""
    outcome = driver.ask(f"http://{host}:9")
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.sent) == (FailureKind.DNS_ERROR, False)


@contextmanager
def full_listener() -> Iterator[str]:
    """Give the origin of a listener that takes no more connections and refuses none."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_connect_timeout(driver: Driver) -> None:
    """A connection that does not open in time fails the attempt, unsent."""
    with full_listener() as origin:
        outcome = driver.ask(origin, connect_timeout_s=0.05)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.sent) == (FailureKind.CONNECT_TIMEOUT, False)


def test_abort_while_connecting(driver: Driver) -> None:
    """What is broken off before its connection is open was not sent."""

    async def stop(transport: BaseTransport) -> Any:
        task = asyncio.create_task(ask(transport))
        for _ in range(5):
            await asyncio.sleep(0)
        transport.abort()
        return await task

    with full_listener() as origin:
        outcome = driver.run(stop, origin)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.sent) == (FailureKind.CANCELLED, False)


def test_too_many_open_files(driver: Driver) -> None:
    """Without a file left for a connection, it is this machine that fails, and says so."""

    async def send(transport: BaseTransport) -> None:
        await ask(transport)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = os.dup(0)
        os.close(highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        try:
            with pytest.raises(StorageError, match="ulimit -n"):
                await asyncio.gather(*(ask(transport) for _ in range(20)))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    with HostileServer(repeat(answer(OK))) as server:
        driver.run(send, server.origin)
