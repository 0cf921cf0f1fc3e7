"""click's options, derived from the one table of settings.

click only takes the words; `settings` reads them, so that a flag, a variable and a job key are
judged alike and the messages are the same. Choices and paths keep their click types for the shell's
completion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from batcher.settings.options import GROUPS, OPTIONS, Option
from batcher.settings.schema import default_text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GroupedCommand", "settings_options"]


class _Word(click.ParamType[str, str]):
    """A text that click doesn't judge; it completes to the choices or to files."""

    name = "text"

    def __init__(self, option: Option) -> None:
        self._option = option

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        del ctx, param
        item = click.shell_completion.CompletionItem
        if self._option.kind.is_path:
            return [item(incomplete, type="file")]
        return [item(word) for word in self._option.kind.choices if word.startswith(incomplete)]


class GroupedCommand(click.Command):
    """A command whose help lists the settings under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the settings by group, in the order of the table."""
        groups = {option.name: option.group for option in OPTIONS if option.on_command_line}
        listed: dict[str, list[tuple[str, str]]] = {name: [] for name in (*GROUPS, "Help")}
        for param in self.get_params(ctx):
            if isinstance(param, click.Argument):
                continue
            record = param.get_help_record(ctx)
            if record is not None:
                listed[groups.get(param.name or "", "Help")].append(record)
        for name, records in listed.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def settings_options(command: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a decorator that adds the flags that `command` takes."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(OPTIONS):
            if option.on_command_line and command in option.commands:
                function = _decorator(option)(function)
        return function

    return decorate


def _decorator(option: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    help_text = f"{option.help}.{_default_help(option)}"
    if not option.kind.metavar:
        flag = f"{option.flag}/--no-{option.flag[2:]}"
        return click.option(flag, option.name, default=None, help=help_text)
    names = [option.flag, *filter(None, [option.short])]
    return click.option(
        *names,
        option.name,
        type=_Word(option),
        metavar=option.kind.metavar,
        multiple=option.kind.repeats,
        help=help_text,
    )


def _default_help(option: Option) -> str:
    default = default_text(option)
    says_little = default in {"", "off"} or default.startswith("none")
    return "" if says_little else f" [default: {default}]"
