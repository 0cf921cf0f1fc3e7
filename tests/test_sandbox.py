"""The sandbox as an endpoint: what it answers, and what its books say."""

import json
from typing import Any

import aiohttp
import pytest

from batcher.endpoints.sandbox import SandboxOptions, serve, serve_child
from tests.sandboxes import HELLO, PAGE, TOOL, Client, said, sandbox

pytestmark = pytest.mark.anyio


async def test_the_page_is_answered_with_its_tool_call(client: Client) -> None:
    """The page's example gets the call that the page shows, with usage."""
    answer = await client.chat()
    choice = answer["choices"][0]
    assert answer["object"] == "chat.completion"
    assert isinstance(answer["created"], int)
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"]["name"] == "get_delivery_date"
    assert json.loads(call["function"]["arguments"]) == {"order_id": "order_12345"}
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0


async def test_the_same_request_gets_the_same_answer(client: Client) -> None:
    """To the byte, whatever came in between, with or without `/v1`, and on another sandbox."""
    first = await client.post(HELLO)
    await client.post(PAGE)
    assert (await client.post(HELLO, "/chat/completions")).raw == first.raw
    async with sandbox() as other:
        assert (await other.post(HELLO)).raw == first.raw
    async with sandbox(seed=1) as other:
        assert (await other.post(HELLO)).raw != first.raw


async def test_tool_choice(client: Client) -> None:
    """None calls nothing; required calls even after a result; a named tool is the one called."""
    other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object"}}}
    tools = [TOOL, other]
    assert "tool_calls" not in said(await client.chat(tool_choice="none"))
    named = {"type": "function", "function": {"name": "other"}}
    called = said(await client.chat(tools=tools, tool_choice=named))["tool_calls"]
    assert called[0]["function"]["name"] == "other"
    auto = said(await client.chat(tools=[other, TOOL]))["tool_calls"]
    assert auto[0]["function"]["name"] == "get_delivery_date"
    turns = _with_result(await client.chat(), "It arrives on 2026-12-01.")
    assert "tool_calls" in said(await client.chat(messages=turns, tool_choice="required"))


def _with_result(answer: Any, result: str) -> list[Any]:
    message = said(answer)
    call = message["tool_calls"][0]["id"]
    return [
        *PAGE["messages"],
        message,
        {"role": "tool", "tool_call_id": call, "content": result},
    ]


async def test_a_tool_result_is_answered_in_words(client: Client) -> None:
    """The answer after a tool's result states what the tool said."""
    turns = _with_result(await client.chat(), "It arrives on 2026-12-01.")
    answer = await client.chat(messages=turns)
    assert "2026-12-01" in said(answer)["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_n_answers_differ(client: Client) -> None:
    """`n` answers come back, numbered, and usage counts them all."""
    one = await client.chat(tools=None)
    three = await client.chat(tools=None, n=3)
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in three["choices"]}) == 3
    assert three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]


async def test_response_format(client: Client) -> None:
    """A JSON object where one is asked for; a valid instance where a schema is given."""
    messages = [{"role": "user", "content": "Label this as json: a bad film"}]
    plain = await client.chat(
        messages=messages, tools=None, response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(said(plain)["content"]), dict)
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["good", "bad"]}},
        "required": ["label"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "label", "schema": schema}}
    labelled = await client.chat(messages=messages, tools=None, response_format=form)
    assert json.loads(said(labelled)["content"]) == {"label": "bad"}


async def test_stop_and_max_tokens(client: Client) -> None:
    """An answer ends before a stop sequence, and at the bound with `length`."""
    whole = said(await client.chat(tools=None, user="a"))["content"]
    # The answer depends on the request, so the stop is a letter that any sentence holds.
    cut = await client.chat(tools=None, stop=["e", " "])
    assert not {"e", " "} & set(said(cut)["content"])
    assert cut["choices"][0]["finish_reason"] == "stop"
    short = await client.chat(tools=None, max_tokens=2)
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] == 2
    assert len(said(short)["content"]) < len(whole)
    half = await client.chat(max_tokens=8)
    assert half["choices"][0]["finish_reason"] == "length"


async def test_reasoning_and_cached_tokens_are_parts() -> None:
    """Reasoning is inside the completion and within its bound; cached is inside the prompt."""
    async with sandbox(reasoning_tokens=50, cached_share=0.5) as client:
        usage = (await client.chat(tools=None))["usage"]
        assert usage["completion_tokens"] > 50
        assert usage["completion_tokens_details"]["reasoning_tokens"] == 50
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        assert cached == usage["prompt_tokens"] // 2
        bounded = (await client.chat(tools=None, max_completion_tokens=20))["usage"]
        assert bounded["completion_tokens"] == 20


async def test_models() -> None:
    """Listed models are the only ones; without a list, any name will do."""
    async with sandbox(models=["small", "large"]) as client:
        listed = (await client.get("/v1/models")).body
        assert [model["id"] for model in listed["data"]] == ["small", "large"]
        assert (await client.get("/v1/models/small")).body["id"] == "small"
        got = await client.post(PAGE)
        assert (got.status, got.body["error"]["code"]) == (404, "model_not_found")
        assert (await client.post({**PAGE, "model": "small"})).status == 200


async def test_books_agree_with_the_answers(client: Client) -> None:
    """Usage adds up to the token, by model too; reading the books changes nothing."""
    answers = [await client.chat(), await client.chat(tools=None, n=2)]
    answers.append((await client.post({**HELLO, "model": "other"})).body)
    await client.post(b"{")
    books = (await client.get("/v1/sandbox/books")).body
    assert books["requests"] == 4
    assert books["charged"] == 3
    assert books["answers"] == {"200": 3, "400": 1}
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert books["usage"][name] == sum(answer["usage"][name] for answer in answers)
    assert (
        books["by_model"]["other"]["usage"]["total_tokens"] == answers[2]["usage"]["total_tokens"]
    )
    assert (await client.get("/v1/sandbox/books")).body == books


async def test_the_same_from_a_child_process() -> None:
    """A child with the same options gives the same answers and tells its books."""
    options = SandboxOptions(seed=5, script={"a": ("503", "ok")})
    async with serve_child(options) as child, aiohttp.ClientSession() as session:
        url = f"{child.base_url}/chat/completions"
        async with session.post(url, json={**HELLO, "user": "a"}) as got:
            assert got.status == 503
        async with session.post(url, json={**HELLO, "user": "a"}) as got:
            raw = await got.read()
        async with session.get(f"{child.base_url}/sandbox/books") as got:
            books = await got.json()
        assert (books["requests"], books["faults"]) == (2, {"503": 1})
    async with serve(options) as server, aiohttp.ClientSession() as session:
        client = Client(session, server)
        await client.post({**HELLO, "user": "a"})
        assert (await client.post({**HELLO, "user": "a"})).body == json.loads(raw)


@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_compression(coding: str) -> None:
    """Answers are compressed for a client that accepts it, when the options say so."""
    async with sandbox(gzip=True) as client:
        got = await client.post(PAGE, Accept_Encoding=coding)
        assert got.headers.get("Content-Encoding", "identity") == coding
        assert got.body["usage"]


async def test_completions(client: Client) -> None:
    """Prompts are continued, `n` times each."""
    body = {"model": "m", "prompt": ["Once", "Twice"], "n": 2, "max_tokens": 5}
    answer = (await client.post(body, "/v1/completions")).body
    assert answer["object"] == "text_completion"
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["completion_tokens"] <= 20


async def test_embeddings(client: Client) -> None:
    """The same text has the same unit vector; usage has no completion."""
    body = {"model": "m", "input": ["a", "b", "a"], "dimensions": 8}
    answer = (await client.post(body, "/v1/embeddings")).body
    first, second, third = (item["embedding"] for item in answer["data"])
    assert first == third != second
    assert sum(number * number for number in first) == pytest.approx(1, abs=1e-6)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


async def test_responses(client: Client) -> None:
    """A function call with its arguments; then, with its output, a text."""
    function = {"type": "function", **TOOL["function"]}  # type: ignore[dict-item]
    asked = {"role": "user", "content": "it is order_12345"}
    body = {"model": "m", "input": [asked], "tools": [function]}
    answer = (await client.post(body, "/v1/responses")).body
    (call,) = answer["output"]
    assert json.loads(call["arguments"]) == {"order_id": "order_12345"}
    assert answer["usage"]["total_tokens"] == sum(
        answer["usage"][name] for name in ("input_tokens", "output_tokens")
    )
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "on Monday"}
    body["input"] = [asked, call, output]
    answer = (await client.post(body, "/v1/responses")).body
    assert "on Monday" in answer["output"][0]["content"][0]["text"]


async def test_messages() -> None:
    """Anthropic's shapes: tool_use with an object, cached tokens beside the input, its errors."""
    async with sandbox(cached_share=0.5) as client:
        tool = {"name": "f", "input_schema": TOOL["function"]["parameters"]}  # type: ignore[index]
        asked = {"role": "user", "content": [{"type": "text", "text": "it is order_12345"}]}
        body = {"model": "m", "max_tokens": 100, "messages": [asked], "tools": [tool]}
        answer = (await client.post(body, "/v1/messages")).body
        (block,) = answer["content"]
        assert (block["type"], block["input"]) == ("tool_use", {"order_id": "order_12345"})
        assert answer["stop_reason"] == "tool_use"
        usage = answer["usage"]
        books = client.books()["usage"]
        assert usage["input_tokens"] + usage["cache_read_input_tokens"] == books["prompt_tokens"]
        assert usage["cache_read_input_tokens"] == books["cached_tokens"] > 0
        result = {"type": "tool_result", "tool_use_id": block["id"], "content": "on Monday"}
        body["messages"] = [
            asked,
            {"role": "assistant", "content": [block]},
            {"role": "user", "content": [result]},
        ]
        answer = (await client.post(body, "/v1/messages")).body
        assert "on Monday" in answer["content"][0]["text"]
        refused = (await client.post({"model": "m"}, "/v1/messages")).body
        assert refused["type"] == "error"
        assert refused["error"]["type"] == "invalid_request_error"
