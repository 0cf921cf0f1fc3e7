"""Drives every transport, and checks after each what must always hold."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
import uvloop

from batcher.records import Failure, Reply
from batcher.settings import target_url
from batcher.transport import SessionTransport
from batcher.transport.base import BaseTransport
from batcher.transport.lean import LeanTransport

__all__ = ["BODY", "DRIVERS", "KEY", "PATH", "Driver", "ask", "check_secrecy"]

PATH = "/v1/chat/completions"
KEY = "sk-hush-hush"
PROMPT = "what-was-asked"
ANSWER = "what-was-answered"
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "%b"}]}' % PROMPT.encode()

# No test waits for longer, whatever goes wrong.
_PATIENCE_S = 15.0


class Driver(NamedTuple):
    """A kind of transport on a kind of loop."""

    transport: type[BaseTransport]
    loop: Callable[[], asyncio.AbstractEventLoop]

    def run(
        self,
        scenario: Callable[[BaseTransport], Awaitable[Any]],
        origin: str,
        **options: Any,
    ) -> Any:
        """Run a scenario on an open transport; it must leave nothing behind."""

        async def main() -> Any:
            transport = self.transport(
                resolve=partial(target_url, f"{origin}/v1"),
                headers={"Authorization": f"Bearer {KEY}"},
                **options,
            )
            async with asyncio.timeout(_PATIENCE_S), transport:
                outcome = await scenario(transport)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return outcome

        with asyncio.Runner(loop_factory=self.loop) as runner:
            outcome = runner.run(main())
        # What was not closed warns when it is collected, and warnings are errors.
        gc.collect(1)
        return outcome

    def ask(self, origin: str, **options: Any) -> Reply | Failure:
        """Make one attempt."""
        outcome: Reply | Failure = self.run(ask, origin, **options)
        return outcome


class StrangeSession(SessionTransport):
    """The plain transport on an aiohttp that it does not know."""

    def knows_aiohttp(self) -> bool:
        """It does not."""
        return False


# The command line runs on uvloop; within another program the loop may be asyncio's own.
DRIVERS = [
    pytest.param(Driver(SessionTransport, uvloop.new_event_loop), id="session"),
    pytest.param(Driver(LeanTransport, uvloop.new_event_loop), id="lean"),
    pytest.param(Driver(LeanTransport, asyncio.new_event_loop), id="lean, asyncio"),
    pytest.param(Driver(StrangeSession, uvloop.new_event_loop), id="session, strange aiohttp"),
]


async def ask(transport: BaseTransport, body: bytes = BODY) -> Reply | Failure:
    """Make one attempt; its failure must tell no secret."""
    outcome = await transport.send(PATH, body)
    if isinstance(outcome, Failure):
        check_secrecy(repr(outcome))
    return outcome


@contextmanager
def said_in_logs() -> Iterator[list[str]]:
    """Listen to everything that is logged meanwhile, at any level."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(repr(vars(record)))  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield said
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def check_secrecy(text: str) -> None:
    """Neither the key nor what was asked and answered may stand in a text."""
    for secret in (KEY, PROMPT, ANSWER):
        assert secret not in text
