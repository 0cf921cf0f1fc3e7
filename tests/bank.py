"""An endpoint that keeps accounts: what it charged for each row, to the token and at list prices.

It prices by the price list itself, and not by anything of ours. It serves in a thread of the test's
own process, so that its accounts outlive whatever is killed. What it does with a request is drawn
from a hash of it: most are answered, others first meet a fault, or cost something that the client
never hears of.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Self

import genai_prices
import orjson
from aiohttp import web
from genai_prices import calc_price

from batcher.amounts import Usage

__all__ = ["Bank", "Charge", "chat"]

_PATIENCE_S = 60.0


class Charge(NamedTuple):
    """An answer that was charged; `heard` says whether its usage was sent."""

    row: str
    model: str
    usage: Usage
    usd: Decimal
    heard: bool


class Bank:
    """The server; a context manager.

    Args:
        latency_s: Of an answer, varied by its hash between a half and one and a half of it.
        tight: Whether answers are about as long as `max_tokens` lets them be.
        faults: What every so-many-th request meets at first.

    Attributes:
        charges: All that was charged, in order.
        attempts: Requests that arrived, by row.
        in_flight, most_in_flight: Requests under way now, and at most.
    """

    def __init__(
        self,
        *,
        latency_s: float = 0.03,
        tight: bool = False,
        faults: Sequence[str] = ("500", "429", "reset", "cut", "500", "503"),
        every: int = 4,
    ) -> None:
        self.latency_s = latency_s
        self.charges: list[Charge] = []
        self.attempts: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.base_url = ""
        self._tight = tight
        self._faults = faults
        self._every = every * len(faults)
        self._asked: Counter[bytes] = Counter()
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="bank", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(_PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive()

    @property
    def usd(self) -> Decimal:
        """All that was charged, heard of or not."""
        return sum((charge.usd for charge in self.charges), Decimal(0))

    @property
    def tokens(self) -> int:
        """The same in tokens."""
        return sum(charge.usage.total_tokens for charge in self.charges)

    def by_row(self) -> dict[str, tuple[Usage, Decimal]]:
        """What each row was charged in answers that told their usage."""
        found: defaultdict[str, tuple[Usage, Decimal]] = defaultdict(lambda: (Usage(), Decimal(0)))
        for charge in self.charges:
            if charge.heard:
                usage, usd = found[charge.row]
                found[charge.row] = (usage.plus(charge.usage), usd + charge.usd)
        return dict(found)

    def wait_for(self, condition: Callable[[Bank], bool]) -> bool:
        """Wait until something is so."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), _PATIENCE_S)

    def settle(self) -> None:
        """Wait until every request has been dealt with, those of dead processes too."""
        assert self.wait_for(lambda bank: bank.in_flight == 0)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._over = asyncio.Event()
        server = web.Server(self._handle, access_log=None, keepalive_timeout=3600)
        sockets = await self._loop.create_server(server, "127.0.0.1", 0, backlog=2048)
        self.base_url = f"http://127.0.0.1:{sockets.sockets[0].getsockname()[1]}/v1"
        self._up.set()
        await self._over.wait()
        sockets.close()
        await server.shutdown(0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.read()
        body = orjson.loads(raw)
        row = body["messages"][0]["content"].partition(":")[0]
        with self._changed:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self.attempts[row] += 1
            self._changed.notify_all()
        try:
            return await self._served(request, raw, body, row)
        finally:
            with self._changed:
                self.in_flight -= 1
                self._changed.notify_all()

    async def _served(
        self, request: web.BaseRequest, raw: bytes, body: dict[str, Any], row: str
    ) -> web.StreamResponse:
        digest = hashlib.sha256(raw).digest()
        self._asked[digest] += 1
        draw = int.from_bytes(digest[:4])
        await asyncio.sleep(self.latency_s * (0.5 + draw % 100 / 100))
        fault = self._fault(draw, self._asked[digest])
        if fault.isdigit():
            headers = {"retry-after-ms": "10"} if fault == "429" else {}
            return web.json_response(
                {"error": {"code": "drawn"}}, status=int(fault), headers=headers
            )
        if fault == "reset":
            if request.transport is not None:  # nobody may be there any more
                request.transport.abort()
            return web.Response()
        usage = self._usage(raw, body, draw)
        usd = _list_price(body["model"], usage)
        self.charges.append(Charge(row, body["model"], usage, usd, heard=not fault))
        answer = orjson.dumps(_answer(body, usage, told=fault != "no_usage"))
        if fault == "cut":
            response = web.StreamResponse()
            response.content_length = len(answer)
            await response.prepare(request)
            await response.write(answer[: len(answer) // 2])
            if request.transport is not None:
                request.transport.close()
            return response
        return web.Response(body=answer, content_type="application/json")

    def _fault(self, draw: int, asked: int) -> str:
        number = draw // 100 % self._every
        if asked == 1 and number < len(self._faults):
            return self._faults[number]
        return "cut" if asked == 2 and number == 3 else ""

    def _usage(self, raw: bytes, body: dict[str, Any], draw: int) -> Usage:
        prompt = len(raw) if self._tight else 10 + draw % (len(raw) - 10)
        most = body["max_tokens"]
        completion = most - draw % (most // 10 + 1) if self._tight else 1 + draw % most
        cached = prompt // 2 if draw % 3 == 0 else 0
        reasoning = completion // 3 if draw % 5 == 0 else 0
        return Usage(prompt, completion, prompt + completion, cached, 0, reasoning)


def chat(row: str, model: str, *, most: int = 40, **more: Any) -> bytes:
    """A line of a source whose row the bank knows by its name."""
    message = {"role": "user", "content": f"{row}: {'word ' * (len(row) % 7)}"}
    body = {"model": model, "messages": [message], "max_tokens": most, **more}
    return orjson.dumps({"custom_id": row, "body": body}) + b"\n"


def _list_price(model: str, usage: Usage) -> Decimal:
    asked = genai_prices.Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cached_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
    return calc_price(asked, model).total_price


def _answer(body: dict[str, Any], usage: Usage, *, told: bool) -> dict[str, Any]:
    """Answer; what a schema asks for is given only once that was asked again."""
    asked_again = len(body["messages"]) > 1
    content = '{"label": "good"}' if asked_again or "response_format" not in body else "nonsense"
    message = {"role": "assistant", "content": content}
    answer: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    if told:
        answer["usage"] = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        }
    return answer
