"""Plots as inline SVG whose text keeps its size and whose colours are the page's.

Across, everything is in percent of the plot's width; down, in pixels. So one plot serves a phone
and a wide screen without being scaled, and without a script. Colours are CSS classes: the page has
light and dark ones, and those of paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Final

__all__ = ["HEIGHT", "Plot", "ticks"]

HEIGHT: Final = 180
_X_LABEL_Y: Final = HEIGHT + 16
# Labels this near to an edge, in percent, are set inside of it.
_EDGE: Final = 6.0
# The words of a mark, in percent, on a phone.
_WORDS_WIDTH: Final = 30.0
_STEPS: Final = (1, 2, 2.5, 5, 10)


def ticks(most: float, wanted: int = 4) -> list[float]:
    """Give round values from 0 to at least `most`."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / wanted
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(each * size for each in _STEPS if each * size >= rough * (1 - 1e-9))
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


class Plot:
    """A plot in the making.

    Args:
        most: The largest value.
        words: Writes a value of the y axis.
    """

    def __init__(self, most: float, words: Callable[[float], str]) -> None:
        self._parts: list[str] = []
        marks = ticks(most)
        self._top = marks[-1]
        for value in marks:
            y = self.y(value)
            self._parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
            self._parts.append(
                f'<text class="y" x="-8" y="{y + 4:.1f}">{escape(words(value))}</text>'
            )

    def y(self, value: float) -> float:
        """Where a value is, in pixels from the top."""
        return HEIGHT - value / self._top * HEIGHT

    def bar(self, left: float, width: float, lower: float, upper: float, style: str) -> None:
        """Draw a bar from one value to another; a hair of width is left between neighbours."""
        height = self.y(lower) - self.y(upper)
        self._parts.append(
            f'<rect class="{style}" x="{left + width * 0.06:.3f}%" y="{self.y(upper):.2f}" '
            f'width="{width * 0.88:.3f}%" height="{height:.2f}"/>'
        )

    def tip(self, left: float, width: float, text: str) -> None:
        """Say something where the pointer is over a strip of the plot."""
        self._parts.append(
            f'<rect class="tip" x="{left:.3f}%" y="0" width="{width:.3f}%" height="{HEIGHT}">'
            f"<title>{escape(text)}</title></rect>"
        )

    def line(self, points: Sequence[tuple[float, float]], style: str, *, filled: bool) -> None:
        """Draw a line through points of (percent, value), with the area below it."""
        path = " ".join(f"{x:.3f},{self.y(value):.2f}" for x, value in points)
        first, last = points[0][0], points[-1][0]
        around = f"{first:.3f},{HEIGHT} {path} {last:.3f},{HEIGHT}"
        area = f'<polygon class="{style} area" points="{around}"/>'
        self._parts.append(
            f'<svg width="100%" height="{HEIGHT}" viewBox="0 0 100 {HEIGHT}" '
            f'preserveAspectRatio="none">{area if filled else ""}'
            f'<polyline class="{style} stroke" vector-effect="non-scaling-stroke" '
            f'points="{path}"/></svg>'
        )

    def level(self, value: float, text: str) -> None:
        """Draw a line across at a value; its words are left, where a growing sum is low."""
        y = self.y(value)
        self._parts.append(f'<line class="level" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        self._parts.append(f'<text class="level" x="4" y="{y - 6:.1f}">{escape(text)}</text>')

    def mark(self, left: float, row: int, text: str) -> None:
        """Draw a line down at a place, with words to its left, in one of several rows.

        Marks further right have the higher rows, so that no words cross a line.
        """
        y = 11 + 14 * row
        anchor, shift = ("end", -4) if left > _WORDS_WIDTH else ("start", 4)
        self._parts.append(
            f'<line class="mark" x1="{left:.2f}%" x2="{left:.2f}%" y1="{y - 8}" y2="{HEIGHT}"/>'
            f'<text class="mark" x="{left:.2f}%" dx="{shift}" y="{y}" '
            f'style="text-anchor:{anchor}">{escape(text)}</text>'
        )

    def below(self, labels: Iterable[tuple[float, str]]) -> None:
        """Write labels of (percent, text) under the plot."""
        for left, text in labels:
            anchor = "start" if left < _EDGE else "end" if left > 100 - _EDGE else "middle"
            self._parts.append(
                f'<text class="x" x="{left:.2f}%" y="{_X_LABEL_Y}" '
                f'style="text-anchor:{anchor}">{escape(text)}</text>'
            )

    def drawn(self, said: str) -> str:
        """Give the SVG; `said` is what it shows, for those who don't see it."""
        return (
            f'<svg class="plot" role="img" aria-label="{escape(said)}" height="{_X_LABEL_Y + 8}">'
            f"{''.join(self._parts)}</svg>"
        )
