"""Reading answers: families, errors inside answers, what an answer lacks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.answers import NOT_JSON, ErrorInfo, Family, embedded_error, family_of, missing_part
from tests.anything import json_values


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("/v1/chat/completions", Family.CHAT),
        ("/chat/completions", Family.CHAT),
        ("/openai/deployments/x/chat/completions?api-version=2024-10-21", Family.CHAT),
        ("/v1/chat/completions/", Family.CHAT),
        ("/v1/completions", Family.COMPLETIONS),
        ("completions", Family.COMPLETIONS),
        ("/v1/embeddings", Family.EMBEDDINGS),
        ("/v1/responses", Family.RESPONSES),
        ("/v1/messages", Family.MESSAGES),
        ("/v1/messages/count_tokens", Family.OTHER),
        ("/v1/rerank", Family.OTHER),
        ("", Family.OTHER),
    ],
)
def test_family_of(path: str, family: Family) -> None:
    """The end of the path names the family, whatever stands before it or in its query."""
    assert family_of(path) is family


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(
            {"error": {"code": "slow_down", "type": "server_error", "message": "m"}},
            ErrorInfo("slow_down", "server_error", "m", None),
            id="OpenAI's shape",
        ),
        pytest.param(
            {"error": {"code": 502, "message": "m"}},
            ErrorInfo("502", "", "m", 502),
            id="OpenRouter: the status as a number",
        ),
        pytest.param(
            {"error": {"code": "429", "type": "None"}},
            ErrorInfo("429", "", "", 429),
            id="Azure and LiteLLM: the status as text",
        ),
        pytest.param(
            {"error": {"code": 429.0, "message": None}},
            ErrorInfo("429", "", "", 429),
            id="the status as a float",
        ),
        pytest.param(
            {"error": {"code": "1113", "message": "m"}},
            ErrorInfo("1113", "", "m", None),
            id="a number that is no status is a code",
        ),
        pytest.param({"error": "text"}, ErrorInfo("", "", "text", None), id="a text"),
        pytest.param({"error": True}, ErrorInfo("", "", "", None), id="a mere yes"),
        pytest.param(
            {"object": "error", "message": "m", "type": "BadRequestError", "code": 400},
            ErrorInfo("400", "BadRequestError", "m", 400),
            id="older vLLM: at the top",
        ),
        pytest.param(
            {"type": "error", "error": {"type": "overloaded_error", "message": "m"}},
            ErrorInfo("", "overloaded_error", "m", None),
            id="Anthropic's shape",
        ),
        pytest.param(
            [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m"}}],
            ErrorInfo("429", "RESOURCE_EXHAUSTED", "m", 429),
            id="Google: in a list",
        ),
        pytest.param(
            {"choices": [{"message": {}}, {"error": {"code": 502, "message": "m"}}]},
            ErrorInfo("502", "", "m", 502),
            id="OpenRouter: an error of a choice",
        ),
        pytest.param(
            {"object": "response", "status": "failed", "error": None},
            ErrorInfo("", "response_failed", "", None),
            id="a failed response",
        ),
        pytest.param(
            {"error": {"code": "you wrote: hello", "type": "x" * 65}},
            ErrorInfo("", "", "", None),
            id="a sentence is no code",
        ),
        pytest.param({"error": None, "choices": [{}]}, None, id="a null error"),
        pytest.param({"error": {}}, None, id="an empty error"),
        pytest.param({"choices": [{"message": {}}]}, None, id="an answer"),
        pytest.param("error", None, id="no object"),
        pytest.param(NOT_JSON, None, id="no JSON"),
    ],
)
def test_embedded_error(answer: Any, expected: ErrorInfo | None) -> None:
    """An error is found in every shape that endpoints give it."""
    assert embedded_error(answer) == expected


@settings(deadline=None)
@given(answer=json_values, key=st.sampled_from(["error", "choices", "code", "object"]))
def test_reading_errors_never_raises(answer: Any, key: str) -> None:
    """Any JSON may stand where an error is looked for; its code is short and has no blanks."""
    for shape in (answer, {key: answer}, {"error": {key: answer, "type": answer}}):
        info = embedded_error(shape)
        if info is not None:
            assert len(info.code) <= 64
            assert " " not in info.code + info.type


@pytest.mark.parametrize(
    ("family", "answer", "code"),
    [
        (Family.CHAT, {"choices": [{"message": {}}]}, None),
        (Family.CHAT, {"choices": []}, "no_choices"),
        (Family.CHAT, {"choices": [None]}, "no_choices"),
        (Family.CHAT, {"id": "x"}, "no_choices"),
        (Family.CHAT, [], "invalid_answer"),
        (Family.COMPLETIONS, {"choices": [{"text": ""}]}, None),
        (Family.COMPLETIONS, {}, "no_choices"),
        (Family.EMBEDDINGS, {"data": [{"embedding": []}]}, None),
        (Family.EMBEDDINGS, {"data": []}, "no_data"),
        (Family.RESPONSES, {"output": [{}]}, None),
        (Family.RESPONSES, {"output": [], "status": "incomplete"}, None),
        (Family.RESPONSES, {"output": [], "status": "completed"}, "no_output"),
        (Family.MESSAGES, {"content": []}, None),
        (Family.MESSAGES, {"content": None}, "no_content"),
        (Family.OTHER, {}, None),
        (Family.OTHER, [], None),
        (Family.OTHER, "text", "invalid_answer"),
    ],
)
def test_missing_part(family: Family, answer: Any, code: str | None) -> None:
    """An answer lacks what its family answers with, or it is one."""
    assert missing_part(answer, family) == code
