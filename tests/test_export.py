"""`batcher export`: OpenAI's files, flat tables, failed rows to be corrected and sent again."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from batcher.cli import group
from batcher.cli.export import command
from batcher.cli.faults import run_safely
from batcher.export.fields import FIXED, HEADS
from tests.harness import Job, as_lines, lines_of, row, rows
from tests.server import Endpoint, Say, refusal

OURS = {"id", "custom_id", "response", "error"}


class Exports:
    """A job, and `batcher export` on its output."""

    def __init__(self, job: Job, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
        self.job = job
        self._capsys = capsysbinary

    def __call__(self, *arguments: str, target: Path | None = None) -> tuple[int, bytes, str]:
        """Export; give the exit code, standard output and standard error."""
        self._capsys.readouterr()
        command = ["export", str(target or self.job.output), *arguments]
        code = run_safely(lambda: group.main(command, prog_name="batcher", standalone_mode=False))
        out, err = self._capsys.readouterr()
        return code, out, err.decode()

    def table(self, *arguments: str, target: Path | None = None) -> list[dict[str, str]]:
        """Export as CSV, read back."""
        code, out, err = self(*arguments, "--to", "csv", target=target)
        assert code == 0, err
        return list(csv.DictReader(io.StringIO(out.decode(), newline="")))

    def objects(self, *arguments: str, target: Path | None = None) -> list[dict[str, Any]]:
        """Export to standard output as JSON lines, read back."""
        code, out, err = self(*arguments, target=target)
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def job(
    tmp_path: Path,
    endpoint: Endpoint,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Job:
    """A job whose output goes through bytes."""
    return Job(tmp_path, endpoint, _Decoded(capsysbinary), monkeypatch)  # type: ignore[arg-type]


class _Decoded:
    """`capsysbinary` as `capsys`, for the harness."""

    def __init__(self, capsys: pytest.CaptureFixture[bytes]) -> None:
        self._capsys = capsys

    def readouterr(self) -> tuple[str, str]:
        out, err = self._capsys.readouterr()
        return out.decode(), err.decode()


@pytest.fixture
def export(job: Job, capsysbinary: pytest.CaptureFixture[bytes]) -> Exports:
    """A job with a success, a refusal, a row that can't be sent and one that is no JSON."""
    job.endpoint.on("no", refusal(422, "nope", message='not "so"'))
    job.write([row("fine"), row("no"), {"custom_id": "empty", "model": "m"}, "{broken", row("x y")])
    assert job.run().code == 3
    return Exports(job, capsysbinary)


def written(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file."""
    found: list[dict[str, Any]] = lines_of(path)
    return found


def test_openai(export: Exports) -> None:
    """OpenAI's two files hold each row once, in its form and no other; an answer is as it came."""
    code, out, err = export("--to", "openai")
    assert (code, out) == (0, b"")
    good, bad = (export.job.folder / f"out_{what}.jsonl" for what in ("output", "error"))
    assert str(good) in err
    lines = written(good)
    assert {line["custom_id"] for line in lines} == {"fine", "x y"}
    errors = {line["custom_id"]: line for line in written(bad)}
    assert set(errors) == {"no", "empty", "row-4"}
    for line in [*lines, *errors.values()]:
        assert set(line) == OURS
        assert line == {key: export.job.result(line["custom_id"])[key] for key in OURS}
    assert (errors["no"]["response"]["status_code"], errors["no"]["error"]) == (422, None)
    assert errors["empty"]["response"] is None
    assert set(errors["empty"]["error"]) == {"code", "message"}


def test_openai_where_asked(export: Exports) -> None:
    """`-o` names the two files; an export again replaces them, and files are private."""
    for _ in range(2):
        assert export("--to", "openai", "-o", str(export.job.folder / "b.jsonl"))[0] == 0
    assert len(written(export.job.folder / "b_output.jsonl")) == 2
    assert (export.job.folder / "b_error.jsonl").stat().st_mode & 0o777 == 0o600


def test_answers_that_quote_our_key(export: Exports, endpoint: Endpoint) -> None:
    """Text that looks like our own key is not cut off an answer."""
    text = '","batcher":{"row":1}'
    endpoint.on(
        "trap", Say(body=json.dumps({"choices": [{"message": {"content": text}}]}).encode())
    )
    export.job.write([row("trap")])
    export.job.run("--fresh")
    export("--to", "openai")
    (line,) = written(export.job.folder / "out_output.jsonl")
    assert line["response"]["body"]["choices"][0]["message"]["content"] == text
    assert set(line) == OURS


def test_csv_by_default(export: Exports) -> None:
    """A table has a row a result, with what most people ask for."""
    table = {line["custom_id"]: line for line in export.table()}
    assert set(table) == {"fine", "no", "empty", "row-4", "x y"}
    assert table["fine"]["text"] == "echo fine"
    assert (table["fine"]["status"], table["no"]["status"]) == ("completed", "failed")
    assert (table["no"]["error_code"], table["no"]["error_message"]) == ("nope", 'not "so"')
    assert (table["no"]["status_code"], table["empty"]["status_code"]) == ("422", "")
    assert table["fine"]["total_tokens"] == "19"
    assert table["fine"]["finish_reason"] == "stop"


def test_fields(export: Exports) -> None:
    """`--fields` chooses, renames and reaches into answers and rows, by paths."""
    fields = "id=custom_id,asked=source.messages.0.content,body.choices.0.message.role,row"
    table = export.table("--fields", fields, "--source", str(export.job.source))
    assert list(table[0]) == ["id", "asked", "body.choices.0.message.role", "row"]
    by_id = {line["id"]: line for line in table}
    assert by_id["fine"]["asked"] == "fine"
    assert by_id["fine"]["body.choices.0.message.role"] == "assistant"
    assert by_id["row-4"] == {
        "id": "row-4", "asked": "", "body.choices.0.message.role": "", "row": "4",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say what to write"),
        (["--to", "csv", "--fields", "custom_idd"], "did you mean 'custom_id'"),
        (["--to", "csv", "--fields", "sauce.x"], "there is no field"),
        (["--to", "csv", "--fields", "a=row,a=text"], "two columns are called 'a'"),
        (["--to", "csv", "--fields", ","], "names no field"),
        (["--to", "openai", "--fields", "row"], "--fields are a table's"),
        (["--to", "openai", "--failed"], "leave out --failed"),
        (["--to", "failed"], "failed rows are asked for by --failed"),
        (["--to", "parquet"], "say where it goes"),
        (["--failed"], "say what was sent"),
        (["--failed", "--source", "nowhere.jsonl"], "can't be read"),
        (["--to", "csv", "-o", "OUTPUT"], "is what is read"),
    ],
)
def test_bad_usage(export: Exports, arguments: list[str], words: str) -> None:
    """What can't be meant is refused in plain words, and nothing is written."""
    before = export.job.output.read_bytes()
    named = [str(export.job.output) if word == "OUTPUT" else word for word in arguments]
    code, out, err = export(*named)
    assert (code, out) == (2, b"")
    assert words in err
    assert export.job.output.read_bytes() == before


def test_json_lines_keep_types(export: Exports) -> None:
    """JSON lines hold values as they are: numbers, nothing, lists."""
    table = {line["custom_id"]: line for line in export.objects("--to", "jsonl")}
    assert table["fine"]["total_tokens"] == 19
    assert table["empty"]["status_code"] is None
    assert table["fine"]["latency_s"] >= 0


def template_job(job: Job, data: list[dict[str, Any]], *lines: str) -> Path:
    """A job file with a template over data rows."""
    job.write(data)
    path = job.folder / "job.toml"
    path.write_text(
        f'source = "in.jsonl"\noutput = "out.jsonl"\nbase_url = "{job.endpoint.url}"\n'
        'prices = "none"\nid_field = "id"\ncarry = ["gold"]\n' + "\n".join(lines) +
        '\n[request]\nmodel = "m"\nmessages = [{ role = "user", content = "{{ text }}" }]\n'
    )  # fmt: skip
    return path


DATA: list[dict[str, Any]] = [
    {"id": "a", "text": "one", "gold": "x", "stars": 5, "more": {"deep": [1, 2]}},
    {"id": "b", "text": "zwei", "note": 'a, "b"\nc', "gold": "y", "stars": 4.5, "odd.key": True},
    {"id": "c", "text": "fünf", "gold": None, "stars": None},
]


def test_a_job_file_joins_its_source(job: Job, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """With a job file the table has the fields of its rows, and those carried over."""
    path = template_job(job, DATA)
    assert job.invoke("run", str(path)).code == 0
    table = {line["custom_id"]: line for line in Exports(job, capsysbinary).table(target=path)}
    assert table["b"]["source.note"] == DATA[1]["note"]
    assert table["c"]["source.text"] == "fünf"
    assert (table["a"]["input.gold"], table["c"]["input.gold"]) == ("x", "")
    assert json.loads(table["a"]["source.more"]) == {"deep": [1, 2]}
    assert (table["b"]["source.odd.key"], table["a"]["source.odd.key"]) == ("true", "")


def test_parquet(job: Job, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Parquet has types: of the fixed fields, and as the values are of the others."""
    path = template_job(job, DATA)
    assert job.invoke("run", str(path)).code == 0
    target = job.folder / "t.parquet"
    code, _, err = Exports(job, capsysbinary)("--to", "parquet", "-o", str(target), target=path)
    assert code == 0, err
    table = pq.read_table(target)
    types = {field.name: str(field.type) for field in table.schema}
    assert types["row"] == "int64"
    assert types["source.stars"] == "double"
    assert types["source.odd.key"] == "bool"
    assert types["source.more"] == types["text"] == "string"
    assert types["cost_usd"].startswith("decimal128")
    assert types["finished_at"] == "timestamp[ms, tz=UTC]"
    by_id = {line["custom_id"]: line for line in table.to_pylist()}
    assert [by_id[name]["source.stars"] for name in "abc"] == [5.0, 4.5, None]
    assert by_id["a"]["total_tokens"] == 18


def test_money_in_parquet_is_exact(export: Exports) -> None:
    """A cost is the decimal that the result states."""
    prices = export.job.folder / "p.toml"
    prices.write_text('[models."m"]\ninput = 0.1\noutput = 0.3\n')
    export.job.write([row("fine")])
    export.job.run("--fresh", "--prices", str(prices))
    target = export.job.folder / "t.parquet"
    assert export("--to", "parquet", "-o", str(target))[0] == 0
    (line,) = pq.read_table(target).to_pylist()
    assert line["cost_usd"] == Decimal(export.job.result("fine")["batcher"]["cost_usd"])


def test_mixed_kinds_become_json(job: Job, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """A field that holds a number here and a text there is JSON text in a typed table."""
    data: list[dict[str, Any]] = [
        {"id": "a", "text": "t", "v": 1},
        {"id": "b", "text": "t2", "v": "one"},
    ]
    path = template_job(job, data)
    assert job.invoke("run", str(path)).code == 0
    target = job.folder / "t.parquet"
    Exports(job, capsysbinary)("--to", "parquet", "-o", str(target), target=path)
    found = {line["custom_id"]: line["source.v"] for line in pq.read_table(target).to_pylist()}
    assert found == {"a": "1", "b": '"one"'}


@pytest.mark.parametrize("packed", [False, True])
def test_failed_rows_go_round(export: Exports, *, packed: bool) -> None:
    """Failed rows are exported, corrected and sent again: the round is complete."""
    source = export.job.source
    if packed:
        source = export.job.folder / "packed.jsonl.gz"
        source.write_bytes(gzip.compress(export.job.source.read_bytes()))
    again = export.job.folder / "again.jsonl"
    assert export("--failed", "--source", str(source), "-o", str(again))[0] == 0
    lines = {line["custom_id"]: line for line in written(again)}
    assert set(lines) == {"no", "empty", "row-4"}
    assert lines["no"]["batcher_error"] == {"code": "nope", "message": 'not "so"'}
    assert lines["no"]["body"] == {"model": "m", "messages": [{"role": "user", "content": "no"}]}
    assert lines["row-4"]["line"] == "{broken"
    for number, line in enumerate(lines.values()):
        line.pop("line", None)
        messages = [{"role": "user", "content": f"good {number}"}]
        line["body"] = {"model": "m", "messages": messages}
    fixed = list(lines.values())
    export.job.source.write_bytes(as_lines(fixed))
    export.job.run("--fresh")
    assert export.job.codes() == {"no": "200", "empty": "200", "row-4": "200"}
    sent = [seen.body for seen in export.job.endpoint.books.seen[-3:]]
    assert all(set(body) == {"model", "messages"} for body in sent)


def test_failed_data_rows_stay_data(job: Job, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """With a template, failed rows are data again, their reason a field that nobody reads."""
    job.endpoint.on("bad", refusal(400, "nope"))
    path = template_job(job, [{"id": "a", "text": "bad"}, {"id": "b"}, {"id": "c", "text": "ok"}])
    assert job.invoke("run", str(path)).code == 3
    lines = Exports(job, capsysbinary).objects("--failed", target=path)
    found = {line["id"]: line for line in lines}
    assert set(found) == {"a", "b"}
    assert found["a"]["batcher_error"]["code"] == "nope"
    assert found["b"]["batcher_error"]["code"] == "invalid_request"
    job.write([found["a"] | {"text": "good"}, found["b"] | {"text": "now"}])
    assert job.invoke("run", str(path), "--fresh").code == 0
    assert job.codes() == {"a": "200", "b": "200"}


HUGE = 123456789012345678901234567890


def test_failed_rows_keep_their_integers(
    job: Job, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """An integer of more than 64 bits is exported digit by digit, in a request and in data."""
    job.write([row("huge", seed=HUGE)])
    assert job.run().code == 3
    export = Exports(job, capsysbinary)
    (line,) = export.objects("--failed", "--source", str(job.source))
    assert line["body"]["seed"] == HUGE
    job.endpoint.on("bad", refusal(400, "nope"))
    path = template_job(job, [{"id": "a", "text": "bad", "of": HUGE}])
    assert job.invoke("run", str(path), "--fresh").code == 3
    (line,) = export.objects("--failed", target=path)
    assert (line["text"], line["of"]) == ("bad", HUGE)
    (cells,) = export.objects("--to", "jsonl", target=path)
    assert cells["source.of"] == str(HUGE)


@pytest.mark.parametrize("depth", [400, 1020])
def test_deep_rows_spoil_no_export(
    job: Job, capsysbinary: pytest.CaptureFixture[bytes], depth: int
) -> None:
    """A row that is nested too deeply to be sent is exported as its line, and fills its columns."""
    deep = "[" * depth + "]" * depth
    line = f'{{"custom_id": "deep", "model": "m", "messages": [], "x": {deep}}}'
    job.write([line, row("fine")])
    assert job.run().code == 3
    export = Exports(job, capsysbinary)
    (found,) = export.objects("--failed", "--source", str(job.source))
    assert (found["custom_id"], found["line"]) == ("deep", line)
    for form in ("jsonl", "csv", "parquet"):
        target = job.folder / f"table.{form}"
        code, _, err = export("--to", form, "--source", str(job.source), "-o", str(target))
        assert code == 0, err
    cells = {each["custom_id"]: each["source.x"] for each in written(job.folder / "table.jsonl")}
    assert cells == {"deep": json.loads(deep) if depth < 500 else None, "fine": None}


def test_failed_rows_as_a_table(export: Exports) -> None:
    """With `--to`, `--failed` is a table of the failed rows."""
    table = export.table("--failed", "--fields", "custom_id,error_code")
    assert {line["custom_id"] for line in table} == {"no", "empty", "row-4"}


@pytest.mark.parametrize("with_job", [True, False])
def test_another_source_is_refused(
    job: Job, capsysbinary: pytest.CaptureFixture[bytes], *, with_job: bool
) -> None:
    """A result is never joined to a row that it does not answer."""
    if with_job:
        target = template_job(job, DATA)
        assert job.invoke("run", str(target)).code == 0
        job.write([{**DATA[0], "text": "changed"}, *DATA[1:]])
    else:
        target = job.output
        job.write(rows(3))
        job.run()
        job.write(rows(3, start=2))
    code, out, err = Exports(job, capsysbinary)(
        "--to", "csv", "--source", str(job.source), target=target
    )
    assert (code, out) == (2, b"")
    assert "is not the row" in err


def test_an_unfinished_job(job: Job, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Of an unfinished job its results so far are exported, and it is said so."""
    job.endpoint.on("r2", refusal(401))
    job.write(rows(2))
    assert job.run("--concurrency", "1").code == 5
    code, out, err = Exports(job, capsysbinary)("--to", "jsonl", "--fields", "custom_id")
    assert (code, out) == (0, b'{"custom_id":"r1"}\n')
    assert "not finished" in err


def test_a_file_appears_whole(export: Exports) -> None:
    """An export that fails midway leaves what stood there, and no scrap of its own."""
    target = export.job.folder / "t.csv"
    target.write_text("before")
    export.job.source.write_bytes(as_lines(rows(5, start=7)))
    named = ["--fields", "custom_id,source.model", "--source", str(export.job.source)]
    assert export("--to", "csv", *named, "-o", str(target))[0] == 2
    assert target.read_text() == "before"
    assert [path.name for path in export.job.folder.glob(".*")] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_behind_a_redirection(export: Exports) -> None:
    """A table that was cut off by a full disk is no success; one that nobody reads on is."""
    command = [sys.executable, "-m", "batcher", "export", str(export.job.output), "--to", "csv"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
    words = b"batcher: standard output can't be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (8, words)
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "wb") as pipe:  # noqa: PTH123 - a descriptor has no path
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_memory_is_bounded(job: Job, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """A table of many large rows is written in a fraction of their size."""
    big = json.dumps({"choices": [{"message": {"content": "x" * 100_000}}]}).encode()
    job.endpoint.always(Say(body=big))
    job.write(rows(200))
    job.run()
    export = Exports(job, capsysbinary)
    export("--to", "csv", "-o", str(job.folder / "warm.csv"))
    tracemalloc.start()
    try:
        assert export("--to", "csv", "-o", str(job.folder / "t.csv"))[0] == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (job.folder / "t.csv").stat().st_size > 20_000_000
    assert peak < 8_000_000


def test_flags_and_fields_are_documented() -> None:
    """docs/export.md has the flags and the fixed fields, no others."""
    text = (Path(__file__).parents[1] / "docs" / "export.md").read_text()
    named = {name for line in text.splitlines() if line.startswith("| `")
             for name in re.findall(r"`([^`]+)`", line.split(" | ")[0])}  # fmt: skip
    flags = {name.split()[0] for name in named if name.startswith("-")}
    assert flags == {flag for option in command.params for flag in option.opts} - {"target"}
    fields = {name for name in named if not name.startswith("-") and "." not in name}
    assert fields == set(FIXED)
    heads = {name.split(".")[0] for name in named if re.fullmatch(r"[a-z]+\.[A-Z]+", name)}
    assert heads == set(HEADS)
