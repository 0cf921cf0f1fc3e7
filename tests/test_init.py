"""A new job folder runs as it stands, and costs nobody a file."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import jsonschema_rs
import pytest

from batcher.cli.init import shipped_jobs
from batcher.settings.schema import job_schema_text
from tests.harness import Job

JOBS = Path(__file__).parent.parent / "jobs"


def test_the_default_job_runs(job: Job, monkeypatch: pytest.MonkeyPatch):
    """`batcher init DIR`, then the command that it names: every row of the table gets a label."""
    monkeypatch.chdir(job.folder)
    assert job.invoke_text("init", "mine").code == 0
    done = job.invoke("run", "mine/job.toml", "--json")
    assert done.code == 0, done.err
    assert done.totals["request_counts"] == {"total": 12, "completed": 12, "failed": 0}
    *lines, _ = (job.folder / "mine/output/results.jsonl").read_text().splitlines()
    results = [json.loads(line)["batcher"] for line in lines]
    assert {result["label"] for result in results} <= {"delivery", "refund", "other"}
    assert all(result["input"]["received"].startswith("2026-11-") for result in results)


def test_it_says_what_to_do_next(job: Job, monkeypatch: pytest.MonkeyPatch):
    """The files that were made, and the next command, stand on standard output."""
    monkeypatch.chdir(job.folder)
    said = job.invoke_text("init", "deep/mine", "--from", "delivery-dates").out
    assert "batcher run deep/mine/job.toml" in said
    assert "tickets.jsonl" in said
    assert "batcher run deep/mine/job.toml" in (job.folder / "deep/mine/README.md").read_text()


@pytest.mark.parametrize("name", sorted(path.parent.name for path in JOBS.glob("*/job.toml")))
def test_every_job_can_be_started_from(job: Job, name: str):
    """A copy has all files but those of a run; its job file passes its schema and the program."""
    assert job.invoke_text("init", str(job.folder / "new"), "--from", name).code == 0
    made = {path.name for path in (job.folder / "new").iterdir()}
    assert made >= {"job.toml", "README.md", "job.schema.json"}
    assert "output" not in made
    text = (job.folder / "new/job.toml").read_text()
    assert text.startswith("#:schema ./job.schema.json\n#")
    schema = json.loads((job.folder / "new/job.schema.json").read_text())
    assert jsonschema_rs.is_valid(schema, tomllib.loads(text))
    assert job.invoke("check", str(job.folder / "new/job.toml"), "--json").code == 0
    for path in (JOBS / name).iterdir():
        if path.is_file():
            assert os.access(job.folder / "new" / path.name, os.X_OK) == os.access(path, os.X_OK)


def test_nothing_is_overwritten(job: Job):
    """One file in the way, and none is written; a folder with other files is no obstacle."""
    folder = job.folder / "new"
    folder.mkdir()
    (folder / "rows.csv").write_text("mine")
    done = job.invoke_text("init", str(folder))
    assert done.code == 2
    assert "rows.csv is there already" in done.err
    assert [path.name for path in folder.iterdir()] == ["rows.csv"]
    assert (folder / "rows.csv").read_text() == "mine"
    (folder / "rows.csv").rename(folder / "own.csv")
    assert job.invoke_text("init", str(folder)).code == 0
    assert (folder / "own.csv").read_text() == "mine"


def test_wrong_words(job: Job):
    """A job that is not there is answered with the nearest one; a folder must be named."""
    done = job.invoke_text("init", str(job.folder / "new"), "--from", "nightl")
    assert done.code == 2
    assert "did you mean 'nightly'?" in done.err
    assert job.invoke_text("init").code == 2
    assert not (job.folder / "new").exists()


def test_lists_and_the_schema(job: Job):
    """`--list` names every job with its purpose; `--schema` writes what editors read."""
    said = job.invoke_text("init", "--list").out
    assert [line.split()[0] for line in said.splitlines()] == list(shipped_jobs())
    assert "labels" in said
    assert job.invoke_text("init", "--schema").out == job_schema_text()
