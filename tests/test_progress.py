"""What a run shows: words, lines, JSON lines, the bar, and the end."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from batcher.amounts import Spend, Usage
from batcher.cli import summary as end
from batcher.cli import words
from batcher.cli.bar import BarWatch, render, second_line
from batcher.cli.progress import JsonWatch, LineWatch, SilentWatch, watch_for
from batcher.cli.streams import SafeStream
from batcher.records import Hold, Progress, StopReason
from batcher.words import duration, money, short
from tests.harness import Job, rows

STATE = Progress(
    total=240_000,
    total_exact=True,
    done=148_233,
    failed=12,
    resumed=0,
    retrying=3,
    in_flight=64,
    window=128,
    rows_per_s=412.3,
    tokens_per_min=1.23e6,
    elapsed_s=359.0,
    eta_s=220.0,
    held_by=Hold.WINDOW,
    note="",
    spend=Spend(148_300, 0, Usage(10, 5, 15), Decimal("1.2412")),
)


class Screen(io.StringIO):
    """A terminal, or a pipe, in memory."""

    def __init__(self, *, tty: bool = False) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


class Broken(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


class Ended(NamedTuple):
    totals: dict[str, Any]
    stop: StopReason | None = None
    message: str = ""
    exit_code: int = 0
    agreement: tuple[int, int] | None = None


def summary(ended: Any) -> list[str]:
    """Say how a run ended whose results go to out.jsonl."""
    return end.summary(ended, output=Path("out.jsonl"))


def drawn(state: Progress, width: int, *, title: str = "reviews.jsonl") -> list[str]:
    """Render the bar as plain text."""
    screen = Screen()
    console = Console(file=screen, width=width, color_system=None, legacy_windows=False)
    console.print(render(state, title=title, width=width))
    return screen.getvalue().splitlines()


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0"), (950, "950"), (1000, "1.0k"), (12_345, "12.3k"), (123_456, "123k"), (1.23e6, "1.2M"),
     (999_999, "1.0M"), (99_960, "100k"), (2e9, "2.0G")],
)  # fmt: skip
def test_short(number: float, expected: str) -> None:
    """A large number takes few cells."""
    assert short(number) == expected


@pytest.mark.parametrize(
    ("length_s", "expected"),
    [(0.25, "0.2 s"), (31.2, "31 s"), (59.9, "1m 00s"), (185, "3m 05s"), (7500, "2h 05m"),
     (3599.7, "1h 00m"), (273_600, "3d 04h")],
)  # fmt: skip
def test_duration(length_s: float, expected: str) -> None:
    """A time is told in its two largest units."""
    assert duration(length_s) == expected


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("0", "$0.00"),
        ("0.000375", "$0.0004"),
        ("0.00001", "under $0.0001"),
        ("0.41", "$0.41"),
        ("1.2412", "$1.24"),
        ("1234.5", "$1,234.50"),
    ],
)
def test_money(amount: str, expected: str) -> None:
    """Small amounts keep four places."""
    assert money(amount) == expected


def test_bar_says_it_all() -> None:
    """On a wide terminal, two lines say how far, how fast, what it costs and what holds it back."""
    first, second = drawn(STATE, 140)
    for part in ("reviews.jsonl", "62%", "148,233/240,000", "12 failed", "━"):
        assert part in first
    for part in (
        "412 rows/s", "1.2M tok/min", "64/128 in flight", "3 retrying", "$1.24", "window full",
        "5m 59s", "3m 40s left",
    ):  # fmt: skip
        assert part in second


def test_cost_so_far_each_and_foreseen() -> None:
    """Whoever watches sees what it costs, for 1,000 rows and in all, and of which budget."""
    state = STATE._replace(done=60_000, max_cost_usd=Decimal(5))
    assert words.cost_parts(state) == ["$1.24 of $5.00", "~$4.96 in all", "$0.0207/1k rows"]
    assert "~$4.96 in all, $0.0207/1k rows" in words.plain_line(state)
    second = drawn(state, 160)[1]
    assert "$1.24 of $5.00 · ~$4.96 in all · $0.0207/1k rows" in second
    told = words.progress_object(state)
    assert told["projected_usd"] == "4.9648"
    assert Decimal(told["cost_per_1000_usd"]) * 60 == pytest.approx(Decimal("1.2412"))
    spend = state.spend._replace(unpriced=True)
    assert words.cost_parts(state._replace(spend=spend))[0] == "at least $1.24 of $5.00"


def test_nothing_is_foreseen_from_nothing() -> None:
    """Before the first result, without a size, and once all is done there is no projection."""
    assert words.cost_parts(STATE._replace(spend=Spend())) == []
    assert words.cost_parts(STATE._replace(done=0)) == ["$1.24"]
    assert words.cost_parts(STATE._replace(total=None)) == ["$1.24", "$0.0084/1k rows"]
    assert words.cost_parts(STATE._replace(done=240_000)) == ["$1.24", "$0.0052/1k rows"]


def test_bar_at_60_columns() -> None:
    """On a narrow terminal the rate, the trouble and the time left stay."""
    state = STATE._replace(held_by=Hold.PAUSE, note="429: paused 12 s")
    first, second = drawn(state, 60)
    assert "12 failed" in first
    for part in ("412 rows/s", "429: paused 12 s", "3m 40s left"):
        assert part in second


def test_bar_leaves_out_what_is_nothing() -> None:
    """No failures, no retries, no price and no known size are not shown as zeros."""
    state = STATE._replace(total=None, failed=0, retrying=0, eta_s=None, spend=Spend())
    text = "\n".join(drawn(state, 120))
    assert "148,233 rows" in text
    for part in ("failed", "retrying", "$", "%", "left"):
        assert part not in text


def test_an_estimated_size_is_marked() -> None:
    """A total that is an estimate has a `~`."""
    assert "/~240,000" in drawn(STATE._replace(total_exact=False), 100)[0]


states = st.builds(
    STATE._replace,
    total=st.none() | st.integers(0, 10**9),
    total_exact=st.booleans(),
    done=st.integers(0, 10**9),
    failed=st.integers(0, 10**6),
    retrying=st.integers(0, 10**5),
    in_flight=st.integers(0, 5000),
    rows_per_s=st.floats(0, 1e5),
    tokens_per_min=st.floats(0, 1e10),
    elapsed_s=st.floats(0, 1e6),
    eta_s=st.none() | st.floats(0, 1e7),
    held_by=st.sampled_from(Hold),
    note=st.sampled_from(["", "429: paused 12 s", "等待端点" * 20]),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(states, st.integers(20, 200), st.sampled_from(["-", "a.jsonl", "x" * 90, "数据.jsonl"]))
def test_bar_never_wraps(state: Progress, width: int, title: str) -> None:
    """Whatever the state, the bar is two lines that fit the terminal."""
    lines = drawn(state, width, title=title)
    assert len(lines) == 2
    assert second_line(state, width).cell_len <= width


def test_bar_is_gone_at_the_end() -> None:
    """The bar is erased when the run ends; notes that were printed above it stay."""
    screen = Screen(tty=True)
    with BarWatch(SafeStream(screen), title="reviews.jsonl") as watch:
        watch.update(STATE)
        watch.log("the endpoint is back")
        watch.update(STATE)
    text = screen.getvalue()
    assert "62%" in text
    assert "the endpoint is back" in text
    assert text.rindex("\x1b[2K") > text.rindex("62%")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_bar_survives_a_terminal_that_is_gone() -> None:
    """A write that fails ends the drawing, not the run."""
    stream = SafeStream(Broken())
    with BarWatch(stream, title="x") as watch:
        watch.update(STATE)
        watch.log("note")
        watch.update(STATE)
    assert stream.broken


def test_lines_once_a_minute() -> None:
    """Elsewhere than on a terminal: a line at the start, a minute, and at the end."""
    screen = Screen()
    with LineWatch(SafeStream(screen)) as watch:
        for second in range(131):
            watch.update(STATE._replace(elapsed_s=float(second)))
    lines = screen.getvalue().splitlines()
    assert [line.split(", ")[-2] for line in lines] == [
        "0.0 s elapsed", "1m 00s elapsed", "2m 00s elapsed", "2m 10s elapsed"
    ]  # fmt: skip
    assert lines[0].startswith("batcher: 148,233/240,000 (62%), 12 failed, 412 rows/s, ")


def test_a_run_that_is_over_at_once_has_one_line() -> None:
    """What the first line has said, the last one does not say again."""
    screen = Screen()
    with LineWatch(SafeStream(screen)) as watch:
        watch.update(STATE)
        watch.update(STATE)
    assert len(screen.getvalue().splitlines()) == 1


def test_a_finished_line_holds_nothing_back() -> None:
    """The last line of a complete run names neither a hold nor a time left."""
    line = words.plain_line(STATE._replace(done=240_000, eta_s=0.0))
    assert line.endswith("$1.24, $0.0052/1k rows, 5m 59s elapsed")


def test_json_lines() -> None:
    """Each JSON line is an event; there is one a second and one at the end."""
    screen = Screen()
    with JsonWatch(SafeStream(screen)) as watch:
        watch.log("a\nnote")
        for quarter in range(6):
            watch.update(STATE._replace(elapsed_s=quarter / 4))
    events = [json.loads(line) for line in screen.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["note", "progress", "progress", "progress"]
    assert [event["elapsed_s"] for event in events[1:]] == [0.0, 1.0, 1.25]
    assert events[1]["held_by"] == "window"
    assert events[1]["cost_usd"] == "1.2412"


@pytest.mark.parametrize(
    ("mode", "tty", "dumb", "expected"),
    [
        ("auto", True, False, BarWatch), ("auto", False, False, LineWatch),
        ("auto", True, True, LineWatch), ("bar", False, False, BarWatch),
        ("json", True, False, JsonWatch), ("none", True, False, SilentWatch),
    ],
)  # fmt: skip
def test_choice_of_watch(mode: str, tty: bool, dumb: bool, expected: type) -> None:  # noqa: FBT001 - a table's columns
    """`auto` is a bar on a terminal that can move its cursor, and lines elsewhere."""
    watch = watch_for(mode, SafeStream(Screen(tty=tty)), title="x", dumb=dumb)
    assert isinstance(watch, expected)


@pytest.mark.parametrize("stream", [None, Broken()], ids=["closed at the start", "broken pipe"])
def test_a_stream_that_fails_is_silent(stream: Broken | None) -> None:
    """Writing to nowhere raises nothing."""
    safe = SafeStream(stream)
    safe.line("x")
    safe.line("y")
    assert safe.broken
    assert not safe.isatty()


def test_characters_that_the_encoding_lacks() -> None:
    """A terminal without Unicode gets question marks, not an exception."""
    raw = io.BytesIO()
    text = io.TextIOWrapper(raw, encoding="ascii")
    SafeStream(text).line("━ 62%")
    assert raw.getvalue() == b"? 62%\n"


TOTALS: dict[str, Any] = {
    "object": "batch.totals",
    "custom_id": None,
    "request_counts": {"total": 1000, "completed": 998, "failed": 2},
    "usage": {"prompt_tokens": 82_000, "completion_tokens": 17_000, "total_tokens": 99_000},
    "cost_usd": "0.41",
    "unpriced_models": [],
    "attempts": 1013,
    "attempts_without_usage": 3,
    "errors": {"rate_limit_exceeded": 2},
    "wall_s": 31.2,
}


def test_summary_of_a_complete_run() -> None:
    """The end says rows, errors, attempts, tokens, money, time, labels and where it is."""
    text = "\n".join(summary(Ended(TOTALS, agreement=(174, 240))))
    for part in (
        "complete: 1,000 rows, 998 completed, 2 failed (2 rate_limit_exceeded)", "1,013 attempts",
        "82,000 prompt + 17,000 completion tokens", "$0.41", "31 s", "3 attempts may have been",
        "174 of 240 labels agree with the known ones (72.5%)", "results: out.jsonl",
    ):  # fmt: skip
        assert part in text
    assert "again" not in text


@pytest.mark.parametrize("stop", StopReason, ids=lambda stop: stop.word)
def test_summary_of_a_stop(stop: StopReason) -> None:
    """A stop says why, how much is left, and how to go on."""
    totals = {**TOTALS, "pending": 400, "stop_reason": stop.word}
    ended = Ended(totals, stop, "the budget of $2.00 is spent", stop.exit_code)
    first, *others = summary(ended)
    assert first == "stopped: the budget of $2.00 is spent"
    assert "run the same command again" in others[-1]
    assert "400 pending rows" in others[-1]
    assert any("out.jsonl.partial" in line for line in others)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"cost_usd": None}, "nothing is priced"),
        ({"unpriced_models": ["m"]}, "at least $0.41 (no price for m)"),
        ({"unpriced_models": list("abcd")}, "(no price for a, b, c, ...)"),
    ],
)
def test_unknown_prices(change: dict[str, Any], expected: str) -> None:
    """An unknown price is never shown as zero."""
    lines = summary(Ended({**TOTALS, **change}))
    assert any(expected in line for line in lines)


def test_a_run_of_a_moment_has_a_rate(job: Job):
    """What is over before it was looked at twice tells its rate all the same."""
    seen: list[Progress] = []
    job.watching = seen.append
    job.write(rows(5))
    assert job.run().code == 0
    assert seen[-1].rows_per_s > 0
