"""What a run waits for, and what ends its patience: refusals for rate, outages, stops.

After each run the endpoint's books are held against our totals.
"""

from __future__ import annotations

import signal
import threading
import time
from email.utils import formatdate

import pytest

from batcher.records import Hold, Progress
from tests.harness import Job, row, rows
from tests.server import Does, Endpoint, Move, Say, Seen, embedded, refusal


def throttling(refused: Say, *, for_s: float) -> Move:
    """Refuse everyone from the first request on for a while, as a limited endpoint does."""
    until: list[float] = []

    def move(seen: Seen) -> Say | Does:
        now = time.monotonic()
        until[:] = until or [now + for_s]
        return refused if now < until[0] else Say()

    return move


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(refusal(429, retry_after_ms="300"), id="retry-after-ms"),
        pytest.param(refusal(429, retry_after="0.3"), id="Retry-After in seconds"),
        pytest.param(
            refusal(429, retry_after_ms="300", retry_after="3000"), id="milliseconds come first"
        ),
        pytest.param(
            refusal(
                429,
                **{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "300ms"},
            ),
            id="the reset of a used-up limit",
        ),
        pytest.param(refusal(503, retry_after_ms="300"), id="503 with a hint"),
        pytest.param(
            embedded("rate_limit_exceeded")._replace(headers={"retry-after-ms": "300"}),
            id="200 with the code of one",
        ),
    ],
)
def test_told_to_wait(job: Job, endpoint: Endpoint, refused: Say) -> None:
    """A wait is kept by everyone, once, and held against no row."""
    endpoint.always(throttling(refused, for_s=0.25))
    job.write(rows(24))
    ran = job.run("--max-attempts", "1", "--concurrency", "8")
    assert ran.code == 0, ran.err
    # Who was in flight already learns it too; nobody else.
    assert 24 < endpoint.books.attempts <= 32
    job.audit()


def test_told_a_date(job: Job, endpoint: Endpoint) -> None:
    """A date counts from the answer's own date, whatever our clock says."""
    sent = 1_000_000_000
    date = {"date": formatdate(sent, usegmt=True), "retry-after": formatdate(sent + 1, usegmt=True)}
    endpoint.on("r1", refusal(429, **date), Say())
    job.write(rows(1))
    assert job.run("--max-attempts", "1").code == 0
    assert endpoint.books.attempts == 2
    job.audit()


def test_each_model_waits_alone(job: Job, endpoint: Endpoint) -> None:
    """A model that is refused for rate does not hold up another."""
    endpoint.on("slow", refusal(429, retry_after="900"))
    job.write([row("slow", model="a"), *(row(f"b{n}", model="b") for n in range(20))])

    def interrupt(progress: Progress) -> None:
        assert progress.done <= 20
        if progress.done == 20:
            signal.raise_signal(signal.SIGINT)

    job.watching = interrupt
    ran = job.run("--give-up-after", "901")
    assert ran.code == 130, ran.err
    assert endpoint.books.by_key["slow"] == 1
    assert ran.totals["pending"] == 1


def test_wait_longer_than_patience(job: Job, endpoint: Endpoint) -> None:
    """A wait longer than --give-up-after stops the run; the same command goes on later."""
    endpoint.on("r3", refusal(429, retry_after="2000"), Say())
    job.write(rows(5))
    ran = job.run("--concurrency", "1")
    assert (ran.code, ran.totals["stop_reason"], ran.totals["pending"]) == (7, "endpoint_down", 3)
    assert not job.output.exists()
    assert job.run().code == 0
    job.audit()


@pytest.mark.parametrize(
    "refused",
    [pytest.param(refusal(429), id="429"), pytest.param(refusal(429, "slow_down"), id="slow")],
)
def test_refused_for_rate_for_too_long(job: Job, endpoint: Endpoint, refused: Say) -> None:
    """Nothing but refusals for rate for --give-up-after stops the run, and fails no row."""
    endpoint.always(refused)
    job.write(rows(5))
    ran = job.run("--give-up-after", "0.4")
    assert (ran.code, ran.totals["stop_reason"]) == (7, "endpoint_down"), ran.err
    assert (ran.totals["pending"], ran.totals["request_counts"]["failed"]) == (5, 0)
    assert ran.totals["attempts"] == endpoint.books.attempts
    endpoint.always(Say())
    assert job.run().code == 0
    job.audit()


def test_refused_connections_are_an_outage(job: Job, endpoint: Endpoint) -> None:
    """Nobody listens: the run probes, goes on when somebody does, and fails no row for it."""
    endpoint.close_port()
    job.write(rows(5))

    def reopen(progress: Progress) -> None:
        if progress.held_by is Hold.ENDPOINT:
            job.watching = lambda _: None
            endpoint.open_port()

    job.watching = reopen
    ran = job.run("--max-attempts", "1")
    assert ran.code == 0, ran.err
    assert endpoint.books.attempts == 5
    job.audit()


@pytest.mark.parametrize("status", [502, 503, 504])
def test_bad_gateways_everywhere_are_an_outage(job: Job, endpoint: Endpoint, status: int) -> None:
    """502, 503 and 504 everywhere are an outage, held against no row's --max-attempts."""
    up = threading.Event()
    endpoint.always(lambda _: Say() if up.is_set() else Say(status, b"<html>"))
    job.write(rows(8))

    def mend(progress: Progress) -> None:
        if progress.held_by is Hold.ENDPOINT:
            up.set()

    job.watching = mend
    ran = job.run("--max-attempts", "3")
    assert ran.code == 0, ran.err
    job.audit()


def test_outage_ends_in_time(job: Job, endpoint: Endpoint) -> None:
    """An outage longer than --give-up-after stops the run with 7; it can be resumed."""
    endpoint.close_port()
    job.write(rows(3))
    ran = job.run("--give-up-after", "0.3")
    assert (ran.code, ran.totals["stop_reason"], ran.totals["pending"]) == (7, "endpoint_down", 3)
    assert (ran.totals["attempts"], ran.totals["attempts_without_usage"]) == (0, 0)
    endpoint.open_port()
    assert job.run().code == 0
    job.audit()


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(refusal(429, "insufficient_quota"), id="429 insufficient_quota"),
        pytest.param(refusal(429, "credit_balance_exhausted"), id="429 credit_balance_exhausted"),
        pytest.param(refusal(403, "billing_hard_limit_reached"), id="403 billing_hard_limit"),
        pytest.param(
            Say(429, b'{"error": {"message": "no", "type": "insufficient_quota", "code": null}}'),
            id="by its type",
        ),
        pytest.param(Say(401, b"<html>"), id="401"),
        pytest.param(Say(402, b""), id="402"),
        pytest.param(embedded("insufficient_quota"), id="200 with the code of one"),
        pytest.param(refusal(401, x_should_retry="true"), id="whatever x-should-retry says"),
    ],
)
def test_account_refused(job: Job, endpoint: Endpoint, refused: Say) -> None:
    """No money or no access stops the run; the rows stay, and go on once it is mended."""
    endpoint.always(refused)
    endpoint.on("r1", Say())
    job.write(rows(100))
    ran = job.run("--concurrency", "4")
    assert (ran.code, ran.totals["stop_reason"]) == (5, "refused"), ran.err
    assert endpoint.books.attempts <= 8
    assert ran.totals["attempts"] == endpoint.books.attempts
    assert ran.totals["request_counts"]["failed"] == 0
    endpoint.always(Say())
    assert job.run().code == 0
    job.audit()


def test_fifty_same_refusals(job: Job, endpoint: Endpoint) -> None:
    """When the first 50 results are all the same refusal, the run stops with 5."""
    endpoint.always(refusal(404, "model_not_found"))
    job.write(rows(200))
    ran = job.run("--concurrency", "4")
    assert (ran.code, ran.totals["stop_reason"]) == (5, "refused"), ran.err
    assert 50 <= endpoint.books.attempts <= 54
    counts = ran.totals["request_counts"]
    assert counts["failed"] == endpoint.books.attempts
    assert (counts["total"], ran.totals["pending"]) == (200, 200 - counts["failed"])


@pytest.mark.parametrize("other", [Say(), refusal(400, "model_not_found"), refusal(404, "gone")])
def test_fifty_refusals_that_differ(job: Job, endpoint: Endpoint, other: Say) -> None:
    """One result that is another outcome shows that not everything is refused."""
    endpoint.always(refusal(404, "model_not_found"))
    endpoint.on("r7", other)
    job.write(rows(60))
    assert job.run().code == 3
    assert endpoint.books.attempts == 60
    job.audit()
