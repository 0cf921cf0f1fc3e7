"""The ledger that jobs share: a line a run, a month's budget that no number of runs exceeds."""

from __future__ import annotations

import json
import signal
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from batcher.amounts import NO_AMOUNT, Amount, Spend, Usage
from batcher.spendbook import RunSpend, SpendBook
from tests.harness import Job, lines_of, row, rows
from tests.server import Does, Endpoint, Say

PRICES = "list = false\n[models.m]\ninput = 10\noutput = 1000\n"


@pytest.fixture
def priced(job: Job, tmp_path: Path) -> Job:
    """A job with a price table and a ledger."""
    table = tmp_path / "prices.toml"
    table.write_text(PRICES)
    job.flags = ["--prices", str(table), "--ledger", str(tmp_path / "spend.jsonl")]
    job.write([row(f"r{n}", max_tokens=5) for n in range(100)])
    return job


def ledger(job: Job, kind: str = "batch.spend") -> list[dict[str, Any]]:
    """The lines of one kind in the job's ledger."""
    return [line for line in lines_of(Path(job.flags[3])) if line["object"] == kind]


def spent(job: Job) -> Decimal:
    """What all runs in the ledger may have cost."""
    return sum(
        (Decimal(line["cost_usd"] or 0)
         + Decimal(line.get("uncertain", {}).get("cost_usd", "0")) for line in ledger(job)),
        Decimal(0),
    )  # fmt: skip


def test_each_run_leaves_a_line(priced: Job, endpoint: Endpoint) -> None:
    """With what this run alone has cost, by model; all runs together make the job's totals."""
    assert priced.run("--max-cost", "0.2").code == 4
    assert priced.run().code == 0
    first, second = ledger(priced)
    assert (first["stop_reason"], second["stop_reason"]) == ("budget", None)
    assert first["output"] == str(priced.output)
    totals = priced.totals()
    assert first["attempts"] + second["attempts"] == totals["attempts"] == 100
    assert Decimal(first["cost_usd"]) + Decimal(second["cost_usd"]) == Decimal(totals["cost_usd"])
    assert second["by_model"]["m"]["usage"] == second["usage"]
    assert priced.run().code == 0
    assert len(ledger(priced)) == 2, "a finished job has no further run"


def test_a_month_is_never_overdrawn(priced: Job, endpoint: Endpoint, tmp_path: Path) -> None:
    """Jobs that share a ledger stop once the month's budget is spent, and say so."""
    month = ("--max-cost-month", "0.3")
    assert priced.run("--max-cost", "0.2", *month).code == 4
    first = spent(priced)
    priced.output = tmp_path / "other.jsonl"
    ran = priced.run(*month)
    assert ran.code == 4
    assert "of the $0.3 for" in ran.err
    assert first < Decimal("0.2") < spent(priced) <= Decimal("0.3")
    priced.output = tmp_path / "third.jsonl"
    books = endpoint.books.attempts
    assert priced.run("--max-cost-month", str(spent(priced))).code == 4
    assert endpoint.books.attempts == books, "nothing was left to lease"
    assert priced.run("--max-cost-month", "2").code == 0


def test_runs_at_once_share_what_is_there(priced: Job, endpoint: Endpoint, tmp_path: Path) -> None:
    """What one run has leased another can't; what it did not spend is free when it ends."""
    endpoint.always(Does.WAIT)
    month = ("--max-cost-month", "0.3")
    with priced.process("--max-cost", "0.25", *month) as process:
        endpoint.wait_until(lambda books: books.in_flight > 0)
        mine, priced.output = priced.output, tmp_path / "other.jsonl"
        for number in range(100):
            endpoint.on(f"s{number}", Say())
        priced.write([row(f"s{number}", max_tokens=5) for number in range(100)])
        assert priced.run(*month).code == 4
        assert Decimal(ledger(priced)[0]["cost_usd"]) <= Decimal("0.05")
        process.signal(signal.SIGTERM)
        endpoint.release()
        process.wait()
    assert mine.with_name("out.jsonl.partial").exists()
    assert spent(priced) < Decimal("0.2")
    assert priced.run("--max-cost-month", "0.3").code == 4
    assert Decimal("0.27") < spent(priced) <= Decimal("0.3"), "what was not spent is free again"


def test_a_dead_run_is_charged_whole_until_its_job_goes_on(
    priced: Job, endpoint: Endpoint, tmp_path: Path
) -> None:
    """Its lease counts; the next run of its output writes down what it really may have spent."""
    endpoint.always(Does.WAIT)
    month = ("--max-cost-month", "0.3")
    with priced.process("--max-cost", "0.25", "--concurrency", "2", *month) as process:
        endpoint.wait_until(lambda books: books.in_flight > 0)
        process.signal(signal.SIGKILL)
        process.wait()
    endpoint.always()
    mine, priced.output = priced.output, tmp_path / "other.jsonl"
    assert priced.run(*month).code == 4
    assert spent(priced) <= Decimal("0.05"), "0.25 is leased by the dead"
    priced.output = mine
    ran = priced.run("--max-cost", "0.25", *month)
    (dead,) = [line for line in ledger(priced) if line.get("dead")]
    killed = Decimal(ran.totals["uncertain"]["killed_runs"]["cost_usd"])
    assert Decimal(dead["cost_usd"]) == killed
    assert spent(priced) <= Decimal("0.3")
    assert Decimal(ran.totals["cost_usd"]) > 0, "what the dead did not spend is free again"


def test_a_dead_run_of_a_job_that_starts_over_is_charged_whole(
    priced: Job, endpoint: Endpoint
) -> None:
    """--fresh leaves its journal unread, so that all that it might have spent counts."""
    endpoint.always(Does.WAIT)
    with priced.process("--max-cost", "0.25") as process:
        endpoint.wait_until(lambda books: books.in_flight > 0)
        process.signal(signal.SIGKILL)
        process.wait()
    endpoint.always()
    assert priced.run("--fresh").code == 0
    assert [line["cost_usd"] for line in ledger(priced) if line.get("dead")] == ["0.25"]


def test_a_month_needs_a_ledger_and_prices(priced: Job, endpoint: Endpoint) -> None:
    """Without either it could not be kept: nothing is sent."""
    priced.flags = priced.flags[:2]
    assert "--ledger" in priced.run("--max-cost-month", "1").err
    priced.flags = ["--prices", "none", "--ledger", "x"]
    assert "--prices none" in priced.run("--max-cost-month", "1").err
    assert not endpoint.books.seen


def test_another_file_is_no_ledger(priced: Job, endpoint: Endpoint) -> None:
    """A file that holds something else is left as it is, and nothing is sent."""
    path = Path(priced.flags[3])
    path.write_text("my notes\n")
    ran = priced.run()
    assert (ran.code, path.read_text()) == (2, "my notes\n"), ran.err
    assert not endpoint.books.seen


def book(path: Path, run: str, *, output: str = "o", month: str = "2026-11") -> SpendBook:
    """One run's view of a ledger."""
    return SpendBook(path, run=run, month=month, output=Path(output))


def lease(one: SpendBook, *, wanted: str | None = None, month: str | None = None) -> Decimal | None:
    """Take a lease for a job that has cost nothing yet."""
    return one.open(
        at="2026-11-24T00:00:00.000Z",
        spent=Spend(),
        killed=NO_AMOUNT,
        wanted_usd=None if wanted is None else Decimal(wanted),
        month_usd=None if month is None else Decimal(month),
        fresh=False,
    ).usd


def cost(usd: str, uncertain: str = "0") -> RunSpend:
    """A run that cost so much."""
    after = Spend(1, 0, Usage(1, 1, 2), Decimal(usd), uncertain=Amount(Decimal(uncertain), 1))
    return RunSpend(Spend(), after, {"m": (Spend(), after)})


def test_many_at_once_never_lease_the_same_money(tmp_path: Path) -> None:
    """However many runs begin together, their leases and spends stay within the month."""
    path, got = tmp_path / "spend.jsonl", []

    def one(number: int) -> None:
        mine = book(path, f"run{number}", output=f"o{number}")
        granted = lease(mine, wanted="0.3", month="2")
        if granted:
            got.append(granted)
            mine.close(cost(str(granted / 2)))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(raw) for raw in path.read_text().splitlines()]
    held: dict[str, Decimal] = {}
    for line in lines:
        held[line["run"]] = Decimal(line.get("usd") or line.get("cost_usd") or 0)
        assert sum(held.values()) <= 2
    assert len(got) > 1


@pytest.mark.parametrize(
    ("known", "killed", "said"),
    [
        pytest.param("0.2", "0.1", "0.3", id="what is known and what may have been"),
        pytest.param("0.2", "0.9", "0.5", id="what may have been is within the lease"),
        pytest.param("0.7", "0.1", "0.7", id="what is known is believed, whatever was leased"),
    ],
)
def test_a_dead_run_is_within_its_lease(tmp_path: Path, known: str, killed: str, said: str) -> None:
    """A dead run's line says what it may have spent: its lease at most, or all that is known."""
    path = tmp_path / "spend.jsonl"
    lease(book(path, "dead"), wanted="0.5")
    book(path, "next").open(
        at="2026-11-24T00:00:00.000Z",
        spent=Spend(1, 0, Usage(1, 1, 2), Decimal(known)),
        killed=Amount(Decimal(killed), 1),
        wanted_usd=Decimal(1),
        month_usd=None,
        fresh=False,
    )
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["cost_usd"] for line in lines if line.get("dead")] == [said]


def test_a_run_without_a_budget_is_told_of(priced: Job, endpoint: Endpoint, tmp_path: Path) -> None:
    """Nobody can lease for it; a run with the month's budget says that it is there."""
    endpoint.always(Does.WAIT)
    with priced.process() as process:
        endpoint.wait_until(lambda books: books.in_flight > 0)
        endpoint.always()
        priced.output = tmp_path / "other.jsonl"
        ran = priced.run("--max-cost-month", "5")
        process.signal(signal.SIGKILL)
        process.wait()
    assert ran.code == 0, ran.err
    assert "1 run without a budget under way on this ledger" in ran.err


def test_a_torn_line_harms_no_other(tmp_path: Path) -> None:
    """What a crash of the machine left behind is passed over; the next line begins anew."""
    path = tmp_path / "spend.jsonl"
    first = book(path, "a", output="a")
    assert lease(first, month="1") == 1
    first.close(cost("0.4", "0.1"))
    with path.open("ab") as file:
        file.write(b'{"object":"batch.lease","run":"b","mon')
    assert lease(book(path, "c", output="c"), month="1") == Decimal("0.5")
    assert json.loads(path.read_bytes().splitlines()[-1])["run"] == "c"


def test_months_are_apart(tmp_path: Path) -> None:
    """A new month begins with its whole budget."""
    path = tmp_path / "spend.jsonl"
    old = book(path, "a", output="a", month="2026-10")
    lease(old, month="1")
    old.close(cost("1"))
    assert lease(book(path, "b", output="b"), month="1") == 1


def test_it_is_private(tmp_path: Path) -> None:
    """Made for its owner alone; who wants to share it says so."""
    path = tmp_path / "deep" / "spend.jsonl"
    lease(book(path, "a"))
    assert path.stat().st_mode & 0o777 == 0o600


def test_rows_without_an_id_and_bad_rows_cost_nothing(priced: Job) -> None:
    """A job that sends nothing still leaves its line, with nothing in it."""
    priced.write(["{"])
    assert priced.run().code == 3
    (line,) = ledger(priced)
    assert (line["attempts"], line["cost_usd"], line["by_model"]) == (0, None, {})
    priced.write(rows(1))
