"""What a run shows while it goes: a bar, lines, JSON lines or nothing, always on standard error.

The engine tells a watch about four times a second; the watch decides what of it to show. Time comes
out of the progress itself, so that a watch has no clock.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from batcher.cli.words import plain_line, progress_object

if TYPE_CHECKING:
    from typing import Self

    from batcher.cli.streams import SafeStream
    from batcher.records import Progress

__all__ = ["JsonWatch", "LineWatch", "SilentWatch", "Watcher", "watch_for"]

# A log that is read next morning; a program that draws its own bar.
LINE_EVERY_S = 60.0
JSON_EVERY_S = 1.0


class Watcher(Protocol):
    """What the engine tells, and what the command closes."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *_: object) -> None:
        """Show the last state, and leave the terminal as it was."""

    def update(self, progress: Progress) -> None:
        """Take the present state."""

    def log(self, text: str) -> None:
        """Take a note of one line."""


class SilentWatch:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, progress: Progress) -> None:
        """Show nothing."""

    def log(self, text: str) -> None:
        """Show nothing."""


class _EveryWatch:
    """Shows the first state, then one each `every_s` of the run's time, and the last."""

    def __init__(self, stream: SafeStream, *, every_s: float) -> None:
        self._stream = stream
        self._every_s = every_s
        self._next_s = 0.0
        self._unshown: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._unshown is not None:
            self._show(self._unshown)

    def update(self, progress: Progress) -> None:
        """Show the state if it is time to."""
        self._unshown = progress
        if progress.elapsed_s >= self._next_s:
            self._next_s = progress.elapsed_s + self._every_s
            self._show(progress)
            self._unshown = None

    def _show(self, progress: Progress) -> None:
        raise NotImplementedError


class LineWatch(_EveryWatch):
    """A plain line at the start, a minute, and at the end."""

    def __init__(self, stream: SafeStream, *, every_s: float = LINE_EVERY_S) -> None:
        super().__init__(stream, every_s=every_s)
        self._last = ""

    def _show(self, progress: Progress) -> None:
        # A run that is over at its first line has nothing to add at the end.
        if (line := plain_line(progress)) != self._last:
            self._stream.line(f"batcher: {line}")
            self._last = line

    def log(self, text: str) -> None:
        """Show a note as a line."""
        self._stream.line(f"batcher: {text}")


class JsonWatch(_EveryWatch):
    """A JSON object a line: `{"event": "progress" | "note", ...}`, one a second."""

    def __init__(self, stream: SafeStream, *, every_s: float = JSON_EVERY_S) -> None:
        super().__init__(stream, every_s=every_s)

    def _show(self, progress: Progress) -> None:
        self._write({"event": "progress", **progress_object(progress)})

    def log(self, text: str) -> None:
        """Show a note as an event."""
        self._write({"event": "note", "text": text})

    def _write(self, event: dict[str, Any]) -> None:
        self._stream.line(json.dumps(event, ensure_ascii=False, separators=(",", ":")))


def watch_for(mode: str, stream: SafeStream, *, title: str, dumb: bool = False) -> Watcher:
    """Choose the watch.

    Args:
        mode: `auto`, `bar`, `json` or `none`.
        stream: Standard error.
        title: What is being done, for the bar: the source's name.
        dumb: Whether the terminal can't move its cursor.
    """
    if mode == "none":
        return SilentWatch()
    if mode == "json":
        return JsonWatch(stream)
    if mode == "bar" or (stream.isatty() and not dumb):
        from batcher.cli.bar import BarWatch

        return BarWatch(stream, title=title)
    return LineWatch(stream)
