"""The command line: what it prints, what it exits with, what it never shows."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from batcher import errors
from batcher.amounts import Spend, Usage
from batcher.cli import COMMANDS, group
from batcher.cli.faults import run_safely
from batcher.library.settle import LocalZone
from batcher.records import BadRow, Hold, Progress, StopReason
from batcher.settings import Settings
from batcher.settings.values import deadline_unix

SECRET = "sk-secret-0123456789"
STATE = Progress(
    10, True, 4, 1, 0, 0, 2, 8, 1.5, 900.0, 3.0, 4.0, Hold.RATE, "",
    Spend(5, 0, Usage(10, 5, 15), Decimal("0.5")),
)  # fmt: skip
TOTALS: dict[str, Any] = {
    "object": "batch.totals",
    "request_counts": {"total": 10, "completed": 9, "failed": 1},
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    "cost_usd": None,
    "attempts": 11,
    "errors": {"timeout": 1},
    "wall_s": 3.0,
}


class Ended(NamedTuple):
    totals: dict[str, Any] = TOTALS
    stop: StopReason | None = None
    message: str = ""
    exit_code: int = 3
    agreement: tuple[int, int] | None = None


class Report(NamedTuple):
    rows: int = 3
    bad_rows: int = 0
    first_bad: tuple[BadRow, ...] = ()
    forecast: None = None
    unhandled: tuple[()] = ()


class Standing(NamedTuple):
    state: str = "none"
    progress: Progress | None = None
    totals: dict[str, Any] | None = None
    pid: int | None = None
    host: str | None = None
    stop_reason: str | None = None


class FakeEngine:
    """Does what a test wants, and keeps what it was asked."""

    def __init__(self) -> None:
        self.outcome: Ended | BaseException = Ended()
        self.report = Report()
        self.standing = Standing()
        self.settings: Settings | None = None
        self.output: Path | None = None

    async def run(self, settings: Settings, *, watch: Any = None) -> Ended:
        self.settings = settings
        watch.update(STATE)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def check(self, settings: Settings) -> Report:
        self.settings = settings
        return self.report

    def status(self, output: Path) -> Standing:
        self.output = output
        return self.standing


def module(**content: Any) -> ModuleType:
    """Make a module that holds only this."""
    made = ModuleType("made")
    vars(made).update(content)
    return made


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """Put a fake in the engine's place, and nothing of ours in the environment."""
    fake = FakeEngine()
    # What is imported for the first time while the fakes stand there would keep them for good.
    importlib.import_module("batcher.library.running")
    monkeypatch.setattr("batcher.library.settle._find_endpoint", lambda _: None)
    monkeypatch.setitem(sys.modules, "batcher.job", module(run=fake.run))
    monkeypatch.setitem(sys.modules, "batcher.check", module(check=fake.check))
    monkeypatch.setitem(sys.modules, "batcher.status", module(status=fake.status))
    for variable in [name for name in os.environ if name.startswith(("BATCHER_", "OPENAI_"))]:
        monkeypatch.delenv(variable)
    return fake


def batcher(*args: str) -> int:
    """Run the command line in this process."""
    return run_safely(lambda: group.main(list(args), prog_name="batcher", standalone_mode=False))


RUN = ("run", "in.jsonl", "-o", "out.jsonl", "--base-url", "http://h")


def test_run_hands_over_the_settings(engine: FakeEngine) -> None:
    """The flags reach the engine, and its exit code reaches the shell."""
    assert (
        batcher(*RUN, "--rpm", "60", "--ordered", "--header", "X-A: 1", "--header", "X-B: 2") == 3
    )
    settings = engine.settings
    assert settings is not None
    assert (settings.rpm, settings.ordered, settings.endpoint) == (60.0, True, "h")
    assert settings.headers == (("X-A", "1"), ("X-B", "2"))


def test_run_a_job_file(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job file, the environment and a flag come together."""
    job = tmp_path / "job.toml"
    job.write_text('source = "in.jsonl"\noutput = "o.jsonl"\nbase_url = "http://h"\nrpm = 1\n')
    monkeypatch.setenv("BATCHER_TPM", "500")
    monkeypatch.setenv("BATCHER_API_KEY", SECRET)
    assert batcher("run", str(job), "--timeout", "2m") == 3
    settings = engine.settings
    assert settings is not None
    assert settings.source == tmp_path / "in.jsonl"
    assert (settings.rpm, settings.tpm, settings.timeout_s) == (1.0, 500.0, 120.0)
    assert settings.api_key == SECRET


def test_output_of_a_run(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is empty; standard error ends in the summary."""
    batcher(*RUN)
    out, err = capsys.readouterr()
    assert out == ""
    assert "4/10 (40%)" in err
    assert "complete: 10 rows, 9 completed, 1 failed (1 timeout)" in err


def test_json_totals(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, standard output is the totals as one line, also when it stopped."""
    stopped = {**TOTALS, "stop_reason": "budget", "pending": 4}
    engine.outcome = Ended(stopped, StopReason.BUDGET, "spent", 4)
    assert batcher(*RUN, "--json") == 4
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert json.loads(out) == stopped
    assert "run the same command again with a larger budget for the 4 pending rows" in err


def test_json_progress(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    """With --progress json, each line of standard error is JSON, to the end."""
    batcher(*RUN, "--progress", "json")
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["event"] for event in events] == ["progress", "end"]
    assert events[-1]["exit_code"] == 3


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        pytest.param(Ended(), "", id="complete: nothing"),
        pytest.param(Ended(TOTALS, StopReason.DEADLINE, "the deadline has come", 7),
                     "the deadline has come", id="stopped: why"),
    ],
)  # fmt: skip
def test_no_progress(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], outcome: Ended, words: str
) -> None:
    """With --progress none, only a stop is told."""
    engine.outcome = outcome
    batcher(*RUN, "--progress", "none")
    err = capsys.readouterr().err
    assert words in err
    assert bool(words) == bool(err)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (errors.UsageError("no rows"), 2, "batcher: no rows\n"),
        (errors.OutputLockedError("held"), 6, "batcher: held\n"),
        (errors.StorageError("disk"), 8, "batcher: disk\n"),
        (ExceptionGroup("g", [errors.StorageError("disk")]), 8, "batcher: disk\n"),
        (KeyboardInterrupt(), 130, "batcher: interrupted\n"),
        (BaseExceptionGroup("g", [KeyboardInterrupt()]), 130, "batcher: interrupted\n"),
    ],
)
def test_errors_are_one_line(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], error: BaseException, code: int,
    words: str,
) -> None:  # fmt: skip
    """What ends a run is one line and its exit code, without a traceback."""
    engine.outcome = error
    assert batcher(*RUN, "--progress", "none") == code
    assert capsys.readouterr().err == words


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: ExceptionGroup("g", [error])])
def test_a_bug_quotes_nothing(
    engine: FakeEngine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    debug: str,
    wrap: Callable[[Exception], Exception],
) -> None:
    """A bug is told by its type and place, never by its text; frames only when asked for."""
    monkeypatch.setenv("BATCHER_DEBUG", debug)
    inner = ValueError(f"prompt {SECRET}")
    inner.__cause__ = KeyError(SECRET)
    engine.outcome = wrap(inner)
    assert batcher(*RUN, "--progress", "none") == 1
    err = capsys.readouterr().err
    assert "ValueError at " in err
    assert SECRET not in err
    assert "Traceback" not in err
    assert (err.count("\n") > 1) is bool(debug)


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ((), "Usage: batcher"),
        (("walk",), "walk"),
        (("run",), "SOURCE"),
        ((*RUN, "--conc", "8"), "--concurrency"),
        (("run", "in.jsonl", "--base-url", "http://h"), "-o OUTPUT"),
        (("run", "in.jsonl", "-o", "out.jsonl"), "--base-url"),
        ((*RUN, "--concurrency", "none"), "--concurrency must be"),
        ((*RUN, "--base-url", "opnai"), "http://"),
        (("run", "none.toml"), "none.toml"),
    ],
)
def test_bad_usage(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], word: str
) -> None:
    """Bad usage exits with 2 and says what to do."""
    assert batcher(*args) == 2
    assert word in capsys.readouterr().err
    assert engine.settings is None


def test_a_misspelt_variable_is_told(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is nearly a setting gets a note."""
    monkeypatch.setenv("BATCHER_CONCURENCY", "8")
    batcher(*RUN)
    assert "did you mean BATCHER_CONCURRENCY" in capsys.readouterr().err


BAD = BadRow(7, "x", "invalid_json", "line 7: no JSON at column 3")


@pytest.mark.parametrize(
    ("report", "code", "words"),
    [
        pytest.param(Report(), 0, "3 rows, every one can be sent\n", id="good"),
        pytest.param(Report(9, 2, (BAD,)), 2, "9 rows, 2 can't be sent\n"
                     "  line 7: invalid_json: no JSON at column 3\n  and 1 more\n", id="bad"),
    ],
)  # fmt: skip
def test_check(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], report: Report, code: int, words: str
) -> None:
    """A check counts the rows, names the first bad ones, and needs no endpoint."""
    engine.report = report
    assert batcher("check", "in.jsonl", "--limit", "9") == code
    assert capsys.readouterr().out == words
    assert engine.settings is not None
    assert engine.settings.limit == 9


def test_check_as_json(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    """The same as an object."""
    engine.report = Report(9, 1, (BAD,))
    assert batcher("check", "in.jsonl", "--json") == 2
    assert json.loads(capsys.readouterr().out) == {
        "object": "batch.check", "rows": 9, "bad_rows": 1, "first_bad": [BAD._asdict()],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        pytest.param(Standing(), ["no job has written here"], id="none"),
        pytest.param(Standing("running", STATE, None, 77, "box"),
                     ["running (process 77 on box)", "4/10 (40%)", "at the rate limit"],
                     id="running"),
        pytest.param(Standing("stopped", STATE, TOTALS, stop_reason="endpoint_down"),
                     ["stopped (endpoint down)", "run the same command again"], id="stopped"),
        pytest.param(Standing("finished", STATE, TOTALS),
                     ["finished", "9 completed, 1 failed", "failed by: 1 timeout"], id="finished"),
    ],
)  # fmt: skip
def test_status(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], standing: Standing, words: list[str]
) -> None:
    """Status says in words how a job stands."""
    engine.standing = standing
    assert batcher("status", "out.jsonl") == 0
    out = capsys.readouterr().out
    for word in words:
        assert word in out


def test_status_of_a_job_file(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Status finds the output that a job file names, and answers in JSON."""
    job = tmp_path / "job.toml"
    job.write_text('source = "in.jsonl"\noutput = "o.jsonl"\n')
    engine.standing = Standing("running", STATE)
    assert batcher("status", str(job), "--json") == 0
    assert engine.output == tmp_path / "o.jsonl"
    answer = json.loads(capsys.readouterr().out)
    assert (answer["state"], answer["progress"]["done"]) == ("running", 4)


def test_commands_list_their_own_first_sentence() -> None:
    """The list of commands, written without importing them, says what each says of itself."""
    for name, (_, words) in COMMANDS.items():
        command = group.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert (command.help or "").splitlines()[0] == words


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system can't change its zone")
def test_local_time_knows_the_clock_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """06:00 is 06:00 local time on the night when the clock jumps, in either direction."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        for day, hours in ((28, 7), (27, 8)):
            now = datetime(2026, 3, day, 21, tzinfo=UTC).astimezone(LocalZone())
            assert now.hour == 22
            assert deadline_unix("06:00", now) - now.timestamp() == hours * 3600
        autumn = datetime(2026, 10, 24, 20, tzinfo=UTC).astimezone(LocalZone())
        assert autumn.hour == 22
        assert deadline_unix("06:00", autumn) - autumn.timestamp() == 9 * 3600
    finally:
        monkeypatch.undo()
        time.tzset()
