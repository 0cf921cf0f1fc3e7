"""The documentation, held against the program: codes, exit codes, formats, links.

Whatever is compared here is found, not listed: a new code, exception or page is held to it too.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

import batcher.errors
from batcher.cli.report import command as report
from batcher.cli.sandbox import command as sandbox
from batcher.endpoints.sandbox import SandboxOptions
from batcher.endpoints.sandbox.faults import FAULTS
from batcher.errors import BatcherError
from batcher.records import Progress, StopReason
from batcher.report.figures import FIGURES
from tests.crash.figures import Figures, table, told_in
from tests.harness import Job, row

ROOT = Path(__file__).parent.parent
FORMATS = (ROOT / "docs" / "formats.md").read_text()
README = (ROOT / "README.md").read_text()
SOURCES = [path.read_text() for path in (ROOT / "batcher").rglob("*.py")]
PACKAGE = "".join(SOURCES)
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("jobs/*/README.md"))
)


def documented_codes() -> set[str]:
    """The codes in the tables of error codes."""
    section = FORMATS.split("## Error codes")[1].split("## Journal")[0]
    return set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))


def codes_of_failures() -> set[str]:
    """What the program calls a failure: members of its enumerations, and codes given as texts."""
    found = set(re.findall(r'(?:BadRow|RowError)\([^)]*?"([a-z]+(?:_[a-z]+)+)"', PACKAGE))
    for source in SOURCES:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and re.fullmatch(r"\w*Code|FailureKind", node.name):
                found |= {
                    item.value.value
                    for item in node.body
                    if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant)
                }
    return found


def test_every_error_code_is_documented():
    """What the program calls a failure stands in the tables."""
    used = codes_of_failures()
    assert {"timeout", "invalid_csv", "answer_schema", "unknown_tool"} <= used
    assert used <= documented_codes(), used - documented_codes()


def test_every_documented_code_is_used():
    """No table names a code that the program does not know."""
    unknown = {code for code in documented_codes() if f'"{code}"' not in PACKAGE}
    assert not unknown


def exit_codes() -> set[int]:
    """Every exit code that the program promises."""
    exceptions = {
        error.exit_code
        for error in vars(batcher.errors).values()
        if isinstance(error, type) and issubclass(error, BatcherError) and error.__doc__
    }
    return {0, 3, BatcherError.exit_code} | exceptions | {one.exit_code for one in StopReason}


@pytest.mark.parametrize("page", ["README.md", "docs/command-line.md", "docs/operation.md"])
def test_every_exit_code_is_documented(page: str):
    """The table of exit codes has those of the program, and no others."""
    text = (ROOT / page).read_text()
    table = re.split(r"^\| exit \|.*\n", text, flags=re.MULTILINE)[1].split("\n\n")[0]
    documented = {
        int(number)
        for cell in re.findall(r"^\| ([0-9, ]+) \|", table, re.MULTILINE)
        for number in cell.split(", ")
    }
    assert documented == exit_codes()


def test_the_nightly_script_knows_every_exit_code():
    """Each has a word of its own in the script that cron runs, but for a bug's."""
    script = (ROOT / "jobs/nightly/nightly.sh").read_text()
    cases = re.findall(r"^([0-9 |]+)\)", script, re.MULTILINE)
    named = {int(number) for case in cases for number in case.split("|")}
    assert exit_codes() - {1} <= named


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


def keys_told() -> set[str]:
    """Every name in code quotes in docs/formats.md."""
    return set(re.findall(r"[`\"]([a-z_0-9]+)[`\"]", FORMATS))


def test_every_key_of_the_totals_is_documented(job: Job):
    """Whatever a run that is complete, stopped, or pruned adds to the totals is in the formats."""
    job.write([row("a"), row("b")])
    seen = set(job.run().totals)
    job.write([row("a")])
    seen |= set(job.run("--prune").totals)
    job.write([row("a"), row("c")])
    job.endpoint.close_port()
    seen |= set(job.run("--give-up-after", "0.1").totals)
    assert {"stop_reason", "pending", "pruned"} <= seen
    assert seen <= keys_told(), seen - keys_told()


def test_every_key_of_status_check_and_progress_is_documented(job: Job):
    """The JSON that machines read has no key that the formats don't name."""
    job.write([row("a"), "{"])
    job.run()
    seen = set(job.invoke("status", str(job.output), "--json").totals)
    found = job.invoke("check", str(job.source), "--json").totals
    seen |= set(found) | set(found["first_bad"][0])
    with job.process("--fresh", "--progress", "json") as process:
        events = [json.loads(line) for line in process.wait().err.splitlines()]
    assert {event["event"] for event in events} == {"note", "progress", "end"}
    seen |= {key for event in events for key in event}
    assert seen <= keys_told(), seen - keys_told()
    assert len(Progress._fields) > 10


def test_every_room_is_described():
    """The table of rooms in CONTRIBUTING has each module and package of the house."""
    house = (ROOT / "CONTRIBUTING.md").read_text().split("## The house")[1].split("\n## ")[0]
    told = set(re.findall(r"`([a-z]+)/?`", house))
    rooms = {path.stem for path in (ROOT / "batcher").iterdir() if path.suffix == ".py"}
    rooms |= {path.parent.name for path in (ROOT / "batcher").glob("*/__init__.py")}
    assert {room for room in rooms if not room.startswith("_")} <= told


def slug(heading: str) -> str:
    """The anchor of a heading."""
    words = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return words.replace(" ", "-")


def anchors(text: str) -> set[str]:
    """The anchors of a page."""
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", outside, re.MULTILINE)}


def links(page: str) -> list[tuple[Path, str]]:
    """The files, and the anchors in them, that a page links to."""
    path = ROOT / page
    found = re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", path.read_text())
    return [((path.parent / target if target else path).resolve(), at) for target, at in found]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    """A link names a file of the repository that is there, and a heading in it."""
    for target, anchor in links(page):
        assert target.exists(), target
        if anchor:
            assert anchor in anchors(target.read_text()), f"{target}#{anchor}"


def test_every_page_can_be_reached():
    """Whoever follows the README's links comes to every page of docs/."""
    left, seen = [(ROOT / "README.md").resolve()], set()
    while left:
        path = left.pop()
        if path in seen or path.suffix != ".md":
            continue
        seen.add(path)
        left += [target for target, _ in links(str(path.relative_to(ROOT)))]
    lost = {page for page in PAGES if page.startswith("docs/") and (ROOT / page) not in seen}
    assert not lost


def test_every_option_and_fault_of_the_sandbox_is_documented():
    """The tables of `docs/sandbox.md` have the sandbox's flags, options and faults, no others."""
    text = (ROOT / "docs" / "sandbox.md").read_text()
    flags, options, faults = re.split(r"^## .*$", text, flags=re.MULTILINE)
    first = r"^\| `([^`]+)`"
    assert set(re.findall(first, options, re.MULTILINE)) == {f.name for f in fields(SandboxOptions)}
    assert set(re.findall(first, faults, re.MULTILINE)) == set(FAULTS)
    told = set(re.findall(r"`(--[a-z-]+)", flags)) - {"--base-url"}
    assert told == {flag for option in sandbox.params for flag in option.opts}


def test_every_flag_and_figure_of_the_report_is_documented():
    """`docs/report.md` has the flags of the command, and the figures in the program's own words."""
    text = (ROOT / "docs" / "report.md").read_text()
    table = text.split("## Flags")[1].split("## The figures")[0]
    told = set(re.findall(r"`(-o|--[a-z-]+)", table))
    flags = {flag for option in report.params for flag in option.opts if flag.startswith("-")}
    assert told == flags
    figures = text.split("## The figures")[1].split("## ")[0]
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (.*) \|$", figures, re.MULTILINE)
    assert rows == list(FIGURES.items())


def test_figures_of_the_proof() -> None:
    """The page on safety tells figures that the proof counts, and what must be 0 is."""
    told = told_in(Path(__file__).parents[1] / "docs" / "safety.md")
    assert told.keys() <= {name for name, _ in table(Figures())}
    must_be_none = ("rows lost", "rows doubled", "hangs", "secrets leaked")
    assert not any(told.get(name) for name in must_be_none)
    assert told["kills survived"] >= 200
