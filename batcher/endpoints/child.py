"""A server in a process of its own, which lives no longer than the run.

The rules between the two processes:

- The parent starts `python -m <module> <args>` with pipes for the three standard streams, in a
  session of its own: a Ctrl-C of the terminal reaches the parent alone, which drains first.
- The child binds a free loopback port itself, so that no other process can take it in between, and
  says so with `announce`: one JSON line on its standard output, such as `{"port": 40321}`. Other
  lines are skipped, before and after.
- The child's standard input may begin with one line of configuration (`read_config`), then stays
  open as long as the parent lives. Its end means that the parent is gone, by whatever death: the
  kernel closes the pipe even after SIGKILL. `die_with_parent` waits for that in a thread.
- To stop it, the parent closes that pipe, then asks (SIGTERM), then kills the whole session.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import sysconfig
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE

import anyio
import orjson
from anyio.abc import ByteReceiveStream, Process

from batcher.errors import BatcherError

__all__ = ["Child", "announce", "die_with_parent", "read_config", "serve"]

# Enough for a traceback and the lines before it.
_TAIL_MAX_BYTES = 4096

# Longest line in which a child may say that it is ready.
_LINE_MAX_BYTES = 65_536

# How long a child may take to end by itself, then after SIGTERM. An event loop with nothing left to
# send needs milliseconds; a llama.cpp server in the middle of a prompt ends only when killed.
_STOP_STEP_S = 2.0

_PYTHON = (sys.executable, "-P", "-m")

# How often a child looks whether its parent has changed: a second witness beside the pipe, for when
# some other process has inherited the pipe's other end.
_PARENT_POLL_S = 1.0


@dataclass(slots=True)
class _Tail:
    """The last bytes of a stream."""

    data: bytearray = field(default_factory=bytearray)

    def append(self, chunk: bytes) -> None:
        self.data += chunk
        del self.data[:-_TAIL_MAX_BYTES]

    def text(self) -> str:
        return self.data.decode("utf-8", "replace").strip()


class Child:
    """A server process that answers.

    Attributes:
        base_url: The base for an SDK, such as `http://127.0.0.1:40321/v1`.
    """

    __slots__ = ("_process", "_tail", "base_url")

    def __init__(self, base_url: str, process: Process, tail: _Tail) -> None:
        self.base_url = base_url
        self._process = process
        self._tail = tail

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its session."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal), or None while it runs."""
        return self._process.returncode

    def stderr_tail(self) -> str:
        """The last of what it wrote to its standard error, at most 4 KiB."""
        return self._tail.text()


@asynccontextmanager
async def serve(
    module: str,
    args: Sequence[str] = (),
    *,
    ready_timeout_s: float,
    env: Mapping[str, str] | None = None,
    config: bytes | None = None,
) -> AsyncIterator[Child]:
    """Run `python -m module args...` until the block ends.

    Args:
        module: A module whose main program calls `announce` and `die_with_parent`.
        args: Its command line.
        ready_timeout_s: How long it may take to listen.
        env: Its whole environment; this process's own by default.
        config: One line for its `read_config`, without the newline: for what is too long or too
            private for a command line.

    Raises:
        BatcherError: It did not come up; the text ends with the last of its standard error.
    """
    process = await _start([*_PYTHON, module, *args], os.environ if env is None else env)
    tail = _Tail()
    pumps = [asyncio.create_task(_pump(process.stderr, tail.append))]
    try:
        port = await _come_up(process, config, ready_timeout_s=ready_timeout_s)
        if port is None:
            raise await _not_up(module, process, pumps[0], tail, ready_timeout_s=ready_timeout_s)
        pumps.append(asyncio.create_task(_pump(process.stdout, _ignore)))
        yield Child(f"http://127.0.0.1:{port}/v1", process, tail)
    finally:
        with anyio.CancelScope(shield=True):
            await _close(process, pumps)


async def _close(process: Process, pumps: Sequence[asyncio.Task[None]]) -> None:
    """Stop the child, and read what it still has to say."""
    await _stop(process)
    await asyncio.wait(pumps, timeout=_STOP_STEP_S)
    for pump in pumps:
        pump.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)
    await process.aclose()


async def _start(command: Sequence[str], env: Mapping[str, str]) -> Process:
    return await anyio.open_process(
        command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=_environment(env),
        start_new_session=True,
    )


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: it must find this very package, from any folder.

    `-P` keeps the user's folder off its path, where a `json.py` of theirs would be imported.
    """
    root = str(Path(__file__).resolve().parents[2])
    if root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return dict(env)
    paths = [root, *filter(None, [env.get("PYTHONPATH")])]
    return {**env, "PYTHONPATH": os.pathsep.join(paths)}


async def _come_up(process: Process, config: bytes | None, *, ready_timeout_s: float) -> int | None:
    """Return the port that the child names, or None when it ends or takes too long."""
    with anyio.move_on_after(ready_timeout_s), suppress(anyio.BrokenResourceError):
        if config is not None and process.stdin is not None:
            await process.stdin.send(config + b"\n")
        return await _port(process.stdout)
    return None


async def _port(stdout: ByteReceiveStream | None) -> int | None:
    """Read lines until one of them names a port; None at the end of the stream."""
    buffer = b""
    while stdout is not None:
        try:
            buffer += await stdout.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            return None
        *lines, buffer = buffer.split(b"\n")
        buffer = buffer[-_LINE_MAX_BYTES:]
        for line in lines:
            with suppress(orjson.JSONDecodeError):
                said = orjson.loads(line)
                if isinstance(said, dict) and isinstance(said.get("port"), int):
                    return int(said["port"])
    return None


async def _not_up(
    module: str, process: Process, pump: asyncio.Task[None], tail: _Tail, *, ready_timeout_s: float
) -> BatcherError:
    """Say why a child did not come up, once it is gone and all that it wrote is read."""
    await _stop(process, at_once=True)
    await asyncio.wait([pump], timeout=_STOP_STEP_S)
    said = tail.text() or "it wrote nothing to its standard error"
    return BatcherError(f"{module} did not come up within {ready_timeout_s:g} s: {said}")


async def _pump(stream: ByteReceiveStream | None, take: Callable[[bytes], None]) -> None:
    """Read a stream to its end: a child whose pipe is full would block."""
    with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
        while stream is not None:
            take(await stream.receive())


def _ignore(_chunk: bytes) -> None:
    """Let what the child says after it is ready pass."""


async def _stop(process: Process, *, at_once: bool = False) -> None:
    """End the child and whatever it has started in its session."""
    if process.stdin is not None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.aclose()
    for step in (signal.SIGKILL,) if at_once else (None, signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            break
        if step is not None:
            _signal_session(process.pid, step)
        with anyio.move_on_after(_STOP_STEP_S):
            await process.wait()
    _signal_session(process.pid, signal.SIGKILL)


def _signal_session(pid: int, sent: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, sent)


def announce(port: int) -> None:
    """In the child: say that it listens on this loopback port."""
    sys.stdout.buffer.write(orjson.dumps({"port": port}) + b"\n")
    sys.stdout.buffer.flush()


def read_config() -> bytes:
    """In the child: the line of configuration that the parent sends first.

    Unbuffered, so that the bytes after it are left to `die_with_parent`.
    """
    line = bytearray()
    while not line.endswith(b"\n"):
        chunk = os.read(0, 1)
        if not chunk:
            break
        line += chunk
    return bytes(line.rstrip(b"\n"))


def die_with_parent(stop: Callable[[], object] | None = None) -> None:
    """In the child: end when the parent does, or when it closes the pipe.

    Args:
        stop: Called then, in a thread of its own, to end in good order; what has not ended a little
            later is ended. Without it the process ends at once.
    """
    threading.Thread(
        target=_watch, args=(stop, os.getppid()), name="parent-watch", daemon=True
    ).start()


def _watch(stop: Callable[[], object] | None, parent: int) -> None:
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], _PARENT_POLL_S)
        if readable and not os.read(0, 4096):
            break
    if stop is not None:
        threading.Timer(_STOP_STEP_S / 2, os._exit, args=(0,)).start()
        stop()
    else:
        os._exit(0)
