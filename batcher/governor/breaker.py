"""When to take an endpoint for down, and how to find that it is back.

It is down when attempts fail as if nobody were there, nothing has succeeded since the first of
them, and either three different rows failed so or a connection was refused. While it is down one
probe at a time leaves, and whoever answers anything, even a refusal, is back.
"""

from __future__ import annotations

__all__ = ["Breaker", "Spell"]

# One row can be the cause of its own 502; three rows are not.
ROWS_LEAST = 3
# From the first probe after half a second up to 4 s: with an answer inside a second, work goes on
# within 5 s of the end of an outage.
PROBE_FIRST_S = 0.5
PROBE_MOST_S = 4.0
# What happened longer apart than this was not one spell of waiting: the machine slept.
SPELL_GAP_S = 30.0


class Spell:
    """A stretch of nothing but bad news, its length counted by evidence rather than by the clock.

    A machine that sleeps for a night in the middle of an outage has not waited for a night. That
    nothing is out, since too much was refused, is evidence as well: it is `kept_still`.

    Attributes:
        since_s: Time of the first bad news; None while there is none.
    """

    __slots__ = ("_felt_s", "_last_s", "since_s")

    def __init__(self) -> None:
        self.since_s: float | None = None
        self._last_s = 0.0
        self._felt_s = 0.0

    def bad(self, now_s: float, *, gap_s: float = SPELL_GAP_S) -> None:
        """Note bad news; `gap_s` is the longest time that may have passed since the last."""
        if self.since_s is None:
            self.since_s = self._last_s = now_s
        self._felt_s += min(now_s - self._last_s, gap_s)
        self._last_s = now_s

    def over(self) -> None:
        """Note good news."""
        self.since_s = None
        self._felt_s = 0.0

    def lasted_s(self, now_s: float) -> float:
        """How long it has lasted."""
        if self.since_s is None:
            return 0.0
        return self._felt_s + min(now_s - self._last_s, SPELL_GAP_S)

    def kept_still(self, now_s: float) -> None:
        """Note that nothing is out that could bring news: tell it often."""
        if self.since_s is not None:
            self.bad(now_s)


class Breaker:
    """Down or not.

    Attributes:
        spell: The failures since the last success, from the first of them.
        open: Whether the endpoint is taken for down.
        opened_s: When it last was found down.
        count: How many times it was.
    """

    __slots__ = ("_next_s", "_rows", "_wait_s", "count", "open", "opened_s", "spell")

    def __init__(self) -> None:
        self.spell = Spell()
        self.open = False
        self.opened_s = 0.0
        self.count = 0
        self._rows: set[int] = set()
        self._next_s = 0.0
        self._wait_s = PROBE_FIRST_S

    def failed(self, row: int, now_s: float, *, refused: bool, probe: bool) -> None:
        """Note an attempt that found nobody there."""
        self.spell.bad(now_s)
        if len(self._rows) < ROWS_LEAST:
            self._rows.add(row)
        if not self.open and (refused or len(self._rows) >= ROWS_LEAST):
            self.open = True
            self.opened_s = now_s
            self.count += 1
            self._wait_s = PROBE_FIRST_S
            self._next_s = now_s + self._wait_s
        elif self.open and probe:
            self._next_s = now_s + self._wait_s
            self._wait_s = min(2 * self._wait_s, PROBE_MOST_S)

    def alive(self, sent_s: float) -> bool:
        """Note any answer; return whether it ends an outage.

        An answer to a request from before the outage ends one only where the outage rests on a
        single refused connection: an old backend may still be finishing its work.
        """
        if self.open and sent_s < self.opened_s and len(self._rows) >= ROWS_LEAST:
            return False
        was_open = self.open
        self.open = False
        self.spell.over()
        self._rows.clear()
        return was_open

    def probe_wait_s(self, now_s: float) -> float:
        """Seconds until a probe may leave; 0 when it may now."""
        return max(0.0, self._next_s - now_s)

    def probed(self, now_s: float) -> None:
        """Note that a probe left. One that hangs counts for the longest wait, and no longer."""
        self._next_s = now_s + PROBE_MOST_S
