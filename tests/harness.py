"""A job in a folder, run through the command line, and the audit of what it left."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

from batcher.cli import group
from batcher.cli.faults import run_safely
from batcher.cli.progress import LineWatch
from batcher.cli.streams import SafeStream
from batcher.records import Progress
from tests.server import Endpoint

__all__ = [
    "STOP_SIGNALS",
    "Job",
    "Process",
    "Ran",
    "Said",
    "as_lines",
    "is_locked",
    "lines_of",
    "outcome",
    "row",
    "rows",
    "wait_for",
]

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_PATIENCE_S = 30.0


class Ran(NamedTuple):
    """How a command ended: exit code, the JSON on standard output, standard error."""

    code: int
    totals: dict[str, Any]
    err: str


class Said(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def row(key: str, custom_id: Any = ..., **body: Any) -> dict[str, Any]:
    """A chat request that the endpoint knows by `key`; its id is the key unless given or None."""
    fields = {"model": "m", "messages": [{"role": "user", "content": key}], **body}
    name = key if custom_id is ... else custom_id
    return fields if name is None else {"custom_id": name, **fields}


def rows(count: int, *, start: int = 1) -> list[dict[str, Any]]:
    """Rows `r1`, `r2`, ..."""
    return [row(f"r{number}") for number in range(start, start + count)]


class Job:
    """A source, an output and an endpoint.

    Attributes:
        source, output: Their paths.
        flags: Given to every run.
        watching: Told the progress of a run in this process, about four times a second.
    """

    def __init__(
        self,
        folder: Path,
        endpoint: Endpoint,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.source = folder / "in.jsonl"
        self.output = folder / "out.jsonl"
        self.partial = folder / "out.jsonl.partial"
        self.flags: list[str] = ["--prices", "none"]
        self._capsys = capsys
        endpoint.output = self.output
        self.watching: Callable[[Progress], None] = lambda _: None
        monkeypatch.setattr("batcher.cli.run.watch_for", self._watch_for)

    def _watch_for(self, mode: str, stream: SafeStream, **_: Any) -> LineWatch:
        del mode

        def tell(progress: Progress) -> None:
            self.watching(progress)

        return _Watch(stream, tell)

    def write(self, lines: Iterable[Any]) -> None:
        """Write the source: dicts as JSON, texts and bytes as they are."""
        self.source.write_bytes(as_lines(lines))

    def command(self, *flags: str, source: str | None = None) -> list[str]:
        """The arguments of a run."""
        base = ["run", source or str(self.source), "-o", str(self.output)]
        return [*base, "--base-url", self.endpoint.url, "--json", *self.flags, *flags]

    def run(self, *flags: str, source: str | None = None) -> Ran:
        """Run in this process, through the command line."""
        return self.invoke(*self.command(*flags, source=source))

    def invoke(self, *arguments: str) -> Ran:
        """Run any command in this process, which keeps its own handling of signals."""
        said = self.invoke_text(*arguments)
        return Ran(said.code, _totals(said.out), said.err)

    def invoke_text(self, *arguments: str) -> Said:
        """Run any command in this process; what it says on standard output is no JSON."""
        self._capsys.readouterr()
        handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        code = run_safely(
            lambda: group.main(list(arguments), prog_name="batcher", standalone_mode=False)
        )
        for number, handler in handlers.items():
            signal.signal(number, handler)
        out, err = self._capsys.readouterr()
        return Said(code, out, err)

    @contextmanager
    def process(self, *flags: str, source: str | None = None) -> Iterator[Process]:
        """Run in a process of its own; it is gone when the context ends."""
        arguments = [sys.executable, "-m", "batcher", *self.command(*flags, source=source)]
        with subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
        ) as child:
            try:
                yield Process(child)
            finally:
                child.kill()

    def results(self) -> list[dict[str, Any]]:
        """The result lines of the output, in its order; the last line is checked to be totals."""
        *lines, last = lines_of(self.output)
        assert last["object"] == "batch.totals"
        assert all("object" not in line for line in lines)
        return lines

    def result(self, custom_id: str) -> dict[str, Any]:
        """The one result of an id."""
        found = [line for line in self.results() if line["custom_id"] == custom_id]
        assert len(found) == 1
        return found[0]

    def totals(self) -> dict[str, Any]:
        """The last line of the output."""
        last = lines_of(self.output)[-1]
        assert isinstance(last, dict)
        return last

    def codes(self) -> dict[str, str]:
        """What became of each row: `200`, another status, or the code of its error."""
        return {line["custom_id"]: outcome(line) for line in self.results()}

    def written(self) -> set[str]:
        """The ids that have a whole result line in the journal."""
        raws = self.partial.read_bytes().split(b"\n")[:-1]
        return {json.loads(raw)["custom_id"] for raw in raws if raw.startswith(b'{"id":')}

    def audit(self, *, books: bool = True) -> None:
        """Check the output against itself, and the totals against the endpoint's books."""
        lines, totals = self.results(), self.totals()
        ids = [line["custom_id"] for line in lines]
        assert len(set(ids)) == len(ids), "a row stands twice"
        assert len({line["id"] for line in lines}) == len(lines)
        assert not self.partial.exists()
        assert not self.output.with_name("out.jsonl.lock").exists()
        audit_sums(lines, totals)
        if books:
            seen = self.endpoint.books
            assert totals["attempts"] == seen.attempts
            assert totals["attempts_without_usage"] == seen.unsure
            for name, tokens in seen.usage.items():
                assert totals["usage"][name] == tokens


class _Watch(LineWatch):
    """A line watch that tells a test as well."""

    def __init__(self, stream: SafeStream, tell: Callable[[Progress], None]) -> None:
        super().__init__(stream)
        self._tell = tell

    def update(self, progress: Progress) -> None:
        self._tell(progress)
        super().update(progress)


class Process:
    """A run in a process of its own."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self.pid = child.pid

    @property
    def stdin(self) -> IO[bytes]:
        """Its standard input."""
        assert self._child.stdin is not None
        return self._child.stdin

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._child.send_signal(number)

    def wait(self) -> Ran:
        """Wait for its end."""
        out, err = self._child.communicate(timeout=_PATIENCE_S)
        return Ran(self._child.returncode, _totals(out.decode()), err.decode())


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll a condition of files or processes, which tell nobody when they change."""
    until_s = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s, "it never came"
        time.sleep(0.005)


def is_locked(job: Job) -> bool:
    """Whether a run holds the job's output."""
    path = job.output.with_name("out.jsonl.lock")
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return bool(path.read_bytes())
    return False


def as_lines(lines: Iterable[Any]) -> bytes:
    """Write JSON Lines: dicts as JSON, texts and bytes as they are."""
    texts = [line if isinstance(line, str | bytes) else json.dumps(line) for line in lines]
    return b"".join((text.encode() if isinstance(text, str) else text) + b"\n" for text in texts)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Parse every line of a file; the file ends with a line end."""
    text = path.read_bytes()
    assert text.endswith(b"\n")
    return [json.loads(line) for line in text.split(b"\n")[:-1]]


def outcome(line: dict[str, Any]) -> str:
    """What a result line says: the code of its error, else the status."""
    if line["error"] is not None:
        return str(line["error"]["code"])
    return str(line["response"]["status_code"])


def audit_sums(lines: Sequence[dict[str, Any]], totals: dict[str, Any]) -> None:
    """Check that the totals are the sum over the lines, and over the models."""
    ours = [line["batcher"] for line in lines]
    pruned = totals.get("pruned")
    spends = [*ours, *([pruned] if pruned else [])]
    failed = sum(outcome(line) != "200" for line in lines)
    assert totals["request_counts"] == {
        "total": len(lines),
        "completed": len(lines) - failed,
        "failed": failed,
    }
    assert sum(totals["errors"].values()) == failed
    for models in ([totals], list(totals["by_model"].values())):
        for name in ("attempts", "attempts_without_usage"):
            assert sum(each[name] for each in models) == sum(each.get(name, 0) for each in spends)
        assert _tokens(models) == _tokens(spends)
        assert _cost(models) == _cost(spends)


def _cost(spends: Iterable[dict[str, Any]]) -> Decimal:
    return sum((Decimal(each["cost_usd"] or 0) for each in spends), Decimal(0))


def _tokens(spends: Iterable[dict[str, Any]]) -> Counter[str]:
    tokens: Counter[str] = Counter()
    for spend in spends:
        usage = spend["usage"]
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            tokens[name] += usage[name]
        tokens["cached"] += usage["prompt_tokens_details"]["cached_tokens"]
        tokens["reasoning"] += usage["completion_tokens_details"]["reasoning_tokens"]
    return tokens


def _totals(out: str) -> dict[str, Any]:
    lines = out.splitlines()
    assert len(lines) <= 1, "standard output carries more than the totals"
    totals: dict[str, Any] = json.loads(lines[0]) if lines else {}
    return totals


def _environment() -> dict[str, str]:
    """This environment without settings of batcher's, and with the package at hand."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BATCHER_", "OPENAI_"))
    }
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
