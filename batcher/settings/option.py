"""What one setting is: its names, how it is read, and what is said of it."""

from __future__ import annotations

from typing import NamedTuple

from batcher.settings.values import Kind

__all__ = ["Option"]


class Option(NamedTuple):
    """One setting.

    Attributes:
        name: Its key in a job file; flag and variable follow from it.
        kind: How it is read.
        help: What it does, in one sentence without a full stop at its end.
        group: The heading under which it is listed.
        otherwise: What holds when it is not given, where `Settings` has no default that says it.
        field: Its field in `Settings` where that is named otherwise (with a unit, as a rule).
        section: The table of the job file that holds its key, or empty for the top.
        on_command_line: Whether it has a flag and a variable; the others stand in a job file only.
        short: A short flag besides the long one.
        one: The name of flag and variable where they hold one of what the key holds many of.
        commands: The commands that take its flag.
    """

    name: str
    kind: Kind
    help: str
    group: str
    otherwise: str = ""
    field: str = ""
    section: str = ""
    on_command_line: bool = True
    short: str = ""
    one: str = ""
    commands: tuple[str, ...] = ("run",)

    @property
    def flag(self) -> str:
        """The long flag, `--max-cost`; empty where it has none."""
        return f"--{(self.one or self.name).replace('_', '-')}" if self.on_command_line else ""

    @property
    def variable(self) -> str:
        """The environment variable, `BATCHER_MAX_COST`; empty where it has none."""
        return f"BATCHER_{(self.one or self.name).upper()}" if self.on_command_line else ""

    @property
    def key(self) -> str:
        """The dotted key in a job file, `max_cost` or `local.model_file`."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def settings_field(self) -> str:
        """The field of `Settings` that it fills."""
        return self.field or self.name
