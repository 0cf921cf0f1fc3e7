"""`batcher report --invoice`: what differs between outputs and a provider's bill, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.reporting import TOTALS, Reporter, Said, result, write

COLUMNS = "day=date,model=model,cost=usd"


class Bill:
    """An output beside a provider's export."""

    def __init__(self, folder: Path, report: Reporter) -> None:
        self.folder = folder
        self._report = report

    def compare(
        self, lines: list[dict[str, Any]], bill: str, *flags: str, columns: str = COLUMNS
    ) -> Said:
        """Write both and hold one against the other."""
        output = write(self.folder / "out.jsonl", [*lines, TOTALS])
        path = self.folder / "bill.csv"
        path.write_text(bill, "utf-8")
        return self._report(output, "--invoice", path, "--map", columns, *flags)


@pytest.fixture
def bill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bill:
    """A folder for both sides."""
    return Bill(tmp_path, Reporter(capsys))


def why(said: Said) -> dict[tuple[str, str], str]:
    """What the JSON says of the pairs that differ."""
    pairs = said.json["invoice"]
    return {(pair["day"], pair["model"]): pair["why"] for pair in pairs if pair["differs"]}


def test_they_agree(bill: Bill):
    """To half a cent for each day and model, both sides say the same: exit code 0."""
    lines = [result(1), result(2, finished_at="2026-10-06T00:00:00.000Z", cost_usd="1.2345")]
    text = "date,model,usd\n2026-10-05,gpt-4o,0.01\n2026-10-06,gpt-4o,1.23\n"
    said = bill.compare(lines, text, "--json")
    assert (said.code, why(said)) == (0, {})


def test_what_differs_is_named_with_its_reasons(bill: Bill):
    """By day and model: attempts without usage, no price, and what only one side has."""
    lines = [
        result(1, attempts=3, attempts_without_usage=2),
        result(2, model="mine", cost_usd=None, unpriced=True),
        result(3, model="ours", cost_usd="1"),
    ]
    text = "date,model,usd\n2026-10-05,gpt-4o,0.05\n2026-10-05,mine,2\n2026-10-05,theirs,1\n"
    said = bill.compare(lines, text, "--json")
    assert said.code == 3
    reasons = why(said)
    assert "2 attempts without usage may have been billed" in reasons["2026-10-05", "gpt-4o"]
    assert "no price here" in reasons["2026-10-05", "mine"]
    assert reasons["2026-10-05", "ours"] == "not on the invoice"
    assert "not in these outputs" in reasons["2026-10-05", "theirs"]


def test_tokens_tell_price_from_usage(bill: Bill):
    """Where tokens agree it is the price that differs; where they don't, it says by how many."""
    lines = [result(1), result(2, model="b")]
    text = "date,model,usd,in\n2026-10-05,gpt-4o,0.03,100\n2026-10-05,b,0.03,1000\n"
    said = bill.compare(lines, text, "--json", columns=f"{COLUMNS},prompt_tokens=in")
    reasons = why(said)
    assert "the tokens agree: another price, 3 times ours" in reasons["2026-10-05", "gpt-4o"]
    assert "900 prompt tokens more on the invoice" in reasons["2026-10-05", "b"]


def test_a_discount_is_seen(bill: Bill):
    """The same ratio throughout is a group rate, not many errors."""
    lines = [
        result(number, cost_usd=f"{number}", finished_at=f"2026-10-0{number}T12:00:00.000Z")
        for number in (1, 2, 3)
    ]
    text = "date,model,usd\n" + "".join(
        f"2026-10-0{number},gpt-4o,{number * 0.8}\n" for number in (1, 2, 3)
    )
    said = bill.compare(lines, text)
    assert said.code == 3
    assert "0.8 times ours throughout" in said.out
    assert "group rate" in said.out


def test_days_that_begin_elsewhere_are_seen(bill: Bill):
    """Days differ and their sum agrees: it says so, and --time-zone makes them agree."""
    lines = [
        result(1, cost_usd="1", finished_at="2026-10-05T12:00:00.000Z"),
        result(2, cost_usd="2", finished_at="2026-10-05T20:00:00.000Z"),
    ]
    text = "date,model,usd\n2026-10-05,gpt-4o,1\n2026-10-06,gpt-4o,2\n"
    said = bill.compare(lines, text)
    assert said.code == 3
    assert "single days differ and their sum agrees" in said.out
    assert bill.compare(lines, text, "--time-zone", "+08:00").code == 0


@pytest.mark.parametrize(
    ("head", "row"),
    [
        pytest.param("date,model,usd", "2026-10-05,gpt-4o-2024-08-06,0.01", id="a dated name"),
        pytest.param("date,model,usd", "2026-10-05,openai/gpt-4o,0.01", id="a name with its maker"),
        pytest.param("date,model,usd", "2026-10-05T11:00:00Z,gpt-4o,0.01", id="a time"),
        pytest.param("date,model,usd", "1791201600,gpt-4o,0.01", id="Unix seconds"),
        pytest.param("date,model,usd", "1791201600000,gpt-4o,0.01", id="Unix milliseconds"),
        pytest.param("date,model,usd", "2026/10/05,gpt-4o,$0.01", id="slashes and a dollar sign"),
        pytest.param("usd;model;date", "0.01;gpt-4o;20261005", id="semicolons, another order"),
        pytest.param("\ufeffdate\tmodel\tusd", "2026-10-05\tgpt-4o\t0.01 USD", id="tabs, a mark"),
    ],
)
def test_exports_of_many_kinds(bill: Bill, head: str, row: str):
    """Days, amounts and models are understood as providers write them."""
    said = bill.compare([result(1)], f"{head}\r\n{row}\r\n", "--json")
    assert (said.code, said.err) == (0, "")
    assert len(said.json["invoice"]) == 1


def test_thousands_and_credits(bill: Bill):
    """`1,234.50` is an amount, and a credit takes off."""
    text = 'date,model,usd\n2026-10-05,gpt-4o,"1,234.50"\n2026-10-05,gpt-4o,-0.50\n'
    assert bill.compare([result(1, cost_usd="1234")], text).code == 0


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        pytest.param("date,model\n2026-10-05,m\n", COLUMNS, id="a column is missing"),
        pytest.param("date,model,usd\nsoon,m,1\n", COLUMNS, id="no day"),
        pytest.param("date,model,usd\n2026-10-05,m,1.234,5\n", COLUMNS, id="a comma too many"),
        pytest.param('date,model,usd\n2026-10-05,m,"1,5"\n', COLUMNS, id="a decimal comma"),
        pytest.param("date,model,usd\n", "day=date,model=model", id="the map lacks the cost"),
        pytest.param("date,model,usd\n", f"{COLUMNS},colour=x", id="the map names no such thing"),
    ],
)
def test_what_is_not_understood_is_refused(bill: Bill, text: str, columns: str):
    """An export is never guessed at: exit code 2, and the place."""
    said = bill.compare([result(1)], text, columns=columns)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("batcher: ")


def test_only_the_period_is_compared(bill: Bill):
    """--since and --until hold for both sides."""
    text = "date,model,usd\n2026-10-05,gpt-4o,0.01\n2026-11-01,gpt-4o,9\n2026-09-30,gpt-4o,9\n"
    assert bill.compare([result(1)], text, "--since", "2026-10", "--until", "2026-10").code == 0


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "html"])
def test_every_form_shows_it(bill: Bill, form: str):
    """The pair that differs stands in each form."""
    said = bill.compare([result(1)], "date,model,usd\n2026-10-05,gpt-4o,0.5\n", "--to", form)
    assert said.code == 3
    assert "2026-10-05" in said.out
    assert "0.5" in said.out
