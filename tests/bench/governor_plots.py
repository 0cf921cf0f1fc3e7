"""Draws what the governor did: window, rates and refusals over time, a picture for each scenario.

`python -m tests.bench.governor_plots [DIR]` writes one SVG for each scenario to `docs/img`. Virtual
time makes each the same on every machine.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.bench.governor_scenarios import SCENARIOS, Drawn

__all__ = ["picture"]

# A typical draw of each.
DRAWS = {
    "given rate": 11,
    "told rate": 33,
    "hidden rate": 68,
    "hidden capacity": 13,
    "flat": 0,
    "outage": 2,
}
WIDTH, PANEL, GAP, LEFT, RIGHT, TOP = 720, 110, 26, 62, 12, 34
COLUMNS = 240
INK, FAINT, PALE = "#333", "#999", "#ddd"
BLUE, GREEN, RED = "#1f6fb2", "#2a8f4d", "#c8372d"


class Line(NamedTuple):
    """A line of a panel: its name, its colour, its points in seconds and values."""

    name: str
    colour: str
    points: list[tuple[float, float]]


def picture(name: str, drawn: Drawn, end_s: float) -> str:
    """Return an SVG of a run of `end_s` seconds: three panels over one axis of time."""
    run = drawn.run
    step_s = end_s / COLUMNS
    ideal = [*drawn.ideal, (end_s, drawn.ideal[-1][1])]
    panels = (
        [Line("window", BLUE, _steps([(t, float(n)) for t, n in run.windows], end_s))],
        [
            Line("best possible a second", PALE, _steps(ideal, end_s)),
            Line("sent", BLUE, _rates(run.sent_at, step_s, end_s)),
            Line("answered", GREEN, _rates(run.ok_at, step_s, end_s)),
        ],
        [Line("refused a second", RED, _rates(run.refused_at, step_s, end_s))],
    )
    height = TOP + len(panels) * (PANEL + GAP) + 8
    body = "".join(
        _panel(lines, TOP + index * (PANEL + GAP), end_s) for index, lines in enumerate(panels)
    )
    title = f'<text x="{LEFT}" y="14" fill="{INK}" font-weight="bold">{name}: {drawn.what}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="11">'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>{title}{body}</svg>\n'
    )


def _steps(points: list[tuple[float, float]], end_s: float) -> list[tuple[float, float]]:
    """Corners of a value that holds until the next one; one for each column at most."""
    corners: list[tuple[float, float]] = []
    column = -1
    for at_s, value in points:
        if corners and int(at_s / end_s * COLUMNS) == column:
            corners[-1] = (corners[-1][0], value)
            continue
        column = int(at_s / end_s * COLUMNS)
        if corners:
            corners.append((at_s, corners[-1][1]))
        corners.append((at_s, value))
    return [*corners, (end_s, corners[-1][1])]


def _rates(times: list[float], step_s: float, end_s: float) -> list[tuple[float, float]]:
    """How many a second in each column."""
    times = sorted(times)
    edges = [bisect_left(times, column * step_s) for column in range(COLUMNS + 1)]
    counts = [after - before for before, after in pairwise(edges)]
    points = [((column + 0.5) * step_s, count / step_s) for column, count in enumerate(counts)]
    return [(0.0, points[0][1]), *points, (end_s, points[-1][1])]


def _panel(lines: list[Line], top: int, end_s: float) -> str:
    most = _round_up(max(value for line in lines for _, value in line.points))
    right, bottom = WIDTH - RIGHT, top + PANEL
    parts = [f'<path d="M{LEFT} {top}V{bottom}H{right}" fill="none" stroke="{FAINT}"/>']
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * PANEL
        text = f"{share * most:g}"
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:g}" text-anchor="end">{text}</text>')
    for share in (0.25, 0.5, 0.75, 1.0):
        x = LEFT + share * (right - LEFT)
        text = f"{share * end_s:.3g} s"
        parts.append(f'<text x="{x:g}" y="{bottom + 13}" text-anchor="end">{text}</text>')
    x = LEFT + 8
    for name, colour, points in lines:
        path = "L".join(
            f"{LEFT + t / end_s * (right - LEFT):.1f} {bottom - value / most * PANEL:.1f}"
            for t, value in points
        )
        width = 5 if colour == PALE else 1.3
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        ink = FAINT if colour == PALE else colour
        parts.append(f'<text x="{x}" y="{top - 4}" fill="{ink}">{name}</text>')
        x += 7 * len(name) + 12
    return "".join(parts)


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4, 6, 8, 10 times a power of ten; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return power * next(step for step in (1, 2, 4, 6, 8, 10) if value <= step * power * 1.0001)


def main() -> None:
    """Write the pictures."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/img")
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in DRAWS.items():
        drawn = SCENARIOS[name](seed)
        end_s = max(drawn.run.sent_at)
        path = folder / f"governor-{name.replace(' ', '-')}.svg"
        path.write_text(picture(name, drawn, end_s), encoding="utf-8")


if __name__ == "__main__":
    main()
