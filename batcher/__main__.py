"""`python -m batcher` is `batcher`."""

from __future__ import annotations

from typing import NoReturn

from batcher import early

__all__ = ["main"]


def main() -> NoReturn:
    """Load the command line and run it; a signal while it loads ends it with the promised code."""
    early.begin()
    from batcher.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
