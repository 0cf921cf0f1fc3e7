"""What comes with batcher: every dependency pinned, and nobody told that it runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import Reckoner
from tests.crash.endpoint import Endpoint
from tests.crash.job import Job, environment, good_row
from tests.crash.kill import HANG_S

_ROOT = Path(__file__).parents[2]

# One requirement as `pyproject.toml` writes it: name, versions, marker.
_REQUIREMENT = re.compile(r"([\w.-]+)([^;]*)(?:; *(.*))?")


def _requirements(texts: list[str], extra: str = "") -> set[tuple[str, str, str]]:
    found = set()
    for text in texts:
        match = _REQUIREMENT.fullmatch(text)
        assert match is not None, text
        name, versions, marker = match.groups(default="")
        markers = [marker, f"extra == '{extra}'" if extra else ""]
        found.add((name, versions.strip(), " and ".join(filter(None, markers))))
    return found


def _locked(entries: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(each["name"], each.get("specifier", ""), each.get("marker", "")) for each in entries}


def test_the_lock_is_up_to_date() -> None:
    """`uv.lock` was made of the requirements that stand now, and pins each file by its hash."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    packages = tomllib.loads((_ROOT / "uv.lock").read_text())["package"]
    ours = next(package for package in packages if package["name"] == "batcher")
    asked = _requirements(project["project"]["dependencies"])
    for extra, texts in project["project"]["optional-dependencies"].items():
        asked |= _requirements(texts, extra)
    assert _locked(ours["metadata"]["requires-dist"]) == asked
    groups = project["dependency-groups"]
    assert ours["version"] == project["project"]["version"]
    for name, entries in ours["metadata"]["requires-dev"].items():
        assert _locked(entries) == _requirements(groups[name])
    for package in packages:
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        assert package is ours or files
        assert all(file["hash"].startswith("sha256:") for file in files)


@pytest.mark.skipif(shutil.which("strace") is None, reason="watching connections takes strace")
def test_nobody_is_told(tmp_path: Path, reckon: Reckoner) -> None:
    """A run connects to its endpoint and to nothing else; help, check and report to nothing."""
    with Endpoint(latency_s=0.01, troubles=False) as endpoint:
        job = reckon.watch(Job(tmp_path, endpoint))
        job.write_source([good_row(number) for number in range(20)])
        endpoint.begin_run()
        port = int(endpoint.base_url.split(":")[2].split("/")[0])
        source, output = str(job.source), str(job.output)
        sending = _peers(
            tmp_path, "run", source, "-o", output, "--base-url", endpoint.base_url,
            "--max-cost", "100",
        )  # fmt: skip
        assert sending == {f"127.0.0.1:{port}"}
        assert endpoint.seen == 20
    quiet = (
        ("--help",),
        ("run", "--help"),
        ("check", source, "--cost"),
        ("status", output),
        ("report", output),
        ("report", output, "-o", str(tmp_path / "report.html")),
    )
    for arguments in quiet:
        assert _peers(tmp_path, *arguments) == set(), arguments


def _peers(folder: Path, *arguments: str) -> set[str]:
    """Run batcher; return whom it, or any child of its, tried to connect to over a network."""
    trace = folder / "trace"
    done = subprocess.run(
        [
            *("strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace)),
            *(sys.executable, "-m", "batcher", *arguments),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=HANG_S,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, (arguments, done.stderr)
    found = set()
    for line in trace.read_text().splitlines():
        if "AF_INET" in line:
            port = re.search(r"htons\((\d+)\)", line)
            host = re.search(r'inet_(?:addr|pton)\((?:AF_INET6, )?"([^"]+)"', line)
            assert port is not None
            assert host is not None, line
            found.add(f"{host[1]}:{port[1]}")
    return found
