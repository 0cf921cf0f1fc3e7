"""The documents say what the program does: every flag, variable, key, default and exit code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batcher import errors
from batcher.cli import COMMANDS
from batcher.cli.faults import EXIT_BUG, EXIT_INTERRUPTED, EXIT_USAGE
from batcher.records import StopReason
from batcher.settings.options import GROUPS, OPTIONS, Option
from batcher.settings.schema import default_text

DOCS = Path(__file__).parents[1] / "docs"
COMMAND_LINE = (DOCS / "command-line.md").read_text("utf-8")
JOB_FILE = (DOCS / "job-file.md").read_text("utf-8")
TOOLS = (DOCS / "tools.md").read_text("utf-8")
# The variables that are no settings: the key itself, what bugs show, and others' that are read.
OTHER_VARIABLES = {"BATCHER_API_KEY", "BATCHER_DEBUG", "BATCHER_NAME"}


def flag_row(option: Option) -> str:
    """Write an option's row of docs/command-line.md."""
    off = "" if option.kind.metavar else f", `--no-{option.flag[2:]}`"
    value = f" {option.kind.metavar}" if option.kind.metavar else ""
    short = f"`{option.short}`, " if option.short else ""
    flag = f"{short}`{option.flag}{value}`{off}".replace("|", "\\|")
    return f"| {flag} | `{option.variable}` | {option.help} | {default_text(option)} |"


def key_row(option: Option) -> str:
    """Write an option's row of docs/job-file.md."""
    return f"| `{option.key}` | {option.kind.wants} | {option.help} | {default_text(option)} |"


def rows(text: str, beginning: str) -> list[str]:
    """Give the table rows that begin so."""
    return [line for line in text.splitlines() if re.match(beginning, line)]


def test_every_flag_is_documented() -> None:
    """docs/command-line.md has the row of each flag, in the table's order, and no other."""
    grouped = [option for name in GROUPS for option in OPTIONS if option.group == name]
    expected = [flag_row(option) for option in grouped if option.on_command_line]
    assert rows(COMMAND_LINE, r"\| (`-o`, )?`--") == expected


def test_every_key_is_documented() -> None:
    """docs/job-file.md has the row of each key, in the table's order, and no other."""
    grouped = [option for name in GROUPS for option in OPTIONS if option.group == name]
    documented = [line for line in rows(JOB_FILE, r"\| `") if line.count(" | ") == 3]
    assert documented == [key_row(option) for option in grouped]


@pytest.mark.parametrize("text", [COMMAND_LINE, JOB_FILE, TOOLS], ids=["flags", "keys", "tools"])
def test_no_name_is_invented(text: str) -> None:
    """Whatever the text calls a flag or a variable is one."""
    flags = {option.flag for option in OPTIONS} | {"--help", "--version"}
    flags |= {f"--no-{option.flag[2:]}" for option in OPTIONS if not option.kind.metavar}
    variables = {option.variable for option in OPTIONS} | OTHER_VARIABLES
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text)) <= flags
    assert set(re.findall(r"(?<!_)BATCHER_[A-Z_]*[A-Z]", text)) <= variables


def test_every_exit_code_is_documented() -> None:
    """The table of exit codes has those that the program can end with, and no other."""
    # 0 and 3: complete, without and with failed rows.
    codes = {0, 3, EXIT_BUG, EXIT_USAGE, EXIT_INTERRUPTED}
    codes |= {reason.exit_code for reason in StopReason}
    codes |= {error.exit_code for error in vars(errors).values() if isinstance(error, type)
              and issubclass(error, errors.BatcherError)}  # fmt: skip
    documented = {int(line.split()[1]) for line in rows(COMMAND_LINE, r"\| \d+ \|")}
    assert documented == codes


def test_every_stop_reason_is_documented() -> None:
    """Each `stop_reason` stands beside its exit code."""
    for reason in StopReason:
        (row,) = rows(COMMAND_LINE, rf"\| {reason.exit_code} \|")
        assert f"`{reason.word}`" in row


def test_every_command_is_documented() -> None:
    """Each command has a heading."""
    for name in COMMANDS:
        assert f"## `batcher {name}" in COMMAND_LINE


def test_examples_of_job_files_are_valid(tmp_path: Path) -> None:
    """Each TOML example in the documents passes the check of its keys."""
    import tomllib

    from batcher.settings.layers import gather

    examples = re.findall(r"```toml\n(.*?)```", JOB_FILE + COMMAND_LINE + TOOLS, re.DOTALL)
    assert examples
    for example in examples:
        job = tomllib.loads(example)
        gather(flags={}, environ={}, job=job, job_file=tmp_path / "job.toml")
