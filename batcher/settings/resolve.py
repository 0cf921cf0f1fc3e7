"""What a job is told: flags, environment and job file, resolved into one frozen `Settings`.

Flags win over `BATCHER_*` in the environment, which wins over the job file, which wins over
`OPENAI_BASE_URL`. Nothing here reads a file or the environment: mappings come in.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from batcher.errors import UsageError
from batcher.settings.addresses import target_url
from batcher.settings.forms import form_of
from batcher.settings.handlers import handler_table
from batcher.settings.layers import Given, gather
from batcher.settings.options import OPTIONS
from batcher.settings.record import Settings
from batcher.settings.target import (
    NamedEndpoint,
    Surroundings,
    section,
    settle_rehearsal,
    settle_target,
)
from batcher.settings.values import deadline_unix

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NamedEndpoint", "Settings", "Surroundings", "resolve", "target_url"]


_FIELDS = frozenset(one.name for one in fields(Settings))


def resolve(
    *,
    flags: Mapping[str, Any],
    job: Mapping[str, Any],
    job_file: Path | None,
    around: Surroundings,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    sending: bool = True,
) -> Settings:
    """Settle what holds for a job.

    Args:
        flags: By setting name, as text or as typed values; `source` and `output` among them.
        job: The job file's content, or empty.
        job_file: Its path: the paths in it are relative to its folder.
        around: The environment, the time and the two lookups.
        arguments: What a program gives, keyed and typed as in a job file; it wins over all.
        sending: False for a check, which needs neither an output nor an endpoint nor a key; what
            is not given is then empty (`output` is `Path()`).

    Raises:
        UsageError: On the first thing that is wrong or missing.
    """
    given = gather(
        flags=flags,
        environ=around.environ,
        job=job,
        job_file=job_file,
        arguments=arguments,
    )
    settings = Settings(**_settled(given, around, sending=sending))
    _check_together(settings)
    return settings


def _settled(given: Mapping[str, Given], around: Surroundings, *, sending: bool) -> dict[str, Any]:
    """Give every field that is said, or that follows from what is said."""
    settled = {
        option.settings_field: given[option.name].value
        for option in OPTIONS
        if option.name in given and not option.section and option.settings_field in _FIELDS
    }
    rehearsing = sending and settled.get("rehearse", False)
    sending = sending and not rehearsing
    settled |= _files(given, sending=sending)
    settled |= settle_target(given, around, sending=sending)
    settled["answer"] = section(given, "answer")
    settled["handlers"] = handler_table(
        section(given, "handlers"), given, around.environ, around.read_key, sending=sending
    )
    if settled["handlers"]:
        _check_one_choice(settled)
    if rehearsing:
        settled |= settle_rehearsal(given, settled["endpoint"])
    if "prices" in given:
        settled["prices"] = str(given["prices"].value)
    if "deadline" in given:
        settled["deadline_unix"] = deadline_unix(given["deadline"].value, around.now)
    return settled


def _files(given: Mapping[str, Given], *, sending: bool) -> dict[str, Any]:
    source = given.get("source")
    if source is None:
        raise UsageError("say what to send: batcher run SOURCE -o OUTPUT, or batcher run JOB.toml")
    path = None if str(source.value) == "-" else source.value
    output = given["output"].value if "output" in given else Path()
    if sending and "output" not in given:
        raise UsageError("say where the results go: -o OUTPUT, or output = ... in the job file")
    if path is not None and sending and path in {output, Path(f"{output}.partial")}:
        raise UsageError(f"{given['output'].said_by}: the results would replace the source")
    return {"source": path, "output": output}


def _check_together(settings: Settings) -> None:
    """Refuse settings that contradict one another."""
    _check_answers(settings)
    if settings.fresh and settings.retry_failed:
        raise UsageError("--fresh starts over, --retry-failed goes on: give one of them")
    if settings.max_cost_month_usd and settings.ledger is None:
        raise UsageError("--max-cost-month needs a ledger that the month's runs share: --ledger")
    if settings.max_cost_month_usd and settings.prices == "none":
        raise UsageError("--max-cost-month needs prices: with --prices none nothing could be sent")
    if settings.max_cost_usd and settings.prices == "none":
        raise UsageError("--max-cost needs prices: with --prices none nothing could be sent")
    if settings.template is None and form_of(settings.source, settings.source_format) != "jsonl":
        raise UsageError(
            "the rows of a table need a request template, [request] in a job file, which their"
            " fields fill; batcher init makes a job to start from"
        )
    if settings.template is None and (settings.id_field or settings.carry):
        raise UsageError("id_field and carry need a template: [request]")


def _check_answers(settings: Settings) -> None:
    """Refuse what can't be asked of answers, or done with them."""
    if settings.answer.get("votes", 1) > 1 and settings.answer.keys().isdisjoint(
        {"label", "labels"}
    ):
        raise UsageError("answer.votes needs labels to vote for: answer.labels or answer.label")
    if "gold" in settings.answer and settings.answer["gold"] not in settings.carry:
        raise UsageError("answer.gold must be one of the fields that carry names")
    if not settings.check_answers and (settings.handlers or settings.on_invalid != "fail"):
        raise UsageError("--no-check-answers finds no answer invalid, and lets no tool be called")


def _check_one_choice(settled: Mapping[str, Any]) -> None:
    """Refuse several choices with handlers: each would be a conversation of its own."""
    asked = {
        "answer.votes": settled["answer"].get("votes"),
        "request.n": (settled.get("template") or {}).get("n"),
        "defaults.n": settled.get("defaults", {}).get("n"),
    }
    for name, many in asked.items():
        if isinstance(many, int | float) and many > 1:
            raise UsageError(f"{name} is above 1, and [handlers] carry out the calls of one choice")
