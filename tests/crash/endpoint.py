"""An endpoint that keeps books of every request, in a thread of the test's own process.

What it answers to a request is drawn from a hash of it: most succeed, some fail first or for ever.
Every answer reports a number of tokens that no other has, so that sums can not agree by chance.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson
from aiohttp import web

from batcher.codec import request_hash

PATH = "/v1/chat/completions"


class Served(NamedTuple):
    """What was answered to one request: the group's totals are sums of these."""

    attempts: int = 0
    tokens: int = 0
    unread: int = 0

    def plus(self, other: Served) -> Served:
        """Add field by field."""
        return Served(*map(int.__add__, self, other))


class Endpoint:
    """The server; a context manager.

    Args:
        latency_s: Of each answer; varied by its hash between half and one and a half of it.
        troubles: Whether some requests meet faults.

    Attributes:
        base_url: For `--base-url`.
        groups: Which row a request belongs to, by its hash; requests of no known row are their own.
        runs: For each run, what was served to each group.
        seen: Requests since the present run began.
        healed: Whether the requests that were refused for good are so no more.
        padding: Bytes that make each answer longer.
    """

    def __init__(self, *, latency_s: float = 0.03, troubles: bool = True) -> None:
        self.latency_s = latency_s
        self.troubles = troubles
        self.healed = False
        self.padding = 0
        self.base_url = ""
        self.groups: dict[str, str] = {}
        self.runs: list[defaultdict[str, Served]] = []
        self.seen = 0
        self._asked: Counter[str] = Counter()
        self._serial = 0
        self._under_way = 0
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._seen_more = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="endpoint", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(20)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def begin_run(self) -> None:
        """Open a new page of the books."""
        self.runs.append(defaultdict(Served))
        self.seen = 0

    def wait_for(self, requests: int, timeout_s: float) -> bool:
        """Wait until so many requests of this run have come."""
        with self._seen_more:
            return self._seen_more.wait_for(lambda: self.seen >= requests, timeout_s)

    def settle(self, timeout_s: float = 20.0) -> None:
        """Wait until every request has been dealt with, those of dead processes too."""
        with self._seen_more:
            assert self._seen_more.wait_for(lambda: not self._under_way, timeout_s)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._over = asyncio.Event()
        server = web.Server(self._handle, access_log=None, keepalive_timeout=3600)
        sockets = await self._loop.create_server(server, "127.0.0.1", 0, backlog=1024)
        port = sockets.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self._up.set()
        await self._over.wait()
        sockets.close()
        await server.shutdown(0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._under_way += 1
        try:
            return await self._served(request)
        finally:
            with self._seen_more:
                self._under_way -= 1
                self._seen_more.notify_all()

    async def _served(self, request: web.BaseRequest) -> web.StreamResponse:
        body = orjson.loads(await request.content.read())
        digest = request_hash(PATH, body)
        page = self.runs[-1]
        group = self.groups.get(digest, digest)
        draw = int(digest[:6], 16)
        page[group] = page[group].plus(Served(1))
        self._asked[digest] += 1
        with self._seen_more:
            self.seen += 1
            self._seen_more.notify_all()
        await asyncio.sleep(self.latency_s * (0.5 + draw % 100 / 100))
        fault = self._fault(draw, self._asked[digest])
        if fault in ("500", "400", "429"):
            headers = {"retry-after-ms": "20"} if fault == "429" else {}
            refusal = {"error": {"message": f"as drawn: {fault}", "code": f"drawn_{fault}"}}
            return web.json_response(refusal, status=int(fault), headers=headers)
        if fault == "reset":
            page[group] = page[group].plus(Served(unread=1))
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return self._answer(body, fault, page, group)

    def _fault(self, draw: int, asked: int) -> str:
        """Nine in ten requests meet nothing; of the others, most only at their first attempt."""
        if not self.troubles:
            return ""
        kind = draw % 100
        if kind < 4:
            return "" if self.healed else "400"
        first = {4: "500", 5: "500", 6: "429", 7: "reset", 8: "empty"}.get(kind, "")
        return first if asked == 1 else ("unpriced" if kind == 9 else "")

    def _answer(
        self, body: dict[str, Any], fault: str, page: defaultdict[str, Served], group: str
    ) -> web.Response:
        if fault in ("empty", "unpriced"):
            page[group] = page[group].plus(Served(unread=1))
        else:
            self._serial += 1
            page[group] = page[group].plus(Served(tokens=self._serial + 1))
        if fault == "empty":
            return web.Response(body=b"", content_type="application/json")
        answer: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "padding": "x" * self.padding,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": body["messages"][0]["content"]},
                    "finish_reason": "stop",
                }
            ],
        }
        if fault != "unpriced":
            answer["usage"] = {
                "prompt_tokens": self._serial,
                "completion_tokens": 1,
                "total_tokens": self._serial + 1,
            }
        return web.json_response(answer)
