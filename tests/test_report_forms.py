"""`batcher report`: its forms, and the files that it writes."""

from __future__ import annotations

import csv
import io
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.reporting import TOTALS, Reporter, result, write

HOSTILE = ["=cmd|'/c calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1"]


def test_a_name_is_no_formula(tmp_path: Path, report: Reporter):
    """In a CSV, a name that a spreadsheet would run is a text; figures stay figures."""
    lines = [result(number, label=name) for number, name in enumerate(HOSTILE, 1)]
    output = write(tmp_path / "out.jsonl", [*lines, TOTALS])
    rows = list(csv.DictReader(io.StringIO(report(output, "--by", "label", "--to", "csv").out)))
    assert {row["label"] for row in rows} == {f"'{name}" for name in HOSTILE}
    assert {row["cost_usd"] for row in rows} == {"0.01"}


ODD = ["<script>alert(1)</script>", "a|b", "\x1b[31mred", "\u202egnirts", "line\nbreak", "`x` *y*"]


@pytest.mark.parametrize("form", ["markdown", "table", "html"])
def test_names_do_nothing(tmp_path: Path, report: Reporter, form: str):
    """Names from rows and answers move no cursor, break no table and are no markup."""
    lines = [result(number, label=name, model=name) for number, name in enumerate(ODD, 1)]
    output = write(tmp_path / "out.jsonl", [*lines, TOTALS])
    text = report(output, "--by", "label", "--to", form).out
    assert not {"\x1b", "\u202e"} & set(text)
    if form != "table":
        assert "<script" not in text
    if form == "markdown":
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_a_narrow_terminal_shows_whole_figures(
    tmp_path: Path, report: Reporter, monkeypatch: pytest.MonkeyPatch
):
    """Columns are left out rather than cut off: what is shown is shown whole."""
    monkeypatch.setenv("COLUMNS", "60")
    output = write(tmp_path / "out.jsonl", [result(1), result(2, model="other"), TOTALS])
    text = report(output, "--to", "table").out
    assert max(map(len, text.splitlines())) <= 60
    assert "Requests" in text
    assert "$0.02" in text
    assert "…" not in text


def test_a_file_appears_whole(tmp_path: Path, report: Reporter):
    """The suffix says the form; what stood there is replaced in one step, and nothing is left."""
    output = write(tmp_path / "out.jsonl", [result(1), TOTALS])
    assert "is what is read" in report(output, "--to", "csv", "-o", output).err
    page = tmp_path / "report.html"
    page.write_text("old")
    said = report(output, "-o", page)
    assert (said.code, said.out) == (0, "")
    assert page.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "report.html"]
    assert report(output, "-o", tmp_path / "no" / "report.html").code == 8


@pytest.mark.parametrize("form", ["csv", "html"])
def test_a_file_that_fails_leaves_nothing(
    tmp_path: Path, report: Reporter, monkeypatch: pytest.MonkeyPatch, form: str
):
    """A Ctrl-C or a full disk leaves what stood there, and nothing beside it."""
    output = write(tmp_path / "out.jsonl", [result(1), TOTALS])
    page = tmp_path / f"page.{form}"
    page.write_text("before")
    for error, code in ((KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 8)):

        def refuse(*_: Any, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(Path, "replace", refuse)
        assert report(output, "-o", page).code == code
        assert page.read_text() == "before"
        assert sorted(each.name for each in tmp_path.iterdir()) == ["out.jsonl", page.name]


def test_a_file_is_private_or_keeps_its_mode(tmp_path: Path, report: Reporter):
    """A new file is its owner's alone; one that stands keeps its mode, and a link its place."""
    output = write(tmp_path / "out.jsonl", [result(1), TOTALS])
    page, link = tmp_path / "page.csv", tmp_path / "link.csv"
    assert report(output, "-o", page).code == 0
    assert page.stat().st_mode & 0o777 == 0o600
    page.chmod(0o644)
    link.symlink_to(page)
    page.write_text("")
    assert report(output, "-o", link).code == 0
    assert link.is_symlink()
    assert page.read_text()
    assert page.stat().st_mode & 0o777 == 0o644


def test_a_report_into_a_pipe(tmp_path: Path, report: Reporter):
    """`-` is standard output; a device is written to, and never replaced."""
    output = write(tmp_path / "out.jsonl", [result(1), TOTALS])
    said = report(output, "--to", "csv", "-o", "-")
    assert said.out.startswith("model,")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert report(output, "--to", "csv", "-o", pipe).code == 0
        assert os.read(reading, 1 << 16).decode() == said.out
    finally:
        os.close(reading)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
