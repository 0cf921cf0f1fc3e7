"""A rehearsal: the whole job, from its start, against the sandbox and into a folder that vanishes.

Nothing of the job's own is touched: neither its output nor its journal is opened, no key is read,
no header of the user's is sent. What the endpoint would answer is made up; rows, prices, limits and
failures are the job's and those that its `[sandbox]` table asks for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import orjson

from batcher.daemon import in_daemon
from batcher.errors import UsageError
from batcher.job.outcome import Outcome, Rehearsal
from batcher.records import BadRow
from batcher.report.reading import outputs
from batcher.settings import Settings

__all__ = ["rehearse"]

# Enough to see what is wrong.
_SHOWN: Final = 20


async def rehearse(settings: Settings, go: Callable[[Settings], Awaitable[Outcome]]) -> Outcome:
    """Run a job whose settings ask for a rehearsal.

    Args:
        settings: The job; it has no output.
        go: Runs a job.

    Returns:
        How it ended; its totals have `"rehearsal": true`.
    """
    with TemporaryDirectory(prefix="batcher-rehearsal-") as folder:
        output = Path(folder) / "results.jsonl"
        outcome = await go(
            replace(
                settings,
                rehearse=False,
                output=output,
                durability="flush",
                ordered=False,
                ledger=None,
                max_cost_month_usd=None,
            )
        )
        bad = await in_daemon(partial(_bad_rows, output))
    totals = {**outcome.totals, "rehearsal": True}
    return outcome._replace(totals=totals, agreement=None, rehearsal=bad)


def _bad_rows(output: Path) -> Rehearsal:
    """Find the rows that could not be sent."""
    count = 0
    first: list[BadRow] = []
    try:
        (found,) = outputs([str(output)])
        for line in found.standing():
            if not line.is_result or line.ours.get("attempts"):
                continue
            result = orjson.loads(line.raw)
            if result["error"] is None:
                continue
            count += 1
            if len(first) < _SHOWN:
                row, name, error = result["batcher"]["row"], result["custom_id"], result["error"]
                first.append(BadRow(row, name, error["code"], error["message"]))
    except UsageError:
        # It was stopped before it had written anything.
        return Rehearsal(0, [])
    return Rehearsal(count, first)
