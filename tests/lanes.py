"""Governors made up, and requests sent on their lanes."""

from __future__ import annotations

from batcher.governor import Governor, Lane, Limits, Outcome, Permit

__all__ = ["down", "governor", "send", "send_all", "wait_of"]


def governor(
    concurrency: int = 256,
    *,
    rpm: float | None = None,
    tpm: float | None = None,
    give_up_after_s: float = 900.0,
) -> tuple[Governor, Lane]:
    """A governor and its lane at time 0."""
    made = Governor(Limits(concurrency, rpm, tpm, give_up_after_s), 0.0)
    return made, made.lane("gpt-4o", 0.0)


def send(lane: Lane, now_s: float, *, tokens: float = 100.0, retry: bool = False) -> Permit:
    """Admit a request that must be admitted."""
    permit = lane.admit(tokens, now_s, retry=retry)
    assert isinstance(permit, Permit), f"held for {permit} s"
    return permit


def send_all(lane: Lane, now_s: float) -> list[Permit]:
    """Admit until something holds."""
    permits = []
    while isinstance(permit := lane.admit(100.0, now_s), Permit):
        permits.append(permit)
    return permits


def wait_of(lane: Lane, now_s: float, *, tokens: float = 100.0, retry: bool = False) -> float:
    """Ask for a request that must be held, and return the wait."""
    wait_s = lane.admit(tokens, now_s, retry=retry)
    assert not isinstance(wait_s, Permit)
    return wait_s


def down(made: Governor, lane: Lane, now_s: float) -> None:
    """Take the endpoint down."""
    lane.settle(send(lane, now_s), Outcome.OUTAGE, now_s, row=1, connection_refused=True)
    assert made.down_since_s == now_s
