"""The command line as a process: what it imports, where nobody listens, what a shell completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batcher.cli import COMMANDS


def child(code: str, *, line: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python, or a shell line that runs it, in a process of its own."""
    python = [sys.executable, "-c", code]
    # Buffered as a user's Python is: what is left in a buffer fails once more, on exit.
    unset = {"PYTHONUNBUFFERED": ""}
    environ = {**os.environ, **unset, "CODE": code, "PYTHON": sys.executable}
    command = ["bash", "-c", line] if line else python
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_help_imports_little() -> None:
    """`--help` imports neither what sends nor what draws."""
    code = (
        "import sys; sys.argv = ['batcher', *sys.argv[1:]]\n"
        "from batcher.cli import main\n"
        "try: main()\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'aiohttp', 'rich', 'anyio', 'orjson', 'batcher.job', 'batcher.engine.pool'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    for args in (["--help"], ["run", "--help"]):
        done = child(code.replace("*sys.argv[1:]", repr(args)[1:-1]))
        assert done.returncode == 0, done.stderr
        assert "Usage: batcher" in done.stdout


def test_a_plain_run_imports_what_it_needs(tmp_path: Path) -> None:
    """A run imports nothing for what its job has not, and looks for cycles seldom."""
    unneeded = {
        "batcher.handlers": "no tool calls are carried out",
        "batcher.turns": "each row is asked once",
        "batcher.spendbook": "no other job shares its budget",
        "batcher.budget.forecast": "it sends, where `check` foresees",
        "batcher.source.table": "its source is JSON lines",
        "batcher.cli.rehearsal": "it is none",
        "batcher.totals": "its totals go to no program",
        "batcher.report": "it reads no output back as reports do",
        "rich": "standard error is no terminal",
        "duckdb": "no table is written",
    }
    (tmp_path / "in.jsonl").write_text('{"messages": []}\n')
    arguments = ["run", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    code = (
        f"import gc, sys; sys.argv = ['batcher', *{arguments!r}, '--base-url', 'http://h/v1']\n"
        "from batcher.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as e: assert e.code == 3, e.code\n"
        "assert gc.get_threshold()[0] >= 10_000\n"
        "assert 'aiohttp' in sys.modules\n"
        f"found = {set(unneeded)!r} & set(sys.modules); sys.exit(str(found) if found else 0)\n"
    )
    done = child(code)
    assert done.returncode == 0, done.stderr


FAKE = """
import sys, types
from batcher.cli import main
import batcher.library.settle as inputs
inputs._find_endpoint = lambda name: None
class Ended:
    totals = {"request_counts": {"total": 1, "completed": 1, "failed": 0}, "pad": "x" * PAD}
    stop, message, exit_code, agreement = None, "", 0, None
async def run(settings, *, watch=None):
    for n in range(2000): watch.log("note " * 20)
    return Ended
sys.modules["batcher.job"] = types.SimpleNamespace(run=run)
sys.argv = ["batcher", "run", "in", "-o", "out", "--base-url", "http://h", "--json"]
main()
"""


@pytest.mark.parametrize(
    "redirection",
    ["2>&1 >/dev/null | head -c1 >/dev/null", "2>/dev/null | head -c1 >/dev/null", "2>&- >&-",
     "2>/dev/full >/dev/full"],
    ids=["stderr cut", "stdout cut", "both closed", "both full"],
)  # fmt: skip
@pytest.mark.parametrize("pad", [10, 100_000], ids=["small", "larger than a pipe"])
def test_nobody_listens(redirection: str, pad: int) -> None:
    """A pipe that is closed, a descriptor that is missing or full changes no exit code."""
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    code = FAKE.replace("PAD", str(pad))
    done = child(code, line=f'"$PYTHON" -c "$CODE" {redirection}; exit ${{PIPESTATUS[0]}}')
    assert (done.returncode, done.stderr) == (0, "")


def test_missing_descriptors_are_filled() -> None:
    """A file that is opened later never becomes standard error."""
    code = (
        "from batcher.cli.streams import open_standard_descriptors as fill\n"
        "fill(); import os, sys; fd = os.open('/dev/null', 0); sys.exit(fd <= 2)\n"
    )
    done = child(code, line='"$PYTHON" -c "$CODE" <&- >&- 2>&-')
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("batcher ", set(COMMANDS)),
        ("batcher run --dur", {"--durability"}),
        ("batcher run x --durability f", {"fsync", "flush"}),
    ],
)
def test_completion(words: str, expected: set[str]) -> None:
    """The shell completes commands, flags and choices."""
    parts = words.split(" ")
    code = f"""
import os, sys
os.environ |= {{"_BATCHER_COMPLETE": "bash_complete", "COMP_WORDS": {words!r},
                "COMP_CWORD": "{len(parts) - 1}"}}
sys.argv = ["batcher"]
from batcher.cli import main
main()
"""
    done = child(code)
    offered = {line.split(",")[-1] for line in done.stdout.splitlines()}
    assert (done.returncode, offered) == (0, expected), done.stderr


SHELLS = {"bash": "complete -o nosort -F", "zsh": "compdef", "fish": "complete --no-files"}


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts(shell: str) -> None:
    """The line that the documentation shows for a shell gives a script that the shell can read."""
    command = f"_BATCHER_COMPLETE={shell}_source batcher"
    assert command in (Path(__file__).parents[1] / "docs" / "command-line.md").read_text()
    code = f"""
import os, sys
os.environ["_BATCHER_COMPLETE"] = "{shell}_source"
sys.argv = ["batcher"]
from batcher.cli import main
main()
"""
    done = child(code)
    assert SHELLS[shell] in done.stdout, done.stderr
    if shutil.which(shell):
        read = subprocess.run([shell, "-n"], input=done.stdout, text=True, check=False)
        assert read.returncode == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_what_is_typed() -> None:
    """In a real bash that has read the script, a choice is completed by the program itself."""
    here = Path(sys.executable).parent
    script = (
        'eval "$(_BATCHER_COMPLETE=bash_source batcher)"\n'
        "COMP_WORDS=(batcher run in.jsonl --durability fs) COMP_CWORD=4\n"
        '_batcher_completion batcher; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": os.pathsep.join([str(here), os.defpath])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["fsync"], done.stderr
