"""Asking a model to correct itself, and reading what is almost JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.answers import Family
from batcher.checks import lenient_json, repair_messages
from tests.corpus.forms import (
    DATE,
    GOOD,
    answers,
    call,
    calls,
    chat,
    choice,
    message,
    response,
    says,
    use,
)

COMPLAINT = 'tool_calls[0] x: the arguments: "order_id" is a required property'


def repair(answer: dict[str, Any], family: Family = Family.CHAT, at: int = 0) -> list[Any]:
    """Ask for a correction of one answer."""
    return repair_messages(answer, (COMPLAINT,), family=family, choice=at)


def ids_match(messages: list[Any]) -> bool:
    """Whether each call has one tool message, in the API's order."""
    made = [made["id"] for made in messages[0].get("tool_calls", [])]
    told = [m["tool_call_id"] for m in messages if m["role"] == "tool"]
    return made == told and len(set(made)) == len(made) and all(made)


def test_a_failed_call_is_shown_and_told_on() -> None:
    """The answer, one tool message for its call, and the exact complaint."""
    messages = repair(answers(GOOD))
    assert [m["role"] for m in messages] == ["assistant", "tool", "user"]
    assert messages[0]["content"] is None
    assert messages[0]["tool_calls"][0]["function"]["name"] == DATE
    assert json.loads(messages[0]["tool_calls"][0]["function"]["arguments"]) == json.loads(GOOD)
    assert COMPLAINT in messages[-1]["content"]
    assert ids_match(messages)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(calls(call(GOOD), call(GOOD, call_id="call_2")), id="parallel calls"),
        pytest.param(calls(call(GOOD), call(GOOD)), id="the same id twice"),
        pytest.param(calls(call(GOOD, call_id="")), id="no id"),
        pytest.param(calls(call(GOOD), {"type": "function"}), id="a call that is none"),
        pytest.param(says(None, function_call={"name": DATE, "arguments": "{"}), id="legacy"),
    ],
)
def test_each_call_has_its_tool_message(answer: dict[str, Any]) -> None:
    """The API refuses a call without a tool message of its id, or an id used twice."""
    assert ids_match(repair(answer))


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        pytest.param('{"a": ', {"INVALID_JSON": '{"a": '}, id="broken"),
        pytest.param("[1]", {"INVALID_JSON": "[1]"}, id="no object"),
        pytest.param({"a": 1}, {"a": 1}, id="an object"),
        pytest.param("", {}, id="empty"),
        pytest.param(None, {}, id="null"),
    ],
)
def test_past_arguments_are_always_an_object(arguments: object, shown: dict[str, Any]) -> None:
    """Some endpoints parse the arguments of past calls, and refuse the request if they can't."""
    text = repair(answers(arguments))[0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(text) == shown


def test_a_failed_text_is_shown() -> None:
    """Without calls there is no tool message, and fields that endpoints refuse are left out."""
    messages = repair(says("positive", reasoning_content="hm", annotations=[]))
    assert messages[0] == {"role": "assistant", "content": "positive"}
    assert [m["role"] for m in messages] == ["assistant", "user"]


def test_the_choice_at_fault_is_shown() -> None:
    """Of several choices the one at fault is shown."""
    answer = chat(choice({"content": "good"}), choice({"content": "bad"}, index=1))
    assert repair(answer, at=1)[0]["content"] == "bad"


def test_messages_family() -> None:
    """Anthropic's form: tool results stand in the user message that follows."""
    assistant, user = repair(message(use({"x": 1})), Family.MESSAGES)
    assert assistant["content"][0]["input"] == {"x": 1}
    result, request = user["content"]
    assert result["tool_use_id"] == assistant["content"][0]["id"]
    assert result["is_error"] is True
    assert COMPLAINT in request["text"]
    assert [m["role"] for m in repair(message(), Family.MESSAGES)] == ["user"]


def test_responses_family() -> None:
    """The responses' form: items, each call followed by its output."""
    made = {"type": "function_call", "call_id": "c", "name": DATE, "arguments": "{"}
    shown, outcome, request = repair(response(made), Family.RESPONSES)
    assert shown["call_id"] == outcome["call_id"] == "c"
    assert json.loads(shown["arguments"]) == {"INVALID_JSON": "{"}
    assert COMPLAINT in request["content"]


def test_a_family_without_messages() -> None:
    """A completion has no messages to append to."""
    assert repair({"choices": [{"text": "x"}]}, Family.COMPLETIONS) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param('```json\n{"a": 1}\n```', {"a": 1}, id="a fence"),
        pytest.param('Sure!\n```\n{"a": 1}\n```\nDone.', {"a": 1}, id="a fence among words"),
        pytest.param('{"a": [1, 2,], }', {"a": [1, 2]}, id="trailing commas"),
        pytest.param(
            "{'a': True, 'b': None, 'c': False}",
            {"a": True, "b": None, "c": False},
            id="Python words",
        ),
        pytest.param("{'a': 'it\\'s \"so\"'}", {"a": 'it\'s "so"'}, id="Python quotes"),
        pytest.param("{'a': '\\x41\\u0042\\d'}", {"a": "AB\\d"}, id="Python escapes"),
        pytest.param('{"a": "b\nc\td"}', {"a": "b\nc\td"}, id="raw line breaks"),
        pytest.param('{"a": "True, None,}"}', {"a": "True, None,}"}, id="strings are left alone"),
        pytest.param(" [1, -2.5e3] ", [1, -2500.0], id="numbers"),
    ],
)
def test_lenient_json(text: str, value: object) -> None:
    """What models write when they mean JSON becomes JSON."""
    corrected = lenient_json(text)
    assert corrected is not None
    assert json.loads(corrected) == value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param('{"a": 1', id="a missing bracket"),
        pytest.param('{"a": "b}', id="a missing quote"),
        pytest.param("{a: 1}", id="a bare key"),
        pytest.param("[1, , 2]", id="two commas"),
        pytest.param("[,]", id="a comma alone"),
        pytest.param(",}", id="a comma before everything"),
        pytest.param("[1 2]", id="no comma"),
        pytest.param('{"a": NaN}', id="NaN"),
        pytest.param('{"a": 1} {"a": 2}', id="two values"),
        pytest.param("```\n1\n```\n```\n2\n```", id="two fences"),
        pytest.param("(1, 2)", id="a tuple"),
        pytest.param("__import__('os')", id="code"),
        pytest.param("01", id="a leading zero"),
    ],
)
def test_lenient_json_does_not_guess(text: str) -> None:
    """What could mean several things, or is no literal, stays wrong."""
    assert lenient_json(text) is None


_TEXT = st.text(alphabet="aZ09 é北🚚'\"\\/{}[]:,\n\x00`", max_size=8)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=15,
)


@given(value=_VALUES)
def test_lenient_json_reads_json_and_python_alike(value: object) -> None:
    """JSON stays what it says, and so does what Python writes of the same value."""
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        corrected = lenient_json(text)
        assert corrected is not None or "```" in text
        assert corrected is None or json.loads(corrected) == value


@given(text=st.text(alphabet="{}[]:,'\"\\`x1TrueNone \n", max_size=40))
def test_lenient_json_gives_json_or_nothing(text: str) -> None:
    """Whatever comes in, what comes out is JSON."""
    corrected = lenient_json(text)
    if corrected is not None:
        json.loads(corrected)
