"""`batcher sandbox`: serve the local endpoint by hand."""

from __future__ import annotations

import asyncio
import signal
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from batcher.errors import UsageError

if TYPE_CHECKING:
    from batcher.endpoints.sandbox import SandboxOptions

__all__ = ["command"]


@click.command("sandbox")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on; 0 for a free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on: loopback alone unless told.",
)
@click.option(
    "--options",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A TOML file with the options, or a job file with a [sandbox] table.",
)
@click.option("--seed", type=int, help="Same seed and same request: same answer.")
@click.option(
    "--latency",
    metavar="LAW",
    help="Seconds, or uniform:0.1,0.5, lognormal:0.8,0.5, exponential:0.3.",
)
@click.option(
    "--token-latency",
    "token_latency_s",
    type=float,
    metavar="S",
    help="More seconds for each token of the answer.",
)
@click.option("--rpm", type=float, help="Requests a minute for each key and model.")
@click.option("--tpm", type=float, help="Tokens a minute for each key and model.")
@click.option(
    "--limit-headers",
    type=click.Choice(["openai", "retry_after", "none"]),
    help="What tells of the limits.",
)
@click.option("--capacity", type=int, help="Requests at once beyond which it gets slower.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME=PROBABILITY",
    help="Such as 500=0.01 or reset=0.005; may be repeated.",
)
@click.option("--list-faults", is_flag=True, help="Say which faults there are, and stop.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Say where it listens as a line of JSON on standard output.",
)
def command(
    *,
    port: int,
    host: str,
    file: Path | None,
    faults: tuple[str, ...],
    list_faults: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Serve an endpoint on this machine; it fails when asked to.

    Its books are at /v1/sandbox/books. Any API key will do unless the options name some.
    """
    from batcher.endpoints.sandbox import SandboxOptions

    if list_faults:
        return _tell_faults()
    mapping = _file_options(file) if file else {}
    mapping |= {key: value for key, value in given.items() if value is not None}
    if faults:
        mapping["faults"] = {**mapping.get("faults", {}), **dict(map(_fault, faults))}
    _run(SandboxOptions.from_mapping(mapping), host=host, port=port, as_json=as_json)
    return None


def _tell_faults() -> None:
    from batcher.endpoints.sandbox.faults import FAULTS

    width = max(map(len, FAULTS))
    click.echo(f"{'300 to 599':<{width}}  that HTTP status")
    for name, said in FAULTS.items():
        click.echo(f"{name:<{width}}  {said}")


def _file_options(file: Path) -> dict[str, Any]:
    """Read a TOML file: its `[sandbox]` table, or the whole of it when it has none."""
    try:
        read = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from None
    table = read.get("sandbox", read)
    if not isinstance(table, Mapping):
        raise UsageError(f"{file}: sandbox: expected a table")
    return dict(table)


def _fault(given: str) -> tuple[str, float]:
    name, _, probability = given.partition("=")
    try:
        return name, float(probability)
    except ValueError:
        raise UsageError(f"--fault {given}: expected NAME=PROBABILITY, such as 500=0.01") from None


def _run(options: SandboxOptions, *, host: str, port: int, as_json: bool) -> None:
    from batcher.endpoints.sandbox.loop import (
        new_event_loop,
        settle_memory,
    )

    settle_memory()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        try:
            runner.run(_serve(options, host=host, port=port, as_json=as_json))
        except OSError as error:
            raise UsageError(f"{host}:{port}: {error.strerror or error}") from None


async def _serve(options: SandboxOptions, *, host: str, port: int, as_json: bool) -> None:
    """Serve until SIGINT or SIGTERM, then say what was served."""
    from batcher.endpoints.sandbox import serve

    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with serve(options, host=host, port=port) as server:
        for caught in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):
                loop.add_signal_handler(caught, over.set)
        if as_json:
            said = {"base_url": server.base_url, "port": server.port}
            click.echo(orjson.dumps(said).decode())
        click.echo(
            f"serving on {server.base_url}, books at {server.base_url}/sandbox/books; "
            "Ctrl-C stops it",
            err=True,
        )
        await over.wait()
        books = server.books()
    click.echo(
        f"{books['requests']} requests, {books['charged']} charged, "
        f"{books['usage']['total_tokens']} tokens",
        err=True,
    )
