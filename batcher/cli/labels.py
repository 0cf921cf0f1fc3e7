"""`batcher report --labels`: what the labels of outputs came to."""

from __future__ import annotations

from typing import Any

from batcher.cli.faults import EXIT_USAGE
from batcher.cli.inputs import job_of
from batcher.cli.outputs import writing
from batcher.cli.streams import standard_error
from batcher.errors import UsageError

__all__ = ["labels_report"]

# What of a report speaks of cost alone.
_OF_COST = ("by", "since", "until", "top", "prices", "invoice", "budget")


def labels_report(targets: tuple[str, ...], given: dict[str, Any], *, form: str) -> int:
    """Write the report on labels; return the exit code.

    Args:
        targets: Outputs and job files.
        given: The flags of `batcher report`.
        form: `table`, `markdown` or `json`.

    Raises:
        UsageError: The flags don't go together.
    """
    _check(given, form)
    from batcher.report.forms.labels import labels_json, labels_markdown
    from batcher.report.labels import gather_labels
    from batcher.report.reading import outputs

    names, golds = [], [given["gold"]]
    for target in targets:
        settings = job_of(target)
        names.append(target if settings is None else str(settings.output))
        golds.append(settings.answer.get("gold") if settings else None)
    found = outputs(names)
    labels = gather_labels(found, gold=next(filter(None, golds), None))
    with writing(given["output"], read=[output.path for output in found]) as stream:
        stream.write(labels_json(labels) if form == "json" else labels_markdown(labels))
    broken = [(output.name, output.broken[0]) for output in found if output.broken]
    for name, number in broken:
        standard_error().line(f"batcher: {name}:{number} can't be read")
    return EXIT_USAGE if broken else 0


def _check(given: dict[str, Any], form: str) -> None:
    if not given["labels"]:
        raise UsageError("--gold goes with --labels")
    for name in _OF_COST:
        if given.get(name):
            raise UsageError(f"--{name} is of cost: leave it out with --labels")
    if form not in ("table", "markdown", "json"):
        raise UsageError("--labels are written as a table, Markdown or JSON")
