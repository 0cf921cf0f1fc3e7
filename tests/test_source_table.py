"""CSV and TSV as a source: a row of the table is the data of a template."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import StorageError
from batcher.source import Line, Source
from batcher.source.table import Table
from tests.harness import Job, Ran

JOB = """
source = "{name}"
output = "out.jsonl"
id_field = "id"
carry = ["label"]
{more}
[request]
model = "m"
messages = [{{ role = "system", content = "{text}" }}, {{ role = "user", content = "go" }}]
"""


def write(job: Job, name: str, content: bytes, *, text: str = "{{ text }}", more: str = "") -> Path:
    """Write a table and a job for it."""
    (job.folder / name).write_bytes(content)
    path = job.folder / "job.toml"
    path.write_text(JOB.format(name=name, text=text, more=more))
    return path


def run(job: Job, path: Path, *flags: str) -> Ran:
    """Run a job file at the scripted endpoint."""
    flags = ("--base-url", job.endpoint.url, "--json", *job.flags, *flags)
    return job.invoke("run", str(path), *flags)


def asked(job: Job) -> dict[str, str]:
    """What the endpoint was asked, by the id that stands in its results' carried label."""
    return {
        line["custom_id"]: line["batcher"].get("input", {}).get("label") for line in job.results()
    }


def bad(job: Job, path: Path) -> list[dict[str, Any]]:
    """The bad rows that a check finds."""
    found: list[dict[str, Any]] = job.invoke("check", str(path), "--json").totals["first_bad"]
    return found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("d.csv", b"id,text,label\n1,one,x\n2,two,y\n", id="plain"),
        pytest.param("d.csv", b"\xef\xbb\xbfid,text,label\r\n1,one,x\r\n2,two,y", id="a BOM, CRLF"),
        pytest.param("d.csv", b"id;text;label\n1;one;x\n2;two;y\n", id="semicolons"),
        pytest.param("d.csv", b"id\ttext\tlabel\n1\tone\tx\n2\ttwo\ty\n", id="tabs in a csv"),
        pytest.param("d.TSV", b"id\ttext\tlabel\n1\tone\tx\n2\ttwo\ty\n", id="tsv"),
        pytest.param("d.csv", b",id, text ,label\n0,1,one,x\n1,2,two,y\n", id="an unnamed column"),
        pytest.param("d.csv", b"id,text,label\n\n1,one,x\n\n\n2,two,y\n", id="blank lines"),
        pytest.param("d.csv.gz", gzip.compress(b"id,text,label\n1,one,x\n2,two,y\n"), id="gzip"),
    ],
)
def test_tables_are_read(job: Job, name: str, content: bytes):
    """Each way in which such tables are written gives the same rows."""
    done = run(job, write(job, name, content))
    assert done.code == 0, done.err
    assert asked(job) == {"1": "x", "2": "y"}
    job.audit()


def test_quotes_and_line_ends_reach_the_model(job: Job):
    """A quoted field keeps its commas, quotes and line ends; lines are counted as they stand."""
    content = b'id,text,label\nr1,"a ""b"", c\r\nd",x\nr2,e,y\n'
    path = write(job, "d.csv", content, text="{{ text | upper }}")
    assert run(job, path).code == 0
    said = {seen.body["messages"][0]["content"] for seen in job.endpoint.books.seen}
    assert said == {'A "B", C\r\nD', "E"}
    assert {line["custom_id"]: line["batcher"]["row"] for line in job.results()} == {
        "r1": 2,
        "r2": 4,
    }


def test_a_name_that_is_no_word(job: Job):
    """The whole row is at hand as `row`; an unnamed row is called by its line."""
    content = b"Review text,label\nfine,x\n"
    path = write(job, "d.csv", content, text="{{ row['Review text'] }}")
    assert run(job, path).code == 0
    assert asked(job) == {"row-2": "x"}


@pytest.mark.parametrize("text", ["{{ tekst }}", "{{ row['Text'] }}"])
def test_a_name_that_is_not_there(job: Job, text: str):
    """Whoever asks for a column that is not there is told which ones are."""
    (row,) = bad(job, write(job, "d.csv", b"id,text,label\n1,one,x\n", text=text))
    assert row["message"].endswith("; it has 'id', 'text', 'label'")


def test_bad_rows_stop_nobody(job: Job):
    """A row that is none is told with its line and why; the others are sent."""
    content = b'id,text,label\n1,one,x\n2,two\n3,"th"ree,x\n4,f\xfcnf,x\n5,six,x,7\n6,seven,x\n'
    path = write(job, "d.csv", content)
    assert [(row["line"], row["code"], row["message"]) for row in bad(job, path)] == [
        (3, "invalid_csv", "line 3: 2 fields, and the header has 3"),
        (
            4,
            "invalid_csv",
            "line 4: text after a closing quote; a quote within quotes is doubled",
        ),
        (5, "invalid_csv", "line 5: not UTF-8"),
        (6, "invalid_csv", "line 6: 4 fields, and the header has 3"),
    ]
    done = run(job, path)
    assert done.code == 3
    assert done.totals["request_counts"] == {"total": 6, "completed": 2, "failed": 4}
    assert run(job, path).totals["attempts"] == 2, "the same command sends nothing more"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"id,text,text\n1,a,b\n", "names two fields 'text'", id="a name twice"),
        pytest.param("id,text\n1,a\n".encode("utf-16"), "UTF-16", id="UTF-16"),
        pytest.param(b"id,\xfc\n1,a\n", "header is not UTF-8", id="another encoding"),
        pytest.param(b"id,text\r1,a\r", "a carriage return outside quotes", id="old Mac"),
        pytest.param(b'id,"te"xt\n1,a\n', "text after a closing quote", id="a stray quote"),
    ],
)
def test_a_header_that_is_none_is_refused(job: Job, content: bytes, words: str):
    """Exit code 2 with what to do, and nothing is sent."""
    done = run(job, write(job, "d.csv", content))
    assert done.code == 2
    assert words in done.err
    assert job.endpoint.books.attempts == 0


def test_a_quote_that_never_closes_stops_the_run(job: Job):
    """What was read before it is kept; once the file is mended, the same command goes on."""
    path = write(job, "d.csv", b'id,text,label\n1,one,x\n2,"two,y\n3,three,z\n')
    done = run(job, path)
    assert done.code == 8
    assert "line 3: a quote that opens in this row never closes" in done.err
    write(job, "d.csv", b"id,text,label\n1,one,x\n2,two,y\n3,three,z\n")
    assert run(job, path).code == 0
    assert asked(job) == {"1": "x", "2": "y", "3": "z"}
    assert job.endpoint.books.attempts == 3


def test_a_table_needs_a_template(job: Job):
    """Rows of a table are no requests: exit code 2 says what is missing."""
    job.source = job.folder / "in.csv"
    job.write(["model,messages", "m,x"])
    done = job.run()
    assert done.code == 2
    assert "[request]" in done.err


def test_the_format_can_be_said(job: Job):
    """A table under another name, and the limit counts its rows."""
    path = write(job, "d.txt", b"id,text,label\n1,one,x\n2,two,y\n", more='source_format = "csv"')
    assert run(job, path, "--limit", "1").code == 0
    assert asked(job) == {"1": "x"}
    assert run(job, path).code == 0
    assert asked(job) == {"1": "x", "2": "y"}


def test_a_table_without_rows(job: Job):
    """A header alone, or nothing at all, is a job of no rows."""
    for content in (b"", b"id,text,label\n"):
        path = write(job, "d.csv", content)
        assert job.invoke("check", str(path), "--json").totals["rows"] == 0


def read_all(source: Table) -> list[Any]:
    """Read every row."""
    found: list[Any] = []
    while lines := source.next_lines():
        found += [json.loads(line.raw or b"") for line in lines]
    return found


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)


@given(
    cells=st.lists(st.tuples(TEXTS, TEXTS), max_size=8),
    ends=st.sampled_from(["\n", "\r\n"]),
    size=st.integers(1, 40),
)
def test_what_csv_writes_is_read(cells: list[tuple[str, str]], ends: str, size: int):
    """Any texts come back, wherever the blocks are cut."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator=ends)
    writer.writerows([("a", "b"), *cells])
    content = written.getvalue().encode()
    blocks = iter([content[at : at + size] for at in range(0, len(content), size)])
    assert read_all(Table(lambda: next(blocks, b""), tabs=False)) == [
        {"a": a, "b": b} for a, b in cells
    ]


def test_rows_before_a_cut_file_are_kept(tmp_path: Path):
    """A compressed table that ends too early gives its rows first, then says so."""
    draw = random.Random(1)
    rows = "".join(f'{number},"{draw.random()}\n{number}"\n' for number in range(80_000))
    whole = gzip.compress(f"id,text\n{rows}".encode())
    (tmp_path / "d.csv.gz").write_bytes(whole[: len(whole) // 2])
    source = Source(tmp_path / "d.csv.gz")
    seen: list[Line] = []
    with pytest.raises(StorageError):
        seen.extend(line for block in iter(source.read_block, []) for line in block)
    source.close()
    assert 10_000 < len(seen) < 80_000
