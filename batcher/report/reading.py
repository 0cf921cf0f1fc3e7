"""The results of outputs, read back: the one reader of everything that looks on.

    for output in outputs(["results/*.jsonl"]):
        for line in output.standing():
            line.ours, line.raw, line.is_result

Rules:
    * An output is named by its file, by its journal `OUTPUT.partial` or by a glob; plain, `.gz` or
      `.zst`. While a journal stands beside an output it is the journal that is read: it holds all
      that the output holds. So no result is counted twice, however often a job is named.
    * Of a journal, a row's last line stands. What a row without a result has cost stands as well,
      and so does a failure that `--retry-failed` took back: as a line that is no result.
    * A torn line at the very end of a journal is what a run was writing when it was killed, or is
      writing now; it is passed over. Any other line that can't be read is in `broken`.
    * Nothing is held: neither lines nor objects. A finished output is read once; a journal twice,
      with some 30 bytes a row between.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from batcher.amounts import NO_AMOUNT, Amount
from batcher.errors import UsageError
from batcher.journal import Kept, RunNote, read_line
from batcher.journal.files import usage_errors
from batcher.journal.lines import Lease, RetryMark, find_ours
from batcher.report.places import STANDS, Places
from batcher.source import Blocks, LineSplitter
from batcher.spend import read_amount

__all__ = ["Output", "Results", "Standing", "outputs"]

_RESULT: Final = b'{"id":"'
_ATTEMPT: Final = b'{"object":"batch.attempt"'
_TOTALS: Final = b'{"object":"batch.totals"'

_COMPRESSED: Final = (".gz", ".zst")
_PARTIAL: Final = ".partial"

# Beside an output, and no output: its lock, a copy in the making.
_NEVER: Final = (".lock", ".partial.tmp")

# Longer than any line of ours: an answer and what a row carries have 64 MiB each at most.
_MAX_LINE_BYTES: Final = 256 * 1024 * 1024

# More than the totals of most jobs take.
_TAIL_BYTES: Final = 64 * 1024

# Makes a named tuple in a third of the time that calling its class takes.
_made: Final = tuple.__new__


class Standing(NamedTuple):
    """A line that stands.

    Attributes:
        number: 1-based, of the line in its file.
        raw: The line without its line end.
        ours: Its `batcher` object, as parsed and not checked.
        is_result: False where it only tells what a row without a result has cost.
    """

    number: int
    raw: bytes
    ours: dict[str, Any]
    is_result: bool


class Results(NamedTuple):
    """Results that stand, one after another, whose `batcher` objects nobody has read yet.

    Attributes:
        numbers: 1-based, of the lines in their file.
        raws: The lines without their line ends.
    """

    numbers: list[int]
    raws: list[bytes]


class Output:
    """One job's results. What the attributes say is known once `standing` has been exhausted.

    Args:
        path: The file to read.
        name: What to call the job: the output's path as it was named.

    Attributes:
        finished: Whether its last line is the totals of a whole job.
        notes: What its runs took, and what pruned rows have cost.
        broken: Numbers of lines that can't be read.
        lines: How many lines were read.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.finished = False
        self.notes: list[RunNote] = []
        self.broken: list[int] = []
        self.lines = 0
        self._leases: dict[str, Amount] = {}

    @property
    def unseen(self) -> Amount:
        """The most that runs which were killed, or one that goes on, may have spent unwritten."""
        whole = NO_AMOUNT
        for note in self.notes:
            whole = whole.plus(read_amount(note.uncertain or {}, "killed_runs"))
        for amount in self._leases.values():
            whole = whole.plus(amount)
        return whole

    def standing(self) -> Iterator[Standing]:
        """Give the lines that stand, from the first to the last.

        Raises:
            StorageError: The file can't be read on, or is cut short.
            UsageError: It can't be opened.
        """
        for part in self.parts():
            if isinstance(part, Standing):
                yield part
            else:
                yield from self.each(part)

    def parts(self) -> Iterator[Standing | Results]:
        """Give the same, those that can be seen together together.

        Raises:
            StorageError, UsageError: As `standing`.
        """
        self.notes, self.broken, self.lines, self._leases = [], [], 0, {}
        with contextlib.closing(self._open()) as file:
            self.finished = _ends_with_totals(file)
            yield from self._of_finished(file) if self.finished else self._of_journal(file)

    def each(self, results: Results) -> Iterator[Standing]:
        """Give results that `parts` gave together, one by one."""
        for number, raw in zip(*results, strict=True):
            try:
                at, ours = find_ours(raw)
            except ValueError:
                at, ours = -1, {}
            if at < 0:
                self.broken.append(number)
            else:
                yield _made(Standing, (number, raw, ours, True))

    def _open(self) -> Blocks:
        try:
            return Blocks(self.path)
        except UsageError:
            # Its job may have been published meanwhile: its journal is the output now.
            if self.path.exists() or not Path(self.name).exists():
                raise
            return Blocks(Path(self.name))

    def _of_finished(self, file: Blocks) -> Iterator[Results]:
        """Every result stands. Outputs may have been strung together: each has its totals."""
        number = 0
        for lines in _blocks(file):
            results = Results([], [])
            for number, raw in enumerate(lines, number + 1):  # noqa: B020 - it goes on from there
                if raw is not None and raw.startswith(_RESULT):
                    results.numbers.append(number)
                    results.raws.append(raw)
                elif not raw and raw is not None:
                    continue
                elif isinstance(note := read_line(raw or b""), RunNote):
                    self.notes.append(note)
                else:
                    self.broken.append(number)
            if results.raws:
                yield results
        self.lines = number

    def _of_journal(self, file: Blocks) -> Iterator[Standing | Results]:
        places = Places()
        last = 0
        for number, raw in _lines(file, torn=False):
            last = number
            line = read_line(raw)
            if isinstance(line, Kept):
                places.put(line, number)
            elif isinstance(line, RetryMark):
                places.take_back_failures()
            elif isinstance(line, RunNote):
                self.notes.append(line)
            elif isinstance(line, Lease):
                self._leases[line.run] = line.amount
            else:
                self.broken.append(number)
        self.lines = last
        stands = places.table(last)
        for number, raw in _lines(file):
            if number > last:  # written since
                return
            if place := stands[number]:
                yield Standing(number, raw, find_ours(raw)[1], place == STANDS)


def outputs(targets: Iterable[str]) -> list[Output]:
    """Find the outputs that are named, each once, in the order in which they were named.

    Args:
        targets: Paths of outputs or of their journals, and globs (`**` reaches into folders).

    Raises:
        UsageError: Nothing is there, or it is no file.
    """
    found: dict[tuple[int, int], Output] = {}
    for target in targets:
        for path in _paths(target):
            chosen, name = _choose(path)
            status = chosen.stat()
            found.setdefault((status.st_dev, status.st_ino), Output(chosen, name))
    return list(found.values())


def _paths(target: str) -> list[Path]:
    if os.path.lexists(target) or not glob.has_magic(target):
        return [Path(target)]
    # pathlib's own needs a folder to begin from, and knows no home or root in a pattern.
    matches = [Path(match) for match in sorted(glob.glob(target, recursive=True))]  # noqa: PTH207
    paths = [path for path in matches if path.is_file() and not path.name.endswith(_NEVER)]
    if not paths:
        raise UsageError(f"no output matches {target}")
    return paths


def _choose(path: Path) -> tuple[Path, str]:
    """Take the journal of a job while there is one; the name is the output's in any case."""
    suffix = path.suffix if path.suffix in _COMPRESSED else ""
    base = str(path).removesuffix(suffix).removesuffix(_PARTIAL)
    journal = Path(f"{base}{_PARTIAL}{suffix}")
    chosen = journal if journal.is_file() else path
    if chosen.is_dir():
        raise UsageError(f"{path} is a folder; name its outputs, such as '{path}/*.jsonl'")
    if not chosen.is_file():
        raise UsageError(f"there is no output {path}")
    return chosen, base + suffix


def _lines(file: Blocks, *, torn: bool = True) -> Iterator[tuple[int, bytes]]:
    """Give the lines of a file and their numbers, blank ones left out.

    Args:
        torn: Whether to give what stands at the end without a line end.
    """
    passed = 0
    for lines in _blocks(file, torn=torn):
        for number, raw in enumerate(lines, passed + 1):
            if raw != b"":
                yield number, raw or b""
        passed += len(lines)


def _blocks(file: Blocks, *, torn: bool = True) -> Iterator[list[bytes | None]]:
    """Give the lines of a file, a list at a time; None for one that is too long."""
    splitter = LineSplitter(_MAX_LINE_BYTES)
    for block in file:
        yield splitter.split(block)
    if torn and (rest := splitter.rest()):
        yield [rest]


def _ends_with_totals(file: Blocks) -> bool:
    if file.path.suffix in _COMPRESSED:
        last = deque(_lines(file, torn=False), maxlen=1)
        return bool(last) and last[0][1].startswith(_TOTALS)
    fd = file.fileno()
    with usage_errors(f"{file.path} can't be read"):
        size = os.fstat(fd).st_size
        tail_bytes = min(size, _TAIL_BYTES)
        while True:
            tail = os.pread(fd, tail_bytes, size - tail_bytes).removesuffix(b"\n")
            start = tail.rfind(b"\n") + 1
            if start or tail_bytes == size:
                return tail.startswith(_TOTALS, start)
            tail_bytes = min(size, tail_bytes * 8)
