"""Hostile input: every line has its result, and none of them ends the run for the others."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import Reckoner
from tests.crash.endpoint import Endpoint
from tests.crash.test_endpoints import run
from tests.harness import as_lines, lines_of, outcome, row

_HEAD = b'{"model": "m", "messages": [{"role": "user", "content": "x"}]'

# Lines that are no request, and the code of their result.
BAD_LINES: dict[str, tuple[bytes, str]] = {
    name: (line, "invalid_json")
    for name, line in {
        "a word": b"nothing",
        "half an object": b'{"model": "m"',
        "two objects": _HEAD + b"} " + _HEAD + b"}",
        "a comma too many": _HEAD + b",}",
        "a comma before": b"{," + _HEAD[1:] + b"}",
        "single quotes": b"{'model': 'm'}",
        "no quotes": b"{model: 1}",
        "a comment": _HEAD + b"} // why",
        "NaN": _HEAD + b', "temperature": NaN}',
        "Infinity": _HEAD + b', "temperature": -Infinity}',
        "a leading zero": _HEAD + b', "n": 01}',
        "hexadecimal": _HEAD + b', "n": 0x1}',
        "a bare point": _HEAD + b', "n": 1.}',
        "a plus": _HEAD + b', "n": +1}',
        "a lone minus": _HEAD + b', "n": -}',
        "an open text": b'{"model": "m',
        "a raw tab": b'{"model": "\t"}',
        "a raw NUL": b'{"model": "\x00"}',
        "NULs alone": bytes(40),
        "no UTF-8": b'{"model": "\xff"}',
        "an overlong form": b'{"model": "\xc0\xaf"}',
        "a surrogate in UTF-8": b'{"model": "\xed\xa0\x80"}',
        "a lone surrogate": b'{"model": "\\ud800"}',
        "surrogates turned round": b'{"model": "\\udc00\\ud800"}',
        "a bad escape": b'{"model": "\\x41"}',
        "half an escape": b'{"model": "\\u12"}',
        "UTF-16": '{"model": "m"}'.encode("utf-16-le"),
        "nested without an end": b"[" * 100_000,
        "nested and closed": b"[" * 100_000 + b"]" * 100_000,
        "a form feed": b"\x0c{}",
    }.items()
} | {
    name: (line, "invalid_request")
    for name, line in {
        "a number": b"1",
        "null": b"null",
        "a text": b'"text"',
        "an array": b"[]",
        "an empty object": b"{}",
        "no messages": b'{"model": "m"}',
        "messages of numbers": b'{"model": "m", "messages": [1]}',
        "a role of another type": b'{"model": "m", "messages": [{"role": 1}]}',
        "nested deeply": _HEAD + b', "x": ' + b"[" * 900 + b"]" * 900 + b"}",
        "an id that is an object": _HEAD + b', "custom_id": {}}',
        "an id that is true": _HEAD + b', "custom_id": true}',
        "a url elsewhere": b'{"url": "//evil/v1", "body": ' + _HEAD + b"}}",
        "a url with a host": b'{"url": "http://evil/v1", "body": ' + _HEAD + b"}}",
        "a url with a user": b'{"url": "/@evil/v1", "body": ' + _HEAD + b"}}",
        "a url upwards": b'{"url": "/v1/../x", "body": ' + _HEAD + b"}}",
        "headers": b'{"headers": {"Authorization": "Bearer x"}, "body": ' + _HEAD + b"}}",
        "another method": b'{"method": "DELETE", "body": ' + _HEAD + b"}}",
        "an integer beyond 64 bits": _HEAD + b', "seed": ' + b"9" * 40 + b"}",
    }.items()
}

# Ids that stand in the output as they were given.
IDS: list[Any] = [
    "a\nb", "a\r\nb", "\u2028\u2029", "\x00", "\x7f", "🦆", "é", "e\u0301", "../../etc/passwd",
    "a/b", "a\\b", "", " ", "row-1", "null", '"', "'", ",", "\ufeff", "C:", "-o", "a" * 5000,
    "\U0010ffff", '{"custom_id":"x"}', '","batcher":{', -1, 0, 2**63 - 1, 12345678901234567890,
]  # fmt: skip


def test_odd_lines(tmp_path: Path, reckon: Reckoner) -> None:
    """Broken lines and odd ids: each has its own result, under its own number."""
    lines: list[Any] = []
    expected: dict[int, str] = {}
    for line, expect in BAD_LINES.values():
        lines += [line, row(f"after {len(lines)}")]
        expected[len(lines) - 1] = expect
    lines += [row(f"id {number}", name) for number, name in enumerate(IDS)]
    lines += [row("again", IDS[0]), row("again", IDS[5])]
    expected[len(lines) - 1] = expected[len(lines)] = "duplicate_custom_id"
    # The last line has no end.
    (tmp_path / "in.jsonl").write_bytes(as_lines(lines)[:-1])
    with Endpoint(latency_s=0.0, troubles=False) as endpoint:
        endpoint.begin_run()
        code, said, _ = run(tmp_path, endpoint.base_url)
        assert code == 3, said
        *results, totals = lines_of(tmp_path / "out.jsonl")
        assert sorted(line["batcher"]["row"] for line in results) == [*range(1, len(lines) + 1)]
        told: dict[int, str] = {line["batcher"]["row"]: outcome(line) for line in results}
        assert told == {number: expected.get(number, "200") for number in told}
        given = {line["custom_id"] for line in results}
        assert {str(name) for name in IDS} <= given
        assert totals["request_counts"]["failed"] == len(expected)
        served = endpoint.seen
        again, said, _ = run(tmp_path, endpoint.base_url)
        assert again == 3, said
        assert endpoint.seen == served
    reckon.count(inputs=len(lines), runs=2, rows=len(lines), served=served)


_JOBS = {
    "an unknown key": ("concurency = 3", "concurrency"),
    "a flag's form": ("max-attempts = 3", "max_attempts"),
    "another type": ('concurrency = "many"', "concurrency"),
    "a number for a text": ("base_url = 3", "base_url"),
    "an unknown table": ("[defualts]\nmodel = 'm'", "defaults"),
    "a table for a text": ("[output]\nx = 1", "output"),
    "a key": ("api_key = 'sk-1'", "api_key_env"),
    "a header with a key": ("[headers]\nAuthorization = 'Bearer sk-1'", "Authorization"),
    "a duration": ("deadline = 'soon'", "deadline"),
    "no TOML": ("concurrency 3", "TOML"),
    "below zero": ("concurrency = -1", "concurrency"),
}


@pytest.mark.parametrize("name", [*_JOBS])
def test_odd_job_files(
    tmp_path: Path, reckon: Reckoner, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """What is wrong in a job file is named, with the nearest right name; nothing is sent."""
    from batcher.cli import group
    from batcher.cli.faults import run_safely

    text, word = _JOBS[name]
    top = "" if "[output]" in text else 'output = "out.jsonl"\n'
    job = tmp_path / "job.toml"
    if name != "a number for a text":
        top = f'base_url = "sandbox"\n{top}'
    job.write_text(f'source = "in.jsonl"\n{top}{text}\n')
    (tmp_path / "in.jsonl").write_bytes(as_lines([row("r1")]))
    code = run_safely(lambda: group.main(["run", str(job)], standalone_mode=False))
    said = capsys.readouterr().err
    assert code == 2
    assert word in said
    assert "sk-1" not in said
    assert [path.name for path in tmp_path.glob("out*")] == []
    reckon.count(inputs=1)


def _truncate(source: Path) -> None:
    os.truncate(source, 100)


def _grow(source: Path) -> None:
    with source.open("ab") as file:
        file.write(as_lines([row("grown")]))


def _overwrite(source: Path) -> None:
    size = source.stat().st_size
    with source.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"#" * 1000)


def _later(endpoint: Endpoint, change: Callable[[Path], None], source: Path) -> None:
    if endpoint.wait_for(50, 30.0):
        change(source)


@pytest.mark.crash
@pytest.mark.parametrize("change", [_truncate, _grow, _overwrite, Path.unlink])
def test_a_source_that_changes(
    tmp_path: Path, reckon: Reckoner, change: Callable[[Path], None]
) -> None:
    """A source that changes while it is read: exit 8 and a resumable job, never a wrong output."""
    source = tmp_path / "in.jsonl"
    rows = [row(f"r{number} {'x' * 200}", f"c{number}") for number in range(4000)]
    with Endpoint(latency_s=0.05, troubles=False) as endpoint:
        source.write_bytes(as_lines(rows))
        endpoint.begin_run()
        changer = threading.Thread(target=_later, args=(endpoint, change, source))
        changer.start()
        code, said, _ = run(tmp_path, endpoint.base_url, "--concurrency", "16")
        changer.join()
        assert code == 8, said
        assert "source" in said
        assert not (tmp_path / "out.jsonl").exists()
        source.write_bytes(as_lines(rows))
        seen = endpoint.seen
        code, said, _ = run(tmp_path, endpoint.base_url, "--prune")
        assert code == 0, said
    *lines, _ = lines_of(tmp_path / "out.jsonl")
    assert len({line["custom_id"] for line in lines}) == len(lines) == len(rows)
    reckon.count(inputs=1, runs=2, rows=len(rows), served=seen)


@pytest.mark.crash
def test_large_lines(tmp_path: Path, reckon: Reckoner) -> None:
    """Lines of 50 MB are sent, one of 70 MB is refused, and memory holds a few of them at most."""
    with (tmp_path / "in.jsonl").open("wb") as file:
        for number, size in enumerate((50, 1, 70, 50)):
            text = f"{number}" + "x" * (size * 1_000_000)
            file.write(as_lines([row(text, f"c{number}")]))
    with Endpoint(latency_s=0.0, troubles=False) as endpoint:
        endpoint.begin_run()
        code, said, memory_kib = run(
            tmp_path, endpoint.base_url, "--concurrency", "1", "--prices", "none"
        )
    assert code == 3, said
    *lines, _ = lines_of(tmp_path / "out.jsonl")
    assert {line["batcher"]["row"]: outcome(line) for line in lines} == {
        1: "200", 2: "200", 3: "row_too_large", 4: "200",
    }  # fmt: skip
    assert memory_kib < 1024 * 1024
    reckon.count(inputs=4, runs=1, rows=4, served=3)


# Two minutes of work, on a machine that may be busy with others.
_MILLIONS_S = 400.0


@pytest.mark.crash
def test_two_million_rows(tmp_path: Path, reckon: Reckoner) -> None:
    """Two million rows, most of which can't be sent: exact counts, in bounded memory, twice."""
    draw = random.Random(1)
    good = set(draw.sample(range(1, 2_000_001), 5000))
    with (tmp_path / "in.jsonl").open("wb") as file:
        for number in range(1, 2_000_001):
            if number in good:
                file.write(json.dumps(row(f"r{number}", None)).encode() + b"\n")
            else:
                file.write(b'{"custom_id": %d}\n' % number)
    with Endpoint(latency_s=0.0, troubles=False) as endpoint:
        endpoint.begin_run()
        code, said, memory_kib = run(
            tmp_path, endpoint.base_url, "--durability", "flush", hang_s=_MILLIONS_S
        )
        assert code == 3, said
        assert endpoint.seen == len(good)
        assert memory_kib < 400 * 1024
        count = subprocess.run(
            ["wc", "-l", str(tmp_path / "out.jsonl")], check=True, capture_output=True
        )
        assert int(count.stdout.split()[0]) == 2_000_001
        last = subprocess.run(
            ["tail", "-n", "1", str(tmp_path / "out.jsonl")], check=True, capture_output=True
        )
        counts = json.loads(last.stdout)["request_counts"]
        assert counts == {"total": 2_000_000, "completed": 5000, "failed": 1_995_000}
        code, said, again_kib = run(tmp_path, endpoint.base_url, hang_s=_MILLIONS_S)
        assert (code, endpoint.seen) == (3, len(good)), said
        assert again_kib < 500 * 1024
    reckon.count(inputs=1, runs=2, rows=2_000_000, served=len(good))
