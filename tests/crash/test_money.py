"""The bill and the budget, held against the books of whoever charges, with chaos and kills."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from batcher.amounts import Usage
from tests.bank import Bank, chat
from tests.crash.job import environment

# Three providers' models, one of them with tiers; each has its list price on any host.
MODELS = ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro", "gpt-4o-mini")
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "label",
        "schema": {
            "type": "object",
            "properties": {"label": {"type": "string"}},
            "required": ["label"],
        },
    },
}
HANG_S = 120.0


class Work:
    """A job on a bank: runs that may be killed, and what stands of them."""

    def __init__(self, folder: Path, bank: Bank, *flags: str) -> None:
        self.source = folder / "in.jsonl"
        self.output = folder / "out.jsonl"
        self._partial = folder / "out.jsonl.partial"
        self._bank = bank
        self._flags = flags
        self.totals: dict[str, Any] = {}

    def run(self, *flags: str, kill_after: int | None = None, delay_s: float = 0.0) -> int:
        """Run once; kill it once so many more requests have come, and a moment later."""
        seen = self._bank.attempts.total()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "batcher", "run", str(self.source), "-o", str(self.output)),
                *("--base-url", self._bank.base_url, "--json", "--progress", "none"),
                *(*self._flags, *flags),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        try:
            if kill_after is not None:
                wanted = seen + kill_after
                while process.poll() is None and self._bank.attempts.total() < wanted:
                    time.sleep(0.002)
                time.sleep(delay_s)
                process.send_signal(signal.SIGKILL)
            out, err = process.communicate(timeout=HANG_S)
        finally:
            process.kill()
            process.wait()
        self._bank.settle()
        assert b"Traceback" not in err, err.decode()
        self.totals = orjson.loads(out) if out else {}
        return process.returncode

    def by_row(self) -> dict[str, tuple[Usage, Decimal]]:
        """What each row has cost by its last line, read without the program's own reader."""
        path = self._partial if self._partial.exists() else self.output
        found: dict[str, tuple[Usage, Decimal]] = {}
        for raw in path.read_bytes().split(b"\n")[:-1] if path.exists() else []:
            line = orjson.loads(raw)
            if line.get("object") in (None, "batch.attempt"):
                ours = line["batcher"]
                found[line["custom_id"]] = (_usage(ours["usage"]), Decimal(ours["cost_usd"] or 0))
        return found


def _usage(fields: dict[str, Any]) -> Usage:
    return Usage(
        fields["prompt_tokens"],
        fields["completion_tokens"],
        fields["total_tokens"],
        fields["prompt_tokens_details"]["cached_tokens"],
        0,
        fields["completion_tokens_details"]["reasoning_tokens"],
    )


def _rows(count: int) -> bytes:
    shaped: dict[str, Any] = {"response_format": SCHEMA}
    return b"".join(
        chat(f"row-{n}", MODELS[n % len(MODELS)], **(shaped if n % 6 == 0 else {}))
        for n in range(count)
    )


def _less(charged: tuple[Usage, Decimal], told: tuple[Usage, Decimal]) -> tuple[Usage, Decimal]:
    usage = Usage(*map(int.__sub__, charged[0], told[0]))
    assert min(usage) >= 0, "more was told than was charged"
    return usage, charged[1] - told[1]


def _reconcile(folder: Path, draw: random.Random, rows: int, kills: int, *flags: str) -> None:
    """Kill and resume a job amid chaos, and hold its bill against the bank's."""
    nothing = (Usage(), Decimal(0))
    with Bank() as bank:
        work = Work(folder, bank, "--on-invalid", "repair", "--concurrency", "16", *flags)
        work.source.write_bytes(_rows(rows))
        for _ in range(kills):
            most = max(2, rows // (kills + 1))
            work.run(kill_after=draw.randint(1, most), delay_s=draw.uniform(0, 0.08))
        before, known = bank.by_row(), work.by_row()
        # What was answered to the dead: measured once, when the last of them has died.
        lost = {row: _less(charged, known.get(row, nothing)) for row, charged in before.items()}
        assert work.run() == 0
        charged, told = bank.by_row(), work.by_row()
    assert told.keys() == {f"row-{n}" for n in range(rows)}
    for row in told:
        assert _less(charged[row], told[row]) == lost.get(row, nothing), row
    _check_totals(work.totals, bank, told)


def _check_totals(
    totals: dict[str, Any], bank: Bank, told: dict[str, tuple[Usage, Decimal]]
) -> None:
    usage, usd = Usage(), Decimal(0)
    for row_usage, row_usd in told.values():
        usage, usd = usage.plus(row_usage), usd + row_usd
    assert (_usage(totals["usage"]), Decimal(totals["cost_usd"])) == (usage, usd)
    assert totals["unpriced_models"] == []
    # Whatever the client did not hear of is within what the totals say it may have cost.
    uncertain = totals.get("uncertain", {"cost_usd": "0", "total_tokens": 0})
    assert bank.usd - usd <= Decimal(uncertain["cost_usd"])
    assert bank.tokens - usage.total_tokens <= uncertain["total_tokens"]


def test_the_bill_is_the_banks(tmp_path: Path) -> None:
    """With faults, repairs and two kills, each row's tokens and cents are what was charged."""
    _reconcile(tmp_path, random.Random(3), 60, 2, "--max-cost", "50")


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(4))
def test_the_bill_is_the_banks_again_and_again(tmp_path: Path, seed: int) -> None:
    """The same over many kills and rows."""
    _reconcile(tmp_path, random.Random(seed), 400, 8, "--max-cost", "500")


def test_a_bill_without_kills_is_exact(tmp_path: Path) -> None:
    """What nobody killed has lost nothing: every token that was told is in the totals."""
    _reconcile(tmp_path, random.Random(0), 80, 0)


def _spend_it(folder: Path, rows: int, concurrency: int, latency_s: float) -> int:
    """Spend a budget with many slow requests in flight, some of which fail.

    Returns:
        How many were in flight at most, as the bank counted them.
    """
    faults = ("500", "reset", "cut", "reset")
    with Bank(latency_s=latency_s, tight=True, faults=faults, every=20) as bank:
        work = Work(folder, bank, "--concurrency", str(concurrency), "--timeout", "30")
        lines = [chat(f"row-{n}", "gpt-4o", most=200) for n in range(rows)]
        work.source.write_bytes(b"".join(lines))
        # Some four fifths of what all of it would cost.
        budget = Decimal(rows) * Decimal("0.0019")
        assert work.run("--max-cost", str(budget)) == 4
        assert budget * Decimal("0.9") <= bank.usd <= budget
        known = Decimal(work.totals["cost_usd"])
        spent = known + Decimal(work.totals["uncertain"]["cost_usd"])
        assert bank.usd <= spent <= budget, "what was cut off is counted with all it may have cost"
        most_in_flight = bank.most_in_flight
        assert work.run("--max-cost", str(budget * 2)) in (0, 3)
        assert bank.usd <= budget * 2
    return most_in_flight


def test_a_budget_under_load(tmp_path: Path) -> None:
    """A hundred slow requests in flight never exceed it, and use nine tenths of it."""
    # How many it takes is the governor's to find; amid a whole suite it may find fewer.
    assert _spend_it(tmp_path, 900, 100, 0.3) >= 50


@pytest.mark.crash
def test_a_budget_under_five_hundred_requests(tmp_path: Path) -> None:
    """Five hundred slow requests in flight never exceed it, and use nine tenths of it."""
    assert _spend_it(tmp_path, 4000, 500, 2.5) == 500


def _kill_under_a_budget(folder: Path, draw: random.Random, kills: int) -> None:
    budget = Decimal("0.4")
    with Bank(latency_s=0.05, tight=True) as bank:
        work = Work(folder, bank, "--concurrency", "8", "--max-cost", str(budget))
        work.source.write_bytes(b"".join(chat(f"row-{n}", "gpt-4o") for n in range(3000)))
        for _ in range(kills):
            work.run(kill_after=draw.randint(1, 60), delay_s=draw.uniform(0, 0.1))
            assert bank.usd <= budget
        code = work.run()
        assert code == 4
        assert bank.usd <= budget
        killed = Decimal(work.totals["uncertain"]["killed_runs"]["cost_usd"])
        known = Decimal(work.totals["cost_usd"])
        assert known + killed <= budget
        # All that the bank charged is known, or within what the totals call uncertain.
        assert bank.usd <= known + Decimal(work.totals["uncertain"]["cost_usd"])
        # And that is the eight in flight, and what a write or two would have found settled.
        most = max(charge.usd for charge in bank.charges) + 512 * Decimal("0.0000025")
        assert killed <= kills * 8 * 2 * most


def test_a_budget_over_kills(tmp_path: Path) -> None:
    """Killed and resumed, a job spends no more than its budget by the books of the bank."""
    _kill_under_a_budget(tmp_path, random.Random(1), 3)


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(4))
def test_a_budget_over_many_kills(tmp_path: Path, seed: int) -> None:
    """The same over a dozen kills."""
    _kill_under_a_budget(tmp_path, random.Random(seed), 12)
