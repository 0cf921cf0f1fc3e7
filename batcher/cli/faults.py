"""What an exception becomes: one line for the user, and an exit code.

An exception that nobody expected is told by its type and where it happened. Its text is never
shown: it could hold a prompt, an answer or a key. `BATCHER_DEBUG=1` adds the frames that led there,
still without texts and values.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli.streams import standard_error
from batcher.errors import BatcherError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

__all__ = [
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "debugging",
    "leave_no_core",
    "run_safely",
    "silence_libraries",
]

EXIT_BUG = 1
EXIT_USAGE = 2
# 128 + SIGINT, as shells have it.
EXIT_INTERRUPTED = 130

_PACKAGE = Path(__file__).parents[1]


def debugging() -> bool:
    """Whether `BATCHER_DEBUG` asks for more."""
    return os.environ.get("BATCHER_DEBUG", "") not in {"", "0"}


def run_safely(work: Callable[[], Any]) -> int:
    """Run a command; say what went wrong in one line; return the exit code."""
    try:
        code = work()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        return _misused(error)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else EXIT_BUG
    except BaseException as error:  # noqa: BLE001 - the last resort; nothing may print its text
        return _fault(error)
    return code if isinstance(code, int) else 0


def _misused(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        standard_error().line(error.format_message())
    else:
        context = getattr(error, "ctx", None)
        _tell(error.format_message(), f"try {context.command_path} --help" if context else "")
    return error.exit_code


def _fault(error: BaseException) -> int:
    leaves = list(_leaves(error))
    if any(isinstance(leaf, KeyboardInterrupt | click.Abort) for leaf in leaves):
        _tell("interrupted")
        return EXIT_INTERRUPTED
    if all(isinstance(leaf, BatcherError) for leaf in leaves):
        known = leaves[0]
        assert isinstance(known, BatcherError)
        _tell(str(known))
        return known.exit_code
    worst = next(leaf for leaf in leaves if not isinstance(leaf, BatcherError))
    hint = "" if debugging() else "; BATCHER_DEBUG=1 shows the way there"
    _tell(f"a bug: {type(worst).__name__} at {_place(worst.__traceback__)}{hint}")
    if debugging():
        _tell_frames(worst)
    return EXIT_BUG


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield what a group of exceptions holds, however deep."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _frames(trace: TracebackType | None) -> list[tuple[str, int, str]]:
    """Give path, line and function of each frame; our own paths from the package on."""
    frames = []
    while trace is not None:
        code, line, trace = trace.tb_frame.f_code, trace.tb_lineno, trace.tb_next
        path = Path(code.co_filename)
        inside = path.is_relative_to(_PACKAGE)
        shown = path.relative_to(_PACKAGE.parent) if inside else Path(*path.parts[-2:])
        frames.append((shown.as_posix(), line, code.co_name))
    return frames


def _place(trace: TracebackType | None) -> str:
    """Name the innermost place in our own code, or the innermost at all."""
    frames = _frames(trace)
    ours = [frame for frame in frames if frame[0].startswith(f"{_PACKAGE.name}/")]
    path, line, _ = (ours or frames or [("?", 0, "")])[-1]
    return f"{path}:{line}"


def _tell_frames(error: BaseException) -> None:
    stream = standard_error()
    for path, line, function in _frames(error.__traceback__):
        stream.line(f"  {path}:{line} in {function}")
    cause = error.__cause__ or error.__context__
    if cause is not None:
        stream.line(f"  after {type(cause).__name__} at {_place(cause.__traceback__)}")


def _tell(*texts: str) -> None:
    for text in filter(None, texts):
        standard_error().line(f"batcher: {text}")


def leave_no_core() -> None:
    """Let the process leave no core file: the key and the prompts would stand in it."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def silence_libraries() -> None:
    """Keep texts of others' exceptions off standard error: they may quote what was sent."""
    logging.getLogger().addHandler(logging.NullHandler())
    threading.excepthook = lambda args: _tell_hidden(args.exc_value)
    sys.unraisablehook = lambda args: _tell_hidden(args.exc_value)


def _tell_hidden(error: BaseException | None) -> None:
    if error is not None and debugging():
        _tell(f"{type(error).__name__} at {_place(error.__traceback__)}, outside of the run")
