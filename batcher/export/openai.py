"""Pure OpenAI files: a line is a result line without our key.

What succeeded goes into the output file, what failed into the error file: an HTTP refusal with its
status in `response` and `error` null, as OpenAI has it (openai-openapi#302); a row without a usable
answer with its `error`. An answer that lacks the shape its row asks for has both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from batcher.journal.lines import find_ours
from batcher.report.reading import Standing

__all__ = ["write_openai"]

_KEY = b',"batcher":'


def write_openai(
    results: Iterable[Standing],
    *,
    to_output: Callable[[bytes], object],
    to_errors: Callable[[bytes], object],
) -> None:
    """Part results into OpenAI's two files, in the order of the output."""
    for result in results:
        at, ours = find_ours(result.raw)
        write = to_errors if ours.get("error_code") else to_output
        write(result.raw[: at - len(_KEY)] + b"}\n")
