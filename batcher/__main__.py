"""`python -m batcher` is `batcher`."""

from __future__ import annotations

import gc
from typing import Final, NoReturn

from batcher import early

__all__ = ["main"]

# Objects made before the collector looks for cycles. What is imported stays for good, and hardly
# anything that a row leaves behind is in a cycle: looking for it as often as Python does by itself
# (after 700, some ten rows) is a thirtieth of a start and a twentieth of a row's time.
_GC_AFTER: Final = 10_000


def main() -> NoReturn:
    """Load the command line and run it; a signal while it loads ends it with the promised code."""
    early.begin()
    gc.set_threshold(_GC_AFTER)
    from batcher.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
