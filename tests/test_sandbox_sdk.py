"""The official SDK talks to the sandbox without noticing."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from batcher.endpoints.sandbox import SandboxOptions, serve

pytestmark = pytest.mark.anyio

TOOL: ChatCompletionToolParam = {
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
SAID: list[ChatCompletionMessageParam] = [{"role": "user", "content": "i think it is order_12345"}]


@asynccontextmanager
async def connected(
    *, key: str = "sk-test", retries: int = 0, **options: Any
) -> AsyncIterator[openai.AsyncOpenAI]:
    """Serve with these options, and connect the SDK."""
    made = SandboxOptions.from_mapping(options)
    async with (
        serve(made) as server,
        openai.AsyncOpenAI(
            api_key=key, base_url=server.base_url, max_retries=retries, timeout=10
        ) as client,
    ):
        yield client


async def test_chat() -> None:
    """A text comes back `n` times, with usage."""
    async with connected() as client:
        answer = await client.chat.completions.create(model="gpt-4o", messages=SAID, n=2)
        assert len(answer.choices) == 2
        assert answer.choices[0].message.content
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        assert answer.usage.prompt_tokens_details.cached_tokens == 0


async def test_tools_over_two_turns() -> None:
    """The call comes, its result goes, and the answer states it."""
    async with connected() as client:
        answer = await client.chat.completions.create(model="gpt-4o", messages=SAID, tools=[TOOL])
        message = answer.choices[0].message
        assert message.tool_calls is not None
        call = message.tool_calls[0]
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"order_id": "order_12345"}
        turns: list[Any] = [
            *SAID,
            message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "2026-12-01"},
        ]
        answer = await client.chat.completions.create(model="gpt-4o", messages=turns, tools=[TOOL])
        assert "2026-12-01" in str(answer.choices[0].message.content)


async def test_response_format() -> None:
    """A schema is obeyed."""
    schema = {
        "type": "object",
        "properties": {"stars": {"type": "integer", "minimum": 1, "maximum": 5}},
        "required": ["stars"],
        "additionalProperties": False,
    }
    async with connected() as client:
        answer = await client.chat.completions.create(
            model="gpt-4o",
            messages=SAID,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "stars", "schema": schema, "strict": True},
            },
        )
        assert 1 <= json.loads(str(answer.choices[0].message.content))["stars"] <= 5


async def test_models_embeddings_and_responses() -> None:
    """The other endpoints parse as the SDK's own types."""
    async with connected(models=["m"]) as client:
        assert [model.id async for model in client.models.list()] == ["m"]
        vectors = await client.embeddings.create(model="m", input=["a", "b"])
        assert len(vectors.data) == 2
        assert all(isinstance(number, float) for number in vectors.data[0].embedding)
        answer = await client.responses.create(model="m", input="Hello")
        assert answer.output_text
        assert answer.usage is not None
        text = await client.completions.create(model="m", prompt="Once")
        assert text.choices[0].text


async def test_errors() -> None:
    """Each refusal becomes the SDK's own exception, with its code."""
    async with connected(models=["m"]) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="x", messages=SAID)
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as bad:
            await client.chat.completions.create(model="m", messages=[])
        assert (bad.value.code, bad.value.param) == ("empty_array", "messages")
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="m", messages=SAID, stream=True)
    async with connected(keys={"right": {}}, key="wrong") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.chat.completions.create(model="m", messages=SAID)
        assert refused.value.code == "invalid_api_key"
    async with connected(faults={"500": 1}) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="m", messages=SAID)
    async with connected(faults={"reset": 1}) as client:
        with pytest.raises(openai.APIConnectionError):
            await client.chat.completions.create(model="m", messages=SAID)


@pytest.mark.parametrize(
    ("fault", "raised", "code"),
    [
        pytest.param("401", openai.AuthenticationError, "invalid_api_key", id="key"),
        pytest.param("403", openai.PermissionDeniedError, None, id="permission"),
        pytest.param("409", openai.ConflictError, None, id="conflict"),
        pytest.param("422", openai.UnprocessableEntityError, None, id="unprocessable"),
        pytest.param("insufficient_quota", openai.RateLimitError, "insufficient_quota", id="money"),
        pytest.param("slow_down", openai.RateLimitError, "slow_down", id="slow down"),
        pytest.param("overloaded", openai.InternalServerError, "server_is_overloaded", id="load"),
        pytest.param("502_html", openai.InternalServerError, None, id="a proxy's page"),
        pytest.param("truncated", openai.APIConnectionError, None, id="cut"),
        pytest.param("garbage", openai.APIConnectionError, None, id="no HTTP"),
        pytest.param("timeout", openai.APITimeoutError, None, id="timeout"),
    ],
)
async def test_failures_are_the_sdks_own(
    fault: str, raised: type[openai.APIError], code: str | None
) -> None:
    """Each failure comes out as the exception that the SDK has for it, code included."""
    async with connected(faults={fault: 1}) as client:
        with pytest.raises(raised) as caught:
            await client.with_options(timeout=0.5).chat.completions.create(model="m", messages=SAID)
        if code is not None:
            assert caught.value.code == code


async def test_streaming_is_refused_in_words() -> None:
    """A stream gets a refusal that names the field, not a stream that never begins."""
    async with connected() as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model="m", messages=SAID, stream=True)
        assert refused.value.param == "stream"
        assert "stream" in refused.value.message


@pytest.mark.parametrize("fault", ["tool_bad_json", "tool_bad_types", "tool_unknown", "tool_none"])
async def test_tool_faults_parse(fault: str) -> None:
    """A bad call is well-formed for the SDK: what is wrong is what the model said."""
    async with connected(faults={fault: 1}) as client:
        answer = await client.chat.completions.create(
            model="m", messages=SAID, tools=[TOOL], tool_choice="required"
        )
        calls = answer.choices[0].message.tool_calls or []
        assert bool(calls) == (fault != "tool_none")
        for call in calls:
            assert call.type == "function"
            good = call.function.name == "get_delivery_date" and call.function.arguments == (
                '{"order_id":"order_12345"}'
            )
            assert not good


async def test_books_are_open_while_it_runs() -> None:
    """The books can be read between two requests, and tell the SDK's own sums."""
    async with connected() as client:
        answer = await client.chat.completions.create(model="m", messages=SAID)
        books = await client.get("/sandbox/books", cast_to=object)
        assert isinstance(books, dict)
        assert answer.usage is not None
        assert (books["requests"], books["charged"]) == (1, 1)
        assert books["usage"]["total_tokens"] == answer.usage.total_tokens


async def test_rate_limit() -> None:
    """A refusal for rate carries OpenAI's headers and says how long to wait."""
    async with connected(rpm=1) as client:
        raw = await client.chat.completions.with_raw_response.create(model="m", messages=SAID)
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        assert raw.headers["x-request-id"]
        with pytest.raises(openai.RateLimitError) as limited:
            await client.chat.completions.create(model="m", messages=SAID)
        assert limited.value.code == "rate_limit_exceeded"
        assert 1 <= int(limited.value.response.headers["retry-after"]) <= 61


async def test_retries() -> None:
    """The SDK's own retries, told to wait for nothing, get through what goes by."""
    script = {"row": ["429", "503_hint", "429_ms", "ok"]}
    async with connected(script=script, retry_after_s=0.001, retries=3) as client:
        answer = await client.chat.completions.create(model="m", messages=SAID, user="row")
        assert answer.choices
