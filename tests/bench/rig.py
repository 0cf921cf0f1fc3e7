"""The rig: an nginx that answers, a source of requests, and a way to run a program and weigh it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

__all__ = ["Cost", "MissingRigError", "Rig", "rig"]

HERE = Path(__file__).parent

# Where Debian and Fedora put it, and Homebrew where it is built with it.
_ECHO_MODULES = (
    "/usr/lib/nginx/modules/ngx_http_echo_module.so",
    "/usr/lib64/nginx/modules/ngx_http_echo_module.so",
)
_PORTS = ("at_once", "slow", "chunked", "headers", "tls", "large")

# The client has one processor and the endpoint another, so that neither takes the other's time.
_PIN_CLIENT = ("taskset", "--cpu-list", "0")
_SERVER_CPU = 1

_TOOL = {
    "type": "function",
    "function": {
        "name": "get_delivery_date",
        "description": "Get the delivery date for a customer's order. Call this whenever you need"
        " to know the delivery date, for example when a customer asks 'Where is my package'",
        "parameters": {
            "type": "object",
            "properties": {
                "order_id": {"type": "string", "description": "The customer's order ID."}
            },
            "required": ["order_id"],
            "additionalProperties": False,
        },
    },
}
_SAID = (
    "You are a helpful customer support assistant. Use the supplied tools to assist the user.",
    "Hi, can you tell me the delivery date for my order?",
    "Hi there! I can help with that. Can you please provide your order ID?",
)


class MissingRigError(Exception):
    """Something that the rig needs is not on this machine."""


class Cost(NamedTuple):
    """What a program took: processor seconds (user and system), wall seconds, peak megabytes."""

    cpu_s: float
    wall_s: float
    peak_mb: float


class Rig:
    """A folder, the ports of the endpoint in it, and the environment of what is run.

    Attributes:
        folder: For sources and outputs.
        ca_file: Whom to trust at the TLS port.
    """

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self.folder = folder
        self.ca_file = folder / "c.pem"
        self._ports = ports
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("BATCHER_", "PYTHON"))}
        # As installed by pip: modules compiled, once.
        self._environment = {
            **kept,
            "BATCHER_API_KEY": "sk-bench",
            "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
        }

    def url(self, port: str) -> str:
        """The base URL of a port."""
        return f"http{'s' if port == 'tls' else ''}://127.0.0.1:{self._ports[port]}/v1"

    def source(self, rows: int) -> Path:
        """Write a source of so many tool-call requests of about 1 kB, once."""
        path = self.folder / f"in-{rows}.jsonl"
        if not path.exists():
            with path.open("wb") as file:
                file.writelines(map(_request_line, range(rows)))
        return path

    def output(self) -> Path:
        """A place for results, with nothing there."""
        for path in self.folder.glob("out.jsonl*"):
            path.unlink()
        return self.folder / "out.jsonl"

    def run(self, command: Sequence[str | Path]) -> Cost:
        """Run a program to its end, pinned to a processor, and weigh it.

        Raises:
            RuntimeError: It failed.
        """
        began_s = time.monotonic()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [*_PIN_CLIENT, *map(str, command)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            wall_s = time.monotonic() - began_s
            if process.returncode:
                said.seek(0)
                text = said.read()[-2000:].decode(errors="replace")
                raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{text}")
        unit = 1 if sys.platform == "darwin" else 1024
        return Cost(used.ru_utime + used.ru_stime, wall_s, used.ru_maxrss * unit / 1e6)

    def floor(self, name: str, rows: int, *, port: str = "at_once", concurrency: int = 64) -> Cost:
        """Run a floor: `aiohttp` or `protocol`."""
        trust = [self.ca_file] if port == "tls" else []
        files = [HERE / f"floor_{name}.py", self.source(rows), self.output()]
        return self.run([sys.executable, *files, str(concurrency), self.url(port), *trust])

    def batcher(self, *arguments: str | Path) -> Cost:
        """Run a command of the product."""
        return self.run([sys.executable, "-m", "batcher", *arguments])

    def instructions(self, rows: int, *flags: str) -> int:
        """Count the instructions that the processor is given by a run, but for the kernel's.

        Raises:
            MissingRigError: There is no valgrind here.
        """
        valgrind = shutil.which("valgrind")
        if valgrind is None:
            raise MissingRigError("counting instructions needs valgrind: apt-get install valgrind")
        counted = self.folder / "counted"
        tool = ["--tool=callgrind", f"--callgrind-out-file={counted}", "--log-file=/dev/null"]
        pace = ["--base-url", self.url("at_once"), "--concurrency", "64"]
        sending = [*self._sending("lean", rows), *pace, *flags]
        # Where a name stands in a dict must not differ from run to run.
        self.run(["env", "PYTHONHASHSEED=0", valgrind, *tool, *sending])
        found = re.search(r"^(?:summary|totals): (\d+)", counted.read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def scan(self, output: Path) -> Cost:
        """Read a finished output as a resumed run does."""
        return self.run([sys.executable, HERE / "scan.py", output])

    def send(
        self,
        transport: str,
        rows: int,
        *flags: str,
        port: str = "at_once",
        concurrency: int = 64,
        output: Path | None = None,
    ) -> Cost:
        """Have the product send a source."""
        trust = ["--ca-file", str(self.ca_file)] if port == "tls" else []
        pace = ["--base-url", self.url(port), "--concurrency", str(concurrency)]
        return self.run([*self._sending(transport, rows, output), *pace, *trust, *flags])

    def _sending(self, transport: str, rows: int, output: Path | None = None) -> list[str]:
        files = [str(self.source(rows)), "-o", str(output or self.output())]
        how = ["--transport", transport, "--progress", "none"]
        return [sys.executable, "-m", "batcher", "run", *files, *how]


@contextlib.contextmanager
def rig() -> Iterator[Rig]:
    """Set the rig up, and take it down.

    Raises:
        MissingRigError: nginx, its echo module, openssl or a second processor is missing.
    """
    nginx, openssl, taskset = map(shutil.which, ("nginx", "openssl", "taskset"))
    module = next((path for path in _ECHO_MODULES if Path(path).exists()), None)
    if nginx is None or module is None or openssl is None:
        raise MissingRigError(
            "the rig needs nginx with its echo module, and openssl:"
            " apt-get install nginx libnginx-mod-http-echo openssl"
        )
    if taskset is None or (os.cpu_count() or 1) < 2:
        raise MissingRigError("the rig needs Linux and two processors: client and endpoint")
    with tempfile.TemporaryDirectory(prefix="batcher-bench-") as name:
        folder = Path(name)
        ports = _free_ports()
        _write_configuration(folder, ports, module)
        _write_certificate(folder, openssl)
        with _serving(nginx, folder, ports["at_once"]):
            yield Rig(folder, ports)


def _request_line(number: int) -> bytes:
    system, asked, answered = _SAID
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": asked},
        {"role": "assistant", "content": answered},
        {"role": "user", "content": f"I think it is order_{number:07d}"},
    ]
    body = {"model": "gpt-4o-mini", "messages": messages, "tools": [_TOOL], "temperature": 0}
    line = {
        "custom_id": f"req-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _free_ports() -> dict[str, int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in _PORTS]
    ports = {name: each.getsockname()[1] for name, each in zip(_PORTS, sockets, strict=True)}
    for each in sockets:
        each.close()
    return ports


def _write_configuration(folder: Path, ports: dict[str, int], module: str) -> None:
    text = (HERE / "nginx" / "nginx.conf").read_text()
    affinity = format(1 << _SERVER_CPU, "b")
    filled = {**ports, "echo_module": module, "affinity": affinity}
    for name, value in filled.items():
        text = text.replace("{%s}" % name, str(value))  # noqa: UP031 - braces within braces
    (folder / "nginx.conf").write_text(text)
    for name in ("headers.inc", "reply.inc"):
        shutil.copy(HERE / "nginx" / name, folder)


def _write_certificate(folder: Path, openssl: str) -> None:
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
    files = ["-keyout", f"{folder}/k.pem", "-out", f"{folder}/c.pem"]
    subprocess.run([openssl, *kind, *files, *subject], check=True, capture_output=True)


@contextlib.contextmanager
def _serving(nginx: str, folder: Path, port: int) -> Iterator[None]:
    files = ["-p", f"{folder}/", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]
    command = ["taskset", "--cpu-list", str(_SERVER_CPU), nginx, *files]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        _await_port(port, process)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + 10
    while time.monotonic() < until_s and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise MissingRigError("nginx did not start")
