"""Rows seen many at once are those that a close look takes for good, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.check import check
from batcher.checks import CLAIM_FIELDS, Checker
from batcher.codec import RowParser, glance
from batcher.codec import validity as rules
from batcher.codec.glance import Glance
from batcher.engine.plan import make_plan
from batcher.engine.roster import Roster
from batcher.journal import State
from batcher.records import BadRow, Row
from batcher.settings import Settings
from batcher.source import Source

_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
_BODY: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "1e400 and 12345678901234567890 are words here"},
        {"role": "user", "content": [{"type": "text", "text": "é"}], "name": "x"},
    ],
    "tools": [_TOOL],
    "temperature": 0.5,
    "n": 1,
    "stop": ["a"],
    "logit_bias": {"5": 1},
    "metadata": {"a": [1, {"b": None}]},
}
_USUAL = {**_BODY, "messages": [{"role": "user", "content": "how?"}]}
_MISTAKES: tuple[Any, ...] = (None, True, -1, 2**63, 2**64, 1.0, 1e20, "", "x", [], [1], {}, [{}])
_PIECES = (
    *(b"\xff", b"\0", b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":", b" ", b"1e400", b"-", b"0"),
    *(b"null", b"1" * 20, b"1" * 40 + b".5", b"2E+999", b"\\ud800", b"[" * 300 + b"]" * 300),
)


@st.composite
def _lines(draw: st.DrawFn) -> bytes:
    """Draw a row of either form: as most are, with a field that is wrong, or with bytes spoilt."""
    body = dict(draw(st.sampled_from((_BODY, _USUAL, _USUAL))))
    for name in draw(st.lists(st.sampled_from([*rules._TYPES, *_BODY, "stream"]), max_size=2)):
        body[name] = draw(st.sampled_from(_MISTAKES))
    for name in draw(st.lists(st.sampled_from(sorted(_BODY)), max_size=1)):
        body.pop(name, None)
    outer: dict[str, Any] = {"custom_id": draw(st.sampled_from(("a", 5, None, 1.5, True, "")))}
    if draw(st.booleans()):
        outer |= {"method": "POST", "url": "/v1/chat/completions", "body": body}
        for name in draw(st.lists(st.sampled_from([*outer, "headers"]), max_size=1)):
            outer[name] = draw(st.sampled_from((*_MISTAKES, "/v1/embeddings", "//x")))
    else:
        outer |= body
    line = json.dumps(outer, ensure_ascii=draw(st.booleans())).encode()
    if draw(st.integers(0, 2)):
        return line
    begin = draw(st.integers(0, len(line)))
    end = begin + draw(st.integers(0, 3))
    return line[:begin] + draw(st.sampled_from(_PIECES)) + line[end:]


def _job(source: Path | None = None, **more: Any) -> Settings:
    return Settings(source=source, output=Path(), base_url="", endpoint="", **more)


def _seen(lines: list[bytes], job: Settings) -> list[tuple[bytes, str | None]]:
    """Give the lines that are seen to be good, and their names."""
    glimpse = Glance.of(job, RowParser.of(job, Checker()))
    assert glimpse is not None
    found: list[tuple[bytes, str | None]] = []
    begin = 0
    for many, names in glimpse.parts(lines):
        if names is not None:
            found += zip(lines[begin : begin + many], names, strict=True)
        begin += many
    assert begin == len(lines)
    return found


_JOBS = (
    _job(),
    _job(defaults={"model": "d", "tools": [_TOOL], "temperature": 1}),
    _job(url="/v1/embeddings", answer={"votes": 3}),
)


@settings(deadline=None, max_examples=60)
@given(lines=st.lists(_lines(), min_size=1, max_size=20), job=st.sampled_from(_JOBS))
def test_what_is_seen_is_good(lines: list[bytes], job: Settings) -> None:
    """Whatever the rows are, those seen to be good can be sent, under the names that are said."""
    parser = RowParser.of(job, Checker())
    for raw, name in _seen(lines, job):
        row = parser.parse(1, raw)
        assert isinstance(row, Row), raw
        assert name == (row.custom_id if row.named else None)


def _plain(number: int, **more: Any) -> bytes:
    body = {**_USUAL, "seed": number}
    return orjson.dumps({"custom_id": f"r{number}", "body": body, **more})


def test_the_usual_rows_are_seen() -> None:
    """Rows of both forms are seen, up to those that stand close to one that is not good."""
    bare = [orjson.dumps({**_USUAL, "custom_id": number}) for number in range(9)]
    assert [name for _, name in _seen(bare, _job())] == list("012345678")
    rows = [_plain(number) for number in range(200)]
    assert len(_seen(rows, _job())) == 200
    rows[77] = b"{}"
    assert 190 <= len(_seen(rows, _job())) < 200
    nameless = [orjson.dumps({"messages": _USUAL["messages"]})]
    assert not _seen(nameless, _job())
    assert _seen(nameless, _job(defaults={"model": "d"})) == [(nameless[0], None)]


_EXTREMES = (
    *(b'"\xff"', b'"\xed\xa0\x80"', b"1e400", b"1E+400", b"[1.5e999]", b"184467440737095516161"),
    *(b'{"a":-123456789012345678901}', b"1" * 400 + b".0", b"[" * 300 + b"]" * 300),
    *(b'{"a":' * 260 + b"1" + b"}" * 260, b"[" * 2000 + b"]" * 2000, b"01", b'"\\ud800"'),
    *(b"18446744073709551616", b"-9223372036854775809", b"[-1e309]", b"1.8E308"),
)


@pytest.mark.parametrize("value", _EXTREMES, ids=range(len(_EXTREMES)))
@pytest.mark.parametrize("place", [b'"metadata":', b'"body":', b'"content":'])
def test_extremes_in_fields_that_nobody_knows(value: bytes, place: bytes) -> None:
    """What can't be read, or not be written again, is not seen, wherever it stands."""
    more = b'"x":%b,' % value if place == b'"metadata":' else b""
    line = _plain(1).replace(
        b'"body":{', b'"y":%b,"body":{' % (value if place == b'"body":' else b"1")
    )
    line = line.replace(b'"metadata":', more + b'"metadata":')
    if place == b'"content":':
        line = line.replace(b'"content":', b'"z":%b,"content":' % value)
    assert line.count(value) == 1
    assert isinstance(RowParser().parse(1, line), BadRow) or place == b'"body":'
    assert not _seen([line], _job())


def test_no_documented_field_is_passed_over() -> None:
    """Every field that a body's check holds to a type has one in the glance, or is a claim."""
    known = set(msgspec.structs.asdict(msgspec.json.decode(_plain(1), type=glance._Request).body))
    assert known >= {*rules._TYPES, *CLAIM_FIELDS}


def test_a_check_finds_what_a_plan_finds(tmp_path: Path) -> None:
    """Ids given twice, bad rows and rows without ids among good ones: as a run would see them."""
    lines = [_plain(number) for number in range(900)]
    for place in (3, 400, 401, 899):
        lines[place] = _plain(place - 3)
    lines[10] = b"no JSON"
    lines[11] = _plain(11, headers={"a": "b"})
    lines[500] = orjson.dumps({"custom_id": "r600", "body": {}})
    lines[700] = lines[701] = orjson.dumps(_BODY)
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"\n".join(lines))
    found = check(_job(source))
    job = _job(source)
    reader = Source(source)
    roster = Roster(RowParser.of(job, Checker()), State.empty())
    plan = make_plan(reader, roster, stopped=lambda: False)
    reader.close()
    assert (found.rows, found.bad_rows, found.first_bad) == (900, plan.bad, plan.bad_rows)
    assert plan.bad == 8
