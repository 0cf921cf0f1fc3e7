"""The thin server before llama.cpp's: translates requests with tools, passes on all others.

Both listen on loopback, in one process. Bodies that need no translation go through as bytes.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from aiohttp import web

from batcher.endpoints.local.translate import Untranslatable, to_answer, to_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["listen"]

_CHAT: Final = ("/v1/chat/completions", "/chat/completions")

# As long as batcher sends: contract's 64 MiB a row, and room.
_BODY_MAX_BYTES: Final = 65 * 1024 * 1024

_UPSTREAM: Final = web.AppKey("upstream", str)
_SESSION: Final = web.AppKey("session", aiohttp.ClientSession)


@asynccontextmanager
async def listen(upstream: str) -> AsyncIterator[int]:
    """Serve on a free loopback port until the block ends; yield the port.

    Args:
        upstream: Where llama.cpp's server listens, such as `http://127.0.0.1:40321`.
    """
    app = web.Application(client_max_size=_BODY_MAX_BYTES)
    app[_UPSTREAM] = upstream
    for path in _CHAT:
        app.router.add_post(path, _chat)
    app.router.add_route("*", "/{path:.*}", _pass)
    # No bound on time or connections: the model's queue is the bound, and the caller has a timeout.
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        app[_SESSION] = session
        # A caller that is gone must not leave the model at work for it.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()


async def _pass(request: web.Request) -> web.Response:
    return _whole(*await _forward(request, await request.read()))


async def _chat(request: web.Request) -> web.Response:
    body = await request.read()
    try:
        asked = orjson.loads(body)
        ask = to_request(asked) if isinstance(asked, dict) else None
    except orjson.JSONDecodeError:
        return _refusal(400, "the body is no JSON")
    except Untranslatable as error:
        return _refusal(400, str(error))
    if ask is None:
        return _whole(*await _forward(request, body))
    status, content_type, answer = await _forward(request, orjson.dumps(ask.body))
    if status != web.HTTPOk.status_code:
        return _whole(status, content_type, answer)
    translated = to_answer(ask, orjson.loads(answer), new_id=_call_id)
    return _whole(status, content_type, orjson.dumps(translated))


async def _forward(request: web.Request, body: bytes) -> tuple[int, str, bytes]:
    """Ask llama.cpp; its status, content type and body, or a 502 of our own."""
    url = request.app[_UPSTREAM] + request.path_qs
    headers = {"Content-Type": "application/json"} if body else {}
    try:
        async with request.app[_SESSION].request(
            request.method, url, data=body or None, headers=headers
        ) as answer:
            return answer.status, answer.content_type, await answer.read()
    except aiohttp.ClientError as error:
        refusal = _error(f"the model's server does not answer ({type(error).__name__})")
        return web.HTTPBadGateway.status_code, "application/json", orjson.dumps(refusal)


def _whole(status: int, content_type: str, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type=content_type)


def _refusal(status: int, message: str) -> web.Response:
    body = orjson.dumps(_error(message, kind="invalid_request_error"))
    return _whole(status, "application/json", body)


def _error(message: str, *, kind: str = "server_error") -> dict[str, Any]:
    """Word an error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _call_id() -> str:
    return f"call_{secrets.token_hex(12)}"
