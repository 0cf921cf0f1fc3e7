"""The documents say what the program does: every flag, variable, key, default and exit code.

Whatever is compared here is found, not listed: a new command, option or document is held to it too.
"""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import click
import pytest

from batcher import errors
from batcher.cli import COMMANDS
from batcher.cli.faults import EXIT_BUG, EXIT_INTERRUPTED, EXIT_USAGE
from batcher.pricing.table import PriceTable
from batcher.records import StopReason
from batcher.settings.layers import gather
from batcher.settings.options import GROUPS, OPTIONS, Option
from batcher.settings.schema import default_text

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COMMAND_LINE = (DOCS / "command-line.md").read_text("utf-8")
JOB_FILE = (DOCS / "job-file.md").read_text("utf-8")
# Everything that is written for users.
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in (*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("jobs/*/README.md"))
}
CODE = "".join(path.read_text("utf-8") for path in (ROOT / "batcher").rglob("*.py"))
# The variables that are no settings: the key itself, what bugs show, and an example's.
OTHER_VARIABLES = {"BATCHER_API_KEY", "BATCHER_DEBUG", "BATCHER_NAME", "BATCHER_COMPLETE"}
# Flags of other programs that a page shows: uv, ruff, systemctl, the governor's scenarios.
OTHER_FLAGS = {"--extra", "--check", "--failed", "--now", "--draws", "--only", "--quick"} | {
    "--pairs",
    "--rows",
    "--many",
    "--minutes",
    "--invoice",
    "--map",
}


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
    documented = [line for line in rows(COMMAND_LINE, r"\| (`-o`, )?`--") if "`BATCHER_" in line]
    assert documented == expected


def test_every_key_is_documented() -> None:
    """docs/job-file.md has the row of each key, in the table's order, and no other."""
    grouped = [option for name in GROUPS for option in OPTIONS if option.group == name]
    documented = [line for line in rows(JOB_FILE, r"\| `") if line.count(" | ") == 3]
    assert documented == [key_row(option) for option in grouped]


def flags_of(command: str, *, off: bool = True) -> set[str]:
    """Give every way to write each flag of a command; `off` adds the ways to turn one off."""
    made = importlib.import_module(COMMANDS[command][0]).command
    options = [param for param in made.params if isinstance(param, click.Option)]
    return {
        flag
        for option in options
        for flag in (*option.opts, *(option.secondary_opts if off else ()))
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_a_command_is_documented(command: str) -> None:
    """Its section of docs/command-line.md, or a page that the section links to, names each."""
    section = re.split(rf"^## `batcher {command}\b.*$", COMMAND_LINE, flags=re.MULTILINE)[1]
    section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
    linked = re.findall(r"\]\(([a-z-]+\.md)", section)
    text = section + "".join((DOCS / name).read_text("utf-8") for name in linked)
    told = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))
    assert flags_of(command, off=False) <= told, flags_of(command, off=False) - told


@pytest.mark.parametrize("page", PAGES)
def test_no_name_is_invented(page: str) -> None:
    """Whatever a page calls a flag or a variable is one."""
    flags = {"--help", "--version"}.union(*map(flags_of, COMMANDS)) | OTHER_FLAGS
    variables = {option.variable for option in OPTIONS} | OTHER_VARIABLES
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", re.sub(r"\(.*?\)", "", PAGES[page])))
    beside = (ROOT / page).parent.glob("*.py") if page.startswith("jobs/") else ()
    scripts = "".join(path.read_text("utf-8") for path in beside)
    invented = {flag for flag in told - flags if f'"{flag}"' not in scripts}
    assert not invented
    named = set(re.findall(r"(?<![A-Z])BATCHER_[A-Z_]*[A-Z]", PAGES[page]))
    assert named <= variables, named - variables


def test_every_variable_is_documented() -> None:
    """Whatever the program reads from the environment stands in docs/command-line.md."""
    read = set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", CODE))
    read |= set(re.findall(r"\"(BATCHER_[A-Z_]+)\"", CODE))
    read |= {option.variable for option in OPTIONS if option.variable}
    told = set(re.findall(r"[A-Z][A-Z_]+", COMMAND_LINE))
    assert read <= told, read - told


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


@pytest.mark.parametrize("page", [name for name in PAGES if "```toml" in PAGES[name]])
def test_examples_of_job_files_are_valid(page: str, tmp_path: Path) -> None:
    """Each TOML example passes the check of its keys; a price table is a price table."""
    examples = re.findall(r"```toml\n(.*?)```", PAGES[page], re.DOTALL)
    assert examples
    for example in examples:
        if page == "docs/prices.md":
            PriceTable(example.encode(), file_name="prices.toml")
        else:
            gather(flags={}, environ={}, job=tomllib.loads(example), job_file=tmp_path / "job.toml")
