"""What the proof counts: gathered from every test, in whichever process it ran, told at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["PROPERTY", "Figures", "of_report", "table", "told_in", "write_into"]

# Under which a test's figures travel with its report.
PROPERTY: Final = "crash figures"

_BEGIN: Final = "<!-- figures -->\n"
_END: Final = "<!-- end of figures -->\n"


class Figures(NamedTuple):
    """What a proof counted.

    Attributes:
        runs: Of batcher, as processes.
        kills, interrupts: That ended one.
        cuts: Of the power, simulated, between two calls of the journal's.
        faults: Of this machine: disks, files, limits, pipes, clocks, a stopped process.
        endpoints: Hostile behaviours of an endpoint.
        inputs: Broken or odd lines, sources and job files.
        canaries: Places in which a key, a prompt or an answer was looked for.
        rows, served: Rows of complete jobs; requests that were answered.
        lost, doubled, hangs, leaks: What must be 0.
        sent_again: Requests whose answers died with a process before they were on the disk, those
            aside that stood in a tail which the proof itself tore off.
        most_again: The most of these after one kill.
    """

    runs: int = 0
    kills: int = 0
    interrupts: int = 0
    cuts: int = 0
    faults: int = 0
    endpoints: int = 0
    inputs: int = 0
    canaries: int = 0
    rows: int = 0
    served: int = 0
    lost: int = 0
    doubled: int = 0
    hangs: int = 0
    leaks: int = 0
    sent_again: int = 0
    most_again: int = 0

    def plus(self, other: Figures) -> Figures:
        """Add up; the most is the most of both."""
        added = Figures(*map(int.__add__, self, other))
        return added._replace(most_again=max(self.most_again, other.most_again))


_WORDS: Final = {
    "runs": "runs",
    "kills": "kills survived",
    "cuts": "power cuts survived (simulated)",
    "interrupts": "interrupts obeyed",
    "faults": "faults of the machine tried",
    "endpoints": "hostile behaviours of endpoints tried",
    "inputs": "bad inputs tried",
    "canaries": "places searched for secrets",
    "rows": "rows of complete jobs",
    "served": "requests served",
    "lost": "rows lost",
    "doubled": "rows doubled",
    "hangs": "hangs",
    "leaks": "secrets leaked",
    "sent_again": "requests sent again after a kill",
    "most_again": "most sent again after one kill",
}


def table(figures: Figures) -> list[tuple[str, int]]:
    """Name each figure."""
    return [(_WORDS[name], count) for name, count in figures._asdict().items()]


def told_in(page: Path) -> dict[str, int]:
    """Read the figures that a page of the documentation tells."""
    block = page.read_text(encoding="utf-8").partition(_BEGIN)[2].partition(_END)[0]
    cells = [line.split("|")[1:3] for line in block.splitlines()[2:]]
    return {name.strip(): int(count.replace(",", "")) for name, count in cells}


def write_into(page: Path, figures: Figures) -> None:
    """Write the figures into a page, between its marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    rows = "".join(f"| {name} | {count:,} |\n" for name, count in table(figures))
    head = "| counted | |\n|---|---|\n"
    page.write_text(f"{before}{_BEGIN}{head}{rows}{_END}{after}", encoding="utf-8")


def of_report(report: Any) -> Figures:
    """Take the figures out of a test's last report."""
    found = Figures()
    if report.when == "teardown":
        for name, value in report.user_properties:
            if name == PROPERTY:
                found = found.plus(Figures(*value))
    return found
