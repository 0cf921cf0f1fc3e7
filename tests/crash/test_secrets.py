"""A key, a prompt and an answer that can be told apart, looked for wherever they must not be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from batcher import errors
from batcher.cli.faults import run_safely
from tests.crash.conftest import Reckoner
from tests.crash.job import environment
from tests.crash.kill import HANG_S
from tests.harness import as_lines, row
from tests.hostile import HostileServer, Peer, answer

KEY = "sk-canary-4b1d"
PROMPT = "prompt-canary-77ce"
ANSWER = "answer-canary-e02a"

_BODY = json.dumps({"choices": [{"message": {"content": ANSWER}}]}).encode()
_ERROR = json.dumps({"error": {"message": f"{ANSWER}: you said {PROMPT}, {KEY}"}}).encode()

# What the endpoint does with every request of a run; each ends it in another way.
_MOVES = {
    "answers": answer(_BODY),
    "refuses": answer(_ERROR, status="400 Bad"),
    "fails": answer(_ERROR, status="500 Bad"),
    "refuses the key": answer(_ERROR, status="401 No"),
    "asks to wait for ever": answer(_ERROR, status="429 Slow", headers=["Retry-After: 9999999"]),
    "redirects": answer(_ERROR, status="307 Go", headers=["Location: http://localhost:9/v1"]),
    "is no HTTP": ANSWER.encode() + b"\r\n\r\n",
    "cuts": answer(_BODY, length=9999),
}


@pytest.mark.parametrize("progress", ["json", pytest.param("bar", marks=pytest.mark.crash)])
@pytest.mark.parametrize("name", [*_MOVES])
def test_nothing_leaks(tmp_path: Path, reckon: Reckoner, name: str, progress: str) -> None:
    """The key stands in no argument, file or log; prompts and answers stand in no log."""
    (tmp_path / "in.jsonl").write_bytes(as_lines([row(PROMPT, f"c{n}") for n in range(3)]))
    arguments: list[bytes] = []
    processes: list[int] = []

    def script(peer: Peer) -> None:
        while True:
            peer.request()
            arguments.append(_arguments_below(processes[0]))
            peer.send(_MOVES[name])
            if name in ("is no HTTP", "cuts"):
                return

    umask = os.umask(0)
    try:
        with HostileServer(script) as server:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "batcher", "run", str(tmp_path / "in.jsonl")),
                    *("-o", str(tmp_path / "out.jsonl"), "--base-url", server.origin, "--json"),
                    *("--max-attempts", "2", "--progress", progress),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(BATCHER_API_KEY=KEY, BATCHER_DEBUG="1"),
            )
            processes.append(process.pid)
            out, err = process.communicate(timeout=HANG_S)
            told = [request.head for request in server.requests]
    finally:
        os.umask(umask)
    assert any(KEY.encode() in head for head in told), "the key was sent where it belongs"
    for secret in (KEY, PROMPT, ANSWER):
        for place in (out, err, *arguments):
            assert secret.encode() not in place
    files = [*tmp_path.glob("out*")]
    for file in files:
        assert (
            KEY.encode() not in file.read_bytes()
            or name.startswith(("refuses", "fails"))
            or (name == "redirects")
        ), "only an endpoint that quotes the key brings it into the results"
        assert file.stat().st_mode & 0o777 == 0o600, "private under any umask"
    lock = tmp_path / "out.jsonl.lock"
    if lock.exists():
        assert not any(secret in lock.read_text() for secret in (KEY, PROMPT, ANSWER))
    reckon.count(canaries=3 * (2 + len(arguments)) + len(files), runs=1)


def _arguments_below(leader: int) -> bytes:
    """The command lines of a process and its children."""
    found = Path(f"/proc/{leader}/cmdline").read_bytes()
    children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
    for child in children:
        found += Path(f"/proc/{child}/cmdline").read_bytes()
    return found


def _every_exception() -> Iterator[BaseException]:
    yield from (
        ValueError(KEY), TypeError(KEY), KeyError(KEY), OSError(5, KEY), RuntimeError(PROMPT),
        UnicodeDecodeError("utf-8", ANSWER.encode(), 0, 1, KEY), MemoryError(KEY),
        RecursionError(KEY), AssertionError(PROMPT), TimeoutError(KEY), ConnectionError(KEY),
        BaseExceptionGroup(KEY, [ValueError(ANSWER), OSError(2, KEY)]), StopIteration(KEY),
        GeneratorExit(KEY), ArithmeticError(KEY), LookupError(KEY), SyntaxError(KEY),
    )  # fmt: skip


def test_no_exception_tells(
    reckon: Reckoner, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception of whatever type is told by its type and place, never by its text or values."""
    monkeypatch.setenv("BATCHER_DEBUG", "1")
    for error in _every_exception():

        def fail(raised: BaseException = error, _secret: str = KEY) -> None:
            raise raised from ValueError(PROMPT)

        assert run_safely(fail) == errors.BatcherError.exit_code
        out, err = capsys.readouterr()
        assert "a bug" in err
        assert not any(secret in out + err for secret in (KEY, PROMPT, ANSWER))
        reckon.count(canaries=3)


def test_no_core(tmp_path: Path, reckon: Reckoner) -> None:
    """A crash of the interpreter leaves no core file, in which the key would stand."""
    code = (
        "import os, resource, signal\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))\n"
        "from batcher.cli import faults\n"
        "faults.leave_no_core()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])\n"
        "os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGSEGV
    assert ended.stdout.split() in ([b"0"], [])
    assert [*tmp_path.iterdir()] == []
    reckon.count(canaries=1)


def test_no_thread_tells(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception in a thread is silent as well."""
    from batcher.cli.faults import silence_libraries

    before, hook = threading.excepthook, sys.unraisablehook
    try:
        silence_libraries()
        thread = threading.Thread(target=lambda: traceback.clear_frames(KEY))  # type: ignore[arg-type]
        thread.start()
        thread.join()
    finally:
        threading.excepthook, sys.unraisablehook = before, hook
    assert KEY not in capsys.readouterr().err
