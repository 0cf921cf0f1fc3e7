"""A journal read many lines at a time says what it says line by line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.amounts import Amount, Spend, Usage
from batcher.codec.lines import encode_attempt, encode_result
from batcher.journal.scan import scan, whole_line
from batcher.journal.state import State
from batcher.records import Result, RowError

_COSTS = st.none() | st.decimals("0", "9", places=7)
_SPENDS = st.builds(
    Spend,
    st.integers(0, 3),
    st.sampled_from((0, 0, 0, 1)),
    st.builds(Usage, *[st.integers(0, 2**40)] * 6),
    _COSTS,
    st.sampled_from((False, False, False, True)),
    st.sampled_from((Amount(), Amount(), Amount(), Amount(Decimal("0.5"), 7))),
)
_NAMES = st.sampled_from(("a", "b", "c", "row-3", 'a "b"', "é", "\\")) | st.text(max_size=3)
_ODD_BODIES = (b"{}", b'{"x":1,"batcher":{"row":1}}', b'{"text":"\\",\\"batcher\\":{"}')


@st.composite
def _lines(draw: st.DrawFn) -> bytes:
    """Draw a line of a journal: mostly a result as they are, and often one with a mistake."""
    code = draw(st.sampled_from(("", "", "", "timeout", "http_400")))
    result = Result(
        draw(st.integers(1, 30)),
        draw(_NAMES),
        draw(st.sampled_from((0, 0, 0, 1, 2))),
        f"{draw(st.integers(0, 9)):032x}",
        draw(st.sampled_from(("m", "n", ""))),
        "local",
        200,
        "",
        draw(st.sampled_from(_ODD_BODIES)),
        RowError(code, "") if code else None,
        code,
        f"2026-11-2{draw(st.integers(0, 9))}T03:14:15.926Z",
        draw(st.sampled_from((0.0, 1.5))),
        draw(_SPENDS),
        draw(st.sampled_from((b"", b"", b'{"a":1,"batcher":{"row":1}}'))),
        draw(st.sampled_from((b"", b"", b'"thrown_away":{"attempts":1}', b'"thrown_away":[]'))),
    )
    line = encode_result(result, serial="x-1")
    return draw(st.sampled_from((line, line, line, line, encode_attempt(result))))


_PIECES: tuple[bytes, ...] = (
    *(b"\0", b"\n", b'"', b"{", b"}", b"-", b"0", b"1.5", b"true", b"null", b"Z", b"9" * 12),
    *(b'"NaN"', b'"Infinity"', b'"-1"', b"[]", b",", b" ", b"\xff", b'"batcher":{'),
)


def _spoilt(line: bytes, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    begin = draw(st.integers(0, len(line) - 1))
    end = begin + draw(st.integers(0, 4))
    piece: bytes = draw(st.sampled_from(_PIECES))
    return line[:begin] + piece + line[end:]


@st.composite
def _journals(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(_lines(), min_size=1, max_size=24))
    for place in draw(st.lists(st.integers(0, len(lines) - 1), max_size=2)):
        lines[place] = _spoilt(lines[place], draw)
    return b"".join(lines)


def _says(state: State) -> dict[str, Any]:
    index = state.index
    return {
        "index": ([index.offset(entry) for entry in index], index.prints, index.lines, index.flags),
        "found": [index.find(key) for key in index._keys],
        "counts": (state.ours, state.foreign, state.damaged),
        "order": (state.tidy, state.in_order, state._last_line, state.retrying),
        "times": (state.first_started_at, state.last_finished_at, state.wall_s),
        "totals": state.ledger.totals(started_at="", finished_at="", wall_s=0, version=""),
        "by_model": state.ledger.by_model(),
    }


def _state(path: Path) -> tuple[State, int]:
    descriptor = os.open(path, os.O_RDONLY)
    return State(lambda offset: whole_line(descriptor, offset)), descriptor


def _by_the_line(path: Path) -> dict[str, Any]:
    state, descriptor = _state(path)
    offset = 0
    for raw in path.read_bytes().split(b"\n")[:-1]:
        state.apply(raw, offset)
        offset += len(raw) + 1
    state.end_scan()
    os.close(descriptor)
    return _says(state)


def _at_once(path: Path) -> dict[str, Any]:
    state, descriptor = _state(path)
    scan(descriptor, state)
    os.close(descriptor)
    return _says(state)


@settings(deadline=None, max_examples=60)
@given(journal=_journals())
def test_many_lines_at_once_say_what_each_says(
    tmp_path_factory: pytest.TempPathFactory, journal: bytes
) -> None:
    """Whatever lines there are, spoilt or not, both readings find the same rows and figures."""
    path = tmp_path_factory.getbasetemp() / "mixed.jsonl.partial"
    path.write_bytes(journal)
    assert _at_once(path) == _by_the_line(path)


@settings(deadline=None, max_examples=60)
@given(which=st.integers(0, 9), place=st.data(), size=st.integers(4, 12))
def test_one_spoilt_line_among_plain_ones(
    tmp_path_factory: pytest.TempPathFactory, which: int, place: st.DataObject, size: int
) -> None:
    """A mistake anywhere in one line of many plain ones is found, and costs no other line."""
    lines = [_plain(number) for number in range(1, size + 1)]
    which %= size
    lines[which] = _spoilt(lines[which], place.draw)
    path = tmp_path_factory.getbasetemp() / "plain.jsonl.partial"
    path.write_bytes(b"".join(lines))
    assert _at_once(path) == _by_the_line(path)


def _plain(number: int) -> bytes:
    usage = Usage(number, 2, number + 2, 1, 0, 1)
    spend = Spend(1, 0, usage, Decimal("0.000375"))
    body = b'{"x":"xxx"}'
    times = ("2026-11-22T03:14:15.926Z", 0.8)
    return encode_result(
        Result(number, f"t-{number}", 0, f"{number:032x}", "m", "local", 200, "r", body, None, "",
               *times, spend),
        serial=f"x-{number}",
    )  # fmt: skip


_VALUES = ("-1", "1.5", "true", "null", '""', "[]", "{}", '"NaN"', '"Infinity"', '"-1"', "9" * 10)
_FIELDS = (
    *(b'"row":', b'"request_hash":', b'"model":', b'"finished_at":', b'"latency_s":'),
    *(b'"attempts":', b'"usage":', b'"prompt_tokens":', b'"completion_tokens":'),
    *(b'"total_tokens":', b'"prompt_tokens_details":', b'"completion_tokens_details":'),
    *(b'"cached_tokens":', b'"reasoning_tokens":', b'"cost_usd":', b'"custom_id":'),
)
_MORE = (
    *('"unpriced":true', '"error_code":7', '"error_code":"x"', '"unnamed":-1', '"unnamed":1'),
    *('"unnamed":true', '"thrown_away":[]', '"thrown_away":{}', '"attempts_without_usage":1'),
    *('"unpriced":1', '"unpriced":false', '"uncertain":{}', '"thrown_away":{"cost_usd":"-1"}'),
    *('"thrown_away":{"attempts":1,"usage":{"prompt_tokens":3}}', '"attempts_without_usage":1.0'),
    *('"uncertain":{"cost_usd":"1","total_tokens":2}', '"uncertain":3'),
    '"attempts_without_usage":-1',
    *('"input":{"batcher":{"row":1}}', '"cost_usd":"1e-30"', '"cost_usd":"1E+400"', '"cost_usd":3'),
    *('"request_hash":"' + "A" * 32 + '"', '"request_hash":"' + "0" * 31 + '"', '"row":0'),
    *('"request_hash":"' + "0" * 33 + '"', '"finished_at":"2026-02-30T00:00:00.000Z"'),
)  # fmt: skip

_UNSOUND = (
    *(
        b'"label":"\xff"',
        b'"label":"\xed\xa0\x80"',
        b'"la\xffbel":1',
        b'"label":"\\q"',
        b'"label":"\x01"',
    ),
    *(b'"label":01', b'"label":[1,]', b'"label":tru', b'"label":{"a"}', b'"label"', b'"label":1}'),
    *(b'"label":"\\ud800"', b'"label":-', b'"label":[' + b"[" * 2000 + b"]" * 2001),
)


def _changed() -> list[bytes]:
    plain = _plain(5)[:-1]
    ours = plain.rindex(b',"batcher":{')
    changed = []
    for field in _FIELDS:
        begin = plain.find(field, ours if field != b'"custom_id":' else 0) + len(field)
        rest = plain[begin:]
        old = re.match(rb'"[^"]*"|[\d.]+|\{(?:[^{}]|\{[^}]*\})*\}', rest)
        assert old is not None
        changed += [plain[:begin] + new.encode() + rest[old.end() :] for new in _VALUES]
        gone = plain[: begin - len(field)] + rest[old.end() :].removeprefix(b",")
        changed.append(gone.replace(b",}", b"}"))
    changed += [plain[:-2] + b"," + more.encode() + b"}}" for more in _MORE]
    changed += [plain[:-2] + b"," + more + b"}}" for more in _UNSOUND]
    changed += [plain.replace(b'"t-5"', b'"t-4"'), plain.replace(b"x" * 3, b"\0" * 3)]
    return changed


def test_a_line_with_any_field_wrong_is_told_apart(tmp_path: Path) -> None:
    """Among plain lines, one with a field that is wrong, missing or more is read as if alone."""
    path = tmp_path / "one.jsonl.partial"
    others = [_plain(number) for number in range(1, 10) if number != 5]
    for line in _changed():
        path.write_bytes(b"".join([*others[:4], line + b"\n", *others[4:]]))
        assert _at_once(path) == _by_the_line(path), line


def test_lines_longer_than_a_block(tmp_path: Path) -> None:
    """A line of several blocks is read whole, and a torn one at the end is left out."""
    path = tmp_path / "long.jsonl.partial"
    long = _plain(5).replace(b"xxx", b"x" * 3_000_000)
    whole = b"".join([_plain(1), long, *map(_plain, range(6, 12)), long.replace(b't-5"', b't-4"')])
    path.write_bytes(whole + long[:1_000_000])
    state, descriptor = _state(path)
    assert scan(descriptor, state).size == len(whole)
    os.close(descriptor)
    assert _says(state) == _by_the_line(path)
