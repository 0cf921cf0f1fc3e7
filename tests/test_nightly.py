"""The nightly job, as cron and systemd run it: a bare environment, no terminal, no home."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import Job, lines_of


@pytest.fixture
def folder(job: Job) -> Path:
    """A copy of the job, made by `batcher init`."""
    made = job.folder / "nightly"
    assert job.invoke_text("init", str(made), "--from", "nightly").code == 0
    return made


def crontab(folder: Path) -> tuple[dict[str, str], str]:
    """Read the crontab as cron does: variables, and the command of its one line."""
    variables, commands = {}, []
    for line in (folder / "crontab").read_text().splitlines():
        if named := re.fullmatch(r"(\w+)=(.*)", line):
            variables[named[1]] = named[2]
        elif line and not line.startswith("#"):
            commands.append(line.split(maxsplit=5)[5])
    (command,) = commands
    return variables, command


def night(folder: Path, *more: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run the crontab's line as cron does."""
    variables, command = crontab(folder)
    return subprocess.run(
        ["/bin/sh", "-c", " ".join([command, *more])],
        env={"PATH": path or variables["PATH"], "SHELL": "/bin/sh", "LOGNAME": "somebody"},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        start_new_session=True,
    )


def test_a_night_without_trouble_is_silent(folder: Path):
    """Exit code 0, nothing to mail, and all that was said in the log; the next night sends less."""
    done = night(folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "complete: 12 rows, 12 completed" in (folder / "nightly.log").read_text()
    with (folder / "messages.jsonl").open("a") as source:
        source.write('{"id": "m-013", "text": "Where is my chair?"}\n')
    assert night(folder).returncode == 0
    log = (folder / "nightly.log").read_text()
    assert "complete: 13 rows" in log
    assert lines_of(folder / "output/results.jsonl")[-1]["attempts"] == 13
    assert log.count("== exit 0") == 2


def test_trouble_is_mailed(folder: Path):
    """A failed row: its exit code, what it means, and the end of the log on standard output."""
    with (folder / "messages.jsonl").open("a") as source:
        source.write("{\n")
    done = night(folder)
    assert done.returncode == 3
    assert "some rows failed (exit 3)" in done.stdout
    assert "1 invalid_json" in done.stdout


def test_the_morning_goes_on(folder: Path):
    """A night that ends at its deadline says so; the same line goes on and pays nothing twice."""
    job_file = folder / "job.toml"
    text = job_file.read_text()
    slow = text + '\n[sandbox]\nlatency = "uniform:0.1,0.3"\n'
    job_file.write_text(slow.replace('deadline = "06:00"', "deadline = 0.3\nconcurrency = 1"))
    done = night(folder)
    assert done.returncode == 7
    assert "the next run goes on" in done.stdout
    assert not (folder / "output/results.jsonl").exists()
    job_file.write_text(text)
    assert night(folder).returncode == 0
    totals = lines_of(folder / "output/results.jsonl")[-1]
    assert totals["request_counts"]["completed"] == totals["attempts"] == 12


def test_a_night_that_is_still_going_is_left_alone(folder: Path):
    """The lock is held: the second run exits with 6 and touches nothing."""
    assert night(folder).returncode == 0
    before = (folder / "output/results.jsonl").read_bytes()
    with (folder / "output/results.jsonl.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = night(folder)
    assert done.returncode == 6
    assert "another run" in done.stdout
    assert (folder / "output/results.jsonl").read_bytes() == before


def test_a_missing_program_is_told(folder: Path):
    """A PATH that doesn't lead to batcher is trouble, too."""
    done = night(folder, path="/usr/bin:/bin")
    assert done.returncode == 127
    assert "batcher is not on the PATH" in done.stdout


def test_the_log_is_turned_over(folder: Path):
    """A log of ten megabytes becomes the older one."""
    (folder / "nightly.log").write_bytes(b"x" * 10_000_001)
    assert night(folder).returncode == 0
    assert (folder / "nightly.log.1").stat().st_size == 10_000_001
    assert (folder / "nightly.log").stat().st_size < 10_000


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(folder: Path):
    """`systemd-analyze verify` has nothing to say, and the command that the service runs works."""
    units = [str(folder / f"batcher-nightly.{kind}") for kind in ("service", "timer")]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "batcher-nightly" in line]
    assert (done.returncode, said) == (0, [])
    service = Path(units[0]).read_text()
    assert f"WorkingDirectory={folder.resolve()}\n" in service
    (command,) = re.findall(r"^ExecStart=(.*)$", service, re.MULTILINE)
    assert command.split()[0] == str(Path(sys.executable).parent / "batcher")
    ran = subprocess.run(command.split(), cwd=folder, env={}, capture_output=True, check=False)
    assert ran.returncode == 0
