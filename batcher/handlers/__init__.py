"""Carrying tool calls out: functions of a file that the job names, or an HTTP endpoint.

    calls of a turn   carrier.py    results, within bounds
    a call            functions.py  a function of the job's Python file, in a thread
                      remote.py     a POST to the job's endpoint
    what came back    content.py    the text that the model is told
    a file, unrun     outline.py    which functions it has, for a check

Handlers are code that the user runs on purpose. Only the job file names them; a row never does.
"""

from __future__ import annotations

from batcher.checks import carried_out
from batcher.errors import UsageError
from batcher.handlers.carrier import Handlers
from batcher.settings import Settings
from batcher.turns import ToolCall

__all__ = ["Handlers", "ToolCall", "known_tools", "open_handlers"]


def open_handlers(settings: Settings) -> Handlers:
    """Make what a job names to carry its tools out.

    Raises:
        UsageError: It can't be used.
    """
    table = settings.handlers
    if "python" in table:
        from batcher.handlers.functions import FunctionHandlers

        functions = FunctionHandlers(table)
        _require(functions.names, settings)
        return functions
    from batcher.handlers.remote import RemoteHandlers

    return RemoteHandlers(table, trust_env=settings.trust_env)


def known_tools(settings: Settings) -> frozenset[str] | None:
    """Say which tools a job has handlers for, without running any of its code; None for every tool.

    Raises:
        UsageError: It can't be used: a file or a function that it names is not there.
    """
    from batcher.handlers.outline import outline

    table = settings.handlers
    names = outline(table["python"]) if "python" in table else None
    if names is None:
        return None
    missing = sorted(set(table.get("tools", ())) - names)
    if missing:
        raise UsageError(f"{table['python'].name} has no function {missing[0]}: see handlers.tools")
    if "tools" in table:
        return None
    _require(names, settings)
    return names


def _require(names: frozenset[str] | None, settings: Settings) -> None:
    """Refuse a job that offers every row a tool which nothing carries out."""
    if names is None:
        return
    offered = carried_out(settings.defaults) | carried_out(settings.template or {})
    missing = sorted(name for name in offered - names if "{{" not in name)
    if missing:
        file = settings.handlers["python"].name
        raise UsageError(
            f"{file} has no function for the tool {missing[0]}, which the job offers;"
            " where it is not to be carried out, handlers.tools names those that are"
        )
