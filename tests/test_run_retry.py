"""The retry table, row by row, through the command line against a real local server.

After each run the endpoint's books are held against our totals.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.harness import Job, row, rows
from tests.hostile import HostileServer, answer, repeat
from tests.server import Does, Endpoint, Move, Say, embedded, refusal, usage_of

OVER_64_MIB = 64 * 1024 * 1024 + 1


def test_all_well(job: Job, endpoint: Endpoint) -> None:
    """Every row is sent once, and the output is not there before it is whole."""
    job.write(rows(20))
    ran = job.run()
    assert ran.code == 0, ran.err
    assert ran.totals == job.totals()
    assert endpoint.books.attempts == 20
    assert not any(endpoint.books.outputs_seen)
    job.audit()


@pytest.mark.parametrize(
    "move",
    [
        pytest.param(Does.RESET, id="reset"),
        pytest.param(Does.CLOSE, id="closed without a word"),
        pytest.param(Does.CUT, id="truncated body"),
        pytest.param(Does.GARBAGE, id="not HTTP"),
        pytest.param(Does.HANG, id="timeout"),
        *[pytest.param(Say(status, b"<html>"), id=str(status)) for status in (408, 409, 500)],
        *[pytest.param(Say(status, b"<html>"), id=str(status)) for status in (502, 503, 504, 599)],
        pytest.param(Say(200, b""), id="200, empty"),
        pytest.param(Say(200, b"\n\n"), id="200, blank lines"),
        pytest.param(Say(200, b"<html>"), id="200, no JSON"),
        pytest.param(Say(200, b"[]"), id="200, no object"),
        pytest.param(Say(200, b'{"choices": []}'), id="200, no choices"),
        pytest.param(embedded("server_error"), id="200, an error object"),
        pytest.param(embedded(502), id="200, an integer code"),
        pytest.param(Say(200, b"{", {"content-encoding": "gzip"}), id="200, broken gzip"),
        pytest.param(refusal(400, x_should_retry="true"), id="400, x-should-retry"),
    ],
)
def test_transient(job: Job, endpoint: Endpoint, move: Move) -> None:
    """A failure that may pass is tried again, and both attempts are on the bill."""
    endpoint.on("x", move, Say())
    job.write([row("x")])
    ran = job.run("--timeout", "0.3", "--max-attempts", "2")
    assert ran.code == 0, ran.err
    assert job.result("x")["batcher"]["attempts"] == 2
    job.audit()


@pytest.mark.parametrize(
    ("move", "code"),
    [
        pytest.param(Does.RESET, "connection_reset", id="reset"),
        pytest.param(Does.CUT, "answer_truncated_in_transit", id="truncated body"),
        pytest.param(Does.GARBAGE, "protocol_error", id="not HTTP"),
        pytest.param(Does.HANG, "timeout", id="timeout"),
        pytest.param(Say(200, b"", {}), "empty_answer", id="200, empty"),
        pytest.param(Say(200, b"<html>"), "invalid_answer", id="200, no JSON"),
        pytest.param(Say(200, b'{"choices": []}'), "no_choices", id="200, no choices"),
        pytest.param(embedded("server_error"), "server_error", id="200, an error object"),
    ],
)
def test_no_usable_answer(job: Job, endpoint: Endpoint, move: Move, code: str) -> None:
    """When attempts run out without a usable answer, the result has an error of that code."""
    endpoint.on("x", move)
    job.write([row("x"), row("y")])
    ran = job.run("--timeout", "0.3", "--max-attempts", "2", "--concurrency", "1")
    assert ran.code == 3, ran.err
    result = job.result("x")
    assert result["error"]["code"] == code
    assert (result["response"] is None) == isinstance(move, Does)
    assert result["batcher"]["attempts"] == 2
    assert job.totals()["errors"] == {code: 1}
    job.audit()


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504, 599])
def test_last_body_is_kept(job: Job, endpoint: Endpoint, status: int) -> None:
    """When attempts run out on an HTTP refusal, the response holds its last body."""
    endpoint.on("x", Say(status, b'{"try": 1}'), Say(status, b'{"try":\n 2}'))
    job.write([row("x"), row("y")])
    assert job.run("--max-attempts", "2", "--concurrency", "1").code == 3
    result = job.result("x")
    assert result["error"] is None
    assert result["response"] == {
        "status_code": status,
        "request_id": "req-x",
        "body": {"try": 2},
    }
    assert job.totals()["errors"] == {f"http_{status}": 1}
    job.audit()


@pytest.mark.parametrize("status", [301, 302, 307, 400, 403, 404, 405, 413, 418, 422, 451])
def test_final_refusal(job: Job, endpoint: Endpoint, status: int) -> None:
    """A refusal of the row itself is final, its body kept; no redirect is followed."""
    endpoint.on("x", Say(status, b"no such thing", {"location": f"{endpoint.url}/elsewhere"}))
    job.write([row("x"), row("y")])
    assert job.run().code == 3
    result = job.result("x")
    assert (result["error"], result["response"]["status_code"]) == (None, status)
    assert result["response"]["body"] == "no such thing"
    assert endpoint.books.by_key == {"x": 1, "y": 1}
    job.audit()


@pytest.mark.parametrize(
    "move",
    [
        pytest.param(refusal(500, x_should_retry="false"), id="500, x-should-retry: false"),
        pytest.param(refusal(429, x_should_retry="false"), id="429, x-should-retry: false"),
        pytest.param(embedded("context_length_exceeded"), id="200 with the row's own fault"),
        pytest.param(refusal(500, "context_length_exceeded"), id="500 with the row's own fault"),
        pytest.param(
            refusal(429, "rate_limit_exceeded", message="TPM: Limit 30000, Requested 50000."),
            id="429, larger than the limit itself",
        ),
    ],
)
def test_final_by_its_word(job: Job, endpoint: Endpoint, move: Move) -> None:
    """The endpoint's own word, and the code in the body, outrank the status."""
    endpoint.on("x", move)
    job.write([row("x"), row("y")])
    assert job.run().code == 3
    assert endpoint.books.by_key == {"x": 1, "y": 1}
    job.audit()


def test_should_retry_is_bounded(job: Job, endpoint: Endpoint) -> None:
    """`x-should-retry: true` never outranks --max-attempts."""
    endpoint.on("x", refusal(422, x_should_retry="true"))
    job.write([row("x"), row("y")])
    assert job.run("--max-attempts", "3").code == 3
    assert endpoint.books.by_key["x"] == 3
    job.audit()


@pytest.mark.parametrize(
    "move",
    [
        pytest.param(Say(200, bytes(OVER_64_MIB)), id="its length told"),
        pytest.param(
            Say(200, gzip.compress(bytes(OVER_64_MIB), 1), {"content-encoding": "gzip"}),
            id="a small one that unpacks",
        ),
    ],
)
def test_answer_too_large(job: Job, endpoint: Endpoint, move: Move) -> None:
    """An answer over 64 MiB is final, and not held."""
    endpoint.on("x", move)
    job.write([row("x"), row("y")])
    assert job.run().code == 3
    assert job.codes() == {"x": "answer_too_large", "y": "200"}
    assert endpoint.books.by_key == {"x": 1, "y": 1}
    job.audit()


def test_thrown_away_answers_are_billed(job: Job, endpoint: Endpoint) -> None:
    """Usage of an answer that was no use counts, on the row and in the totals."""
    no_use = json.dumps({"choices": [], "usage": usage_of("x")}).encode()
    endpoint.on("x", Say(200, no_use), Say(500, no_use), Say())
    job.write([row("x")])
    assert job.run().code == 0
    ours = job.result("x")["batcher"]
    assert ours["attempts"] == 3
    assert ours["usage"]["prompt_tokens"] == 3 * usage_of("x")["prompt_tokens"]
    assert ours["thrown_away"]["attempts"] == 2
    assert ours["thrown_away"]["usage"]["prompt_tokens"] == 2 * usage_of("x")["prompt_tokens"]
    job.audit()


def test_a_replaced_answer_is_thrown_away(job: Job, endpoint: Endpoint) -> None:
    """What a row cost before --retry-failed bought nothing; a good row has no such part."""
    used = json.dumps({"error": {"code": "x"}, "usage": usage_of("x")}).encode()
    endpoint.on("x", Say(400, used), Say())
    job.write([row("x"), row("y")])
    assert job.run().code == 3
    assert job.run("--retry-failed").code == 0
    assert job.result("x")["batcher"]["thrown_away"]["attempts"] == 1
    assert "thrown_away" not in job.result("y")["batcher"]
    job.audit()


def test_stale_connection(job: Job, endpoint: Endpoint) -> None:
    """A reused connection gone stale is resent at once, and that is held against no row."""
    endpoint.on("r2", Does.CLOSE, Say())
    job.write(rows(3))
    ran = job.run("--concurrency", "1", "--max-attempts", "1")
    assert ran.code == 0, ran.err
    assert job.result("r2")["batcher"]["attempts"] == 2
    assert endpoint.books.connections == 2
    job.audit()


def test_headers_that_are_no_text(job: Job) -> None:
    """Bytes in a header that are no UTF-8 spoil neither the row nor the run."""
    said = answer(b'{"choices": [{}]}', headers=["x-request-id: r-?"]).replace(
        b"r-?", b"r-\xff\xe9"
    )
    with HostileServer(repeat(said)) as server:
        job.write(rows(2))
        assert job.run("--base-url", server.origin).code == 0
    assert job.result("r1")["response"]["request_id"].startswith("r-")


def test_answers_in_other_clothes(job: Job, endpoint: Endpoint) -> None:
    """A compressed answer and one that drips, blank lines first, are embedded as they are."""
    body = b'{"choices": [{"x": "\xc3\xa9\\n"}],\r\n "n": 12345678901234567890.00}'
    endpoint.on("r1", Say(200, gzip.compress(body), {"content-encoding": "gzip"}))
    endpoint.on("r2", Does.DRIP)
    job.write(rows(2))
    assert job.run().code == 0
    assert body.replace(b"\r\n", b"  ") in job.output.read_bytes()
    assert job.result("r2")["response"]["body"]["usage"] == usage_of("r2")
    job.audit()


HOSTILE_ANSWERS = {
    "deep": b'{"choices": [{"finish_reason": "stop", "message": {"content": "x"}}], "usage": '
    b'{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}, "deep": '
    + b"[" * 600
    + b"]" * 600
    + b"}",
    "too deep": b"[" * 5000 + b"]" * 5000,
    "surrogate": b'{"choices": [{"x": "\\ud800"}]}',
    "not UTF-8": b'{"choices": [{"x": "\xff"}]}',
    "nul": b'{"choices": [{"x": "\\u0000"}]}',
    "ours": b'{"id":"batch_req_1","choices":[{}],"batcher":{"row":1}}',
    "usage text": b'{"choices": [{}], "usage": "many"}',
    "usage signs": b'{"choices": [{}], "usage": {"prompt_tokens": -1, "completion_tokens": null}}',
    "usage huge": b'{"choices": [{}], "usage": {"prompt_tokens": 1e300}}',
    "choices": b'{"choices": {"0": 1}}',
    "choice": b'{"choices": [1]}',
    "calls": b'{"choices": [{"message": {"tool_calls": [{"function": 5}, null]}}]}',
    "error text": b'{"error": "no"}',
    "error list": b'{"error": [1]}',
    "code": b'{"error": {"code": {"a": 1}, "message": 5}}',
    "null": b"null",
    "digits": b'{"choices": [{}], "n": 123456789012345678901234567890, "f": 1e400}',
}


def test_hostile_answers(job: Job, endpoint: Endpoint) -> None:
    """Whatever an endpoint says is a result of its row, and never the end of the run."""
    for key, body in HOSTILE_ANSWERS.items():
        endpoint.on(key, Say(200, body))
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    job.write([row(key, tools=[tool]) for key in HOSTILE_ANSWERS] + rows(3))
    ran = job.run("--max-attempts", "1")
    assert ran.code == 3, ran.err
    job.audit(books=False)
    assert job.totals()["attempts"] == endpoint.books.attempts
    assert type(job.result("deep")["response"]["body"]) is str
    # What was written can be read again.
    job.write([*(row(key, tools=[tool]) for key in HOSTILE_ANSWERS), *rows(4)])
    assert job.run().code == 3
    assert endpoint.books.by_key["r4"] == 1
    assert endpoint.books.attempts == len(HOSTILE_ANSWERS) + 4
    job.audit(books=False)


def test_a_byte_order_mark_before_an_answer(job: Job, endpoint: Endpoint) -> None:
    """An answer behind a byte order mark is one: it is paid once, and stands there without it."""
    body = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": usage_of("x")}).encode()
    endpoint.on("r1", Say(200, b"\xef\xbb\xbf" + body))
    endpoint.on("r2", Say(200, b"\xef\xbb\xbf\xef\xbb\xbf" + body), Say(200, body))
    job.write(rows(2))
    assert job.run().code == 0
    assert endpoint.books.by_key == {"r1": 1, "r2": 2}
    assert job.result("r1")["response"]["body"] == json.loads(body)
    assert job.result("r1")["batcher"]["usage"]["total_tokens"] == usage_of("x")["total_tokens"]
    job.audit(books=False)


def test_costs_are_summed(job: Job, endpoint: Endpoint) -> None:
    """Prices of several models, thrown-away answers included, add up to the totals."""
    no_use = json.dumps({"choices": [], "usage": usage_of("a")}).encode()
    endpoint.on("a", Say(200, no_use), Say())
    models = {"a": "gpt-4o", "b": "gpt-4o-mini", "c": "who-knows"}
    job.write([row(key, model=model) for key, model in models.items()])
    ran = job.run("--prices", "list")
    assert ran.code == 0, ran.err
    totals: dict[str, Any] = job.totals()
    assert totals["unpriced_models"] == ["who-knows"]
    assert job.result("a")["batcher"]["cost_usd"] is not None
    job.audit()
