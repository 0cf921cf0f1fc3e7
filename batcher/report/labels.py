"""Labels that a job gave, held against the known ones."""

from __future__ import annotations

from pathlib import Path

from batcher.journal import read_ours

__all__ = ["agreement"]


def agreement(output: Path, *, gold: str) -> tuple[int, int]:
    """Count how many labels agree with the known ones, and how many known ones there are.

    Args:
        output: A finished output, whose results have `label` and carry the field `gold`.

    A row without a label, because it failed, does not agree.
    """
    agreed = compared = 0
    with output.open("rb") as lines:
        for line in lines:
            ours = read_ours(line.rstrip(b"\n"))
            known = (ours.get("input") or {}).get(gold)
            if known is not None:
                compared += 1
                agreed += ours.get("label") == known
    return agreed, compared
