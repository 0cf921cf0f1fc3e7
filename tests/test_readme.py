"""The README's examples, carried out."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Job, lines_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
# They take minutes and a network; what they name is looked at instead.
LONG = [command for command in COMMANDS if "uv run" in command]
# What the examples ask of endpoints outside is asked of the sandbox.
ELSEWHERE = re.compile(r"https://yunwu\.ai/v1")


def examples() -> list[dict[str, Any]]:
    """The JSON lines that the README shows."""
    blocks = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    return [json.loads(line) for block in blocks for line in block.splitlines()]


def test_the_commands_work(tmp_path: Path):
    """One after another, in an empty folder with the README's row: each exits with 0."""
    row, _ = examples()
    (tmp_path / "requests.jsonl").write_text(json.dumps(row) + "\n")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    short = [command for command in COMMANDS if command not in [*LONG, "pip install ."]]
    assert len(short) >= 8
    script = "set -e\n" + "\n".join(ELSEWHERE.sub("sandbox", command) for command in short)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *_, totals = lines_of(tmp_path / "results.jsonl")
    assert totals["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    with (tmp_path / "labels.csv").open(newline="") as table:
        labels = [line["label"] for line in csv.DictReader(table)]
    assert len(labels) == 12
    assert set(labels) <= {"delivery", "refund", "other"}


@pytest.mark.parametrize("command", LONG)
def test_the_long_commands_name_what_is_there(command: str):
    """An extra of the package, a job file that is complete, or the tests."""
    assert command.startswith("pip install uv && uv run ")
    pyproject = (ROOT / "pyproject.toml").read_text()
    for extra in re.findall(r"--extra (\w+)", command):
        assert f"\n{extra} = [" in pyproject
    for job in re.findall(r"\S+\.toml", command):
        assert (ROOT / job).is_file()


def test_the_result_is_what_comes_back(job: Job):
    """The row that is shown gets the result that is shown, but for times and numbers of lines."""
    row, shown = examples()
    job.write([row])
    arguments = ("run", str(job.source), "-o", str(job.output), "--base-url", "sandbox", "--json")
    assert job.invoke(*arguments).code == 0
    (result,) = job.results()
    for one in (shown, result):
        assert one.pop("id").startswith("batch_req_")
        assert one["response"].pop("request_id").startswith("req_")
        assert one["batcher"].pop("finished_at").endswith("Z")
        assert one["batcher"].pop("latency_s") >= 0
    assert shown == {**result, "custom_id": "ticket-17"}
