"""Labels that jobs gave: how often each, how they agree with the known ones, what to look at.

Rules:
    * A row that has failed has no label, and does not agree with a known one.
    * Several votes of a row count once, as the label that most of them have.
    * Labels are told apart by their JSON: `1`, `"1"` and `true` are three.
    * What is held is bounded: so many labels, and of each reason to look so many rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from batcher.checks import REPAIRABLE, Code
from batcher.errors import UsageError
from batcher.journal import read_ours
from batcher.report.reading import Output

__all__ = ["LOOK_AT", "Labels", "Look", "agreement", "gather_labels"]

# More is no set of labels; it would be held in memory.
_MOST_LABELS: Final = 1000

# Enough to see what goes wrong; all of them are in the output.
_MOST_LOOKS: Final = 20

# Why a row is worth a look, the gravest first, and what that means.
LOOK_AT: Final = {
    "invalid": "the answer has not the shape that was asked for",
    "truncated": "the answer was cut off",
    "withheld": "the model refused, or a filter did",
    "failed": "there is no usable answer",
    "disagrees": "the label is not the known one",
    "divided": "the votes differ",
    "repaired": "the answer was corrected",
}

_INVALID: Final = frozenset(code.value for code in REPAIRABLE)
_WITHHELD: Final = frozenset((Code.REFUSED.value, Code.CONTENT_FILTERED.value))
_TRUNCATED: Final = Code.ANSWER_TRUNCATED.value


class Look(NamedTuple):
    """A row worth a look.

    Attributes:
        reason: One of `LOOK_AT`.
        custom_id, row, output: Where it is.
        label, known: As JSON, or empty.
        code: Its error code, or empty.
    """

    reason: str
    custom_id: str
    row: int
    output: str
    label: str
    known: str
    code: str


@dataclass(slots=True)
class Labels:
    """What the labels of some outputs came to.

    Attributes:
        rows: All results.
        given: Rows by their label, as JSON; those without one under an empty text.
        pairs: Rows by known label and given one, as JSON; an empty one where there is none.
        voted, divided: Rows with several votes, and those whose votes differ.
        looks: How many rows are worth a look, by reason; `shown` are the first of each.
    """

    rows: int = 0
    given: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    voted: int = 0
    divided: int = 0
    looks: Counter[str] = field(default_factory=Counter)
    shown: list[Look] = field(default_factory=list)

    @property
    def labelled(self) -> int:
        """Rows that have a label."""
        return self.rows - self.given[""]

    @property
    def compared(self) -> int:
        """Rows whose label is known."""
        return self.pairs.total()

    @property
    def agreed(self) -> int:
        """Rows whose label is the known one."""
        return sum(count for (known, label), count in self.pairs.items() if known == label)

    @property
    def kappa(self) -> float | None:
        """Agreement beyond chance, Cohen's kappa: 1 is all of it, 0 none; None where undefined."""
        total = self.compared
        if not total:
            return None
        known, given = self.margins()
        chance = sum(known[label] * given[label] for label in known) / total**2
        return None if chance == 1 else (self.agreed / total - chance) / (1 - chance)

    def margins(self) -> tuple[Counter[str], Counter[str]]:
        """Count the compared rows by known label, and by given label."""
        known: Counter[str] = Counter()
        given: Counter[str] = Counter()
        for (one, other), count in self.pairs.items():
            known[one] += count
            given[other] += count
        return known, given

    def add(self, custom_id: str, ours: dict[str, Any], *, output: str, gold: str | None) -> None:
        """Count a result.

        Raises:
            UsageError: There are too many labels.
        """
        code = ours.get("error_code", "")
        label = "" if code or "label" not in ours else _text(ours["label"])
        known = _text((ours.get("input") or {}).get(gold)) if gold is not None else ""
        self.rows += 1
        self.given[label] += 1
        if known:
            self.pairs[known, label] += 1
        if len(self.given) > _MOST_LABELS or len(self.pairs) > _MOST_LABELS**2:
            raise UsageError(
                f"there are more than {_MOST_LABELS} labels: name them in answer.labels"
            )
        divided = len(ours.get("votes", ())) > 1
        self.voted += "votes" in ours
        self.divided += divided
        for reason in _reasons(ours, code, disagrees=known not in ("", label), divided=divided):
            self.looks[reason] += 1
            if self.looks[reason] <= _MOST_LOOKS:
                look = Look(reason, custom_id, ours["row"], output, label, known, code)
                self.shown.append(look)


def gather_labels(outputs: Iterable[Output], *, gold: str | None) -> Labels:
    """Count the labels of outputs.

    Args:
        gold: The carried field that holds the known label, or None.

    Raises:
        UsageError: An output can't be opened, or there are too many labels.
        StorageError: An output can't be read on.
    """
    labels = Labels()
    for output in outputs:
        for line in output.standing():
            if line.is_result:
                custom_id = orjson.loads(line.raw)["custom_id"] if _is_odd(line.ours, gold) else ""
                labels.add(custom_id, line.ours, output=output.name, gold=gold)
    return labels


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


def _text(label: Any) -> str:
    return "" if label is None else orjson.dumps(label).decode()


def _is_odd(ours: dict[str, Any], gold: str | None) -> bool:
    """Whether a row may be worth a look, so that its id must be known."""
    known = (ours.get("input") or {}).get(gold) if gold is not None else None
    return (
        (known is not None and known != ours.get("label"))
        or not ours.keys().isdisjoint(("error_code", "truncated", "lenient", "invalid_answers"))
        or len(ours.get("votes", ())) > 1
    )


def _reasons(ours: dict[str, Any], code: str, *, disagrees: bool, divided: bool) -> Iterator[str]:
    if code in _INVALID:
        yield "invalid"
    elif code == _TRUNCATED or (ours.get("truncated") and not code):
        yield "truncated"
    elif code in _WITHHELD:
        yield "withheld"
    elif code:
        yield "failed"
    elif disagrees:
        yield "disagrees"
    if divided:
        yield "divided"
    if not code and (ours.get("lenient") or ours.get("invalid_answers")):
        yield "repaired"
