"""What a run may have in flight stands in the journal, and a kill leaves it there."""

from __future__ import annotations

import json
import signal
from decimal import Decimal

from tests.harness import Job, lines_of, wait_for
from tests.purses import MOST, capped, cost_of
from tests.server import Does, Endpoint, Say, Seen


def test_a_kill_leaves_word_of_what_was_in_flight(priced: Job, endpoint: Endpoint) -> None:
    """It is charged to the budget, told by status and in the totals, apart from what is known."""
    endpoint.always(Does.WAIT, Say())
    priced.write(capped(8))
    flags = ("--max-cost", "0.5", "--concurrency", "4")
    with priced.process(*flags) as process:
        endpoint.wait_until(lambda books: books.in_flight == 4)
        wait_for(lambda: _leased(priced) == 4 * MOST)
        process.signal(signal.SIGKILL)
        process.wait()
    endpoint.release()
    seen = priced.invoke("status", "--json", str(priced.output)).totals["totals"]
    killed = seen["uncertain"]["killed_runs"]
    assert killed["total_tokens"] == 4 * MOST, "the four in flight, and no more"
    assert (seen["cost_usd"], seen["attempts"]) == (None, 0)
    ran = priced.run("--max-cost", "0.5")
    assert ran.code == 0
    assert ran.totals["uncertain"] == {**killed, "killed_runs": killed}
    priced.write(capped(9))
    again = priced.run("--max-cost", "0.5")
    assert again.totals["uncertain"]["killed_runs"] == killed, "kept over a new output"
    priced.audit(books=False)


def test_a_lease_goes_down_with_what_is_in_flight(priced: Job, endpoint: Endpoint) -> None:
    """A kill after a crowd has come back is charged what was answered, and those still out."""
    slow = {f"r{number}" for number in range(1, 4)}
    endpoint.always(lambda seen: Does.WAIT if seen.key in slow else Say())
    priced.write(capped(9))
    with priced.process("--max-cost", "5", "--concurrency", "32") as process:
        endpoint.wait_until(lambda books: books.attempts == 9)
        wait_for(lambda: _leased(priced) == 3 * MOST and len(priced.written()) == 6)
        process.signal(signal.SIGKILL)
        process.wait()
    seen = priced.invoke("status", "--json", str(priced.output)).totals["totals"]
    assert seen["uncertain"]["killed_runs"]["total_tokens"] == 3 * MOST
    assert Decimal(seen["cost_usd"]) == cost_of(endpoint)
    endpoint.release()


def _leased(priced: Job) -> int:
    """The tokens of the last lease in the journal; 0 before the first."""
    if not priced.partial.exists():
        return 0
    lines = [json.loads(raw) for raw in priced.partial.read_bytes().split(b"\n")[:-1]]
    leases = [line["total_tokens"] for line in lines if line.get("object") == "batch.lease"]
    return leases[-1] if leases else 0


def test_a_clean_end_leaves_no_lease(priced: Job, endpoint: Endpoint) -> None:
    """Stopped by a signal or by its budget, a run has written all down: nothing is uncertain."""
    priced.write(capped(40))
    assert priced.run("--max-cost", "0.1").code == 4
    lines = lines_of(priced.partial)
    leases = [line for line in lines if line.get("object") == "batch.lease"]
    assert any(Decimal(lease["cost_usd"]) > 0 for lease in leases)
    assert lines[-1]["run"] == leases[0]["run"], "the note of its end gives the lease back"
    assert "uncertain" not in priced.invoke("status", "--json", str(priced.output)).totals["totals"]


def test_a_lease_stands_before_a_request_leaves(priced: Job, endpoint: Endpoint) -> None:
    """Whenever a request arrives, the journal on the disk covers all that is in flight."""
    uncovered: list[Seen] = []

    def look(seen: Seen) -> Say:
        lines = [json.loads(raw) for raw in priced.partial.read_bytes().split(b"\n")[:-1]]
        lease = [line for line in lines if line.get("object") == "batch.lease"][-1]
        least = Decimal("0.005") * endpoint.books.in_flight
        if Decimal(lease["cost_usd"]) < least:
            uncovered.append(seen)
        return Say()

    endpoint.always(look)
    priced.write(capped(120))
    assert priced.run("--max-cost", "10").code == 0
    assert not uncovered


def test_without_a_budget_no_lease_is_written(priced: Job, endpoint: Endpoint) -> None:
    """Who sets no budget pays nothing for there being one: the journal becomes the output."""
    priced.write(capped(3))
    assert priced.run().code == 0
    assert "batch.lease" not in priced.output.read_text()
    priced.audit()


def test_what_a_killed_run_may_have_spent_leaves_less(priced: Job, endpoint: Endpoint) -> None:
    """Over any number of killed runs a budget is never exceeded by the endpoint's own books."""
    endpoint.always(Does.WAIT)
    priced.write(capped(200))
    flags = ("--max-cost", "0.4", "--concurrency", "4")
    for kills in range(1, 4):
        with priced.process(*flags) as process:
            endpoint.wait_until(lambda books, n=kills: books.attempts >= 4 * n)  # type: ignore[misc]
            process.signal(signal.SIGKILL)
            process.wait()
    endpoint.always(Say())
    ran = priced.run(*flags)
    assert ran.code == 4
    # Each of the twelve attempts of dead processes may have cost what it asked for.
    assert cost_of(endpoint) + 12 * Decimal("0.0051") <= Decimal("0.4")
