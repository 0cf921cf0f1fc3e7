"""The lines of the table of targets: what is measured, how, and what is asked of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from tests.bench.checks import added, instructions
from tests.bench.rig import Cost, MissingRigError, Rig

__all__ = ["GROUPS", "Effort", "Line"]

TRANSPORTS = ("lean", "session")
PORTS = {"headers": "18 more headers", "chunked": "chunked", "tls": "TLS"}


class Effort(NamedTuple):
    """How much is measured.

    Attributes:
        pairs: Measurements of each, in turn; their median counts.
        rows: Rows of a run whose processor time is taken.
        many: Rows of the runs whose memory is taken.
        rounds: Seconds that a run at 1 s latency lasts at the least.
        large: Rows with answers of 100 kB.
    """

    pairs: int
    rows: int
    many: int
    rounds: int
    large: int


class Line(NamedTuple):
    """One line of the table.

    Attributes:
        bound: The target as a number; `least` says that it is one from below.
        got: What is held against the bound.
        told: The figures behind it, in words.
    """

    what: str
    target: str
    bound: float
    got: float
    told: str
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.got >= self.bound if self.least else self.got <= self.bound


def cpu_per_row(rig: Rig, effort: Effort) -> Iterator[Line]:
    """Processor time of a row, start-up taken off, at an endpoint that answers at once."""
    bounds = {"lean": 0.65, "session": 1.10}
    runs = {"floor": _floor("aiohttp"), "protocol": _floor("protocol")}
    seen = _in_turn(rig, effort, {**runs, **{name: _product(name) for name in TRANSPORTS}})
    for name in TRANSPORTS:
        yield _against(f"CPU a row, `{name}`", bounds[name], seen[name], seen["floor"])
    what = "CPU a row, for scale: an asyncio protocol that does nothing else"
    yield _against(what, 1.0, seen["protocol"], seen["floor"])._replace(target="")


def cpu_elsewhere(rig: Rig, effort: Effort) -> Iterator[Line]:
    """The same on other ports, against the floor on the same port."""
    for port, words in PORTS.items():
        runs = {"floor": _floor("aiohttp", port)}
        seen = _in_turn(rig, effort, runs | {name: _product(name, port) for name in TRANSPORTS})
        for name in TRANSPORTS:
            yield _against(f"CPU a row, `{name}`, {words}", 1.15, seen[name], seen["floor"])


def waiting(rig: Rig, effort: Effort) -> Iterator[Line]:
    """Share of the ideal rate at an endpoint that takes a second."""
    for concurrency, bound in ((1000, 0.90), (5000, 0.75)):
        rows = concurrency * effort.rounds
        one = statistics.median(rig.send("lean", 1, port="slow").wall_s for _ in range(3)) - 1
        output = rig.output()
        cost = rig.send("lean", rows, port="slow", concurrency=concurrency, output=output)
        whole = effort.rounds / (cost.wall_s - one)
        steady = _steady_share(output, concurrency)
        floor_one = rig.floor("aiohttp", 1, port="slow").wall_s - 1
        floor = rig.floor("aiohttp", rows, port="slow", concurrency=concurrency).wall_s
        told = (
            f"once the window is open; {whole:.0%} with the opening, of {effort.rounds} s;"
            f" floor {effort.rounds / (floor - floor_one):.0%}"
        )
        what = f"share of the ideal, 1 s latency, {concurrency:,} in flight"
        yield Line(what, f"at least {bound:.0%}", bound, steady, told, least=True)


def memory(rig: Rig, effort: Effort) -> Iterator[Line]:
    """Peak memory, and what a row adds to it."""
    rig.send("lean", 1)  # to compile modules takes memory, once
    few = rig.send("lean", min(10_000, effort.many)).peak_mb
    yield Line("peak memory, 10,000 rows", "at most 60 MB", 60, few, f"{few:.1f} MB")
    output = rig.output()
    cost = rig.send("lean", effort.many, output=output)
    yield _growth("", cost, few, effort.many)
    yield from _of_finished(rig, effort, output)
    cost = rig.send("lean", effort.many, "--ordered")
    yield _growth(", `--ordered`", cost, few, effort.many)
    output = rig.output()
    rig.send("lean", effort.many, output=output)
    _cut_in_half(output)
    yield _growth(
        ", resumed from half", rig.send("lean", effort.many, output=output), few, effort.many
    )
    less, more = (
        rig.send("lean", n, port="large").peak_mb for n in (effort.large // 5, effort.large)
    )
    told = f"{less:.1f} MB with {effort.large // 5:,} of them, {more:.1f} with {effort.large:,}"
    yield Line("peak memory, answers of 100 kB", "flat (1.1 x)", 1.1, more / less, told)


def start_up(rig: Rig, effort: Effort) -> Iterator[Line]:
    """One row in a whole process; the commands that answer at once."""
    seen: dict[str, list[float]] = {"floor": [], "lean": [], "help": []}
    for _ in range(max(3, effort.pairs)):
        seen["floor"].append(rig.floor("aiohttp", 1).wall_s)
        seen["lean"].append(rig.send("lean", 1).wall_s)
        seen["help"].append(rig.batcher("--help").wall_s)
    took = {name: statistics.median(each) for name, each in seen.items()}
    told = f"{took['lean']:.3f} s, floor {took['floor']:.3f} s"
    yield Line("one row, whole process", "at most 1.2 x", 1.2, took["lean"] / took["floor"], told)
    yield Line("`--help`", "at most 0.15 s", 0.15, took["help"], f"{took['help']:.3f} s")


def check(rig: Rig, effort: Effort) -> Iterator[Line]:
    """Throughput of `check`."""
    source = rig.source(effort.many)
    one = rig.batcher("check", rig.source(1)).cpu_s
    took_s = rig.batcher("check", source).cpu_s - one
    per_s = source.stat().st_size / 1e6 / took_s
    yield Line("`check` of a source", "at least 150 MB/s", 150, per_s, f"{per_s:.0f} MB/s", True)


def checks(rig: Rig, effort: Effort) -> Iterator[Line]:
    """What checking tool calls adds to the processor time of a row."""
    rows, pairs = effort.rows, effort.pairs * 3
    plain, median, least, most = added(rig, rows=rows, pairs=pairs)
    told = (
        f"{median:.1f} µs more than {plain:.0f}; with 95% confidence {least / plain:+.1%}"
        f" to {most / plain:+.1%}; {pairs} pairs of {rows:,} rows"
    )
    yield Line("CPU of checked answers", "at most 1.05 x", 1.05, 1 + median / plain, told)
    what = "instructions of checked answers, for scale"
    try:
        plain, own = instructions(rig, rows=max(1000, effort.rows // 5))
    except MissingRigError as error:
        yield Line(what, "", 1.05, math.nan, str(error))
    else:
        told = f"{own:,.0f} more than {plain:,.0f} a row; the kernel's are not among them"
        yield Line(what, "", 1.05, 1 + own / plain, told)


GROUPS: dict[str, Callable[[Rig, Effort], Iterator[Line]]] = {
    "cpu": cpu_per_row,
    "ports": cpu_elsewhere,
    "latency": waiting,
    "memory": memory,
    "start": start_up,
    "check": check,
    "checks": checks,
}

_Run = Callable[[Rig, int], Cost]


def _floor(name: str, port: str = "at_once") -> _Run:
    return lambda rig, rows: rig.floor(name, rows, port=port)


def _product(transport: str, port: str = "at_once") -> _Run:
    return lambda rig, rows: rig.send(transport, rows, port=port)


def _in_turn(rig: Rig, effort: Effort, runs: dict[str, _Run]) -> dict[str, list[float]]:
    """Microseconds of a row for each run, measured one after the other, again and again."""
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(rig, 1)  # what is compiled or cached once
    for _ in range(effort.pairs):
        for name, run in runs.items():
            spent_s = run(rig, effort.rows).cpu_s - run(rig, 1).cpu_s
            seen[name].append(spent_s / (effort.rows - 1) * 1e6)
    return seen


def _against(what: str, bound: float, seen: list[float], floor: list[float]) -> Line:
    ratios = [ours / theirs for ours, theirs in zip(seen, floor, strict=True)]
    told = (
        f"{statistics.median(seen):.0f} µs, floor {statistics.median(floor):.0f} µs;"
        f" pairs from {min(ratios):.2f} to {max(ratios):.2f}"
    )
    return Line(what, f"at most {bound:.2f} x", bound, statistics.median(ratios), told)


def _growth(how: str, cost: Cost, few_mb: float, rows: int) -> Line:
    each = max(0.0, cost.peak_mb - few_mb) * 1e6 / rows
    told = f"{cost.peak_mb:.1f} MB, so {each:.0f} bytes a row"
    what = f"peak memory, {rows:,} rows{how}"
    bound = 60 + 32 * rows / 1e6
    return Line(what, "at most 60 MB and 32 bytes a row", bound, cost.peak_mb, told)


def _of_finished(rig: Rig, effort: Effort, output: Path) -> Iterator[Line]:
    """What is asked of a finished output: `status`, and reading it as a resume and a report do."""
    took_s = statistics.median(rig.batcher("status", output).wall_s for _ in range(5))
    what = f"`status`, finished, {effort.many:,} rows"
    yield Line(what, "at most 0.5 s", 0.5, took_s, f"{took_s:.3f} s")
    nothing = rig.folder / "out.jsonl.one"
    rig.send("lean", 1, output=nothing)
    one = rig.scan(nothing).cpu_s
    per_s = output.stat().st_size / 1e6 / (rig.scan(output).cpu_s - one)
    told = f"{per_s:.0f} MB/s"
    yield Line("resume scan of a journal", "at least 300 MB/s", 300, per_s, told, least=True)
    read = rig.batcher("report", output, "--json")
    start_up = rig.batcher("report", nothing, "--json").cpu_s
    per_s = output.stat().st_size / 1e6 / (read.cpu_s - start_up)
    told = f"{per_s:.0f} MB/s, {read.peak_mb:.1f} MB"
    yield Line("`batcher report`", "at least 100 MB/s", 100, per_s, told, least=True)


def _cut_in_half(output: Path) -> None:
    """Leave what a run that was killed at half would have left."""
    with output.open("rb") as file:
        file.seek(output.stat().st_size // 2)
        file.readline()
        size = file.tell()
    with output.open("rb+") as file:
        file.truncate(size)
    output.rename(output.with_name(output.name + ".partial"))


def _steady_share(output: Path, concurrency: int) -> float:
    """Share of the ideal rate in the second half of a run, by when its results were written."""
    with output.open("rb") as file:
        seconds = sorted(
            _second(orjson.loads(line)["batcher"]["finished_at"])
            for line in file
            if b'"batcher"' in line
        )
    half = seconds[len(seconds) // 2 : -concurrency]
    return len(half) / (half[-1] - half[0]) / concurrency


def _second(moment: str) -> float:
    hours, minutes, seconds = moment[11:-1].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
