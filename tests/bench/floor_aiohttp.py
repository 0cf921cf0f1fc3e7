# ruff: noqa: ASYNC230, PTH123, T201  # nothing but the floor: plain files, read as they go
"""The floor of anything that stands on aiohttp: JSONL in, aiohttp's session on uvloop, JSONL out.

`floor_aiohttp.py SOURCE OUTPUT CONCURRENCY BASE_URL [CA_FILE]`. It does nothing that a product must
(retry, resume, journal, totals by model), and all that is known to make aiohttp faster.
"""

import asyncio
import ssl
import sys

import aiohttp
import orjson
import uvloop
from yarl import URL

SOURCE, OUTPUT, CONCURRENCY, BASE_URL, *CA_FILE = sys.argv[1:]


async def main() -> None:
    """Send every line."""
    url = URL(BASE_URL + "/chat/completions")
    tls = ssl.create_default_context(cafile=CA_FILE[0]) if CA_FILE else True
    tokens = 0
    with open(SOURCE, "rb", 1 << 20) as source, open(OUTPUT, "wb", 1 << 20) as output:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            headers={"Authorization": "Bearer x", "Content-Type": "application/json"},
        ) as session:

            async def work() -> None:
                nonlocal tokens
                for line in source:
                    row = orjson.loads(line)
                    async with session.post(url, data=orjson.dumps(row["body"])) as response:
                        raw = await response.read()
                    tokens += orjson.loads(raw)["usage"]["total_tokens"]
                    result = {
                        "custom_id": row["custom_id"],
                        "status": response.status,
                        "response": orjson.Fragment(raw),
                    }
                    output.write(orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE))

            await asyncio.gather(*(work() for _ in range(int(CONCURRENCY))))
    print(tokens)


uvloop.run(main())
