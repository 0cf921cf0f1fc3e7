"""The command line: thin, and quick to start.

A command's module is imported when it is asked for; what sends (aiohttp) and what draws (rich) are
imported when they are needed, so that `--help` and a wrong flag answer at once.
"""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn, cast

import click

from batcher import __version__, early
from batcher.cli.faults import leave_no_core, run_safely, silence_libraries
from batcher.cli.streams import open_standard_descriptors

__all__ = ["COMMANDS", "group", "main"]

# Command name to the module that holds it as `command`, and to its first sentence, so that the list
# of commands is written without importing them.
COMMANDS = {
    "run": ("batcher.cli.run", "Send a file of requests; write one result a row and the totals."),
    "check": ("batcher.cli.check", "Check every row of a source; send nothing."),
    "status": ("batcher.cli.status", "Say how a job stands: running, stopped or finished."),
    "report": (
        "batcher.cli.report",
        "Say what outputs have cost, by model, day, job, label, endpoint or error.",
    ),
    "export": (
        "batcher.cli.export",
        "Write results as OpenAI's files, a flat table, or failed rows to send again.",
    ),
    "init": ("batcher.cli.init", "Make a new job folder from one that runs as it stands."),
    "sandbox": (
        "batcher.cli.sandbox",
        "Serve an endpoint on this machine; it fails when asked to.",
    ),
}


class _LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order in which people need them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        if cmd_name != "run":
            early.let_go()
        module = importlib.import_module(COMMANDS[cmd_name][0])
        return cast("click.Command", module.command)

    def invoke(self, ctx: click.Context) -> int:
        """Run a command; click never sees what it raises, so that ours alone is told."""
        return run_safely(lambda: super(_LazyGroup, self).invoke(ctx))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="batcher", message="%(prog)s %(version)s")
def group() -> None:
    """Send a file of requests through an OpenAI-compatible endpoint; get results and the bill."""


def main() -> NoReturn:
    """Run the command line and exit with the code that the documentation promises."""
    leave_no_core()
    open_standard_descriptors()
    silence_libraries()
    code = run_safely(lambda: group.main(prog_name="batcher", standalone_mode=False))
    early.settle()
    sys.exit(code)
