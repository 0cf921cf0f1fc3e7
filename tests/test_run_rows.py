"""Rows: their shapes, templates, every code of a bad one, and where they are read from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import Job, Ran, outcome, row, rows
from tests.server import Endpoint, Say

MESSAGES = [{"role": "user", "content": "x"}]


def batch_line(body: Any, **fields: Any) -> dict[str, Any]:
    """A request line of OpenAI's Batch API."""
    return {
        "custom_id": "x",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
        **fields,
    }


def test_shapes(job: Job, endpoint: Endpoint) -> None:
    """Batch lines and bare bodies, named or not, go out as they stand, unknown fields and all."""
    unknown = {"seen": 3, "enable_thinking": False, "seed": None}
    job.write(
        [
            batch_line(row("a", None, **unknown), custom_id="A"),
            {"custom_id": "B", "body": row("b", None)},
            {"body": row("c", None)},
            row("d", "D", **unknown),
            row("e", None),
            batch_line({"model": "m", "input": "f"}, custom_id="F", url="/v1/embeddings?x=1"),
        ]
    )
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    endpoint.on("f", Say(200, json.dumps({"data": [{}], "usage": usage}).encode()))
    assert job.run().code == 0
    assert sorted(endpoint.books.keys) == ["a", "b", "c", "d", "e", "f"]
    first = {seen.key: seen for seen in endpoint.books.seen}
    assert first["a"].body == row("a", None, **unknown)
    assert first["d"].body == row("d", None, **unknown)
    assert first["e"].body == row("e", None)
    assert first["f"].path == "/v1/embeddings?x=1"
    assert set(job.codes()) == {"A", "B", "row-3", "D", "row-5", "F"}
    job.audit()


def test_whole_path_without_base_path(job: Job, endpoint: Endpoint) -> None:
    """A base URL without a path takes the row's whole path."""
    job.write(rows(1))
    job.flags += ["--base-url", endpoint.url.removesuffix("/v1")]
    assert job.run().code == 0
    assert endpoint.books.seen[0].path == "/v1/chat/completions"


def test_names(job: Job) -> None:
    """A number is its decimal text; what we call a row without an id collides with no given one."""
    job.write(
        [
            row("a", 17),
            row("b", None),
            row("c", "row-2"),
            row("d", None),
            row("e", "row-4.2"),
            row("f", "row-4"),
            row("g", -1.5),
            row("h", 'é"\\\n'),
        ]
    )
    assert job.run().code == 0
    lines = sorted(job.results(), key=lambda line: line["batcher"]["row"])
    names = [line["custom_id"] for line in lines]
    assert names[0] == "17"
    assert names[2:3] + names[4:] == ["row-2", "row-4.2", "row-4", "-1.5", 'é"\\\n']
    assert names[1].startswith("row-2")
    assert names[3].startswith("row-4")
    job.audit()


def test_numbers_keep_their_digits(job: Job) -> None:
    """Ids beyond 64 bits are told apart, and stay as they were written."""
    ids = ["100000000000000000001", "100000000000000000002", "-1.50", "1e3"]
    job.write([json.dumps(row(text, 0)).replace(": 0", f": {text}", 1) for text in ids])
    assert job.run().code == 0
    assert sorted(line["custom_id"] for line in job.results()) == sorted(ids)
    job.audit()


# The first integers beyond 64 bits, and two further ones; numbers that no double holds.
_HUGE = (2**64, -(2**63) - 1, 10**20 + 1, -(10**30))
_TOO_LARGE = ("1e400", "-1E400", "1e+309", "[1.8e308]")


def _with(value: int | str, custom_id: Any = "x", key: str = "b") -> str:
    """A row whose body holds a number as it is written here."""
    return json.dumps(row(key, custom_id, seen=0)).replace('"seen": 0', f'"more": {value}')


def test_numbers_of_a_body_go_out_as_they_stand(job: Job, endpoint: Endpoint) -> None:
    """The largest and the smallest that fit are sent, and so are floats in any form."""
    integers = [str(2**64 - 1), str(-(2**63))]
    numbers = [*integers, "1e22", "123456789012345678901.0", "-0.0", "5e-324", "1.50E+3"]
    job.write([_with(value, key=f"k{at}", custom_id=at) for at, value in enumerate(numbers)])
    assert job.run().code == 0
    sent = {seen.key: seen.body["more"] for seen in endpoint.books.seen}
    assert [repr(sent[f"k{at}"]) for at in range(len(numbers))] == [
        repr(json.loads(value)) for value in numbers
    ]
    job.audit()


def test_a_huge_id_beside_a_large_float(job: Job, endpoint: Endpoint) -> None:
    """An id beyond 64 bits is no part of the body, and makes no row bad."""
    job.write([_with("1e22", custom_id=10**30)])
    assert job.run().code == 0
    assert job.codes() == {str(10**30): "200"}
    assert endpoint.books.by_key == {"b": 1}


@pytest.mark.parametrize(
    ("line", "code", "custom_id"),
    [
        *[
            pytest.param(_with(each), "invalid_request", "x", id=f"an integer of {len(str(each))}")
            for each in _HUGE
        ],
        *[pytest.param(_with(each), "invalid_json", "row-2", id=each) for each in _TOO_LARGE],
        pytest.param('{"model": "m", "messages": [', "invalid_json", "row-2", id="cut"),
        pytest.param("what?", "invalid_json", "row-2", id="no JSON"),
        pytest.param(b'{"a": "\xff"}', "invalid_json", "row-2", id="not UTF-8"),
        pytest.param('{"a": NaN}', "invalid_json", "row-2", id="NaN"),
        pytest.param("[1]", "invalid_request", "row-2", id="no object"),
        pytest.param(
            {"custom_id": "x", "messages": MESSAGES}, "invalid_request", "x", id="no model"
        ),
        pytest.param({"model": 5, "messages": MESSAGES}, "invalid_request", "row-2", id="model"),
        pytest.param({"custom_id": "x", "model": "m"}, "invalid_request", "x", id="no messages"),
        pytest.param(
            {"model": "m", "messages": []}, "invalid_request", "row-2", id="empty messages"
        ),
        pytest.param(
            {"model": "m", "messages": ["x"]}, "invalid_request", "row-2", id="no objects"
        ),
        pytest.param({"model": "m", "messages": [{}]}, "invalid_request", "row-2", id="no role"),
        pytest.param(row("b", "x", temperature="hot"), "invalid_request", "x", id="a wrong type"),
        pytest.param(row("b", "x", tools={}), "invalid_request", "x", id="tools"),
        pytest.param(row("b", ["x"]), "invalid_request", "row-2", id="an id of a wrong type"),
        pytest.param(row("b", True), "invalid_request", "row-2", id="an id that is true"),
        pytest.param(batch_line(None), "invalid_request", "x", id="no body"),
        pytest.param({"custom_id": "x", "url": "/v1/x"}, "invalid_request", "x", id="only a url"),
        pytest.param(batch_line(row("b", None), method="GET"), "invalid_request", "x", id="GET"),
        *[
            pytest.param(
                batch_line(row("b", None), url=url), "invalid_request", "x", id=f"url {url}"
            )
            for url in (
                "https://evil.example/",
                "//evil",
                "v1/x",
                "/v1/../x",
                "/a//b",
                "/a\\b",
                "/@b",
                5,
            )
        ],
        pytest.param(
            f'{{"custom_id": "x", "model": "m", "messages": {"[" * 900}{"]" * 900}}}',
            "invalid_request",
            "x",
            id="nested too deeply for its type",
        ),
        pytest.param(
            {**row("b", "x"), "deep": json.loads("[" * 900 + "]" * 900)},
            "invalid_request",
            "x",
            id="nested too deeply",
        ),
        pytest.param("[" * 2000 + "]" * 2000, "invalid_json", "row-2", id="nested beyond reading"),
        pytest.param(row("b", "x", stream=True), "stream_not_supported", "x", id="stream"),
        pytest.param(row("a"), "duplicate_custom_id", "row-2", id="the same row again"),
        pytest.param(row("b", "a"), "duplicate_custom_id", "row-2", id="another row's id"),
    ],
)
def test_bad_row(job: Job, endpoint: Endpoint, line: Any, code: str, custom_id: str) -> None:
    """A row that can't be sent gets an error that names its line; the others are sent."""
    job.write([row("a"), line, row("c")])
    assert job.run().code == 3
    bad = [each for each in job.results() if each["batcher"]["row"] == 2]
    assert len(bad) == 1
    assert (outcome(bad[0]), bad[0]["custom_id"], bad[0]["response"]) == (code, custom_id, None)
    assert bad[0]["error"]["message"].startswith("line 2: ")
    assert (bad[0]["batcher"]["attempts"], job.totals()["errors"]) == (0, {code: 1})
    assert endpoint.books.by_key == {"a": 1, "c": 1}
    job.audit()
    first = job.output.read_bytes()
    assert job.run().code == 3
    assert job.output.read_bytes() == first


def test_row_too_large(job: Job, endpoint: Endpoint) -> None:
    """A line over 64 MiB is passed over; the one after it is sent, under its own number."""
    padding = " " * (64 * 1024 * 1024)
    job.write([row("a"), json.dumps(row("b")) + padding, row("c", None)])
    assert job.run().code == 3
    assert job.codes() == {"a": "200", "row-2": "row_too_large", "row-3": "200"}
    assert endpoint.books.by_key == {"a": 1, "c": 1}
    job.audit()


def test_strict_sends_nothing(job: Job, endpoint: Endpoint) -> None:
    """--strict refuses a source with any bad row, names the first ones, and leaves no file."""
    job.write([*rows(50), "{", row("r1"), row("s", stream=True)])
    ran = job.run("--strict")
    assert ran.code == 2
    for words in ("3 rows", "invalid_json", "line 51", "duplicate_custom_id", "line 52", "line 53"):
        assert words in ran.err
    assert endpoint.books.attempts == 0
    assert [path.name for path in job.folder.iterdir()] == ["in.jsonl"]
    job.write(rows(50))
    assert job.run("--strict").code == 0
    job.audit()


def job_file(job: Job, text: str) -> str:
    """Write a job file beside the source; return its path."""
    path = job.folder / "job.toml"
    path.write_text(f'source = "in.jsonl"\noutput = "out.jsonl"\n{text}')
    return str(path)


def run_file(job: Job, text: str, *flags: str) -> Ran:
    """Run a job file against the endpoint."""
    path = job_file(job, text)
    return job.invoke("run", path, "--base-url", job.endpoint.url, "--json", *job.flags, *flags)


def test_defaults(job: Job, endpoint: Endpoint) -> None:
    """Defaults fill what a row leaves out; the row wins."""
    job.write([{"messages": [{"role": "user", "content": "a"}]}, row("b", None, temperature=1)])
    assert run_file(job, '[defaults]\nmodel = "d"\ntemperature = 0.5\n').code == 0
    bodies = {seen.key: seen.body for seen in endpoint.books.seen}
    assert (bodies["a"]["model"], bodies["a"]["temperature"]) == ("d", 0.5)
    assert (bodies["b"]["model"], bodies["b"]["temperature"]) == ("m", 1)
    job.audit()


TEMPLATE = """
id_field = "id"
carry = ["label", "nothing"]
[request]
model = "m"
messages = [{ role = "user", content = "{{ text }}" }]
"""


def test_template(job: Job, endpoint: Endpoint) -> None:
    """Data rows fill the template; a missing field is that row's own fault."""
    job.write(
        [
            {"id": 7, "text": "a <b> {{ c }}", "label": {"deep": [1]}},
            {"id": "no text", "label": "x"},
            {"text": "d", "model": "evil", "messages": "data"},
            [1],
        ]
    )
    assert run_file(job, TEMPLATE).code == 3
    assert sorted(endpoint.books.keys) == ["a <b> {{ c }}", "d"]
    assert all(set(seen.body) == {"model", "messages"} for seen in endpoint.books.seen)
    assert job.result("7")["batcher"]["input"] == {"label": {"deep": [1]}}
    assert job.codes() == {
        "7": "200",
        "no text": "invalid_request",
        "row-3": "200",
        "row-4": "invalid_request",
    }
    job.audit()


def test_huge_integers_of_a_data_row(job: Job, endpoint: Endpoint) -> None:
    """A template is given the digits of integers beyond 64 bits, wherever they stand."""
    source = '{"id": 18446744073709551616, "text": {"at": [-9223372036854775809, 5]}, "label": 1}'
    job.write([source])
    filled = TEMPLATE.replace("{{ text }}", "{{ id }} {{ text.at[0] }} {{ text.at[1] + 1 }}")
    assert run_file(job, filled).code == 0
    assert endpoint.books.by_key == {"18446744073709551616 -9223372036854775809 6": 1}
    assert job.codes() == {"18446744073709551616": "200"}
    job.audit()


def test_template_that_does_not_parse(job: Job, endpoint: Endpoint) -> None:
    """A template that does not parse is refused before anything is sent or written."""
    job.write([{"text": "a"}])
    ran = run_file(job, TEMPLATE.replace("{{ text }}", "{{ text"))
    assert ran.code == 2
    assert "messages[0].content" in ran.err
    assert not list(job.folder.glob("out*"))
