"""Handlers behind an HTTP endpoint: each call is one POST.

The call id goes along as `Idempotency-Key`, so that an endpoint can tell a call that is made again
after a crash from a new one. Nothing is sent twice here: what fails is an error like a function's.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from batcher import __version__
from batcher.handlers.carrier import Handlers
from batcher.handlers.content import MAX_CONTENT_BYTES
from batcher.handlers.errors import HandlerError
from batcher.retry.refusals import SUCCESSES
from batcher.turns import ToolCall

if TYPE_CHECKING:
    import aiohttp

__all__ = ["RemoteHandlers"]

# Of what an endpoint says to an error.
_SHOWN_CHARS: Final = 500


class RemoteHandlers(Handlers):
    """An endpoint that takes every call.

    Args:
        table: The keys of `[handlers]`, `api_key` among them.
        trust_env: Whether proxies are taken from the environment.
    """

    def __init__(self, table: Mapping[str, Any], *, trust_env: bool) -> None:
        super().__init__(table, None)
        self._url: str = table["url"]
        self._key: str | None = table.get("api_key")
        self._trust_env = trust_env
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp

        headers = {"User-Agent": f"batcher/{__version__}", "Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                headers=headers,
                # A new connection each: one kept alive may have gone stale, and none is resent.
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=self._trust_env,
            )
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def call(self, call: ToolCall) -> Any:
        """See `Handlers`."""
        import aiohttp

        assert self._session is not None
        try:
            async with self._session.post(
                self._url,
                data=orjson.dumps(call),
                headers={"Idempotency-Key": call.id},
                allow_redirects=False,
            ) as answer:
                text = await _text(answer)
        except aiohttp.ClientError as error:
            raise HandlerError(f"its endpoint can't be reached: {type(error).__name__}") from None
        if answer.status not in SUCCESSES:
            raise HandlerError(f"HTTP {answer.status}: {text[:_SHOWN_CHARS]}".rstrip(": "))
        return text


async def _text(answer: aiohttp.ClientResponse) -> str:
    raw = b""
    async for block in answer.content.iter_any():
        raw += block
        if len(raw) > MAX_CONTENT_BYTES:
            raise HandlerError("its answer is longer than 1 MiB")
    return raw.decode("utf-8", "replace")
