# ruff: noqa: T201  # it prints its table
"""How fast it is, against the targets: `python -m tests.bench [--quick] [--only GROUP ...]`.

Client and endpoint are pinned to a processor each, start-up is taken off, and what is compared is
run in turn; the median of the pairs counts. Processor seconds bear company on the machine, wall
clock does not: for the latter, have it to yourself. `--quick` (a minute) shows the order of
magnitude; the figures in `docs/performance.md` are those of a whole run (about half an hour).
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from tests.bench.lines import GROUPS, Effort, Line
from tests.bench.rig import MissingRigError, rig

WHOLE = Effort(pairs=5, rows=20_000, many=1_000_000, rounds=30, large=10_000)
QUICK = Effort(pairs=1, rows=3_000, many=20_000, rounds=12, large=500)


def main() -> int:
    """Measure, and print the table; 0 when all was measured, 2 when that can't be done here."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows, one pair")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP")
    parser.add_argument("--pairs", type=int, help="measurements of each in turn")
    parser.add_argument("--rows", type=int, help="rows of the runs whose processor time is taken")
    parser.add_argument("--many", type=int, help="rows of the runs whose memory is taken")
    asked = parser.parse_args()
    effort = QUICK if asked.quick else WHOLE
    effort = effort._replace(
        pairs=asked.pairs or effort.pairs,
        rows=asked.rows or effort.rows,
        many=asked.many or effort.many,
    )
    try:
        with rig() as found:
            print(_machine(), flush=True)
            print("\n| what | target | figure | | details |\n|---|---|---|---|---|", flush=True)
            for name in asked.only:
                for line in GROUPS[name](found, effort):
                    print(_row(line), flush=True)
    except MissingRigError as error:
        print(f"nothing was measured: {error}", file=sys.stderr)
        return 2
    return 0


def _row(line: Line) -> str:
    figure = f"{line.got:.2f}" if line.got < 10 else f"{line.got:.0f}"
    met = "" if not line.target else "met" if line.met else "not met"
    return f"| {line.what} | {line.target} | {figure} | {met} | {line.told} |"


def _machine() -> str:
    names = ("aiohttp", "uvloop", "orjson", "anyio", "jsonschema-rs")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    load = os.getloadavg()[0]
    return (
        f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} processors,"
        f" load {load:.1f}; Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as file:
            return next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
