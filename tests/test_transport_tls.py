"""Whom every transport trusts, and where the key may go."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from batcher.errors import UsageError
from batcher.records import Failure, FailureKind, Reply
from batcher.transport.base import BaseTransport
from tests.driving import BODY, DRIVERS, KEY, PROMPT, Driver, ask
from tests.hostile import HostileServer, Peer, Script, answer, chunked, repeat

OK = b'{"ok": true}'
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)

pytestmark = pytest.mark.parametrize("driver", DRIVERS)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A private certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def server_of(
    authority: trustme.CA, *names: str, script: Script | None = None, **options: Any
) -> HostileServer:
    """Make a server with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return HostileServer(script or repeat(answer(OK)), tls=context)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(repeat(answer(OK)), id="with a length"),
        pytest.param(repeat(chunked(OK)), id="chunked"),
    ],
)
def test_private_authority(
    driver: Driver, authority: trustme.CA, ca_file: Path, script: Script
) -> None:
    """A private authority that is named is trusted; its connection is used again."""

    async def twice(transport: BaseTransport) -> list[Any]:
        return [await ask(transport) for _ in range(2)]

    with server_of(authority, "127.0.0.1", script=script) as server:
        replies = driver.run(twice, server.origin, ca_file=ca_file)
    assert [reply.body for reply in replies] == [OK, OK]
    assert server.connections == 1
    assert KEY.encode() in server.requests[0].head
    assert server.requests[0].body == BODY


def test_large_over_tls(driver: Driver, authority: trustme.CA, ca_file: Path) -> None:
    """Bodies and answers of megabytes go through TLS whole."""
    large = b"0123456789abcdef" * 200_000

    async def send(transport: BaseTransport) -> Any:
        return await ask(transport, large)

    with server_of(authority, "127.0.0.1", script=repeat(answer(large))) as server:
        reply = driver.run(send, server.origin, ca_file=ca_file)
    assert reply.body == server.requests[0].body == large


@pytest.mark.parametrize(
    ("names", "options", "trusted"),
    [
        pytest.param(["127.0.0.1"], {}, False, id="an unknown authority"),
        pytest.param(["elsewhere.example"], {}, True, id="another host's"),
        pytest.param(["127.0.0.1"], {"not_after": LONG_AGO}, True, id="expired"),
    ],
)
def test_untrusted(
    driver: Driver,
    authority: trustme.CA,
    ca_file: Path,
    names: list[str],
    options: dict[str, Any],
    *,
    trusted: bool,
) -> None:
    """Who can't prove to be the endpoint is told neither key nor prompt."""
    with server_of(authority, *names, **options) as server:
        outcome = driver.ask(server.origin, ca_file=ca_file if trusted else None)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.sent) == (FailureKind.TLS_ERROR, False)
    assert "--ca-file" in outcome.message
    assert server.requests == []


def test_self_signed(driver: Driver, authority: trustme.CA) -> None:
    """A certificate that vouches for itself is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with authority.private_key_pem.tempfile() as key, authority.cert_pem.tempfile() as certificate:
        context.load_cert_chain(certificate, key)
    with HostileServer(repeat(answer(OK)), tls=context) as server:
        outcome = driver.ask(server.origin)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TLS_ERROR
    assert server.requests == []


def test_no_tls_there(driver: Driver) -> None:
    """A server that answers https in plain text gets neither key nor prompt."""
    seen = []

    def plain(peer: Peer) -> None:
        peer.send(answer(OK))
        seen.append(peer.drain())

    with HostileServer(plain) as server:
        outcome = driver.ask(server.origin.replace("http:", "https:"))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.sent) == (FailureKind.TLS_ERROR, False)
    assert not any(secret.encode() in seen[0] for secret in (KEY, PROMPT))


@pytest.mark.parametrize("text", ["no certificate", None], ids=["no PEM", "no file"])
def test_ca_file_that_is_none(driver: Driver, tmp_path: Path, text: str | None) -> None:
    """A --ca-file that can't be read is refused before anything is sent."""
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match="--ca-file"):
        driver.ask("https://127.0.0.1:9", ca_file=path)


def test_cut_within_tls(driver: Driver, authority: trustme.CA, ca_file: Path) -> None:
    """An answer that is cut off within TLS is no answer."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(OK)[:-3])

    with server_of(authority, "127.0.0.1", script=script) as server:
        outcome = driver.ask(server.origin, ca_file=ca_file)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.TRUNCATED


def test_many_over_tls(driver: Driver, authority: trustme.CA, ca_file: Path) -> None:
    """Connections that open at the same time all get their answers, and all close at the end."""

    def echo(peer: Peer) -> None:
        while True:
            peer.send(answer(peer.request().body))

    async def many(transport: BaseTransport) -> list[Any]:
        return await asyncio.gather(*(ask(transport, b"%d" % n) for n in range(12)))

    with server_of(authority, "127.0.0.1", script=echo) as server:
        replies = driver.run(many, server.origin, ca_file=ca_file)
        assert server.wait_until_alone()
    assert all(isinstance(reply, Reply) for reply in replies)
    assert [reply.body for reply in replies] == [b"%d" % n for n in range(12)]
