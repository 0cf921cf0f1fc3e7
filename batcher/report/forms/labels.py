"""The labels of outputs, laid out: as Markdown for people, as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from batcher.report.forms.columns import share
from batcher.report.forms.text import escaped, line_of
from batcher.report.labels import LOOK_AT, Labels
from batcher.words import count, plural

__all__ = ["labels_json", "labels_markdown"]

# A wider table is read by nobody; all pairs are in the JSON.
_MOST_COLUMNS: Final = 12

_NONE: Final = "none"


def labels_markdown(labels: Labels) -> str:
    """Write distribution, agreement, confusion and rows to look at."""
    lines = [_headline(labels), "", *_distribution(labels)]
    if labels.compared:
        lines += ["", "Known labels down, given ones across:", "", *_confusion(labels)]
    if labels.shown:
        lines += ["", *_looks(labels)]
    return "\n".join(lines) + "\n"


def labels_json(labels: Labels) -> str:
    """Write the same as one JSON object."""
    fields: dict[str, Any] = {
        "object": "batch.labels",
        "rows": labels.rows,
        "labelled": labels.labelled,
        "labels": [
            {"label": _value(label), "rows": rows} for label, rows in labels.given.most_common()
        ],
        "compared": labels.compared,
        "agreed": labels.agreed,
        "kappa": None if labels.kappa is None else round(labels.kappa, 4),
        "confusion": [
            {"known": _value(known), "label": _value(label), "rows": rows}
            for (known, label), rows in labels.pairs.most_common()
        ],
        "voted": labels.voted,
        "divided": labels.divided,
        "look_at": {reason: labels.looks[reason] for reason in LOOK_AT if labels.looks[reason]},
        "rows_to_look_at": [
            {
                **look._asdict(),
                "label": _value(look.label),
                "known": _value(look.known),
                "code": look.code or None,
            }
            for look in labels.shown
        ],
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE).decode()


def _headline(labels: Labels) -> str:
    parts = [f"{plural(labels.rows, 'row')}, {count(labels.labelled)} labelled"]
    if labels.compared:
        part = share(labels.agreed / labels.compared)
        words = f"{count(labels.agreed)} of {count(labels.compared)} agree with the known ones"
        kappa = "" if labels.kappa is None else f", kappa {labels.kappa:.2f}"
        parts.append(f"{words} ({part}{kappa})")
    if labels.voted:
        parts.append(f"votes differ in {count(labels.divided)} of {count(labels.voted)}")
    return "; ".join(parts)


def _distribution(labels: Labels) -> Iterator[str]:
    headings, marks = ["Label", "Rows", "Share"], [":--", "--:", "--:"]
    if labels.compared:
        headings += ["Known", "Precision", "Recall"]
        marks += ["--:"] * 3
    yield line_of(headings)
    yield line_of(marks)
    known, given = labels.margins()
    ranked = [label for label, _ in labels.given.most_common() if label]
    for label in [*ranked, *(each for each in known if each not in labels.given), ""]:
        rows = labels.given[label]
        if not (label or rows):
            continue
        cells = [_shown(label), count(rows), share(rows / labels.rows)]
        if labels.compared:
            right = labels.pairs[label, label]
            cells += [count(known[label]), _part(right, given[label]), _part(right, known[label])]
        yield line_of(cells if label else [*cells[:3], *([""] * (len(cells) - 3))])


def _confusion(labels: Labels) -> Iterator[str]:
    known, given = labels.margins()
    columns = [label for label, _ in given.most_common(_MOST_COLUMNS)]
    rows = [label for label, _ in known.most_common(_MOST_COLUMNS)]
    yield line_of(["", *map(_shown, columns)])
    yield line_of([":--", *(["--:"] * len(columns))])
    for row in rows:
        yield line_of([_shown(row), *(count(labels.pairs[row, column]) for column in columns)])
    if len(known) > len(rows) or len(given) > len(columns):
        yield ""
        yield f"The {_MOST_COLUMNS} most frequent ones; all are in the JSON."


def _looks(labels: Labels) -> Iterator[str]:
    several = len({look.output for look in labels.shown}) > 1
    for reason, words in LOOK_AT.items():
        looks = [look for look in labels.shown if look.reason == reason]
        if not looks:
            continue
        yield f"{count(labels.looks[reason])} {reason}: {words}"
        for look in looks:
            said = [f"known {_shown(look.known)}"] if look.known else []
            said += [f"given {_shown(look.label)}"] if look.label else []
            said += [look.code] if look.code else []
            where = f"{escaped(look.output)}: " if several else ""
            yield f"- {where}line {look.row}, {escaped(look.custom_id)}: {', '.join(said)}"
        if labels.looks[reason] > len(looks):
            yield f"- and {count(labels.looks[reason] - len(looks))} more"
        yield ""


def _part(some: int, whole: int) -> str:
    return share(some / whole) if whole else ""


def _shown(label: str) -> str:
    """Show a label: a text as it is, anything else as JSON."""
    value = _value(label)
    return _NONE if value is None else escaped(value if isinstance(value, str) else label)


def _value(label: str) -> Any:
    return orjson.loads(label) if label else None
