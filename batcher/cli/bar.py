"""The bar: two lines on a terminal that say how far, how fast, and what holds the run back.

    reviews.jsonl ━━━━━━━━━━━━━━━━╸────────── 62%  148,233/240,000  12 failed
    412 rows/s · 64/128 in flight · $1.24 of $5.00 · ~$2.01 in all · window full · 3m 40s left

It is redrawn only when the engine tells, in one write, and never wraps: what does not fit is left
out, the least needed first. `--progress bar` draws it wherever standard error goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batcher.cli.words import cost_parts, held, rate, rows_done, share
from batcher.records import Hold
from batcher.words import count, duration, short

if TYPE_CHECKING:
    from typing import IO, Self

    from batcher.cli.streams import SafeStream
    from batcher.records import Progress

__all__ = ["BarWatch", "render", "second_line"]

_GAP = " · "
# A bar of fewer cells shows nothing; of more, it is only long.
_BAR_MIN_CELLS, _BAR_MAX_CELLS = 8, 48
_TITLE_MAX_CELLS = 24
_TROUBLE = {Hold.PAUSE, Hold.ENDPOINT, Hold.DRAINING}


class _Part(NamedTuple):
    """A piece of the second line; of what does not fit, the highest `spare` goes first."""

    text: str
    spare: int
    style: str = ""


class BarWatch:
    """Draws the bar; it is gone when the run ends, and the summary takes its place."""

    def __init__(self, stream: SafeStream, *, title: str) -> None:
        self._title = title
        self._console = Console(file=cast("IO[str]", stream), highlight=False, force_terminal=True)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, progress: Progress) -> None:
        """Redraw."""
        group = render(progress, title=self._title, width=self._console.width)
        self._live.update(group, refresh=True)

    def log(self, text: str) -> None:
        """Print a note above the bar."""
        self._console.print(Text(text, style="dim"))


def render(progress: Progress, *, title: str, width: int) -> Group:
    """Lay the two lines out for a terminal of `width` cells."""
    return Group(_first_line(progress, title=title, width=width), second_line(progress, width))


def _first_line(progress: Progress, *, title: str, width: int) -> Table:
    part = share(progress)
    right = Text(f"{part:4.0%}  " if part is not None else "", style="bold")
    right.append(rows_done(progress), style="not bold")
    if progress.failed:
        right.append(f"  {count(progress.failed)} failed", style="bold red")
    right.truncate(width, overflow="ellipsis")
    right.no_wrap = True
    left = Text(title, style="bold cyan")
    left.truncate(_TITLE_MAX_CELLS, overflow="ellipsis")
    room = width - right.cell_len - left.cell_len - 3
    if room < _BAR_MIN_CELLS:
        left = Text("")
        room = width - right.cell_len - 2
    line = Table.grid(padding=(0, 1, 0, 0))
    bar = ProgressBar(
        total=1.0 if part is not None else None,
        completed=part or 0.0,
        width=max(1, min(room, _BAR_MAX_CELLS)),
        pulse=False,
        animation_time=progress.elapsed_s,
    )
    cells = [left, bar, right] if left else [bar, right]
    line.add_row(*(cells if room >= _BAR_MIN_CELLS else [right]))
    return line


def second_line(progress: Progress, width: int) -> Text:
    """Give the second line, with as many of its parts as fit."""
    parts = _parts(progress)
    while len(parts) > 1 and cell_len(_GAP.join(part.text for part in parts)) > width:
        parts.remove(max(parts, key=lambda part: part.spare))
    line = Text(_GAP, style="dim").join(Text(part.text, style=part.style) for part in parts)
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line


def _parts(progress: Progress) -> list[_Part]:
    trouble = progress.held_by in _TROUBLE
    parts = [
        _Part(rate(progress.rows_per_s), 1, "bold"),
        _Part(f"{short(progress.tokens_per_min)} tok/min", 7),
        _Part(f"{progress.in_flight}/{progress.window} in flight", 4),
    ]
    if progress.retrying:
        parts.append(_Part(f"{count(progress.retrying)} retrying", 5, "yellow"))
    # Of the three, what it has cost is needed most.
    spares = zip(cost_parts(progress), (3, 8, 10), strict=False)
    parts += [_Part(text, spare, "green") for text, spare in spares]
    complete = share(progress) == 1
    if trouble or not complete:
        parts.append(_Part(held(progress), 0 if trouble else 6, "yellow" if trouble else ""))
    parts.append(_Part(duration(progress.elapsed_s), 9, "dim"))
    if progress.eta_s is not None and not complete:
        parts.append(_Part(f"{duration(progress.eta_s)} left", 2, "cyan"))
    return parts
