"""The bench runs, and says something of each line. It asserts no figure: those are for reading."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.lines import GROUPS
from tests.bench.rig import MissingRigError, rig

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("group", GROUPS)
def test_every_line_is_measured(group: str, tmp_path: Path) -> None:
    """Each group prints its lines as a table, with a word on whether the target is met."""
    try:
        with rig():
            pass
    except MissingRigError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "tests.bench", "--quick", "--many", "2000", "--only", group]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(lines) > 1
    assert all("met |" in line or "for scale" in line for line in lines[1:])
