"""Reading answers: usage in its normal form."""

from __future__ import annotations

from typing import Any

import pytest
from genai_prices import extract_usage
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.amounts import Usage
from batcher.answers import NOT_JSON, Family, read_usage
from tests.anything import json_values

# Every name that some family gives to something in a usage.
_USAGE_NAMES = [
    "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens",
    "prompt_tokens_details", "completion_tokens_details", "input_tokens_details",
    "output_tokens_details", "cached_tokens", "cache_write_tokens", "cache_creation_tokens",
    "reasoning_tokens", "thinking_tokens", "cache_read_input_tokens",
    "cache_creation_input_tokens", "prompt_cache_hit_tokens",
]  # fmt: skip
counts = (
    st.integers(-3, 50)
    | st.none()
    | st.booleans()
    | st.floats()
    | st.text("0123456789-x", max_size=3)
    | st.just(2**70)
)
usages = st.dictionaries(
    st.sampled_from(_USAGE_NAMES),
    counts | st.dictionaries(st.sampled_from(_USAGE_NAMES), counts, max_size=5),
    max_size=10,
)


USAGES: list[Any] = [
    pytest.param(
        Family.CHAT,
        {"prompt_tokens": 82, "completion_tokens": 17, "total_tokens": 99},
        Usage(82, 17, 99),
        id="the page's three fields",
    ),
    pytest.param(
        Family.CHAT,
        {
            "prompt_tokens": 82,
            "completion_tokens": 17,
            "total_tokens": 99,
            "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 9},
        },
        Usage(82, 17, 99, 64, 0, 9),
        id="OpenAI: details are parts",
    ),
    pytest.param(
        Family.CHAT,
        {
            "prompt_tokens": 82,
            "completion_tokens": 17,
            "total_tokens": 99,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 10},
        },
        Usage(82, 17, 99, 4, 10, 0),
        id="OpenRouter: tokens written to the cache",
    ),
    pytest.param(
        Family.CHAT,
        {
            "prompt_tokens": 82,
            "completion_tokens": 17,
            "total_tokens": 99,
            "prompt_cache_hit_tokens": 60,
            "prompt_cache_miss_tokens": 22,
        },
        Usage(82, 17, 99, 60),
        id="DeepSeek: cache hits beside the counts",
    ),
    pytest.param(
        Family.CHAT,
        {
            "prompt_tokens": 82,
            "completion_tokens": 17,
            "total_tokens": 99,
            "prompt_tokens_details": {"cached_tokens": 0},
            "prompt_cache_hit_tokens": 60,
        },
        Usage(82, 17, 99, 60),
        id="DeepSeek behind a relay: cache hits beside details that know of none",
    ),
    pytest.param(
        Family.CHAT,
        {
            "prompt_tokens": 82,
            "completion_tokens": 17,
            "total_tokens": 99,
            "prompt_tokens_details": {"cached_tokens": 0},
            "cached_tokens": 60,
        },
        Usage(82, 17, 99, 60),
        id="Moonshot behind a relay: likewise",
    ),
    pytest.param(
        Family.CHAT,
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        Usage(32, 103, 135, 0, 0, 94),
        id="xAI: reasoning beside completion becomes a part of it",
    ),
    pytest.param(
        Family.CHAT,
        {"prompt_tokens": 8, "completion_tokens": 2},
        Usage(8, 2, 10),
        id="a missing total is the sum",
    ),
    pytest.param(
        Family.CHAT,
        {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 3},
        Usage(8, 2, 10),
        id="a total smaller than its parts is the sum",
    ),
    pytest.param(
        Family.CHAT,
        {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 500},
        Usage(8, 2, 500),
        id="a larger total stands as told",
    ),
    pytest.param(
        Family.CHAT,
        {"prompt_tokens": 8, "total_tokens": 10, "prompt_tokens_details": None},
        Usage(8, 2, 10),
        id="a missing part is what remains",
    ),
    pytest.param(
        Family.CHAT,
        {"prompt_tokens": 12.0, "completion_tokens": "7", "total_tokens": None},
        Usage(12, 7, 19),
        id="whole floats and digits are counts",
    ),
    pytest.param(
        Family.CHAT,
        {
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 9},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
        Usage(5, 2, 7, 5, 0, 2),
        id="a part is held to its whole",
    ),
    pytest.param(
        Family.CHAT,
        {
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": True},
            "completion_tokens_details": [],
        },
        Usage(5, 2, 7),
        id="useless details are no details",
    ),
    pytest.param(
        Family.CHAT,
        {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
        Usage(5, 2, 7),
        id="a relay that answers chat in the other names",
    ),
    pytest.param(
        Family.COMPLETIONS,
        {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        Usage(5, 7, 12),
        id="completions",
    ),
    pytest.param(
        Family.EMBEDDINGS,
        {"prompt_tokens": 8, "total_tokens": 8},
        Usage(8, 0, 8),
        id="embeddings complete nothing",
    ),
    pytest.param(
        Family.EMBEDDINGS, {"total_tokens": 8}, Usage(8, 0, 8), id="Voyage counts the total alone"
    ),
    pytest.param(
        Family.RESPONSES,
        {
            "input_tokens": 36,
            "input_tokens_details": {"cached_tokens": 30},
            "output_tokens": 87,
            "output_tokens_details": {"reasoning_tokens": 50},
            "total_tokens": 123,
        },
        Usage(36, 87, 123, 30, 0, 50),
        id="responses: cached tokens are parts",
    ),
    pytest.param(
        Family.MESSAGES,
        {
            "input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
            "output_tokens": 5,
        },
        Usage(130, 5, 135, 100, 20),
        id="Anthropic: cached tokens are additions",
    ),
    pytest.param(
        Family.MESSAGES,
        {"input_tokens": 10, "cache_read_input_tokens": None, "output_tokens": 5},
        Usage(10, 5, 15),
        id="Anthropic: a null cache count",
    ),
    pytest.param(
        Family.MESSAGES,
        {"input_tokens": 10, "cache_creation_input_tokens": 20, "output_tokens": 5},
        Usage(30, 5, 35, 0, 20),
        id="Anthropic: only written to the cache",
    ),
    pytest.param(
        Family.MESSAGES,
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        Usage(10, 5, 15),
        id="a relay that answers messages in chat's names",
    ),
    pytest.param(
        Family.OTHER,
        {"input_tokens": 1, "cache_read_input_tokens": 2, "output_tokens": 3},
        Usage(3, 3, 6, 2),
        id="another path, Anthropic's names",
    ),
]


@pytest.mark.parametrize(("family", "usage", "expected"), USAGES)
def test_usage_in_normal_form(family: Family, usage: Any, expected: Usage) -> None:
    """Each family's usage is read into one form, where cached and reasoning tokens are parts."""
    assert read_usage({"usage": usage}, family) == expected


@pytest.mark.parametrize(
    "answer",
    [
        None,
        pytest.param(NOT_JSON, id="no JSON"),
        [],
        "text",
        {},
        {"usage": None},
        {"usage": []},
        {"usage": {}},
        {"usage": {"prompt_tokens": None, "completion_tokens": None}},
        {"usage": {"prompt_tokens": -1, "completion_tokens": True, "total_tokens": 2**70}},
        {"usage": {"prompt_tokens": "many", "completion_tokens": 1.5}},
        {"usage": {"prompt_tokens": float("nan"), "completion_tokens": float("inf")}},
        {"usage": {"total_tokens": 7}},
    ],
    ids=repr,
)
def test_no_usable_usage(answer: Any) -> None:
    """A usage without one usable count is no usage, rather than one of zero tokens."""
    assert read_usage(answer, Family.CHAT) is None


@settings(deadline=None)
@given(usage=usages | json_values, family=st.sampled_from(Family))
def test_usage_is_sound_whatever_comes(usage: Any, family: Family) -> None:
    """Nothing raises, no count is negative or absurd, and parts never exceed their wholes."""
    found = read_usage({"usage": usage}, family)
    if found is not None:
        assert all(type(count) is int and 0 <= count <= 10**10 for count in found)
        assert found.total_tokens >= found.prompt_tokens + found.completion_tokens
        assert found.cached_tokens + found.cache_write_tokens <= found.prompt_tokens
        assert found.reasoning_tokens <= found.completion_tokens


# Family -> how genai-prices calls it: provider, flavour, and a model that it knows.
_ORACLES = {
    Family.CHAT: ("openai", "chat", "gpt-4o"),
    Family.EMBEDDINGS: ("openai", "embeddings", "text-embedding-3-small"),
    Family.RESPONSES: ("openai", "responses", "gpt-4o"),
    Family.MESSAGES: ("anthropic", "default", "claude-sonnet-4-5"),
}
some = st.integers(0, 1000)


@st.composite
def true_usages(draw: st.DrawFn) -> tuple[Family, dict[str, Any]]:
    """Usages as the providers' references document them, with parts within their wholes."""
    family = draw(st.sampled_from(list(_ORACLES)))
    prompt, completion = draw(some) + 500, draw(some) + 500
    cached, reasoning = draw(st.integers(0, 500)), draw(st.integers(0, 500))
    if family is Family.MESSAGES:
        return family, {
            "input_tokens": prompt,
            "output_tokens": completion,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": draw(some),
        }
    if family is Family.EMBEDDINGS:
        return family, {"prompt_tokens": prompt, "total_tokens": prompt}
    names = ("input", "output") if family is Family.RESPONSES else ("prompt", "completion")
    return family, {
        f"{names[0]}_tokens": prompt,
        f"{names[1]}_tokens": completion,
        "total_tokens": prompt + completion,
        f"{names[0]}_tokens_details": {"cached_tokens": cached},
        f"{names[1]}_tokens_details": {"reasoning_tokens": reasoning},
    }


@settings(deadline=None)
@given(true_usages())
def test_usage_agrees_with_genai_prices(case: tuple[Family, dict[str, Any]]) -> None:
    """What genai-prices reads out of a documented usage, we read as well."""
    family, usage = case
    provider, flavor, model = _ORACLES[family]
    told = extract_usage(
        {"model": model, "usage": usage}, provider_id=provider, api_flavor=flavor
    ).usage
    found = read_usage({"usage": usage}, family)
    assert found is not None
    assert found.prompt_tokens == told.input_tokens
    assert found.completion_tokens == (told.output_tokens or 0)
    assert found.cached_tokens == (told.cache_read_tokens or 0)
    assert found.cache_write_tokens == (told.cache_write_tokens or 0)
