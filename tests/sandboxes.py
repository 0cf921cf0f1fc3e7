"""A sandbox that serves, a client of it, and the documented example to ask."""

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

from batcher.endpoints.sandbox import SandboxOptions, serve

__all__ = ["CHAT", "HELLO", "PAGE", "TOOL", "Client", "Got", "sandbox"]

TOOL = {
    "type": "function",
    "function": {
        "name": "get_delivery_date",
        "description": "Get the delivery date for a customer's order.",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string"}},
            "required": ["order_id"],
            "additionalProperties": False,
        },
    },
}
PAGE: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "You are a helpful customer support assistant."},
        {"role": "user", "content": "When will my order arrive?"},
        {"role": "assistant", "content": "Can you please provide your order ID?"},
        {"role": "user", "content": "i think it is order_12345"},
    ],
    "tools": [TOOL],
}
HELLO: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello."}]}
CHAT = "/v1/chat/completions"


class Got(NamedTuple):
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Client:
    """A plain HTTP client of one sandbox."""

    def __init__(self, session: aiohttp.ClientSession, server: Any) -> None:
        self.root = server.base_url.removesuffix("/v1")
        self.books = server.books
        self._session = session

    async def post(self, body: Any, path: str = CHAT, **headers: str) -> Got:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.post(
            self.root + path, data=io.BytesIO(data), headers=sent, allow_redirects=False
        ) as got:
            return Got(got.status, got.headers, await got.read())

    async def get(self, path: str) -> Got:
        async with self._session.get(self.root + path) as got:
            return Got(got.status, got.headers, await got.read())

    async def chat(self, **changes: Any) -> Any:
        """Answer the page's example with some fields changed; None leaves a field out."""
        body = {key: value for key, value in {**PAGE, **changes}.items() if value is not None}
        return (await self.post(body)).body


@asynccontextmanager
async def sandbox(**options: Any) -> AsyncIterator[Client]:
    """Serve with these options, and connect."""
    made = SandboxOptions.from_mapping(options)
    async with serve(made) as server, aiohttp.ClientSession() as session:
        yield Client(session, server)


def said(answer: Any) -> Any:
    return answer["choices"][0]["message"]
