"""Tool calls carried out by functions, turn after turn, through the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import Job, outcome, row
from tests.server import Does, Endpoint, Say, Seen, refusal
from tests.talking import PAGE, answer, calling, plan, results_in, tool_row, write_job

ADD = "def add(call, a, b):\n    return a + b\n"


def final(seen: Seen) -> Any:
    """A text that says what the tools said last."""
    return answer(seen, {"content": f"It is {results_in(seen)[-1]}."})


def said(result: dict[str, Any]) -> str:
    """The text of a result's answer."""
    text: str = result["response"]["body"]["choices"][0]["message"]["content"]
    return text


def test_a_tool_is_carried_out_and_its_result_told(job: Job, endpoint: Endpoint):
    """The model calls, the function answers, the model ends; usage adds up over the turns."""
    job.write([tool_row("r1")])
    endpoint.always(plan(lambda seen: calling(seen, {"a": 1, "b": 2}), final))
    ran = job.run(source=write_job(job, functions=ADD))
    assert ran.code == 0, ran.err
    result = job.result("r1")
    assert said(result) == "It is 3."
    ours = result["batcher"]
    assert ours["turns"] == ours["attempts"] == 2
    assert ours["tool_calls"] == [{"name": "add", "arguments": {"a": 1, "b": 2}, "turn": 1}]
    job.audit()


def test_digits_of_a_huge_argument(job: Job, endpoint: Endpoint):
    """A function is given the digits of an integer beyond 64 bits, not another number near it."""
    job.write([tool_row("r1")])
    arguments = {"a": 2**64 + 1, "b": 2}
    endpoint.always(plan(lambda seen: calling(seen, arguments), final))
    shown = "def add(call, a, b):\n    return f'{a} {b} {call.arguments[\"a\"]}'\n"
    ran = job.run(source=write_job(job, functions=shown))
    assert ran.code == 0, ran.err
    assert said(job.result("r1")) == f"It is {2**64 + 1} 2 {2**64 + 1}."
    digits = {"a": str(2**64 + 1), "b": 2}
    calls = job.result("r1")["batcher"]["tool_calls"]
    assert calls == [{"name": "add", "arguments": digits, "turn": 1}]
    job.audit()


def test_several_turns(job: Job, endpoint: Endpoint):
    """Each turn holds all that was said before, and each result stands after its call."""
    job.write([tool_row("r1")])
    steps = [lambda seen, n=n: calling(seen, {"a": n, "b": n}) for n in (1, 2)]
    endpoint.always(plan(*steps, final))
    assert job.run("--transcript", source=write_job(job, functions=ADD)).code == 0
    ours = job.result("r1")["batcher"]
    roles = [message["role"] for message in ours["transcript"]]
    assert roles == ["assistant", "tool", "assistant", "tool", "assistant"]
    assert [m["content"] for m in ours["transcript"][1::2]] == ["2", "4"]
    assert ours["turns"] == 3
    assert endpoint.books.seen[-1].body["messages"][1:] == ours["transcript"][:-1]
    job.audit()


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        pytest.param(("x", "y"), ["x", "y"], id="their own"),
        pytest.param(("x", "x"), ["x", None], id="the same twice"),
        pytest.param((None, ""), [None, None], id="none"),
    ],
)
def test_parallel_calls(job: Job, endpoint: Endpoint, ids: Any, told: list[str | None]):
    """Calls of one turn run together, and each result finds its call whatever the ids were."""
    job.write([tool_row("r1")])
    both = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    endpoint.always(plan(lambda seen: calling(seen, *both, ids=ids), final))
    functions = (
        "import threading\n"
        "both = threading.Barrier(2, timeout=20)\n"
        "def add(call, a, b):\n    both.wait()\n    return a + b\n"
    )
    assert job.run(source=write_job(job, functions=functions)).code == 0
    message, *results = endpoint.books.seen[-1].body["messages"][1:]
    given = [call["id"] for call in message["tool_calls"]]
    assert [result["tool_call_id"] for result in results] == given
    assert len(set(given)) == 2
    assert all(want is None or want == got for want, got in zip(told, given, strict=True))
    assert all(given)
    assert [result["content"] for result in results] == ["3", "7"]


def test_ids_that_every_turn_repeats(job: Job, endpoint: Endpoint):
    """An endpoint that calls every call `call_0` gets them back told apart."""
    job.write([tool_row("r1")])
    step = lambda seen: calling(seen, {"a": 1, "b": 1}, ids=("call_0",))  # noqa: E731
    endpoint.always(plan(step, step, final))
    assert job.run(source=write_job(job, functions=ADD)).code == 0
    messages = endpoint.books.seen[-1].body["messages"]
    ids = [m["tool_call_id"] for m in messages if m["role"] == "tool"]
    assert ids[0] == "call_0"
    assert len(set(ids)) == 2


FAULTS = [
    pytest.param("def add(call, a, b):\n    raise KeyError('no such order')", "tool_failed",
                 "KeyError: 'no such order'", id="an exception"),
    pytest.param("def add(call, a, b):\n    raise SystemExit(3)", "tool_failed", "SystemExit",
                 id="an exit"),
    pytest.param("def add(call, a, b):\n    raise StopIteration", "tool_failed", "StopIteration",
                 id="an exception that futures refuse"),
    pytest.param("def add(call, a, b):\n    return object()", "tool_failed", "JSON", id="no JSON"),
    pytest.param("def add(call, a, b):\n    return 'x' * 2**21", "tool_failed", "1 MiB",
                 id="too long"),
    pytest.param("def add(call, a):\n    return a", "tool_failed", "TypeError",
                 id="another signature"),
    pytest.param("async def add(call, a, b):\n    raise SystemExit(3)", "tool_failed",
                 "SystemExit", id="an exit of an async function"),
    pytest.param("import time\ndef add(call, a, b):\n    time.sleep(3)", "tool_timeout",
                 "did not answer within 0.2 s", id="a hang"),
    pytest.param("import time\nasync def add(call, a, b):\n    time.sleep(3)", "tool_timeout",
                 "did not answer within 0.2 s", id="an async function that blocks"),
    pytest.param("import asyncio\nasync def add(call, a, b):\n    await asyncio.sleep(30)",
                 "tool_timeout", "did not answer within 0.2 s", id="an async hang"),
    pytest.param("def add(call, a, b):\n    raise ValueError('\\udc80')", "tool_failed", "?",
                 id="words that are no UTF-8"),
    pytest.param("class Mute(Exception):\n    def __str__(self):\n        raise ValueError\n"
                 "def add(call, a, b):\n    raise Mute", "tool_failed", "Mute: no words",
                 id="an exception without words"),
    pytest.param("def add(call, a, b):\n    raise TimeoutError('mine')", "tool_failed", "mine",
                 id="a timeout of its own"),
]  # fmt: skip


@pytest.mark.parametrize(("functions", "code", "words"), FAULTS)
def test_an_error_is_told(job: Job, endpoint: Endpoint, functions: str, code: str, words: str):
    """A handler's failure goes to the model as the tool's result, and stands in the result."""
    job.write([tool_row("r1")])
    endpoint.always(plan(lambda seen: calling(seen, {"a": 1, "b": 2}), final))
    ran = job.run(source=write_job(job, "timeout = 0.2", functions))
    assert ran.code == 0, ran.err
    (call,) = job.result("r1")["batcher"]["tool_calls"]
    assert call["error"] == code
    assert words in call["message"]
    assert words in results_in(endpoint.books.seen[-1])[0]
    job.audit()


@pytest.mark.parametrize(("functions", "code", "words"), FAULTS)
def test_an_error_fails_its_row_alone(
    job: Job, endpoint: Endpoint, functions: str, code: str, words: str
):
    """With `on_error = "fail"` the row has failed, at once; the others go on."""
    job.write([tool_row("r1"), tool_row("r2", tools=[])])
    endpoint.on("r1", lambda seen: calling(seen, {"a": 1, "b": 2}))
    settings = 'timeout = 0.2\non_error = "fail"'
    ran = job.run(source=write_job(job, settings, functions))
    assert ran.code == 3, ran.err
    assert job.codes() == {"r1": code, "r2": "200"}
    result = job.result("r1")
    assert "no such order" not in result["error"]["message"]
    assert words in result["batcher"]["tool_calls"][0]["message"]
    assert result["response"]["status_code"] == 200
    assert endpoint.books.attempts == 2
    job.audit()


def test_async_functions(job: Job, endpoint: Endpoint):
    """Async functions run together, and an awaitable that a plain one returns is awaited."""
    job.write([tool_row("r1")])
    both = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    endpoint.always(plan(lambda seen: calling(seen, *both), final))
    functions = (
        "import asyncio\n"
        "both = asyncio.Barrier(2)\n"
        "async def _add(a, b):\n    await both.wait()\n    return {'sum': a + b}\n"
        "def add(call, a, b):\n    return _add(a, b)\n"
    )
    assert job.run(source=write_job(job, "timeout = 20", functions)).code == 0
    assert results_in(endpoint.books.seen[-1]) == ['{"sum":3}', '{"sum":7}']


def test_max_turns(job: Job, endpoint: Endpoint):
    """A model that never ends fails its row after `max_turns` answers; the last is not obeyed."""
    job.write([tool_row("r1")])
    endpoint.always(lambda seen: calling(seen, {"a": 1, "b": 1}))
    assert job.run(source=write_job(job, "max_turns = 3", ADD)).code == 3
    result = job.result("r1")
    assert result["error"]["code"] == "max_turns_exceeded"
    assert [call["turn"] for call in result["batcher"]["tool_calls"]] == [1, 2, 3]
    assert endpoint.books.attempts == 3
    job.audit()


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_forced_call_is_forced_once(job: Job, endpoint: Endpoint, choice: Any):
    """After the call that `tool_choice` forced, the model may answer, and its answer counts."""
    job.write([tool_row("r1", tool_choice=choice)])
    endpoint.always(plan(lambda seen: calling(seen, {"a": 1, "b": 2}), final))
    assert job.run(source=write_job(job, functions=ADD)).code == 0
    assert [seen.body["tool_choice"] for seen in endpoint.books.seen] == [choice, "auto"]


def test_a_tool_without_a_handler(job: Job, endpoint: Endpoint):
    """Its call fails the row; where the job names what to carry out, it ends the row."""
    job.write([tool_row("r1")])
    endpoint.always(lambda seen: calling(seen, {"a": 1, "b": 2}))
    functions = "def other(call):\n    raise AssertionError\n"
    assert job.run(source=write_job(job, functions=functions)).code == 3
    assert job.codes() == {"r1": "tool_not_handled"}
    ran = job.run("--retry-failed", source=write_job(job, 'tools = ["other"]', functions))
    assert ran.code == 0
    assert job.result("r1")["batcher"]["tool_calls"][0]["name"] == "add"
    job.audit()


def test_failures_of_a_later_turn(job: Job, endpoint: Endpoint):
    """A refusal for rate, a reset and a 500 in a later turn are tried again, with new attempts."""
    job.write([tool_row("r1")])

    def flaky(seen: Seen) -> Any:
        faults = [refusal(429, retry_after_ms="1"), Does.RESET, refusal(500)]
        asked = len([s for s in endpoint.books.seen if s.body == seen.body])
        return faults[asked - 1] if asked <= len(faults) else final(seen)

    endpoint.always(refusal(500), plan(lambda seen: calling(seen, {"a": 1, "b": 2}), flaky))
    endpoint.on("3", flaky)
    ran = job.run("--max-attempts", "3", source=write_job(job, functions=ADD))
    assert ran.code == 0, ran.err
    assert job.result("r1")["batcher"]["attempts"] == 6
    assert job.result("r1")["batcher"]["turns"] == 2
    job.audit()


def test_a_refusal_in_a_later_turn(job: Job, endpoint: Endpoint):
    """A row that is refused in its second turn still tells what was carried out."""
    job.write([tool_row("r1")])
    endpoint.always(plan(lambda s: calling(s, {"a": 1, "b": 2}), lambda _: refusal(400, "no")))
    assert job.run(source=write_job(job, functions=ADD)).code == 3
    result = job.result("r1")
    assert outcome(result) == "400"
    assert result["batcher"]["tool_calls"][0]["turn"] == 1
    job.audit()


def test_unchecked_arguments_reach_no_handler(job: Job, endpoint: Endpoint):
    """A call whose arguments don't fit fails its row; no function sees them."""
    job.write([tool_row("r1")])
    endpoint.always(lambda seen: calling(seen, {"a": "1", "b": 2}))
    functions = f"def add(call, a, b):\n    open({str(job.folder / 'seen')!r}, 'w')\n"
    assert job.run(source=write_job(job, functions=functions)).code == 3
    assert job.codes() == {"r1": "tool_arguments_schema"}
    assert not (job.folder / "seen").exists()


def test_an_answer_that_is_too_deep_to_be_sent_back(job: Job, endpoint: Endpoint):
    """What can be read but not written again costs its row alone."""
    schema = {"type": "object"}
    tool = {"name": "add", "input_schema": schema}
    said = [{"role": "user", "content": "hi"}]
    body = {"model": "m", "messages": said, "tools": [tool]}
    job.write([{"custom_id": "r1", "url": "/v1/messages", "body": body}, row("r2")])
    deep = json.loads('{"a":' * 250 + "1" + "}" * 250)
    use = {"type": "tool_use", "id": "t", "name": "add", "input": deep}
    usage = {"input_tokens": 12, "output_tokens": 5}
    answered = {"type": "message", "role": "assistant", "content": [use], "usage": usage}
    endpoint.on("hi", Say(200, json.dumps(answered).encode()))
    ran = job.run(source=write_job(job, functions="def add(call, **_):\n    return 1\n"))
    assert ran.code == 3, ran.err
    assert job.codes() == {"r1": "tool_not_handled", "r2": "200"}


def test_what_a_handler_prints_spoils_nothing(job: Job, endpoint: Endpoint):
    """Standard output carries the totals alone, whatever a file of functions prints."""
    job.write([tool_row("r1")])
    endpoint.always(plan(lambda seen: calling(seen, {"a": 1, "b": 2}), final))
    functions = "print('at first')\ndef add(call, a, b):\n    print('then')\n    return 1\n"
    ran = job.run(source=write_job(job, functions=functions))
    assert ran.code == 0
    assert ran.totals["request_counts"]["completed"] == 1


def test_a_handler_knows_its_call(job: Job, endpoint: Endpoint):
    """It gets the call's id, its row, its turn, its place and the fields that the job carries."""
    data = {"key": "k1", "order": 5}
    job.write([data])
    endpoint.always(plan(lambda seen: calling(seen, {"a": 1, "b": 2}, ids=("theirs",)), final))
    functions = "from dataclasses import asdict\ndef add(call, a, b):\n    return asdict(call)\n"
    path = write_job(job, functions=functions, id_field="key", carry=["order"])
    text = (job.folder / "job.toml").read_text().replace("[handlers]", _REQUEST + "[handlers]")
    (job.folder / "job.toml").write_text(text)
    assert job.run(source=path).code == 0
    (told,) = results_in(endpoint.books.seen[-1])
    call = json.loads(told)
    assert call.pop("id").startswith("call_")
    assert call == {
        "name": "add",
        "arguments": {"a": 1, "b": 2},
        "custom_id": "k1",
        "turn": 1,
        "index": 0,
        "tool_call_id": "theirs",
        "input": {"order": 5},
    }


_REQUEST = """
[request]
model = "m"
messages = [{ role = "user", content = "{{ order }}" }]
[[request.tools]]
type = "function"
function = { name = "add", parameters = { type = "object" } }
"""


@pytest.mark.local
def test_the_page_over_a_real_model(job: Job):
    """The page's own example, no choice forced: the answer states the date that the tool gave."""
    job.write([{"custom_id": "page", "body": {**PAGE, "temperature": 0}}])
    functions = "def get_delivery_date(call, order_id):\n    return {'date': '2026-12-24'}\n"
    ran = job.run("--base-url", "local", source=write_job(job, functions=functions))
    assert ran.code == 0, ran.err
    (call,) = job.result("page")["batcher"]["tool_calls"]
    assert call["arguments"] == {"order_id": "order_12345"}
    assert "2026-12-24" in said(job.result("page"))
