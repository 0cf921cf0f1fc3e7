"""A scripted local endpoint with books.

It serves on a real socket, in a thread with a loop of its own, so that a run in the same process
can use it. A request is known by its key: the content of its last message. What the endpoint does
with a key is scripted as a list of moves, one for each time that it is asked; the last one repeats.
Without a script it answers with a completion that echoes the key. It writes down what it was asked
and what it charged for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

from aiohttp import web

__all__ = [
    "GONE",
    "Books",
    "Does",
    "Endpoint",
    "Move",
    "Say",
    "Seen",
    "completion",
    "embedded",
    "refusal",
    "usage_of",
]

# Longer than any test waits for what it expects; a test that fails says so instead of hanging.
_PATIENCE_S = 20.0


class Say(NamedTuple):
    """A whole answer; without a body, a completion."""

    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = {}


class Does(Enum):
    """What an endpoint does instead of answering whole."""

    RESET = auto()
    """Reset the connection."""
    CLOSE = auto()
    """Close the connection without a word."""
    CUT = auto()
    """Close the connection in the middle of the answer."""
    GARBAGE = auto()
    """Send what is not HTTP."""
    DRIP = auto()
    """Send blank lines first, then a completion, in chunks."""
    HANG = auto()
    """Say nothing until the client gives up."""
    WAIT = auto()
    """Hold the answer until `release`; then a completion."""


class Seen(NamedTuple):
    """A request as it arrived: `attempt` counts from 1 for each key."""

    key: str
    attempt: int
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


Move: TypeAlias = Say | Does | Callable[[Seen], Say | Does]


class Books:
    """What the endpoint saw and charged.

    Attributes:
        seen: Every request, in order of arrival.
        usage: Tokens of all answers that told their usage.
        unsure: Attempts that it may have charged for without telling usage.
        in_flight, most_in_flight: Requests under way now, and at most.
        connections: Connections opened.
        outputs_seen: Whether the watched output stood there, request by request.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.usage: Counter[str] = Counter()
        self.unsure = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.connections = 0
        self.outputs_seen: list[bool] = []

    @property
    def attempts(self) -> int:
        """Requests that arrived."""
        return len(self.seen)

    @property
    def by_key(self) -> Counter[str]:
        """Requests for each key."""
        return Counter(seen.key for seen in self.seen)

    @property
    def keys(self) -> list[str]:
        """The keys in order of arrival."""
        return [seen.key for seen in self.seen]


class Endpoint:
    """The server; a context manager.

    Attributes:
        books: What it saw.
        output: A path whose existence is noted at each request.
    """

    def __init__(self) -> None:
        self.books = Books()
        self.output: Path | None = None
        self._scripts: defaultdict[str | None, list[Move]] = defaultdict(list)
        self._attempts: Counter[str] = Counter()
        self._total = 0
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint")
        self._peers: set[Any] = set()
        # Bound but not listening, so that a closed port refuses and stays ours.
        self._place = _bound(0)
        self.port: int = self._place.getsockname()[1]
        self._hanging: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()
        self._place.close()

    @property
    def url(self) -> str:
        """The base URL, as an SDK has it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def on(self, key: str, *moves: Move) -> None:
        """Script what is done with a key; the last move repeats."""
        self._scripts[key] = list(moves)

    def always(self, *moves: Move) -> None:
        """Script what is done with every key that has no script, counted for each key."""
        self._scripts[None] = list(moves)

    def wait_until(self, condition: Callable[[Books], bool]) -> None:
        """Wait for the books to say so; fails after a while."""
        with self._changed:
            met = self._changed.wait_for(lambda: condition(self.books), _PATIENCE_S)
        assert met, f"the endpoint never saw it: {self.books.attempts} attempts"

    def release(self) -> None:
        """Let go of what waits, and of what would."""
        self._loop.call_soon_threadsafe(self._released.set)

    def close_port(self) -> None:
        """Refuse connections from now on; those that stand are closed."""
        self._call(self._stop())

    def open_port(self) -> None:
        """Serve again, on the same port. May be called by a move, in the server's own loop."""
        self._call(self._start())

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    async def _start(self) -> None:
        self._released = asyncio.Event()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
        await self._runner.setup()
        await web.SockSite(self._runner, _bound(self.port), backlog=1024).start()

    async def _stop(self) -> None:
        for task in self._hanging:
            task.cancel()
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._hanging.add(task)
        seen = self._note(request, await request.read())
        try:
            return await self._do(request, seen, self._next_move(seen))
        finally:
            self._hanging.discard(task)
            with self._changed:
                self.books.in_flight -= 1
                self._changed.notify_all()

    def _note(self, request: web.Request, raw: bytes) -> Seen:
        body = json.loads(raw)
        messages = body.get("messages") or [{}]
        key = str(messages[-1].get("content") or body.get("input") or "")
        with self._changed:
            self._attempts[key] += 1
            books = self.books
            seen = Seen(key, self._attempts[key], request.path_qs, request.headers.copy(), body)
            books.seen.append(seen)
            books.in_flight += 1
            books.most_in_flight = max(books.most_in_flight, books.in_flight)
            if request.transport not in self._peers:
                self._peers.add(request.transport)
                books.connections += 1
            if self.output is not None:
                books.outputs_seen.append(self.output.exists())
            self._changed.notify_all()
        return seen

    def _next_move(self, seen: Seen) -> Say | Does:
        moves = self._scripts.get(seen.key) or self._scripts.get(None) or [Say()]
        move = moves[min(seen.attempt, len(moves)) - 1]
        return move if isinstance(move, Say | Does) else move(seen)

    async def _do(self, request: web.Request, seen: Seen, move: Say | Does) -> web.StreamResponse:
        if isinstance(move, Say):
            return self._say(seen, move)
        if move is Does.WAIT:
            await self._released.wait()
            return self._say(seen, Say())
        if move is Does.DRIP:
            return await self._drip(request, seen)
        with self._changed:
            self.books.unsure += 1
        if move is Does.HANG:
            await asyncio.get_running_loop().create_future()
        if move is Does.CUT:
            response = web.StreamResponse()
            response.content_length = 1000
            await response.prepare(request)
            await response.write(completion(seen)[:20])
        transport = request.transport
        assert transport is not None
        if move is Does.GARBAGE:
            transport.write(b"\x00\x01 what is this\r\n\r\n")
        if move is Does.RESET:
            peer = transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        transport.close()
        return web.Response()

    def _say(self, seen: Seen, say: Say) -> web.Response:
        body = completion(seen) if say.body is None else say.body
        self._charge(say.status, body)
        named = " ".join(seen.key.split())
        headers = {"Content-Type": "application/json", "x-request-id": f"req-{named}"}
        return web.Response(status=say.status, body=body, headers={**headers, **say.headers})

    async def _drip(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        body = completion(seen)
        for part in (b"\n", b"\n", body[:10], body[10:], b"\n"):
            await response.write(part)
        self._charge(200, body)
        await response.write_eof()
        return response

    def _charge(self, status: int, body: bytes) -> None:
        usage = None
        with contextlib.suppress(ValueError):
            answer = json.loads(body)
            usage = answer.get("usage") if isinstance(answer, dict) else None
        with self._changed:
            if usage is not None:
                for name in ("prompt_tokens", "completion_tokens"):
                    self.books.usage[name] += usage.get(name, 0)
            elif 200 <= status < 300:
                self.books.unsure += 1


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def usage_of(key: str) -> dict[str, Any]:
    """What a completion for a key is charged as: no two lengths of key cost the same."""
    prompt, completed = 10 + len(key), 5
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completed,
        "total_tokens": prompt + completed,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }


def completion(seen: Seen) -> bytes:
    """A completion that echoes the key, in the manner of the page: pretty-printed."""
    answer = {
        "id": f"chatcmpl-{seen.key}-{seen.attempt}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": f"echo {seen.key}"},
                "finish_reason": "stop",
            }
        ],
        "usage": usage_of(seen.key),
    }
    return json.dumps(answer, indent=2).encode()


def refusal(status: int, code: str | None = None, *, message: str = "no", **headers: str) -> Say:
    """A refusal in OpenAI's shape; `retry_after="1"` becomes the header `retry-after`."""
    error = {"error": {"message": message, "type": "invalid_request_error", "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Say(status, json.dumps(error).encode(), named)


def embedded(code: object, type_: str = "server_error") -> Say:
    """An error inside of an answer with status 200."""
    return Say(200, json.dumps({"error": {"message": "no", "type": type_, "code": code}}).encode())


# A row that its endpoint will never answer.
GONE = refusal(400, "gone")
