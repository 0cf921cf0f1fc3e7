"""The report's page, opened in a real Chromium."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.browser import Page, opened
from tests.reporting import TOTALS, Reporter, result, write

pytestmark = [pytest.mark.browser, pytest.mark.anyio]

# What a name may hold, since rows and answers bring names.
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture
def page_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A page about some days, models and labels, some of them hostile."""
    lines = [
        result(
            number,
            model=["gpt-4o", "gpt-4o-mini", HOSTILE][number % 3],
            label=["positive", "negative", HOSTILE][number % 3],
            finished_at=f"2026-10-{1 + number % 9:02}T12:{number % 60:02}:00.000Z",
            latency_s=0.5 + number / 50,
            **({"error_code": ["timeout", HOSTILE][number % 2]} if number % 10 == 0 else {}),
        )
        for number in range(1, 200)
    ]
    output = write(tmp_path / "out.jsonl", [*lines, TOTALS])
    page = tmp_path / "report.html"
    said = Reporter(capsys)(output, "-o", page, "--budget", "5", "--title", HOSTILE)
    assert said.code == 0, said.err
    return page


async def test_the_page_is_whole_and_quiet(page_file: Path, tmp_path: Path):
    """All charts are there and have a size; nothing is asked for, said or run."""
    async with opened(page_file, tmp_path / "profile") as page:
        plots = await page.value(
            "[...document.querySelectorAll('svg.plot')].map(p => ({title:"
            " p.closest('figure').querySelector('figcaption').textContent,"
            " width: p.getBoundingClientRect().width,"
            " shapes: p.querySelectorAll('rect:not(.tip), polyline').length}))"
        )
        titles = [re.split(r"[,:]| per ", plot["title"])[0] for plot in plots]
        assert titles == [
            "Spend",
            "Cost so far",
            "Results",
            "Latency of the last attempt",
            "Throughput",
            "Requests in flight",
        ]
        assert all(plot["width"] > 200 and plot["shapes"] for plot in plots)
        rankings = await page.value(
            "[...document.querySelectorAll('.ranking')].map(r => r.previousSibling.textContent)"
        )
        assert rankings == ["Spend by model", "Failures by code", "Labels"]
        assert await page.value("document.title") == HOSTILE
        assert await page.value("document.scripts.length + document.images.length") == 0
        assert await page.value("document.body.innerText.includes('<script>alert(1)')")
        assert page.requests == [page_file.as_uri()]
        assert page.complaints == []


async def test_the_page_fits_screens_and_paper(page_file: Path, tmp_path: Path):
    """It has no sideways scroll on a phone, is dark where that is wanted, and white on paper."""
    async with opened(page_file, tmp_path / "profile") as page:
        colours = [await _background(page, width=1200, scheme=each) for each in ("light", "dark")]
        assert colours[0] != colours[1]
        for width in (1200, 390, 320):
            await page.look(width=width, scheme="light")
            assert await page.value("document.documentElement.scrollWidth") <= width
            assert await _overflowing(page) == []
        assert (await page.printed()).startswith(b"%PDF")
        await page.ask("Emulation.setEmulatedMedia", media="print")
        assert await page.value(BACKGROUND) == "rgb(255, 255, 255)"


async def _background(page: Page, *, width: int, scheme: str) -> str:
    await page.look(width=width, scheme=scheme)
    return str(await page.value(BACKGROUND))


async def _overflowing(page: Page) -> object:
    """Name the boxes whose text is wider than they are."""
    return await page.value(
        "[...document.querySelectorAll('.tiles div, figcaption, figure')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 40))"
    )
