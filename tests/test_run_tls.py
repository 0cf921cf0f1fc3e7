"""A run against an endpoint whose certificate nobody vouches for."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

from tests.harness import Job, rows
from tests.hostile import HostileServer, answer, repeat

ANSWER = b'{"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}'


def test_a_run_does_not_wait_for_a_wrong_certificate(job: Job, tmp_path: Path):
    """A first handshake that fails stops the run at once; with the authority named, it goes on."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    job.write(rows(3))
    with HostileServer(repeat(answer(ANSWER)), tls=context) as server:
        ran = job.run("--base-url", server.origin)
        assert ran.code == 7
        assert "--ca-file" in ran.err
        assert server.requests == []
        ran = job.run("--base-url", server.origin, "--ca-file", str(tmp_path / "ca.pem"))
        assert ran.code == 0
        assert len(server.requests) == 3
