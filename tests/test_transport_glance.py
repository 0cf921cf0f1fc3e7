"""What is read of an answer at a glance is what the parser would have read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batcher.transport.glance import Answer, at_a_glance
from batcher.transport.parser import new_parser

MOST_BYTES = 40

STARTS = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 429 Too Many Requests", b"HTTP/1.1 500", b"HTTP/1.1 200 ",
    b"HTTP/1.0 200 OK", b"HTTP/1.1 204 None", b"HTTP/1.1 304 Old", b"HTTP/1.1 100 On",
    b"HTTP/1.1 101 Other", b"HTTP/1.1 2000 OK", b"http/1.1 200 OK", b"HTTP/1.1\t200 OK",
]  # fmt: skip
LINES = [
    b"Content-Length: 2", b"content-length:2", b"CONTENT-LENGTH:  02\t", b"Content-Length: 0",
    b"Content-Length: 3", b"Content-Length: +2", b"Content-Length: 2, 2", b"Content-Length:",
    b"Content-Length : 2", b"Content-Length: 99999999999999999999999", b"Content-Length: 41",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Connection: keep-alive",
    b"Connection: Keep-Alive", b"Connection: close", b"Connection: upgrade", b"Upgrade: h2c",
    b"Content-Encoding: gzip", b"content-encoding: GZIP ", b"Content-Encoding:", b"X-A: b", b"X-A:",
    b"x-a: \xc3\xa9", b"x-a: \xff", b"x-a: a\0b", b"x-a: a\x01b", b" folded", b"no colon", b"",
    b"x a: b", b"x-a: b\rContent-Length: 2", b"x-a: b\nContent-Length: 2", b": nameless",
    b"Content-Type: application/json", b"Content-Type: text/html", b"x\xe9: b",
]  # fmt: skip


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give the parser a loop; it does not run."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


def _parsed(data: bytes, loop: asyncio.AbstractEventLoop) -> tuple[Any, bytes, bool]:
    """Say what the parser makes of one answer: its head, its body, whether that is all."""
    messages, upgraded, rest = new_parser(Mock(), loop).feed_data(data)
    ((head, payload),) = messages
    whole = payload.is_eof() and not (upgraded or rest or head.should_close)
    return head, payload.read_nowait() if payload.total_bytes else b"", whole


@settings(max_examples=300)
@given(
    start=st.sampled_from(STARTS) | st.just(STARTS[0]),
    lines=st.lists(st.sampled_from(LINES), max_size=3).flatmap(
        lambda odd: st.permutations([*odd, LINES[0]])
    ),
    body=st.just(b"{}") | st.sampled_from([b"", b"[1]", b"{}HTTP/1.1 200 OK\r\n", b"x" * 41]),
)
@example(start=STARTS[0], lines=[b"X-A: b", b"x-a: c", LINES[0]], body=b"{}")
@example(start=STARTS[0], lines=[b"Content-Length: 41"], body=b"x" * 41)
def test_a_glance_sees_what_the_parser_reads(
    start: bytes, lines: list[bytes], body: bytes, loop: asyncio.AbstractEventLoop
) -> None:
    """Whatever comes: what is read at a glance is one whole answer, as the parser has it."""
    data = b"\r\n".join([start, *lines, b"", body])
    answer = at_a_glance(data, MOST_BYTES)
    if answer is None:
        return
    head, text, whole = _parsed(data, loop)
    assert whole
    assert len(text) <= MOST_BYTES
    assert (answer.status, answer.body) == (head.code, text)
    assert answer.encoding == head.headers.get("Content-Encoding", "").lower()
    for name in head.headers:
        assert answer.headers[name.upper()] == head.headers[name]
        assert name in answer.headers
    assert list(answer.headers) == list(dict.fromkeys(name.lower() for name in head.headers))


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"Content-Length: 2"], id="a length"),
        pytest.param([b"content-length:2", b"Connection: Keep-Alive"], id="in other letters"),
        pytest.param([b"X-Request-ID: r", b"Content-Length: 2", b"Date: now"], id="among others"),
    ],
)
def test_the_usual_answer_needs_no_parser(lines: list[bytes]) -> None:
    """An answer with a length, in one piece, is read at a glance."""
    answer = at_a_glance(b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", b"{}"]), MOST_BYTES)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body, answer.encoding) == (200, b"{}", "")
    assert len(answer.headers) == len(lines)
    assert "x-none" not in answer.headers
    assert answer.headers.get("x-none") is None
