"""Invalid answers asked for again, through the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import Job, row, wait_for
from tests.server import Does, Endpoint, Seen, refusal
from tests.talking import answer, calling, tool_row

GOOD = {"a": 1, "b": 2}
BAD = {"a": "1", "b": 2}
COMPLAINT = 'tool_calls[0] add: the arguments: /a: "1" is not of type "integer"'


def by_attempt(*steps: Any) -> Any:
    """Answer by how many requests the endpoint has seen, whatever they hold."""
    asked = iter(range(1_000))

    def move(seen: Seen) -> Any:
        step = steps[min(next(asked), len(steps) - 1)]
        return step(seen) if callable(step) else step

    return move


def bad(seen: Seen) -> Any:
    """A call whose arguments don't fit."""
    return calling(seen, BAD)


def good(seen: Seen) -> Any:
    """A call as it should be."""
    return calling(seen, GOOD)


def test_a_failed_check_fails_by_default(job: Job, endpoint: Endpoint):
    """Nothing is asked again unless the job says so."""
    job.write([tool_row("r1")])
    endpoint.always(by_attempt(bad, good))
    assert job.run().code == 3
    assert endpoint.books.attempts == 1
    assert "invalid_answers" not in job.result("r1")["batcher"]


def test_repair_shows_the_answer_and_what_is_wrong(job: Job, endpoint: Endpoint):
    """The failed call goes back with its exact complaint, and the corrected one counts."""
    job.write([tool_row("r1")])
    endpoint.always(by_attempt(bad, good))
    ran = job.run("--on-invalid", "repair")
    assert ran.code == 0, ran.err
    asked = endpoint.books.seen[-1].body["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant", "tool", "user"]
    assert COMPLAINT in asked[-1]["content"]
    ours = job.result("r1")["batcher"]
    assert ours["tool_calls"] == [{"name": "add", "arguments": GOOD}]
    assert ours["invalid_answers"] == [
        {"turn": 1, "code": "tool_arguments_schema", "complaints": [COMPLAINT]}
    ]
    assert (ours["attempts"], ours["thrown_away"]["attempts"]) == (2, 1)
    job.audit()


def test_retry_asks_the_same(job: Job, endpoint: Endpoint):
    """With `retry` the same bytes are sent again, and the complaints are kept."""
    job.write([tool_row("r1")])
    endpoint.always(by_attempt(bad, bad, good))
    assert job.run("--on-invalid", "retry").code == 0
    first, *others = [seen.body for seen in endpoint.books.seen]
    assert others == [first, first]
    assert len(job.result("r1")["batcher"]["invalid_answers"]) == 2
    job.audit()


@pytest.mark.parametrize("how", ["retry", "repair"])
def test_it_ends(job: Job, endpoint: Endpoint, how: str):
    """A model that never mends its answer fails the row after `max_repairs`, and all are paid."""
    job.write([tool_row("r1"), row("r2")])
    endpoint.always(bad)
    endpoint.on("r2", lambda seen: answer(seen, {"content": "fine"}))
    ran = job.run("--on-invalid", how, "--max-repairs", "3")
    assert ran.code == 3
    ours = job.result("r1")["batcher"]
    assert job.codes() == {"r1": "tool_arguments_schema", "r2": "200"}
    assert len(ours["invalid_answers"]) == ours["attempts"] == 4
    assert job.result("r1")["response"]["status_code"] == 200
    job.audit()


def test_what_no_correction_mends_is_not_asked_again(job: Job, endpoint: Endpoint):
    """A cut-off answer would be cut off again: its row has failed."""
    job.write([tool_row("r1")])
    endpoint.always(lambda seen: answer(seen, {"content": "It is"}, "length"))
    assert job.run("--on-invalid", "repair").code == 3
    assert job.codes() == {"r1": "answer_truncated"}
    assert endpoint.books.attempts == 1
    (wrong,) = job.result("r1")["batcher"]["invalid_answers"]
    assert wrong["code"] == "answer_truncated"


def test_failures_between_are_tried_again(job: Job, endpoint: Endpoint):
    """A request for a correction is retried like any other, and has attempts of its own."""
    job.write([tool_row("r1")])
    fails = (refusal(500), Does.RESET, refusal(429, retry_after_ms="1"))
    endpoint.always(by_attempt(refusal(500), refusal(500), bad, *fails, good))
    ran = job.run("--on-invalid", "repair", "--max-attempts", "3")
    assert ran.code == 0, ran.err
    assert job.result("r1")["batcher"]["attempts"] == 7
    job.audit()


def test_several_faults_of_several_answers(job: Job, endpoint: Endpoint):
    """The history holds each answer's own complaints, and the next request all that was said."""
    job.write([tool_row("r1")])
    unknown = lambda seen: calling(seen, GOOD, name="subtract")  # noqa: E731
    endpoint.always(by_attempt(lambda seen: calling(seen, "{"), unknown, good))
    assert job.run("--on-invalid", "repair", "--transcript").code == 0
    ours = job.result("r1")["batcher"]
    assert [wrong["code"] for wrong in ours["invalid_answers"]] == [
        "tool_arguments_invalid_json",
        "unknown_tool",
    ]
    assert endpoint.books.seen[-1].body["messages"][1:] == ours["transcript"][:-1]
    ids = [m["tool_call_id"] for m in ours["transcript"] if m["role"] == "tool"]
    assert len(set(ids)) == 2
    job.audit()


def label_row(key: str) -> dict[str, Any]:
    """A row whose answer is to be JSON of a kind."""
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    described = {"name": "ok", "schema": schema}
    return row(key, response_format={"type": "json_schema", "json_schema": described})


@pytest.mark.parametrize("lenient", [False, True])
def test_lenient(job: Job, endpoint: Endpoint, lenient: bool):  # noqa: FBT001 - a table
    """Python's literals in a fence are corrected when asked for, and marked; else refused."""
    job.write([label_row("r1")])
    text = "Sure:\n```json\n{'ok': True,}\n```"
    endpoint.always(lambda seen: answer(seen, {"content": text}))
    ran = job.run(*(["--lenient"] if lenient else []))
    assert ran.code == (0 if lenient else 3)
    ours = job.result("r1")["batcher"]
    assert ours.get("lenient", False) is lenient
    assert ours.get("answer") == ({"ok": True} if lenient else None)


def test_repair_of_a_text(job: Job, endpoint: Endpoint):
    """An answer that is no JSON is asked for again with what is wrong, and the label counts."""
    job.write([label_row("r1")])
    right = lambda seen: answer(seen, {"content": json.dumps({"ok": True})})  # noqa: E731
    endpoint.always(by_attempt(lambda seen: answer(seen, {"content": "yes"}), right))
    assert job.run("--on-invalid", "repair").code == 0
    assert job.result("r1")["batcher"]["answer"] == {"ok": True}
    shown, complaint = endpoint.books.seen[-1].body["messages"][1:]
    assert shown == {"role": "assistant", "content": "yes"}
    assert "not JSON" in complaint["content"]


def test_killed_between_corrections(job: Job, endpoint: Endpoint):
    """What was asked for before a kill counts: neither the money nor the bound is lost."""
    job.write([tool_row("r1")])
    endpoint.always(by_attempt(bad, bad, Does.HANG, bad))
    flags = ("--on-invalid", "repair", "--max-repairs", "2")
    with job.process(*flags) as process:
        endpoint.wait_until(lambda books: books.attempts == 3)
        wait_for(lambda: job.partial.read_bytes().count(b"batch.attempt") == 2)
        process.signal(9)
        process.wait()
    assert job.run(*flags).code == 3
    ours = job.result("r1")["batcher"]
    assert len(ours["invalid_answers"]) == 3
    assert ours["attempts"] == 3
    bodies = [seen.body for seen in endpoint.books.seen]
    assert bodies[2] == bodies[3]
    seen = endpoint.books
    assert job.totals()["usage"]["prompt_tokens"] == seen.usage["prompt_tokens"]
    job.audit(books=False)
