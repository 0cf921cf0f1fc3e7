"""The end of a rehearsal in a few lines: what would have happened, and how far to trust that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.cli.summary import count_words, spent_lines
from batcher.words import count, plural

if TYPE_CHECKING:
    from batcher.job import Outcome
    from batcher.job.outcome import Rehearsal

__all__ = ["rehearsal_summary"]

_ASKED = "sandbox"

_CAVEAT = (
    "the answers are made up: rows, limits and prices are the job's; what an answer says, how long"
    " it is and how long it takes are the sandbox's"
)


def rehearsal_summary(outcome: Outcome, *, priced_as: str) -> list[str]:
    """Say how a rehearsal ended.

    Args:
        outcome: Has `rehearsal`.
        priced_as: The endpoint whose prices hold; empty where the job names none.

    Returns:
        Lines without line ends; the first says the most.
    """
    if outcome.stop is None:
        headline = f"rehearsed: {count_words(outcome.totals)}"
    else:
        reason = outcome.message or outcome.stop.word.replace("_", " ")
        headline = f"the rehearsal stopped: {reason}"
    lines = [headline]
    if outcome.stop is not None and outcome.totals.get("request_counts"):
        lines.append(f"  so far: {count_words(outcome.totals)}")
    lines += [f"  {line}" for line in spent_lines(outcome.totals)]
    if outcome.rehearsal is not None:
        lines += _bad_rows(outcome.rehearsal)
    real = priced_as not in ("", _ASKED)
    asked = f"{priced_as} was not asked" if real else f"only the {_ASKED} was asked"
    return [*lines, f"  {asked}, nothing was paid, and no results were kept", f"  {_CAVEAT}"]


def _bad_rows(rehearsal: Rehearsal) -> list[str]:
    if not rehearsal.bad_rows:
        return []
    shown = rehearsal.first_bad
    lines = [f"  {plural(rehearsal.bad_rows, 'row')} can't be sent:"]
    lines += [f"    {row.code}: {row.message}" for row in shown]
    if rehearsal.bad_rows > len(shown):
        lines.append(f"    and {count(rehearsal.bad_rows - len(shown))} more")
    return lines
