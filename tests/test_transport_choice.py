"""Which transport serves, and what is taken from the environment."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from batcher.records import Reply
from batcher.settings import target_url
from batcher.transport import SessionTransport, open_transport
from batcher.transport.base import BaseTransport
from batcher.transport.lean import LeanTransport
from tests.driving import BODY, DRIVERS, KEY, PATH, Driver, ask
from tests.hostile import HostileServer, answer, repeat

OK = b'{"ok": true}'


@pytest.fixture(autouse=True)
def _no_proxy_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def opened(name: str, **options: Any) -> tuple[BaseTransport, str]:
    """Ask for a transport by its name, as a run does."""

    async def main() -> tuple[BaseTransport, str]:
        resolve = partial(target_url, "http://endpoint.example/v1")
        return open_transport(name, resolve=resolve, headers={}, **options)

    return asyncio.run(main())


@pytest.mark.parametrize(("name", "kind"), [("session", SessionTransport), ("lean", LeanTransport)])
def test_named(name: str, kind: type[BaseTransport]) -> None:
    """Each is had by its name, with nothing to remark."""
    transport, note = opened(name)
    assert type(transport) is kind
    assert note == ""


def refuse_arguments(*_: object, **__: object) -> None:
    """Be a parser of another aiohttp."""
    raise TypeError


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        pytest.param("aiohttp.__version__", "3.99.0", "3.99.0", id="another version"),
        pytest.param(
            "batcher.transport.parser.HttpResponseParser", refuse_arguments, "parser", id="parser"
        ),
        pytest.param("aiohttp.TCPConnector.connect", refuse_arguments, "connector", id="connector"),
    ],
)
def test_another_aiohttp(
    monkeypatch: pytest.MonkeyPatch, place: str, value: object, why: str
) -> None:
    """On an aiohttp that the lean one does not know, the plain one serves and says so."""
    monkeypatch.setattr(place, value)
    transport, note = opened("lean")
    assert type(transport) is SessionTransport
    assert why in note


def test_known_version() -> None:
    """The aiohttp that this is tested with is one that the lean transport knows."""
    assert aiohttp.__version__.startswith("3.14.")


@pytest.mark.parametrize(
    ("no_proxy", "trust_env", "kind"),
    [
        pytest.param("", True, SessionTransport, id="a proxy, and trusted"),
        pytest.param("", False, LeanTransport, id="a proxy, not trusted"),
        pytest.param("endpoint.example", True, LeanTransport, id="a proxy for others"),
    ],
)
def test_lean_and_proxies(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, kind: type[BaseTransport], *, trust_env: bool
) -> None:
    """Through a proxy the plain transport goes."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", no_proxy)
    transport, note = opened("lean", trust_env=trust_env)
    assert type(transport) is kind
    assert ("proxy" in note) == (kind is SessionTransport)


@pytest.mark.parametrize("driver", DRIVERS)
def test_environment_is_not_asked(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --trust-env no proxy of the environment sees a request."""
    with (
        HostileServer(repeat(answer(OK))) as proxy,
        HostileServer(repeat(answer(OK))) as server,
    ):
        monkeypatch.setenv("http_proxy", proxy.origin)
        reply = driver.ask(server.origin)
    assert isinstance(reply, Reply)
    assert (proxy.connections, server.connections) == (0, 1)


@pytest.mark.parametrize("driver", DRIVERS[:1])
def test_proxy(driver: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With --trust-env requests go through the proxy; of a netrc file nothing is read."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password from-netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))

    async def twice(transport: BaseTransport) -> list[Any]:
        return [await ask(transport), await transport.send(PATH, BODY)]

    with HostileServer(repeat(answer(OK))) as proxy:
        address = proxy.origin.replace("http://", "http://user:word@")
        monkeypatch.setenv("http_proxy", address)
        replies = driver.run(twice, "http://endpoint.example", trust_env=True)
    assert [reply.body for reply in replies] == [OK, OK]
    assert proxy.connections == 1
    head = proxy.requests[0].head.decode()
    assert head.startswith(f"POST http://endpoint.example{PATH} HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic dXNlcjp3b3Jk" in head
    assert f"\r\nAuthorization: Bearer {KEY}" in head
