"""Tool calls posted to an HTTP endpoint, and turns in the other families' forms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import Job
from tests.server import Does, Endpoint, Say, Seen, refusal
from tests.talking import answer, calling, plan, results_in, tool_row, write_job


@pytest.fixture
def tools() -> Any:
    """A second endpoint, which carries calls out."""
    with Endpoint() as serving:
        yield serving


def one_call(endpoint: Endpoint) -> None:
    """A call, and an answer that says what the tool said."""
    last = lambda seen: answer(seen, {"content": results_in(seen)[-1]})  # noqa: E731
    endpoint.always(plan(lambda seen: calling(seen, {"a": 1, "b": 2}, ids=("theirs",)), last))


def settings(tools: Endpoint, more: str = "") -> str:
    """The table that names the endpoint."""
    return f'url = "http://127.0.0.1:{tools.port}/tools"\n{more}'


def test_each_call_is_posted(
    job: Job, endpoint: Endpoint, tools: Endpoint, monkeypatch: pytest.MonkeyPatch
):
    """The endpoint gets the call as JSON, with its id and the key; its body is the result."""
    monkeypatch.setenv("TOOLS_KEY", "hush")
    job.write([tool_row("r1")])
    one_call(endpoint)
    tools.always(Say(200, b"three"))
    ran = job.run(source=write_job(job, settings(tools, 'api_key_env = "TOOLS_KEY"')))
    assert ran.code == 0, ran.err
    (seen,) = tools.books.seen
    assert seen.path == "/tools"
    assert seen.headers["Authorization"] == "Bearer hush"
    assert seen.headers["Idempotency-Key"] == seen.body["id"]
    assert seen.body["name"] == "add"
    assert seen.body["arguments"] == {"a": 1, "b": 2}
    assert seen.body["custom_id"] == "r1"
    assert seen.body["tool_call_id"] == "theirs"
    assert results_in(endpoint.books.seen[-1]) == ["three"]
    assert "hush" not in json.dumps(job.results()) + ran.err
    job.audit()


@pytest.mark.parametrize(
    ("move", "error"),
    [
        pytest.param(refusal(404, message="no such order"), ("tool_failed", "HTTP 404: "),
                     id="a refusal, with what it says"),
        pytest.param(refusal(302, location="http://127.0.0.1:9/"), ("tool_failed", "HTTP 302"),
                     id="a redirect"),
        pytest.param(Does.RESET, ("tool_failed", "can't be reached"), id="a reset"),
        pytest.param(Does.GARBAGE, ("tool_failed", "can't be reached"), id="no HTTP"),
        pytest.param(Does.CUT, ("tool_failed", "can't be reached"), id="cut off"),
        pytest.param(Does.HANG, ("tool_timeout", "within 0.2 s"), id="a hang"),
        pytest.param(Say(200, b"x" * 2**21), ("tool_failed", "1 MiB"), id="too long"),
    ],
)  # fmt: skip
def test_an_endpoint_that_fails(
    job: Job, endpoint: Endpoint, tools: Endpoint, move: Any, error: tuple[str, str]
):
    """What goes wrong is told to the model; the call is made once."""
    job.write([tool_row("r1")])
    one_call(endpoint)
    tools.always(move)
    assert job.run(source=write_job(job, settings(tools, "timeout = 0.2"))).code == 0
    (call,) = job.result("r1")["batcher"]["tool_calls"]
    code, words = error
    assert call["error"] == code
    assert words in call["message"]
    assert words in results_in(endpoint.books.seen[-1])[0]
    assert tools.books.attempts == 1
    job.audit()


def test_nobody_listens(job: Job, endpoint: Endpoint, tools: Endpoint):
    """An endpoint that is not there fails the row where the job says so, and the run goes on."""
    tools.close_port()
    job.write([tool_row("r1"), tool_row("r2", tools=[])])
    one_call(endpoint)
    endpoint.on("r2", lambda seen: answer(seen, {"content": "fine"}))
    assert job.run(source=write_job(job, settings(tools, 'on_error = "fail"'))).code == 3
    assert job.codes() == {"r1": "tool_failed", "r2": "200"}
    tools.open_port()


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FUNCTION = (
    "def add(call, a):\n    if a == 13:\n        raise ValueError('unlucky')\n    return a + 1\n"
)


def test_messages(job: Job, endpoint: Endpoint):
    """Anthropic's form: blocks go back as they came, results stand in one user message."""
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "add", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": False},
    }
    job.write([{"custom_id": "r1", "url": "/v1/messages", "body": body}])
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    uses = [
        {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}},
        {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 13}},
    ]
    steps: list[Any] = [[thought, *uses], [{"type": "text", "text": "done"}]]
    endpoint.always(lambda seen: said_in_messages(steps[len(seen.body["messages"]) // 2]))
    ran = job.run(source=write_job(job, functions=FUNCTION))
    assert ran.code == 0, ran.err
    _, assistant, results = endpoint.books.seen[-1].body["messages"]
    assert assistant["content"][0] == thought
    first, second = [block["id"] for block in assistant["content"][1:]]
    assert first == "t1" != second
    assert results["content"] == [
        {"type": "tool_result", "tool_use_id": first, "content": "2"},
        {
            "type": "tool_result",
            "tool_use_id": second,
            "content": "Error: ValueError: unlucky",
            "is_error": True,
        },
    ]
    choice = endpoint.books.seen[-1].body["tool_choice"]
    assert choice == {"type": "auto", "disable_parallel_tool_use": False}
    assert job.result("r1")["batcher"]["turns"] == 2
    assert job.totals()["attempts"] == 2


def said_in_messages(blocks: list[dict[str, Any]]) -> Say:
    """An answer of Anthropic's."""
    reason = "tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"
    usage = {"input_tokens": 5, "output_tokens": 2}
    body = {"type": "message", "role": "assistant", "content": blocks, "stop_reason": reason}
    return Say(200, json.dumps({**body, "usage": usage}).encode())


def test_responses(job: Job, endpoint: Endpoint):
    """OpenAI's responses: items go back as they came, the reasoning too, with an output each."""
    tools = [{"type": "function", "name": "add", "parameters": SCHEMA}]
    body = {"model": "m", "input": "hi", "tools": tools, "tool_choice": "required"}
    job.write([{"custom_id": "r1", "url": "/v1/responses", "body": body}])
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    made = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "add"}
    call = {**made, "arguments": '{"a": 1}', "status": "completed"}
    text = {"type": "output_text", "text": "done"}
    ended = {"type": "message", "role": "assistant", "content": [text]}

    def move(seen: Seen) -> Say:
        output = [thought, call] if isinstance(seen.body["input"], str) else [ended]
        usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
        told = {"object": "response", "status": "completed", "output": output, "usage": usage}
        return Say(200, json.dumps(told).encode())

    endpoint.always(move)
    ran = job.run(source=write_job(job, functions=FUNCTION))
    assert ran.code == 0, ran.err
    asked = endpoint.books.seen[-1].body
    assert asked["input"] == [
        {"role": "user", "content": "hi"},
        thought,
        call,
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
    ]
    assert asked["tool_choice"] == "auto"
    assert job.totals()["usage"]["total_tokens"] == 14


def test_functions_as_they_once_were(job: Job, endpoint: Endpoint):
    """A request with `functions` gets its result as a message of the role `function`."""
    row = {"custom_id": "r1", "model": "m", "messages": [{"role": "user", "content": "hi"}]}
    forced = {"name": "add"}
    functions = [{"name": "add", "parameters": SCHEMA}]
    job.write([{**row, "functions": functions, "function_call": forced}])
    call = {"content": None, "function_call": {"name": "add", "arguments": '{"a":1}'}}
    endpoint.always(
        plan(lambda seen: answer(seen, call), lambda seen: answer(seen, {"content": "done"}))
    )
    assert job.run(source=write_job(job, functions=FUNCTION)).code == 0
    asked = endpoint.books.seen[-1].body
    assert asked["messages"][1:] == [
        {"role": "assistant", **call},
        {"role": "function", "name": "add", "content": "2"},
    ]
    assert asked["function_call"] == "auto"


@pytest.mark.parametrize(
    ("table", "functions", "words"),
    [
        pytest.param("", "def broken(:\n", "SyntaxError", id="no Python"),
        pytest.param("", "raise SystemExit(0)\n", "SystemExit", id="a file that ends the program"),
        pytest.param("", "from math import floor\n", "no public function", id="nothing in it"),
        pytest.param('tools = ["sub"]', "def add(call): ...\n", "no function sub", id="a typo"),
        pytest.param("", "HANDLERS = 3\n", "HANDLERS", id="no mapping"),
        pytest.param('url = "http://x/"', "def add(call): ...\n", "either", id="both"),
        pytest.param('url = "ftp://x/"', "", "http", id="no web address"),
        pytest.param('python = "gone.py"', "", "gone.py", id="no file"),
        pytest.param('url = "http://x/"\napi_key_env = "NONE"', "", "no key", id="no key"),
        pytest.param("max_turns = 3", "", "either", id="neither"),
    ],
)
def test_what_can_be_refused_at_once(
    job: Job, endpoint: Endpoint, table: str, functions: str, words: str
):
    """Handlers that can't be used end the command before anything is sent."""
    job.write([tool_row("r1")])
    ran = job.run(source=write_job(job, table, functions))
    assert (ran.code, endpoint.books.attempts) == (2, 0)
    assert words in ran.err


def test_handlers_by_name(job: Job, endpoint: Endpoint):
    """`HANDLERS` gives functions to tools whose names Python can't say."""
    tool = {"type": "function", "function": {"name": "add-up", "parameters": SCHEMA}}
    job.write([tool_row("r1", tools=[tool])])
    last = lambda seen: answer(seen, {"content": results_in(seen)[-1]})  # noqa: E731
    endpoint.always(plan(lambda seen: calling(seen, {"a": 1}, name="add-up"), last))
    functions = "HANDLERS = {'add-up': lambda call, a: a + 1}\n"
    assert job.run(source=write_job(job, functions=functions)).code == 0
    assert results_in(endpoint.books.seen[-1]) == ["2"]


def test_no_row_and_no_flag_names_a_handler(job: Job, endpoint: Endpoint):
    """Whatever a row holds, only the job file has code run; unchecked calls are never made."""
    job.write([tool_row("r1", handlers={"python": "/tmp/x.py"})])
    endpoint.always(lambda seen: calling(seen, {"a": 1, "b": 2}))
    assert job.run().code == 0
    assert endpoint.books.attempts == 1
    assert job.invoke("run", str(job.source), "--handlers-python", "x.py").code == 2
    path = write_job(job, functions="def add(call, a, b): ...\n", check_answers=False)
    assert job.run("--fresh", source=path).code == 2
