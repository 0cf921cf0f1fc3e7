# ruff: noqa: T201  # it prints its table
"""The governor in real time: `batcher run` against `batcher sandbox`, both as processes.

`python -m tests.bench.governor_live [--quick] [--minutes M] [--only NAME ...]` prints a line for
each scenario: the share that was used of what was possible, that of the attempts which were refused
or failed, and the longest time between two results (for an outage: as long as it was, and until
work went on). A rate counts until the last request left, all else until the last answer; the bucket
is full at first, so a little more than a rate may be used. Twenty minutes in all, ten with
`--quick`; after M minutes nothing more is started and what runs is stopped. What it shows depends
on the machine, so nothing asserts it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CASES"]


class Case(NamedTuple):
    """A sandbox, a run, and what would be best.

    Attributes:
        options: The sandbox's, as TOML.
        flags: The run's.
        per_s: Good answers a second that the endpoint can give.
        seconds: How long the run would take at that.
        quick: The same with `--quick`.
        rate: Whether that is a rate of requests, not what the endpoint can serve.
    """

    options: str
    flags: tuple[str, ...]
    per_s: float
    seconds: int = 60
    quick: int = 45
    rate: bool = True


HIDDEN = 'limit_headers = "none"\nlimit_window_s = 2\n'
# The longest stand last: where the time is short they are what is left out.
CASES = {
    "hidden rate 10/s, 20 ms": Case(f"rpm = 600\nlatency = 0.02\n{HIDDEN}", (), 10),
    "hidden rate 25/s, exponential 0.5 s": Case(
        f'rpm = 1500\nlatency = "exponential:0.5"\n{HIDDEN}', (), 25
    ),
    "hidden rate 500/s, 20 ms": Case(f"rpm = 30000\nlatency = 0.02\n{HIDDEN}", (), 500),
    "told rate 20/s, headers, exponential 1 s": Case(
        'rpm = 1200\nlatency = "exponential:1"\nlimit_window_s = 10\n', (), 20
    ),
    "told rate 20/s, Retry-After": Case(
        'rpm = 1200\nlatency = 0.5\nlimit_headers = "retry_after"\nlimit_window_s = 5\n', (), 20
    ),
    "--rpm 6000, exponential 1 s": Case('latency = "exponential:1"\n', ("--rpm", "6000"), 100),
    "capacity 40, falling, 0.5 s": Case(
        'capacity = 40\noverload = 0.5\nlatency = "lognormal:0.5,0.3"\n',
        ("--concurrency", "1000"),
        80,
        rate=False,
    ),
    "outage of 15 s": Case(
        'latency = 0.2\noutage = [{from_s = 20, to_s = 35, fault = "503"}]\n',
        ("--concurrency", "20"),
        100,
        rate=False,
    ),
    "hidden rate 10/s, log-normal 8 s": Case(
        f'rpm = 600\nlatency = "lognormal:8,0.6"\n{HIDDEN}',
        ("--concurrency", "1000"),
        10,
        seconds=300,
        quick=100,
    ),
    "hidden rate 100/s, log-normal 2 s": Case(
        f'rpm = 6000\nlatency = "lognormal:2,0.6"\n{HIDDEN}',
        ("--concurrency", "1000"),
        100,
        seconds=120,
    ),
    "hidden rate 500/s, log-normal 8 s": Case(
        f'rpm = 30000\nlatency = "lognormal:8,0.6"\n{HIDDEN}',
        ("--concurrency", "12000"),
        500,
        seconds=180,
        quick=80,
    ),
}


@contextmanager
def _sandbox(folder: Path, options: str) -> Iterator[str]:
    path = folder / "sandbox.toml"
    path.write_text(options)
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "batcher",
        "sandbox",
        "--port",
        "0",
        "--json",
    ]
    with subprocess.Popen([*command, "--options", path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # it was asked for
        said = json.loads(process.stdout.readline())
        try:
            yield said["base_url"]
        finally:
            process.terminate()


def _run(
    folder: Path, base_url: str, case: Case, most_s: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run as many rows as the case asks for; return the totals and the lines."""
    source, output = folder / "in.jsonl", folder / "out.jsonl"
    rows = int(case.per_s * case.seconds)
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    source.write_text("".join(json.dumps(body) + "\n" for _ in range(rows)))
    command: list[str | Path] = [sys.executable, "-m", "batcher", "run", source, "-o", output]
    flags = ["--base-url", base_url, "--progress", "none", "--json", *case.flags]
    told = subprocess.run([*command, *flags], stdout=subprocess.PIPE, check=True, timeout=most_s)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    return json.loads(told.stdout), lines[:-1]


def _figures(case: Case, totals: dict[str, Any], lines: list[dict[str, Any]]) -> str:
    completed, attempts = totals["request_counts"]["completed"], totals["attempts"]
    notes = [line["batcher"] for line in lines]
    finished = [datetime.fromisoformat(note["finished_at"]) for note in notes]
    left = [
        at - timedelta(seconds=note["latency_s"]) for at, note in zip(finished, notes, strict=True)
    ]
    end = max(left if case.rate else finished)
    took_s = (end - datetime.fromisoformat(totals["started_at"])).total_seconds()
    gap = max(after - before for before, after in pairwise(sorted(finished))).total_seconds()
    used = completed / (case.per_s * took_s)
    return f"{used:7.1%} {1 - completed / attempts:10.1%} {gap:8.1f} s"


def _line(case: Case, most_s: float) -> str:
    """Return what the case came to, or why it came to nothing."""
    most_s = min(most_s, 3.0 * case.seconds + 60.0)
    if most_s < case.seconds:
        return "not run: too little time is left"
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with _sandbox(folder, case.options) as base_url:
            try:
                return _figures(case, *_run(folder, base_url, case, most_s))
            except subprocess.TimeoutExpired:
                return f"not done after {most_s:.0f} s"
            except subprocess.CalledProcessError as error:
                return f"exit {error.returncode}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so many")
    options = parser.parse_args()
    until_s = time.monotonic() + 60 * options.minutes
    print(f"{'':42} {'used':>7} {'not good':>10} {'longest gap':>10}")
    for name in options.only:
        case = CASES[name]
        if options.quick:
            case = case._replace(seconds=case.quick)
        print(f"{name:42} {_line(case, until_s - time.monotonic())}", flush=True)


if __name__ == "__main__":
    main()
