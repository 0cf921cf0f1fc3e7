"""batcher: a file of chat and tool-call requests in, one result a row and the bill out.

What stands in `__all__` is public. It is imported when it is first asked for, so that
`import batcher` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batcher.amounts import Usage
    from batcher.errors import (
        BatcherError,
        OutputLockedError,
        StoppedError,
        StorageError,
        UsageError,
    )
    from batcher.library.reading import Results, read_results
    from batcher.library.running import Stop, run, run_async
    from batcher.library.streaming import Processing, process
    from batcher.records import Progress
    from batcher.results import Result, ToolCall
    from batcher.totals import ModelTotals, RequestCounts, Totals

__version__ = "0.1.0"

__all__ = [
    "BatcherError",
    "ModelTotals",
    "OutputLockedError",
    "Processing",
    "Progress",
    "RequestCounts",
    "Result",
    "Results",
    "Stop",
    "StoppedError",
    "StorageError",
    "ToolCall",
    "Totals",
    "Usage",
    "UsageError",
    "process",
    "read_results",
    "run",
    "run_async",
]

_HOMES = {
    **dict.fromkeys(
        ("BatcherError", "OutputLockedError", "StoppedError", "StorageError", "UsageError"),
        "batcher.errors",
    ),
    "Progress": "batcher.records",
    "Usage": "batcher.amounts",
    **dict.fromkeys(("Result", "ToolCall"), "batcher.results"),
    **dict.fromkeys(("ModelTotals", "RequestCounts", "Totals"), "batcher.totals"),
    **dict.fromkeys(("Results", "read_results"), "batcher.library.reading"),
    **dict.fromkeys(("Processing", "process"), "batcher.library.streaming"),
    **dict.fromkeys(("Stop", "run", "run_async"), "batcher.library.running"),
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
