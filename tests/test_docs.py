"""The documentation, held against the program."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from batcher.checks import Code
from batcher.cli.sandbox import command as sandbox
from batcher.endpoints.sandbox import SandboxOptions
from batcher.endpoints.sandbox.faults import FAULTS
from batcher.errors import BatcherError
from batcher.records import FailureKind, StopReason
from batcher.turns import ToolCode

ROOT = Path(__file__).parent.parent
FORMATS = (ROOT / "docs" / "formats.md").read_text()
README = (ROOT / "README.md").read_text()
PACKAGE = "".join(path.read_text() for path in (ROOT / "batcher").rglob("*.py"))


def documented_codes() -> set[str]:
    """The codes in the tables of error codes."""
    section = FORMATS.split("## Error codes")[1].split("## Journal")[0]
    return set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))


def test_every_error_code_is_documented():
    """What the program calls a failure stands in the tables."""
    used = {kind.value for kind in FailureKind} | {code.value for code in Code}
    used |= {code.value for code in ToolCode}
    used |= set(re.findall(r'BadRow\([^)]*?"([a-z]+(?:_[a-z]+)+)"', PACKAGE))
    assert used <= documented_codes(), used - documented_codes()


def test_every_documented_code_is_used():
    """No table names a code that the program does not know."""
    unknown = {code for code in documented_codes() if f'"{code}"' not in PACKAGE}
    assert not unknown


def test_every_exit_code_is_documented():
    """The README's table has the exit codes of the program, and no others."""
    table = README.split("## Exit codes")[1].split("## ")[0]
    documented = {
        int(number)
        for cell in re.findall(r"^\| ([0-9, ]+) \|", table, re.MULTILINE)
        for number in cell.split(", ")
    }
    exceptions = {error.exit_code for error in BatcherError.__subclasses__()}
    used = {0, 3, BatcherError.exit_code} | exceptions
    used |= {reason.exit_code for reason in StopReason}
    assert documented == used


def test_every_key_of_ours_is_documented():
    """Keys that a result's `batcher` object can have stand in its table."""
    section = FORMATS.split("| key of `batcher` |")[1].split("\n\n")[0]
    documented = set(re.findall(r"`([a-z_]+)`", section))
    written = set(re.findall(r'[{,]\\?"([a-z_]+)\\?":', _of("codec/lines.py") + _of("spend.py")))
    outside = {"id", "custom_id", "response", "error", "batcher", "object", "status_code"}
    outside |= {"request_id", "body", "code", "message"}
    parts = {key for key in written if key.endswith(("_tokens", "_details"))}
    assert written - outside - parts <= documented


def _of(name: str) -> str:
    return (ROOT / "batcher" / name).read_text()


@pytest.mark.parametrize(
    "document", ["README.md", *sorted(p.name for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(document: str):
    """A link to a file of the repository names one that is there."""
    path = ROOT / document if document == "README.md" else ROOT / "docs" / document
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_option_and_fault_of_the_sandbox_is_documented():
    """The tables of `docs/sandbox.md` have the sandbox's flags, options and faults, no others."""
    text = (ROOT / "docs" / "sandbox.md").read_text()
    flags, options, faults = re.split(r"^## .*$", text, flags=re.MULTILINE)
    first = r"^\| `([^`]+)`"
    assert set(re.findall(first, options, re.MULTILINE)) == {f.name for f in fields(SandboxOptions)}
    assert set(re.findall(first, faults, re.MULTILINE)) == set(FAULTS)
    told = set(re.findall(r"`(--[a-z-]+)", flags)) - {"--base-url"}
    assert told == {flag for option in sandbox.params for flag in option.opts}
