"""The sandbox misbehaves as told: each fault as a client sees it, and as the books tell it."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import pytest

from batcher.endpoints.sandbox import SandboxOptions, serve
from batcher.endpoints.sandbox.faults import FAULTS

pytestmark = pytest.mark.anyio

SCHEMA = {
    "type": "object",
    "properties": {"order_id": {"type": "string"}},
    "required": ["order_id"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "find", "parameters": SCHEMA}}
SAID = [{"role": "user", "content": "it is order_12345"}]
CALL: dict[str, Any] = {"model": "m", "messages": SAID, "tools": [TOOL]}
TEXT: dict[str, Any] = {"model": "m", "messages": SAID}
FORM = {"type": "json_schema", "json_schema": {"name": "f", "schema": SCHEMA}}
LABEL: dict[str, Any] = {**TEXT, "response_format": FORM}


class Client:
    """A client of one sandbox that tells what became of a request."""

    def __init__(self, session: aiohttp.ClientSession, server: Any) -> None:
        self.books = server.books
        self._session = session
        self._url = f"{server.base_url}/chat/completions"

    async def ask(self, body: Any, **headers: str) -> Any:
        """Return (status, headers, body), or the name of the client's own error."""
        data = io.BytesIO(json.dumps(body).encode())
        try:
            async with self._session.post(
                self._url, data=data, headers=headers, allow_redirects=False
            ) as got:
                return got.status, got.headers, await got.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__

    async def status(self, body: Any, **headers: str) -> Any:
        got = await self.ask(body, **headers)
        return got if isinstance(got, str) else got[0]


@asynccontextmanager
async def sandbox(**options: Any) -> AsyncIterator[Client]:
    """Serve with these options, and connect."""
    made = SandboxOptions.from_mapping(options)
    timeout = aiohttp.ClientTimeout(total=5)
    async with serve(made) as server, aiohttp.ClientSession(timeout=timeout) as session:
        yield Client(session, server)


async def _meet(fault: str, body: Any = TEXT, **options: Any) -> tuple[Any, Any, Any]:
    """Ask once with a fault and once without; return both and the books."""
    script = {"row": [fault, "ok"]}
    async with sandbox(script=script, retry_after_s=7, **options) as client:
        body = {**body, "user": "row"}
        first = await client.ask(body)
        return first, await client.ask(body), client.books()


@pytest.mark.parametrize(
    ("fault", "error", "charged"),
    [
        pytest.param("reset", ("ServerDisconnectedError", "ClientOSError"), 0, id="reset"),
        pytest.param("garbage", ("ClientResponseError",), 0, id="garbage"),
        pytest.param("truncated", ("ClientPayloadError",), 1, id="truncated"),
        pytest.param("bad_gzip", ("ClientPayloadError",), 1, id="bad_gzip"),
    ],
)
async def test_faults_of_the_connection(fault: str, error: tuple[str, ...], charged: int) -> None:
    """The client sees the connection fail; the next attempt is answered; the books tell which."""
    first, second, books = await _meet(fault)
    assert first in error
    assert second[0] == 200
    assert books["requests"] == 2
    assert books["charged"] == 1 + charged
    assert books["unreadable"]["charged"] == charged
    assert books["unanswered"] == 1 - charged
    assert books["faults"] == {fault: 1}


async def test_a_request_that_is_never_answered() -> None:
    """The client gives up; the books say that it was abandoned and charge nothing."""
    made = SandboxOptions(script={"row": "timeout"})
    timeout = aiohttp.ClientTimeout(total=0.05)
    async with serve(made) as server, aiohttp.ClientSession(timeout=timeout) as session:
        assert isinstance(await Client(session, server).ask({**TEXT, "user": "row"}), str)
    books = server.books()
    assert books["faults"] == {"timeout": 1}
    assert (books["charged"], books["in_flight"], books["abandoned"]) == (0, 0, 1)


async def test_an_answer_that_is_too_large() -> None:
    """It is as long as the options say, and not charged."""
    first, _, books = await _meet("too_large", huge_bytes=3_000_000)
    assert (first[0], len(first[2])) == (200, 3_000_000)
    assert books["charged"] == 1


@pytest.mark.parametrize(
    ("fault", "status", "headers", "code"),
    [
        pytest.param("500", 500, {}, None, id="500"),
        pytest.param("529", 529, {}, None, id="any status"),
        pytest.param("302", 302, {"location": "/v1/elsewhere"}, None, id="a redirect"),
        pytest.param("401", 401, {}, "invalid_api_key", id="401"),
        pytest.param("402", 402, {}, "insufficient_credits", id="402"),
        pytest.param("429", 429, {"retry-after": "7"}, "rate_limit_exceeded", id="429"),
        pytest.param(
            "429_ms",
            429,
            {"retry-after-ms": "7000", "retry-after": None},
            "rate_limit_exceeded",
            id="429 in ms",
        ),
        pytest.param(
            "429_reset",
            429,
            {"x-ratelimit-reset-requests": "7s", "retry-after": None},
            "rate_limit_exceeded",
            id="429 with a reset",
        ),
        pytest.param("429_silent", 429, {"retry-after": None}, "rate_limit_exceeded", id="silent"),
        pytest.param("429_too_large", 429, {}, "rate_limit_exceeded", id="larger than the limit"),
        pytest.param("slow_down", 429, {"retry-after": "7"}, "slow_down", id="slow_down"),
        pytest.param("503_hint", 503, {"retry-after": "7"}, None, id="503 with a hint"),
        pytest.param("overloaded", 503, {}, "server_is_overloaded", id="overloaded"),
        pytest.param("insufficient_quota", 429, {}, "insufficient_quota", id="no money"),
        pytest.param("insufficient_quota_403", 403, {}, "insufficient_quota", id="no money, 403"),
        pytest.param("400_retry", 400, {"x-should-retry": "true"}, None, id="should retry"),
        pytest.param("500_no_retry", 500, {"x-should-retry": "false"}, None, id="should not"),
    ],
)
async def test_refusals(
    fault: str, status: int, headers: dict[str, str | None], code: str | None
) -> None:
    """Each refusal has its status, its headers and its code, and charges nothing."""
    first, second, books = await _meet(fault)
    assert first[0] == status
    assert json.loads(first[2])["error"]["code"] == code
    assert {name: first[1].get(name) for name in headers} == headers
    assert second[0] == 200
    assert books["charged"] == 1
    assert books["answers"] == {"200": 1, str(status): 1}


async def test_refusals_that_are_not_json_or_dated() -> None:
    """A proxy's page is HTML; a date stands in Retry-After."""
    page, _, _ = await _meet("502_html")
    assert (page[0], page[1]["Content-Type"]) == (502, "text/html")
    assert page[2].startswith(b"<html>")
    dated, _, _ = await _meet("429_date")
    assert dated[1]["retry-after"].endswith("GMT")


@pytest.mark.parametrize(
    ("fault", "charged", "held"),
    [
        pytest.param("empty", 0, b"", id="empty"),
        pytest.param("blank", 0, b"\n", id="blank lines"),
        pytest.param("html", 0, b"<html>", id="html"),
        pytest.param("error_in_200", 0, b'"code":502', id="an error"),
        pytest.param("rate_limit_in_200", 0, b'"code":429', id="a rate limit"),
        pytest.param("quota_in_200", 0, b"insufficient_quota", id="no money"),
        pytest.param("no_choices", 1, b'"usage"', id="no choices"),
        pytest.param("no_usage", 1, b'"choices"', id="no usage"),
        pytest.param("cut_json", 1, b'{"id"', id="half of the JSON"),
    ],
)
async def test_200_without_an_answer(fault: str, charged: int, held: bytes) -> None:
    """200, and the body lacks what its fault takes from it."""
    first, second, books = await _meet(fault)
    assert first[0] == 200
    assert held in first[2]
    assert first[2] != second[2]
    assert books["charged"] == 1 + charged
    assert books["faults"] == {fault: 1}


def _choice(got: Any) -> Any:
    return json.loads(got[2])["choices"][0]


async def test_tool_call_faults() -> None:
    """Broken JSON, wrong types, an unknown tool, no call, a wrong finish reason."""
    broken, _, _ = await _meet("tool_bad_json", CALL)
    arguments = _choice(broken)["message"]["tool_calls"][0]["function"]["arguments"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(arguments)
    wrong, good, _ = await _meet("tool_bad_types", CALL)
    arguments = _choice(wrong)["message"]["tool_calls"][0]["function"]["arguments"]
    assert not isinstance(json.loads(arguments)["order_id"], str)
    assert "order_12345" in _choice(good)["message"]["tool_calls"][0]["function"]["arguments"]
    unknown, _, _ = await _meet("tool_unknown", CALL)
    assert _choice(unknown)["message"]["tool_calls"][0]["function"]["name"] == "find_v2"
    silent, _, _ = await _meet("tool_none", {**CALL, "tool_choice": "required"})
    assert "tool_calls" not in _choice(silent)["message"]
    finish, _, _ = await _meet("tool_wrong_finish", CALL)
    assert _choice(finish)["finish_reason"] == "stop"
    assert _choice(finish)["message"]["tool_calls"]


async def test_answer_faults() -> None:
    """A broken schema, a fence, a cut, a refusal, a filter."""
    spoilt, _, _ = await _meet("answer_schema", LABEL)
    assert json.loads(_choice(spoilt)["message"]["content"]) == {"order_id": []}
    fenced, _, _ = await _meet("fenced", LABEL)
    assert _choice(fenced)["message"]["content"].startswith("```json\n{")
    cut, _, _ = await _meet("length", LABEL)
    assert _choice(cut)["finish_reason"] == "length"
    refused, _, _ = await _meet("refusal")
    assert _choice(refused)["message"]["refusal"]
    filtered, _, _ = await _meet("content_filter")
    assert _choice(filtered)["finish_reason"] == "content_filter"


async def test_a_fault_that_does_not_fit_is_not_counted() -> None:
    """No tool, no tool fault: the answer is good and the books say nothing of it."""
    first, second, books = await _meet("tool_bad_json", TEXT)
    assert first[2] == second[2]
    assert books["faults"] == {}


async def test_a_script_by_row() -> None:
    """Steps in turn, then well; a single step for ever; a row known by metadata or header too."""
    script = {"a": ["500", "reset", "ok", "408"], "b": "404"}
    async with sandbox(script=script) as client:
        body = {**TEXT, "user": "a"}
        seen = [await client.status(body) for _ in range(5)]
        assert seen[:1] + seen[2:] == [500, 200, 408, 200]
        assert isinstance(seen[1], str)
        assert [await client.status({**TEXT, "metadata": {"row": "b"}}) for _ in "ab"] == [404] * 2
        assert await client.status(TEXT, **{"X-Sandbox-Row": "b"}) == 404
        assert await client.status({**TEXT, "user": "c"}) == 200


async def test_outages() -> None:
    """Between two requests everything fails, the bad ones too; before and after, nothing."""
    windows = [{"from_request": 2, "to_request": 3}, {"from_request": 5, "fault": "500"}]
    async with sandbox(outage=windows) as client:
        seen = [await client.status(TEXT) for _ in range(6)]
        assert seen == [200, 503, 503, 200, 500, 500]


async def test_a_refused_connection() -> None:
    """While an outage refuses connections nobody listens; then the same port answers again."""
    outage = {"from_s": 0.3, "to_s": 0.6, "fault": "refused"}
    seen: list[bool] = []
    async with (
        serve(SandboxOptions.from_mapping({"outage": outage})) as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)) as session,
    ):
        with anyio.fail_after(20):
            while not (False in seen and seen[-1]):
                try:
                    async with session.get(f"{server.base_url}/models") as answer:
                        seen.append(answer.status == 200)
                except aiohttp.ClientConnectionError:
                    seen.append(False)
                await anyio.sleep(0.01)
    assert seen[0]


async def test_limits_with_headers() -> None:
    """Headers count down; the refusal tells how long; a request above the limit is final."""
    async with sandbox(rpm=2, tpm=1000) as client:
        _, headers, _ = await client.ask(TEXT)
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == "1"
        assert int(headers["x-ratelimit-remaining-tokens"]) < 1000
        assert await client.status(TEXT) == 200
        status, headers, body = await client.ask(TEXT)
        assert status == 429
        assert 1 <= int(headers["retry-after"]) <= 31
        assert json.loads(body)["error"]["code"] == "rate_limit_exceeded"
        large = {"model": "other", "messages": [{"role": "user", "content": "x" * 5000}]}
        status, headers, body = await client.ask(large)
        assert status == 429
        assert "Request too large" in json.loads(body)["error"]["message"]
        assert client.books()["charged"] == 2
        assert await client.status({**TEXT, "model": "third"}) == 200


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        pytest.param("none", (None, None), id="silent"),
        pytest.param("retry_after", ("31", None), id="Retry-After alone"),
    ],
)
async def test_limits_without_headers(told: str, shown: tuple[str | None, str | None]) -> None:
    """A limit may tell little, or nothing at all."""
    async with sandbox(rpm=1, limit_headers=told) as client:
        _, headers, _ = await client.ask(TEXT)
        assert "x-ratelimit-limit-requests" not in headers
        status, headers, _ = await client.ask(TEXT)
        assert status == 429
        assert ("retry-after" in headers) == (shown[0] is not None)
        assert "x-ratelimit-reset-requests" not in headers


async def test_capacity() -> None:
    """Beyond its capacity, the books' load shows and answers still come."""
    async with sandbox(capacity=2, latency=0.001, overload=0.5) as client:
        seen = await asyncio.gather(*(client.status({**TEXT, "user": str(i)}) for i in range(20)))
        assert set(seen) == {200}
        assert client.books()["most_in_flight"] > 2


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_is_carried_out(fault: str) -> None:
    """Each named fault changes something, and the next attempt is answered well."""
    body = LABEL if fault in {"answer_schema", "fenced"} else CALL
    first, second, books = await _meet(fault, body, hang_s=0, slow_s=0)
    assert second[0] == 200
    assert books["faults"] == {fault: 1}
    same = not isinstance(first, str) and (first[0], first[2]) == (second[0], second[2])
    assert same == (fault == "slow")
