"""The layers of the house: imports run downwards, and what is pure stays pure."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "batcher"

# From the roof to the ground. A module may import from its own layer and from those below it.
LAYERS = (
    {"cli"},
    {"library"},
    {"job", "check", "status"},
    {"export"},
    {"report", "endpoints"},
    {"engine"},
    {"transport", "journal", "source", "handlers", "spendbook"},
    {"daemon", "early"},
    {"codec", "results", "totals"},
    {"turns", "budget"},
    {"retry", "governor", "ledger", "pricing", "checks", "settings", "template", "answers"},
    {"usage", "spend", "words", "numbers"},
    {"records"},
    {"amounts"},
    {"errors"},
)
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}

# The same within the engine, the one room that knows most of the others.
ENGINE = (
    {"monitor"},
    {"pool"},
    {"settle"},
    {"turns", "purse"},
    {"aside", "clerk", "feed", "guess", "lounge"},
    {"task", "plan"},
    {"roster"},
    {"alarm", "embed", "stop", "unison"},
)
ENGINE_DEPTH = {name: depth for depth, names in enumerate(ENGINE) for name in names}

# From `codec` down, but for the two places that open the user's files.
PURE = {name for names in LAYERS[LAYERS.index({"codec", "results", "totals"}) :] for name in names}
OPENS_FILES = {"settings/jobfile.py", "pricing/load.py"}
IMPURE_MODULES = {
    *(
        "asyncio",
        "anyio",
        "time",
        "random",
        "secrets",
        "os",
        "socket",
        "io",
        "pathlib",
        "subprocess",
    ),
}
# A path may be a value; it is not opened.
AS_A_VALUE = {"pathlib"}

FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    """The top-level room that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path: Path):
    """No room imports from a room above it."""
    mine = room(path)
    if mine.startswith("__"):
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "batcher" and len(parts) > 1 and parts[1] in DEPTH:
            assert DEPTH[mine] <= DEPTH[parts[1]], f"{mine} imports {name}"


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if room(p) in PURE and str(p.relative_to(ROOT)) not in OPENS_FILES],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_pure_rooms_touch_nothing(path: Path):
    """No clock, randomness, environment, socket, event loop or open file below the journal."""
    tops = {name.split(".")[0] for name in imported(path)}
    assert not (tops & IMPURE_MODULES) - AS_A_VALUE
    tree = ast.parse(path.read_text())
    assert not any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree))
    called = {
        n.func.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    assert "open" not in called


@pytest.mark.parametrize("name", sorted(ENGINE_DEPTH))
def test_imports_run_downwards_in_the_engine(name: str):
    """Within the engine, too, no module imports from one above it."""
    for found in imported(ROOT / "engine" / f"{name}.py"):
        parts = found.split(".")
        if parts[:2] == ["batcher", "engine"] and len(parts) > 2:
            assert ENGINE_DEPTH[name] < ENGINE_DEPTH[parts[2]], f"{name} imports {found}"


def test_every_room_has_a_layer():
    """A new room must find its place."""
    assert {room(p) for p in FILES if not room(p).startswith("__")} == set(DEPTH)
    modules = {p.stem for p in (ROOT / "engine").glob("*.py")} - {"__init__"}
    assert modules == set(ENGINE_DEPTH)
