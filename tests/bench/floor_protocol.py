# ruff: noqa: ASYNC230, PTH123, T201  # nothing but the floor: plain files, read as they go
"""The floor of CPython: JSONL in, an asyncio protocol with httptools on uvloop, JSONL out.

`floor_protocol.py SOURCE OUTPUT CONCURRENCY BASE_URL`. For scale alone: no error is handled.
"""

import asyncio
import sys
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import httptools
import orjson
import uvloop

SOURCE, OUTPUT, CONCURRENCY, BASE_URL = sys.argv[1:]
BASE = urlsplit(BASE_URL)
HEAD = (
    f"POST {BASE.path}/chat/completions HTTP/1.1\r\nHost: {BASE.netloc}\r\nAuthorization: Bearer x"
    "\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
).encode()


class Wire(asyncio.Protocol):
    """One connection: a row, its answer, the next row."""

    tokens = 0

    def __init__(self, source: BinaryIO, output: BinaryIO, done: asyncio.Future[None]) -> None:
        self.source, self.output, self.done = source, output, done
        self.body: list[bytes] = []
        self.on_body = self.body.append

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)
        self.send()

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self.parser.feed_data(data)

    def send(self) -> None:
        """Send the next row."""
        line = self.source.readline()
        if not line:
            self.done.set_result(None)
            return
        row = orjson.loads(line)
        self.custom_id = row["custom_id"]
        body = orjson.dumps(row["body"])
        self.transport.write(HEAD % len(body) + body)

    def on_message_complete(self) -> None:
        """Write the answer down."""
        raw = b"".join(self.body)
        self.body.clear()
        Wire.tokens += orjson.loads(raw)["usage"]["total_tokens"]
        result = {
            "custom_id": self.custom_id,
            "status": self.parser.get_status_code(),
            "response": orjson.Fragment(raw),
        }
        self.output.write(orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE))
        self.send()


async def main() -> None:
    """Send every line."""
    loop = asyncio.get_running_loop()
    with open(SOURCE, "rb", 1 << 20) as source, open(OUTPUT, "wb", 1 << 20) as output:
        done = [loop.create_future() for _ in range(int(CONCURRENCY))]
        for each in done:
            make = partial(Wire, source, output, each)
            await loop.create_connection(make, BASE.hostname or "", BASE.port or 80)
        await asyncio.gather(*done)
    print(Wire.tokens)


uvloop.run(main())
