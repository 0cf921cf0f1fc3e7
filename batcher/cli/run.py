"""`batcher run`: sends a job, shows it going, and says how it ended."""

from __future__ import annotations

import gc
import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from batcher import early
from batcher.cli.inputs import settings_for, variable_notes
from batcher.cli.options import GroupedCommand, settings_options
from batcher.cli.progress import watch_for
from batcher.cli.streams import SafeStream, standard_error, standard_output
from batcher.cli.summary import summary

if TYPE_CHECKING:
    from batcher.cli.progress import Watcher
    from batcher.job import Outcome
    from batcher.settings import Settings

__all__ = ["command"]


@click.command("run", cls=GroupedCommand)
@click.argument("target", metavar="SOURCE|JOB.toml", type=click.Path())
@settings_options("run")
def command(target: str, **flags: Any) -> int:
    """Send a file of requests; write one result a row and the totals.

    SOURCE is JSONL, plain, .gz or .zst, or - for standard input, and needs -o OUTPUT. JOB.toml
    names source, output and settings. Run the same command again to go on where it stopped.

    With --rehearse, the sandbox on this machine makes up the answers: no endpoint is asked, no key
    is needed, OUTPUT is not touched.

    Each setting can be given as a flag, as BATCHER_<NAME> in the environment, or in the job file;
    in this order the first one counts. The key is read from BATCHER_API_KEY.
    """
    settings = settings_for(target, flags)
    errors = standard_error()
    dumb = os.environ.get("TERM") in {"dumb", "unknown"}
    watch = watch_for(settings.progress, errors.hurried(), title=_title(settings), dumb=dumb)
    early.put_down()
    with watch:
        for note in variable_notes():
            watch.log(note)
        outcome = _send(settings, watch)
    _tell(outcome, settings, errors)
    if settings.json:
        standard_output().line(_one_line(outcome.totals))
    return outcome.exit_code


def _title(settings: Settings) -> str:
    name = settings.source.name if settings.source else "standard input"
    return f"rehearsing {name}" if settings.rehearse else name


def _send(settings: Settings, watch: Watcher) -> Outcome:
    from batcher.job import run
    from batcher.library.loop import drive

    # What has been imported stays for good: no search for cycles goes over it again.
    gc.freeze()

    return drive(partial(run, settings, watch=watch))


def _tell(outcome: Outcome, settings: Settings, errors: SafeStream) -> None:
    """Say how it ended, in the manner of the progress before."""
    if settings.progress == "json":
        errors.line(_one_line(_end_event(outcome)))
    elif settings.progress != "none" or outcome.stop is not None:
        if settings.rehearse:
            from batcher.cli.rehearsal import rehearsal_summary

            first, *others = rehearsal_summary(outcome, priced_as=settings.priced_as)
        else:
            first, *others = summary(outcome, output=settings.output)
        errors.line("\n".join([f"batcher: {first}", *others]))


def _end_event(outcome: Outcome) -> dict[str, Any]:
    return {
        "event": "end",
        "exit_code": outcome.exit_code,
        "stop_reason": outcome.stop.word if outcome.stop else None,
        "message": outcome.message,
        "totals": outcome.totals,
    }


def _one_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
