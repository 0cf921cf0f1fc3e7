"""How many rows of a job have no result yet, when a run of it stops.

Those that were read are in the index. Those that were not are counted in the source, where it can
be read again and that takes no long time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from batcher.daemon import in_daemon
from batcher.engine.feed import Feed
from batcher.engine.plan import Plan
from batcher.errors import StorageError
from batcher.journal import State
from batcher.journal.index import DONE, SEEN
from batcher.source import Source

__all__ = ["count_open", "count_pending"]

# Longest time spent, when a run stops, on counting the rows that were not read.
_COUNT_MOST_S: Final = 5.0


async def count_pending(
    state: State,
    source: Source | None,
    plan: Plan | None,
    feed: Feed | None,
    *,
    urgent: Callable[[], bool],
) -> int | None:
    """Count the rows without a result; None where the rest of the source can't be counted.

    Args:
        state: What the journal says.
        source: Where the rows are from; None where it was never opened.
        plan: The whole of the source, where it was read beforehand.
        feed: What gave the rows out; None where nothing was sent.
        urgent: Asked now and then while the source is read; true gives up.
    """
    open_rows = count_open(state)
    if feed is None or source is None:
        return None if plan is None else open_rows
    if plan is not None or feed.ended:
        return open_rows
    if not source.rereadable:
        return None
    in_all = await in_daemon(partial(_count_rows, source, urgent))
    return None if in_all is None else max(0, in_all - feed.taken) + open_rows


def count_open(state: State) -> int:
    """Count the rows of the source, as far as it was read, that have no result."""
    return sum(1 for flags in state.index.flags if flags & (SEEN | DONE) == SEEN)


def _count_rows(source: Source, stopped: Callable[[], bool]) -> int | None:
    """Count the rows of the whole source, or give up."""
    until_s = time.monotonic() + _COUNT_MOST_S
    count = 0
    try:
        source.rewind()
        while block := source.read_block():
            count += len(block)
            if stopped() or time.monotonic() > until_s:
                return None
    except StorageError:
        return None
    return count
