"""`python -m batcher` is `batcher`."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]

# 128 + SIGINT, as shells have it.
_INTERRUPTED = 130


def main() -> NoReturn:
    """Load the command line and run it; an interrupt while it loads leaves no traceback."""
    try:
        from batcher.cli import main as command_line
    except KeyboardInterrupt:
        sys.stderr.write("batcher: interrupted\n")
        raise SystemExit(_INTERRUPTED) from None
    command_line()


if __name__ == "__main__":
    main()
