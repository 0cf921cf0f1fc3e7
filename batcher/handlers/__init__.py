"""Carrying tool calls out: functions of a file that the job names, or an HTTP endpoint.

    calls of a turn   carrier.py    results, within bounds
    a call            functions.py  a function of the job's Python file, in a thread
                      remote.py     a POST to the job's endpoint
    what came back    content.py    the text that the model is told

Handlers are code that the user runs on purpose. Only the job file names them; a row never does.
"""

from __future__ import annotations

from batcher.handlers.carrier import Handlers
from batcher.handlers.functions import FunctionHandlers
from batcher.handlers.remote import RemoteHandlers
from batcher.settings import Settings
from batcher.turns import ToolCall

__all__ = ["Handlers", "ToolCall", "open_handlers"]


def open_handlers(settings: Settings) -> Handlers | None:
    """Make what a job names to carry its tools out, or nothing.

    Raises:
        UsageError: It can't be used.
    """
    table = settings.handlers
    if not table:
        return None
    if "python" in table:
        return FunctionHandlers(table)
    return RemoteHandlers(table, trust_env=settings.trust_env)
