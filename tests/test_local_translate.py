"""Requests with tools become schema-bound ones that llama.cpp obeys, and its answers tool calls."""

from typing import Any

import jsonschema_rs
import orjson
import pytest

from batcher.endpoints.local.history import Untranslatable, rendered
from batcher.endpoints.local.refs import rebased
from batcher.endpoints.local.translate import Ask, to_answer, to_request

ORDER = {
    "type": "object",
    "properties": {"order_id": {"type": "string"}},
    "required": ["order_id"],
    "additionalProperties": False,
}
TREE = {
    "type": "object",
    "properties": {"child": {"$ref": "#/$defs/node"}},
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    "additionalProperties": False,
}
USER = {"role": "user", "content": "where is order_12345?"}
CALL = {"id": "call_1", "type": "function"} | {
    "function": {"name": "get_date", "arguments": '{"order_id":"order_12345"}'}
}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": '{"date":"2026-12-01"}'}


def tool(name: str, parameters: Any = None) -> dict[str, Any]:
    """A function as a request offers it."""
    described = {"name": name, "description": f"what {name} does"}
    return {
        "type": "function",
        "function": described | ({"parameters": parameters} if parameters else {}),
    }


def ask(*messages: dict[str, Any], **fields: Any) -> Ask:
    """Translate a request that has something to translate."""
    asked = to_request({"model": "m", "messages": list(messages) or [USER], **fields})
    assert asked is not None
    return asked


def allows(asked: Ask, reply: Any) -> bool:
    """Whether llama.cpp may write this, given the schema that it is bound by."""
    schema = asked.body["response_format"]["json_schema"]["schema"]
    return jsonschema_rs.validator_for(schema, offline=True).is_valid(reply)


DATE = {"name": "get_date", "arguments": {"order_id": "order_1"}}
WALK = {"name": "walk", "arguments": {"child": {"next": {"next": {}}}}}
BAD_WALK = {"name": "walk", "arguments": {"child": {"next": 7}}}
SAID = {"answer": "hello"}
NAMED = {"type": "function", "function": {"name": "walk"}}


@pytest.mark.parametrize(
    ("choice", "reply", "expected"),
    [
        pytest.param("required", DATE, True, id="required: a call"),
        pytest.param("required", WALK, True, id="required: another call, recursive references"),
        pytest.param("required", BAD_WALK, False, id="required: arguments that break their schema"),
        pytest.param("required", SAID, False, id="required: no answer instead"),
        pytest.param(
            "required", {"name": "rm", "arguments": {}}, False, id="required: no such tool"
        ),
        pytest.param(None, DATE, True, id="left out: a call"),
        pytest.param("auto", WALK, True, id="auto: references hold beside an answer"),
        pytest.param("auto", BAD_WALK, False, id="auto: arguments that break their schema"),
        pytest.param("auto", SAID, True, id="auto: an answer"),
        pytest.param(NAMED, WALK, True, id="named: its call, references at the top"),
        pytest.param(NAMED, BAD_WALK, False, id="named: arguments that break their schema"),
        pytest.param(NAMED, DATE, False, id="named: no other tool"),
    ],
)
def test_tool_choice_binds_the_reply(choice: Any, reply: Any, expected: bool) -> None:  # noqa: FBT001 - a table
    """What the model can write is what `tool_choice` and the tools' schemas allow."""
    fields = {} if choice is None else {"tool_choice": choice}
    asked = ask(tools=[tool("get_date", ORDER), tool("walk", TREE)], **fields)
    assert asked.bound
    assert allows(asked, reply) is expected


def test_other_fields_pass_and_tools_do_not() -> None:
    """llama.cpp gets every field of the request but those that are spent on the translation."""
    asked = ask(tools=[tool("get_date", ORDER)], temperature=0, seen=7, parallel_tool_calls=False)
    assert asked.body["temperature"] == 0
    assert asked.body["seen"] == 7
    assert not asked.body.keys() & {"tools", "tool_choice", "parallel_tool_calls"}


def test_tools_are_described_in_the_system_message() -> None:
    """The model reads each tool's name, description and arguments after the job's own words."""
    system = {"role": "system", "content": "You help."}
    messages = ask(system, USER, tools=[tool("get_date", ORDER)]).body["messages"]
    assert messages[0]["role"] == "system"
    assert messages[0]["content"].startswith("You help.\n")
    assert "get_date: what get_date does" in messages[0]["content"]
    assert "order_id" in messages[0]["content"]
    assert messages[1:] == [USER]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"messages": [USER]}, id="no tools"),
        pytest.param({"messages": [USER], "tools": []}, id="an empty array of tools"),
        pytest.param(
            {"messages": "hi", "tools": [tool("a")]}, id="messages for llama.cpp to refuse"
        ),
    ],
)
def test_what_has_no_tools_passes(body: dict[str, Any]) -> None:
    """A request that needs no translation is left to llama.cpp as it stands."""
    assert to_request(body) is None


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        pytest.param({"tools": "x"}, "tools must be an array", id="tools that are no array"),
        pytest.param({"tools": [{}]}, r"tools\[0\]", id="a tool without a function"),
        pytest.param(
            {"tools": [tool("a", "x")]}, "JSON Schema", id="parameters that are no schema"
        ),
        pytest.param(
            {"tools": [tool("a")], "tool_choice": "b"}, "tool_choice", id="a wrong choice"
        ),
        pytest.param(
            {"tools": [tool("a")], "tool_choice": NAMED}, "name one", id="an unknown tool"
        ),
        pytest.param({"tools": [tool("a")], "stream": True}, "stream", id="a stream"),
        pytest.param(
            {"tools": [], "tool_choice": "required", "messages": [USER, CALLED]},
            "no tools",
            id="required without tools",
        ),
        pytest.param(
            {"tools": [tool("a")], "messages": [{"role": "assistant", "tool_calls": [1]}]},
            "tool_calls",
            id="a call of the wrong shape",
        ),
    ],
)
def test_wrong_requests_are_refused(fields: dict[str, Any], complaint: str) -> None:
    """What can't be translated is refused in words that name the field."""
    with pytest.raises(Untranslatable, match=complaint):
        to_request({"messages": [USER], **fields})


def test_a_result_at_the_end_is_told_in_plain_text() -> None:
    """After a tool's result `auto` leaves the model free, and shows it the result without JSON."""
    asked = ask(USER, CALLED, RESULT, tools=[tool("get_date", ORDER)])
    assert not asked.bound
    assert "response_format" not in asked.body
    assert asked.body["messages"][0] == USER
    (told,) = asked.body["messages"][1:]
    assert told["role"] == "user"
    assert told["content"].startswith("Result of get_date:\ndate: 2026-12-01\n")


def test_a_forced_call_after_a_result_stays_forced() -> None:
    """`required` holds after a result too, and earlier calls show how one is written."""
    asked = ask(USER, CALLED, RESULT, tools=[tool("get_date", ORDER)], tool_choice="required")
    assert asked.bound
    assert orjson.loads(asked.body["messages"][2]["content"]) == {
        "name": "get_date",
        "arguments": {"order_id": "order_12345"},
    }


LABEL = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "sure": {"type": "boolean"}},
    "required": ["label"],
    "additionalProperties": False,
}


def test_a_choice_is_written_alone() -> None:
    """Where one tool must be called and its arguments are chosen from lists, they are the reply."""
    fields = {"tools": [tool("label", LABEL)], "tool_choice": "required"}
    asked = ask(**fields)
    assert asked.only == "label"
    assert allows(asked, {"label": "good"})
    assert not allows(asked, {"label": "fine"})
    assert not allows(asked, {"name": "label", "arguments": {"label": "good"}})
    call = {"id": "c", "function": {"name": "label", "arguments": '{"label":"bad"}'}}
    asked = ask(USER, {"role": "assistant", "tool_calls": [call]}, USER, **fields)
    assert asked.body["messages"][2]["content"] == '{"label":"bad"}'
    assert not ask(tools=[tool("label", LABEL)]).only
    assert not ask(tools=[tool("label", LABEL), tool("b", LABEL)], tool_choice="required").only


def test_a_choice_is_asked_for_in_short() -> None:
    """Its schema binds the answer, and is not told again; what is said of an argument is."""
    described = {**LABEL, "properties": {"label": {"enum": ["good", "bad"], "description": "how"}}}
    for parameters, more in ((LABEL, ""), (described, "\n- label: how")):
        asked = ask(tools=[tool("label", parameters)], tool_choice="required")
        (system, *_) = asked.body["messages"]
        assert system["content"] == (
            f"Tool label: what label does. Reply with its arguments as one JSON object.{more}"
        )


def test_a_history_with_calls_needs_no_tools() -> None:
    """Calls and results are rendered even where the request offers no tools any more."""
    asked = ask(USER, CALLED, RESULT)
    assert [one["role"] for one in asked.body["messages"]] == ["user", "user"]


def test_results_are_matched_by_id() -> None:
    """Parallel results come in any order, each under the name of its own call."""
    other = {"id": "call_2", "type": "function", "function": {"name": "get_fee", "arguments": "{}"}}
    calls = {"role": "assistant", "content": "Wait.", "tool_calls": [CALL, other]}
    fee = {"role": "tool", "tool_call_id": "call_2", "content": "7"}
    texts = [one["content"] for one in rendered([calls, fee, RESULT], in_plain_text=True)]
    assert texts[0] == "Wait."
    assert texts[1] == "Result of get_fee:\n7"
    assert texts[2].startswith("Result of get_date:")


BOUND = Ask({}, bound=True)


def answered(content: Any, finish: str = "stop") -> dict[str, Any]:
    """A body as llama.cpp answers."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": "x", "choices": [choice], "usage": {"total_tokens": 9}}


def test_a_call_comes_back_as_tool_calls() -> None:
    """The object becomes a call with an id, null content and its finish reason; usage stays."""
    said = '{\n "name": "get_date", "arguments": {"order_id": "order_12345"}}'
    back = to_answer(BOUND, answered(said), new_id=lambda: "call_9")
    (choice,) = back["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [CALL | {"id": "call_9"}],
    }
    assert back["usage"] == {"total_tokens": 9}


def test_arguments_alone_come_back_as_a_call() -> None:
    """Where one tool can be called, what the model writes are its arguments, whatever they hold."""
    only = Ask({}, bound=True, only="get_date")
    (choice,) = to_answer(only, answered('{"answer": "hi"}'), new_id=str)["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "get_date", "arguments": '{"answer":"hi"}'}


def test_an_answer_comes_back_as_content() -> None:
    """What the model answered instead of calling is plain content."""
    (choice,) = to_answer(BOUND, answered('{"answer": "hi"}'), new_id=str)["choices"]
    assert choice["message"]["content"] == "hi"
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        pytest.param(BOUND, answered('{"name": "get_d', "length"), id="cut off"),
        pytest.param(BOUND, answered(None), id="no content"),
        pytest.param(BOUND, {"error": {}}, id="no choices"),
        pytest.param(Ask({}, bound=False), answered('{"answer": "hi"}'), id="plain text was asked"),
    ],
)
def test_other_answers_stay(asked: Ask, answer: dict[str, Any]) -> None:
    """What is no reply to the schema is passed on as it is, for the caller to judge."""
    assert to_answer(asked, answer, new_id=str) == answer


def test_references_in_data_stay() -> None:
    """Only references are moved: not data that looks like one, nor a property of that name."""
    schema = {
        "const": {"$ref": "#/a"},
        "properties": {"$ref": {"$ref": "#"}, "enum": {"$ref": "#/b"}},
        "items": [{"$ref": "https://example.com/x"}],
    }
    assert rebased(schema, "#/p") == {
        "const": {"$ref": "#/a"},
        "properties": {"$ref": {"$ref": "#/p"}, "enum": {"$ref": "#/p/b"}},
        "items": [{"$ref": "https://example.com/x"}],
    }
