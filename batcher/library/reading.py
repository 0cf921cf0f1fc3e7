"""Results read back from an output, one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from batcher.errors import UsageError
from batcher.journal import Paths
from batcher.journal.reading import is_finished, read_totals
from batcher.report.reading import Output
from batcher.results import Result, read_result
from batcher.totals import Totals

__all__ = ["Results", "read_results"]


class Results:
    """The results of an output; each iteration reads the file anew.

    Args:
        path: The output.
        finished: Whether it is complete, so that it has totals.
    """

    def __init__(self, path: Path, *, finished: bool) -> None:
        self._path = path
        self.finished = finished

    def __iter__(self) -> Iterator[Result]:
        """Give the results in the order of the file, reading one at a time.

        Raises:
            UsageError: The file can't be read, or a line is no result.
        """
        paths = Paths(self._path)
        path = paths.output if self.finished else paths.partial
        output = Output(path, str(self._path))
        for line in output.standing():
            if line.is_result:
                yield read_result(line.raw, where=f"{self._path}: line {line.number}")
        if output.broken:
            raise UsageError(f"{self._path}: line {output.broken[0]} is no result")

    @property
    def totals(self) -> Totals:
        """The totals of a finished output.

        Raises:
            UsageError: The job is not finished, or the file can't be read.
        """
        if not self.finished:
            raise UsageError(f"{self._path}: the job is not finished, so it has no totals yet")
        return Totals.from_json(read_totals(self._path))


def read_results(output: str | os.PathLike[str], *, unfinished: bool = False) -> Results:
    """Read results back, one at a time.

    Args:
        output: Of a job.
        unfinished: Whether to read what an unfinished job has so far, too, rather than refuse it.

    Raises:
        UsageError: No job has written there, or it is not finished.
    """
    path = Path(output)
    finished = is_finished(path)
    if not finished and not unfinished:
        raise UsageError(f"{path}: the job is not finished; unfinished=True reads what there is")
    return Results(path, finished=finished)
