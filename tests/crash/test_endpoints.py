"""Hostile endpoints: whatever one does is a result of its row, in bounded time and memory."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import Reckoner
from tests.crash.job import environment
from tests.crash.kill import HANG_S
from tests.harness import as_lines, lines_of, outcome, row
from tests.hostile import HostileServer, Peer, Script, answer, chunked

# For 64 MiB of an answer, its copies on the way, and Python itself.
_MOST_MEMORY_KIB = 900 * 1024

_GOOD = b'{"choices": [{"index": 0, "message": {"content": "yes"}}]}'


def _say(*parts: bytes) -> Callable[[Peer], None]:
    """Answer by these bytes and go on with the connection."""
    return lambda peer: peer.send(*parts)


def _close(*parts: bytes) -> Callable[[Peer], None]:
    """Answer by these bytes and close."""

    def move(peer: Peer) -> None:
        peer.send(*parts)
        raise ConnectionError

    return move


def _reset(*parts: bytes) -> Callable[[Peer], None]:
    """Answer by these bytes and reset the connection."""

    def move(peer: Peer) -> None:
        peer.send(*parts)
        peer.reset()
        raise ConnectionError

    return move


def _flood(head: bytes, part: bytes, *, pause_s: float = 0.0) -> Callable[[Peer], None]:
    """Send the same again and again until the client has had enough."""

    def move(peer: Peer) -> None:
        peer.send(head)
        while not peer.stopping.wait(pause_s) if pause_s else not peer.stopping.is_set():
            peer.send(part)

    return move


def _refuse(status: str, *headers: str, code: str = "") -> Callable[[Peer], None]:
    body = b'{"error": {"message": "no", "code": "%b"}}' % code.encode()
    return _say(answer(body, status=status, headers=headers))


def _then_good(first: Callable[[Peer], None]) -> Callable[[Peer, int], None]:
    """Do something hostile at the first attempt of a row, and answer the next."""

    def move(peer: Peer, attempt: int) -> None:
        first(peer) if attempt == 1 else peer.send(answer(_GOOD))

    return move


_MIB = bytes(1024 * 1024)
_OPEN = answer(b"", length=None)
_CHUNKED = answer(b"", length=None, headers=["Transfer-Encoding: chunked"])
_GZIP = "Content-Encoding: gzip"
_DEEP = b"[" * 100_000


@cache
def _bomb() -> bytes:
    return answer(gzip.compress(bytes(200 * 1024 * 1024), 1), headers=[_GZIP])


# What is done to a row's requests, and what may become of the row.
BEHAVIOURS: dict[str, tuple[Callable[..., None], set[str]]] = {
    "good": (_say(answer(_GOOD)), {"200"}),
    "reset before a word": (_reset(), {"connection_reset", "stale_connection"}),
    "reset in the head": (_reset(b"HTTP/1.1 200 O"), {"connection_reset"}),
    "reset in the body": (_reset(answer(_GOOD, length=500)), {"answer_truncated_in_transit"}),
    "closed in the head": (_close(b"HTTP/1.1 200 OK\r\nConte"), {"connection_reset"}),
    "cut": (_close(answer(_GOOD, length=500)), {"answer_truncated_in_transit"}),
    "cut chunks": (_close(chunked(_GOOD, end=b"")), {"answer_truncated_in_transit"}),
    "too short a length": (_close(answer(_GOOD, length=10)), {"invalid_answer", "protocol_error"}),
    "two lengths": (
        _close(answer(_GOOD, headers=["Content-Length: 7"])),
        {"protocol_error", "answer_truncated_in_transit", "invalid_answer"},
    ),
    "negative length": (_close(answer(_GOOD, length=-5)), {"protocol_error"}),
    "huge length": (_close(answer(_GOOD, length=10**12)), {"answer_too_large"}),
    "length beyond 64 bits": (
        _close(answer(_GOOD, length=10**30)),
        {"protocol_error", "answer_too_large"},
    ),
    "chunk beyond 64 bits": (
        _close(_CHUNKED + b"f" * 40 + b"\r\n" + _GOOD),
        {"protocol_error", "answer_truncated_in_transit"},
    ),
    "a chunk that lies": (
        _close(_CHUNKED + b"5\r\n" + _GOOD + b"\r\n0\r\n\r\n"),
        {"protocol_error", "answer_truncated_in_transit"},
    ),
    "endless": (_flood(_OPEN, _MIB), {"answer_too_large"}),
    "endless chunks": (
        _flood(_CHUNKED, b"100000\r\n" + _MIB + b"\r\n"),
        {"answer_too_large"},
    ),
    "endless head": (_flood(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 99), {"protocol_error"}),
    "one endless header": (_flood(b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 999), {"protocol_error"}),
    "endless 100s": (
        _flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99),
        {"timeout", "protocol_error"},
    ),
    "one 103 first": (_say(b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(_GOOD)), {"200"}),
    "another protocol": (
        _close(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        {"protocol_error", "answer_truncated_in_transit", "http_101", "101", "connection_reset"},
    ),
    "drips": (_flood(answer(b"", length=10**6), b" ", pause_s=0.1), {"timeout"}),
    "drips its head": (_flood(b"HTTP/1.1 200 OK\r\nX-A: ", b"a", pause_s=0.1), {"timeout"}),
    "says nothing": (lambda peer: peer.wait_for_close(), {"timeout"}),
    "no HTTP": (_close(b"\0\1\2 what\r\n\r\n"), {"protocol_error"}),
    "HTTP/0.9": (_close(_GOOD), {"protocol_error", "connection_reset"}),
    "a bomb": (lambda peer: peer.send(_bomb()), {"answer_too_large"}),
    "no gzip": (_say(answer(_GOOD, headers=[_GZIP])), {"answer_undecodable"}),
    "half a gzip": (
        _say(answer(gzip.compress(_GOOD)[:-9], headers=[_GZIP])),
        {"answer_undecodable"},
    ),
    "damaged gzip": (
        _say(answer(gzip.compress(_GOOD)[:-9] + bytes(9), headers=[_GZIP])),
        {"answer_undecodable"},
    ),
    "an encoding unasked": (
        _say(answer(zlib.compress(_GOOD), headers=["Content-Encoding: br"])),
        {"answer_undecodable"},
    ),
    "an empty answer": (_say(answer(b"")), {"empty_answer"}),
    "blank lines alone": (_say(answer(b"\n" * 99)), {"empty_answer"}),
    "no UTF-8": (_say(answer(b'{"choices": [{"x": "\xff"}]}')), {"invalid_answer"}),
    "a lone surrogate": (_say(answer(b'{"choices": [{"x": "\\ud800"}]}')), {"invalid_answer"}),
    "NaN": (_say(answer(b'{"choices": [{"x": NaN}]}')), {"invalid_answer"}),
    "nested without an end": (_say(answer(_DEEP)), {"invalid_answer"}),
    "nested deeply": (
        _say(answer(b'{"choices": [{}], "x": ' + b"[" * 990 + b"]" * 990 + b"}")),
        {"200"},
    ),
    "nested beyond Python's reach": (
        _say(answer(b'{"choices": [{}], "x": ' + b"[" * 1020 + b"]" * 1020 + b"}")),
        {"200"},
    ),
    "the same key twice": (
        _say(answer(b'{"choices": [], "choices": [{"message": {"content": "yes"}}]}')),
        {"200"},
    ),
    "huge integers": (
        _say(answer(b'{"choices": [{}], "usage": {"prompt_tokens": ' + b"9" * 99 + b"}}")),
        {"200"},
    ),
    "HTML": (_say(answer(b"<html>" * 99)), {"invalid_answer"}),
    "HTML, 502": (_refuse("502 Bad Gateway"), {"502", "http_502"}),
    "an error with 200": (_say(answer(b'{"error": {"code": "overloaded"}}')), {"overloaded"}),
    "odd bytes in headers": (
        _say(answer(_GOOD, headers=["x-request-id: ?"]).replace(b"?", b"\xff\xfe")),
        {"200"},
    ),
    "sent elsewhere": (
        _refuse("307 Temporary Redirect", "Location: http://127.0.0.1:1/v1/chat/completions"),
        {"307"},
    ),
    "sent to itself": (_refuse("308 Permanent Redirect", "Location: /v1/x"), {"308"}),
    "retry after 0": (_then_good(_refuse("429 Slow Down", "Retry-After: 0")), {"200"}),
    "retry after -1": (_then_good(_refuse("429 Slow Down", "Retry-After: -1")), {"200"}),
    "retry after soon": (_then_good(_refuse("429 Slow Down", "Retry-After: soon")), {"200"}),
    "retry after a past date": (
        _then_good(_refuse("429 Slow Down", "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT")),
        {"200"},
    ),
    "retry a failure after 1e9": (
        _then_good(_refuse("500 Failed", "Retry-After: 1000000000")),
        {"200"},
    ),
    "reset, then well": (_then_good(_reset()), {"200"}),
}


def _script(attempts: dict[str, int]) -> Script:
    def script(peer: Peer) -> None:
        while True:
            asked = json.loads(peer.request().body)["messages"][-1]["content"]
            attempts[asked] = attempts.get(asked, 0) + 1
            move = BEHAVIOURS[asked.partition("#")[0]][0]
            if getattr(move, "__qualname__", "").startswith("_then_good"):
                move(peer, attempts[asked])
            else:
                move(peer)

    return script


def run(folder: Path, origin: str, *flags: str, hang_s: float = HANG_S) -> tuple[int, str, int]:
    """Run a job in a process of its own; give its exit code, words, and peak of memory in KiB."""
    with (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "batcher", "run", str(folder / "in.jsonl")),
                *("-o", str(folder / "out.jsonl"), "--base-url", origin, *flags),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=err,
            env=environment(),
        )
    until_s = time.monotonic() + hang_s
    peak_kib = 0
    while process.poll() is None:
        peak_kib = max(peak_kib, _peak_kib(process.pid))
        if time.monotonic() > until_s:
            process.kill()
            process.wait()
            raise AssertionError("hangs")
        # How often its memory is looked at.
        time.sleep(0.02)
    said = (folder / "err").read_text()
    assert "Traceback" not in said, said
    return process.returncode, said, peak_kib


def _peak_kib(pid: int) -> int:
    """Ask how much memory a process has had at most, as far as it got.

    What `wait4` says of it begins with the memory of whoever started it: here, the tests.
    """
    found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


@pytest.mark.parametrize("transport", ["lean", pytest.param("session", marks=pytest.mark.crash)])
def test_all_at_once(tmp_path: Path, reckon: Reckoner, transport: str) -> None:
    """Every hostile behaviour, side by side with good answers: each is its own row's result."""
    rows = [row(name) for name in BEHAVIOURS] + [row(f"good#{n}") for n in range(60)]
    (tmp_path / "in.jsonl").write_bytes(as_lines(rows))
    attempts: dict[str, int] = {}
    with HostileServer(_script(attempts)) as server:
        code, said, memory_kib = run(
            tmp_path, server.origin, "--timeout", "2", "--max-attempts", "2",
            "--transport", transport, "--concurrency", "48",
        )  # fmt: skip
    assert code == 3, said
    *lines, _ = lines_of(tmp_path / "out.jsonl")
    results = {line["custom_id"]: outcome(line) for line in lines}
    assert len(lines) == len(results) == len(rows)
    odd = {
        name: results[name]
        for name, (_, expected) in BEHAVIOURS.items()
        # Among floods, a slow machine may meet the bound on time before any other.
        if results[name] not in expected | {"timeout"}
    }
    assert not odd
    assert all(results[f"good#{number}"] == "200" for number in range(60))
    assert memory_kib < _MOST_MEMORY_KIB
    reckon.count(endpoints=len(BEHAVIOURS), runs=1, rows=len(rows), served=sum(attempts.values()))


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        pytest.param("429 Slow", ["Retry-After: 1000000000"], "longer than", id="1e9"),
        pytest.param("401 No", [], "refuses the account", id="401"),
        pytest.param("302 Found", ["Location: http://127.0.0.1:1/"], "same refusal", id="302"),
    ],
)
def test_all_are_refused(
    tmp_path: Path, reckon: Reckoner, status: str, headers: list[str], words: str
) -> None:
    """What no row can mend stops the run at once, and says so; nothing hangs on it."""
    (tmp_path / "in.jsonl").write_bytes(as_lines([row(f"r{n}") for n in range(80)]))

    def script(peer: Peer) -> None:
        while True:
            peer.request()
            _refuse(status, *headers)(peer)

    with HostileServer(script) as server:
        code, said, _ = run(tmp_path, server.origin)
    assert code in (5, 7)
    assert words in said
    reckon.count(endpoints=1, runs=1)


@pytest.mark.crash
def test_nothing_but(tmp_path: Path, reckon: Reckoner) -> None:
    """Each behaviour alone, at every request of a run: it ends, by itself or by --give-up-after."""
    for number, (name, (_, expected)) in enumerate(BEHAVIOURS.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows: list[Any] = [row(f"{name}#{n}") for n in range(4)]
        (folder / "in.jsonl").write_bytes(as_lines(rows))
        with HostileServer(_script({})) as server:
            code, said, _ = run(
                folder, server.origin, "--timeout", "2", "--max-attempts", "2",
                "--give-up-after", "3",
            )  # fmt: skip
        assert code in (0, 3, 5, 7), (name, said)
        if code in (0, 3):
            *lines, _ = lines_of(folder / "out.jsonl")
            assert {outcome(line) for line in lines} <= expected | {"timeout"}, name
        reckon.count(endpoints=1, runs=1)


@pytest.mark.crash
@pytest.mark.parametrize("transport", ["lean", "session"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_large_answers_all_at_once(
    tmp_path: Path, reckon: Reckoner, transport: str, *, packed: bool
) -> None:
    """48 answers of 16 MiB that come together are read a few at a time; all are kept."""
    count = 48
    # The first open the window: while they take their time, more in flight is more a second.
    rows = [row(f"small {n}") for n in range(1500)] + [row(f"large {n}") for n in range(count)]
    (tmp_path / "in.jsonl").write_bytes(as_lines(rows))
    body = b'{"choices": [{"index": 0, "message": {"content": "%b"}}]}' % (b"x" * 16 * len(_MIB))
    large = answer(gzip.compress(body, 1), headers=[_GZIP]) if packed else answer(body)
    together = threading.Barrier(count, timeout=10)

    def script(peer: Peer) -> None:
        while True:
            if b"small" in peer.request().body:
                peer.stopping.wait(0.02)
                peer.send(answer(_GOOD))
                continue
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait()
            peer.send(large)

    with HostileServer(script) as server:
        code, said, memory_kib = run(
            tmp_path, server.origin, "--transport", transport, "--concurrency", str(count),
            "--durability", "flush", hang_s=4 * HANG_S,
        )  # fmt: skip
    assert code == 0, said
    assert (tmp_path / "out.jsonl").read_bytes().count(b'"custom_id":"large') == count
    assert not together.broken, "all at once"
    assert memory_kib < 400 * 1024, f"{memory_kib / 1024:.0f} MiB"
    reckon.count(endpoints=1, runs=1, rows=len(rows), served=len(rows))


def test_the_last_row_is_stuck(tmp_path: Path, reckon: Reckoner) -> None:
    """A last row whose endpoint accepts and never answers: it fails by --timeout, the job ends."""
    (tmp_path / "in.jsonl").write_bytes(
        as_lines([row(f"r{n}") for n in range(40)] + [row("stuck")])
    )

    def script(peer: Peer) -> None:
        while True:
            if json.loads(peer.request().body)["messages"][-1]["content"] == "stuck":
                peer.stopping.wait(HANG_S)
                return
            peer.send(answer(_GOOD))

    begun_s = time.monotonic()
    with HostileServer(script) as server:
        code, said, _ = run(tmp_path, server.origin, "--timeout", "1", "--max-attempts", "2")
        asked = len(server.requests)
    assert code == 3, said
    assert 2.0 < time.monotonic() - begun_s < HANG_S / 2
    *lines, _ = lines_of(tmp_path / "out.jsonl")
    results = {line["custom_id"]: outcome(line) for line in lines}
    assert results.pop("stuck") == "timeout"
    assert len(results) == 40
    assert set(results.values()) == {"200"}
    assert asked == 42
    reckon.count(endpoints=1, runs=1, rows=41)
