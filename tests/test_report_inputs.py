"""`batcher report`: which outputs it reads, and in what state."""

from __future__ import annotations

import gzip
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Job, Ran, row, rows, wait_for
from tests.reporting import TOTALS, Reporter, result, write
from tests.server import Does, Endpoint, Say, usage_of

MIB = 1024 * 1024


def test_a_job_counts_once(tmp_path: Path, report: Reporter):
    """Globs, names, links and the journal beside an output all mean one job."""
    output = write(tmp_path / "out.jsonl", [result(1), TOTALS])
    (tmp_path / "out.jsonl.bak").hardlink_to(output)
    (tmp_path / "out.jsonl.lock").write_text("{}\n")
    said = report(f"{tmp_path}/*", output, f"{tmp_path}/**/*.jsonl", "--json")
    assert said.json["totals"]["requests"] == 1
    write(tmp_path / "out.jsonl.partial", [result(1), result(2)])
    said = report(output, tmp_path / "out.jsonl.partial", "--json")
    assert said.json["totals"]["requests"] == 2


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.partial"])
def test_compressed_outputs(tmp_path: Path, report: Reporter, name: str, suffix: str):
    """Finished and unfinished outputs are read compressed as well."""
    lines = [result(1, error_code="timeout"), result(1)] if "partial" in name else [result(1)]
    plain = write(tmp_path / "plain", [*lines, *([] if "partial" in name else [TOTALS])])
    packed = tmp_path / f"{name}{suffix}"
    if suffix == ".gz":
        packed.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        from backports import zstd

        packed.write_bytes(zstd.compress(plain.read_bytes()))
    totals = report(packed, "--json").json["totals"]
    assert (totals["requests"], totals["succeeded"]) == (1, 1)


def test_a_cut_archive_is_an_error(tmp_path: Path, report: Reporter):
    """A compressed output that ends too early is no report."""
    plain = write(tmp_path / "plain", [result(number) for number in range(1, 200)])
    packed = tmp_path / "out.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes())[:-50])
    said = report(packed)
    assert (said.code, said.out) == (8, "")
    assert str(packed) in said.err


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param("{", id="no JSON"),
        pytest.param({"id": "batch_req_1", "custom_id": "a"}, id="nothing of ours"),
        pytest.param(result(2, latency_s="1"), id="a latency that is a text"),
        pytest.param(result(2, cost_usd=0.1), id="a cost that is a number"),
        pytest.param(result(2, finished_at="yesterday"), id="a time that is none"),
        pytest.param(result(2, model=None), id="no model"),
        pytest.param(result(2, attempts=-1), id="fewer attempts than none"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, report: Reporter, broken: Any):
    """What can be read is reported, what can't is named, and the exit code is 2."""
    output = tmp_path / "out.jsonl"
    text = broken if isinstance(broken, str) else json.dumps(broken, separators=(",", ":"))
    write(output, [result(1), TOTALS])
    first, last = output.read_text().splitlines()
    output.write_text(f"{first}\n{text}\n{last}\n")
    said = report(output, "--json")
    assert (said.code, said.json["totals"]["requests"]) == (2, 1)
    assert said.json["broken_lines"] == [{"output": str(output), "line": 2}]
    assert f"{output}:2" in said.err


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.partial"])
def test_a_broken_line_far_on_is_named(tmp_path: Path, report: Reporter, name: str):
    """Lines are counted over many blocks of a file, blank ones too."""
    lines = [json.dumps(result(number), separators=(",", ":")) for number in range(1, 6001)]
    lines[10] = ""
    lines[5000] = "{"
    last = [] if "partial" in name else [json.dumps(TOTALS, separators=(",", ":"))]
    (tmp_path / name).write_text("\n".join([*lines, *last, ""]))
    said = report(tmp_path / "out.jsonl", "--json")
    assert (said.code, said.json["totals"]["requests"]) == (2, 5998)
    assert [each["line"] for each in said.json["broken_lines"]] == [5001]


@pytest.mark.parametrize("content", ["", "\n"])
def test_nothing_yet(tmp_path: Path, report: Reporter, content: str):
    """A journal without a line is a report of nothing, in every form."""
    (tmp_path / "out.jsonl.partial").write_text(content)
    for form in ("json", "csv", "markdown", "table", "html"):
        said = report(tmp_path / "out.jsonl", "--to", form)
        assert (said.code, said.err) == (0, "")


@pytest.mark.parametrize("arguments", [
    pytest.param(["nowhere.jsonl"], id="no such file"),
    pytest.param(["nothing-*.jsonl"], id="a glob that matches nothing"),
    pytest.param(["."], id="a folder"),
    pytest.param(["other.jsonl"], id="no results of ours"),
    pytest.param(["out.jsonl", "--by", "colour"], id="no such dimension"),
    pytest.param(["out.jsonl", "--since", "soon"], id="no time"),
    pytest.param(["out.jsonl", "--since", "2026-10", "--until", "2026-09"], id="an empty period"),
    pytest.param(["out.jsonl", "--time-zone", "Mars"], id="no zone"),
    pytest.param(["out.jsonl", "--budget", "lots"], id="no amount"),
    pytest.param(["out.jsonl", "-o", "report.pdf"], id="no form"),
    pytest.param(["out.jsonl", "--prices", "nowhere.toml"], id="no price table"),
    pytest.param(["out.jsonl", "--invoice", "bill.csv"], id="an invoice without a map"),
])  # fmt: skip
def test_wrong_usage(
    tmp_path: Path, report: Reporter, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
):
    """It is said in a line, with exit code 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "out.jsonl", [result(1), TOTALS])
    (tmp_path / "other.jsonl").write_text('{"custom_id": "a", "body": {}}\n' * 3)
    said = report(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("batcher: ")
    assert len(said.err.splitlines()) <= 2


def test_outputs_strung_together(tmp_path: Path, report: Reporter):
    """`cat` of finished outputs is a finished output: each has its totals."""
    lines = [result(1), TOTALS, result(1, model="b"), TOTALS]
    said = report(write(tmp_path / "all.jsonl", lines), "--json")
    assert (said.code, said.json["totals"]["requests"]) == (0, 2)


def test_memory_does_not_grow_with_answers(tmp_path: Path, report: Reporter):
    """A file of large answers is read in the memory of a few blocks."""
    import tracemalloc

    line = result(1)
    line["response"]["body"] = {"text": "x" * MIB}
    output = tmp_path / "out.jsonl"
    text = json.dumps(line, separators=(",", ":")) + "\n"
    with output.open("w") as file:
        for _ in range(64):
            file.write(text)
        file.write(json.dumps(TOTALS, separators=(",", ":")) + "\n")
    tracemalloc.start()
    try:
        said = report(output, "--json")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert said.json["totals"]["requests"] == 64
    assert peak < 24 * MIB


def test_a_killed_job_and_its_end(job: Job, endpoint: Endpoint):
    """The report of a killed job says what `status` says, that of a finished one its totals."""
    no_use = json.dumps({"choices": [], "usage": usage_of("r1")}).encode()
    endpoint.on("r1", Say(200, no_use), Say())
    endpoint.on("r2", Say(400, b'{"error": {"code": "x"}}'))
    endpoint.on("r9", Does.WAIT, Say())
    job.write([row("r2"), row("r1"), *rows(9, start=3)])
    with job.process("--concurrency", "2") as process:
        wait_for(lambda: job.partial.exists() and {"r1", "r2"} <= job.written())
        process.signal(signal.SIGKILL)
        process.wait()
    endpoint.release()
    status = job.invoke("status", str(job.output), "--json").totals
    agree(job.invoke("report", str(job.output), "--json"), status["totals"])
    assert job.run().code == 3
    said = job.invoke("report", str(job.output), "--json")
    agree(said, job.totals())
    thrown_away = job.result("r1")["batcher"]["thrown_away"]
    assert thrown_away["usage"]["prompt_tokens"] == usage_of("r1")["prompt_tokens"]


def agree(said: Ran, totals: dict[str, Any]) -> None:
    """Check a report against a job's own totals."""
    found = said.totals["totals"]
    assert said.code == 0, said.err
    assert found["requests"] == totals["request_counts"]["total"]
    assert found["failed"] == totals["request_counts"]["failed"]
    for name in ("attempts", "attempts_without_usage"):
        assert found[name] == totals[name]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert found[name] == totals["usage"][name]
