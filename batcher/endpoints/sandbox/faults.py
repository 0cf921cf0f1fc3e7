"""The ways in which the sandbox can misbehave, and which of them a request meets.

A fault has a name, used alike as a probability (`faults = {"500": 0.01}`), as a step of a row's
script (`script = {"ticket-17": ["500", "ok"]}`) and as what an outage looks like. A name of three
digits, 300 to 599, is that HTTP status; the others stand in `FAULTS`.

Which fault an attempt meets depends on the seed, the request and how many attempts of that request
have failed in a row: on nothing else, so that neither order nor concurrency changes a run. An
attempt that is answered well ends its row's streak, so that only failing rows are remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from hashlib import blake2b

__all__ = [
    "CONTENT",
    "FAULTS",
    "OK",
    "SILENT",
    "UNREADABLE",
    "FaultPlan",
    "fault_problem",
    "is_status",
]

OK = "ok"

FAULTS: Mapping[str, str] = {
    # The connection.
    "reset": "the connection is reset before a byte of the answer; not charged",
    "timeout": "no answer ever comes (until `hang_s`); not charged",
    "slow": "the answer comes `slow_s` later",
    "truncated": "the answer's body ends halfway and the connection closes; charged",
    "garbage": "bytes that are no HTTP; not charged",
    "bad_gzip": "a body that says gzip and is none; charged",
    "too_large": "an answer of `huge_bytes` bytes; not charged",
    # Refusals, beyond the bare statuses.
    "429_ms": "429 with `retry-after-ms` alone",
    "429_date": "429 with a Retry-After that is a date",
    "429_reset": "429 with `x-ratelimit-reset-requests` alone",
    "429_silent": "429 with no hint at all",
    "429_too_large": "429: this one request is larger than the limit itself",
    "slow_down": "429 with the code `slow_down`",
    "503_hint": "503 with Retry-After",
    "overloaded": "503 with the code `server_is_overloaded` and Retry-After",
    "502_html": "502 with a proxy's HTML page",
    "insufficient_quota": "429: the money is gone",
    "insufficient_quota_403": "403: the money is gone",
    "400_retry": "400 with `x-should-retry: true`",
    "500_no_retry": "500 with `x-should-retry: false`",
    # 200, yet no answer.
    "empty": "200 with an empty body; not charged",
    "blank": "200 with blank lines alone; not charged",
    "html": "200 with an HTML page; not charged",
    "cut_json": "200 with half of the JSON, whole as HTTP; charged",
    "error_in_200": "200 with an `error` of code 502; not charged",
    "rate_limit_in_200": "200 with an `error` of code 429; not charged",
    "quota_in_200": "200 with an `error` of code `insufficient_quota`; not charged",
    "no_choices": "200 with usage and without choices; charged",
    "no_usage": "a good answer without usage; charged",
    # Answers that are not what was asked for; all of them charged.
    "tool_bad_json": "arguments that do not parse",
    "tool_bad_types": "arguments that break their schema",
    "tool_unknown": "a call of a tool that was not offered",
    "tool_none": "prose where a call was due",
    "tool_wrong_finish": "a good call under `finish_reason: stop`",
    "answer_schema": "JSON that breaks the response format's schema",
    "fenced": "the answer's JSON in a Markdown fence",
    "length": "an answer cut in half, `finish_reason: length`",
    "refusal": "a refusal in words",
    "content_filter": "an answer withheld by the content filter",
}

# Faults that change what a good answer says rather than how it is sent.
CONTENT = frozenset(
    (
        "answer_schema",
        "content_filter",
        "fenced",
        "length",
        "refusal",
        "tool_bad_json",
        "tool_bad_types",
        "tool_none",
        "tool_unknown",
        "tool_wrong_finish",
    )
)

# Faults of the connection that leave nothing to charge.
SILENT = frozenset(("garbage", "reset", "timeout", "too_large"))

# Charged answers whose usage the client can't read.
UNREADABLE = frozenset(("bad_gzip", "cut_json", "no_usage", "truncated"))

# Named HTTP statuses run from here (redirects) to there.
_STATUS_MIN, _STATUS_MAX = 300, 599


def is_status(name: str) -> bool:
    """Whether a fault's name is a bare HTTP status."""
    return name.isascii() and name.isdecimal() and _STATUS_MIN <= int(name) <= _STATUS_MAX


def fault_problem(name: str) -> str | None:
    """Say what is wrong with a fault's name, with the nearest right one; None when it is right."""
    if name in FAULTS or is_status(name):
        return None
    near = get_close_matches(name, FAULTS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "it is a status such as 500, or a fault's name"
    return f"there is no fault {name!r}: {hint}"


class FaultPlan:
    """Which fault each attempt meets.

    Args:
        faults: Probability by name; together at most 1.
        script: Steps by row: a list is met in turn, then all is well; a single step for ever.
    """

    __slots__ = ("_failing", "_faults", "_script", "_step", "active")

    def __init__(
        self, faults: Mapping[str, float], script: Mapping[str, str | Sequence[str]]
    ) -> None:
        self._faults = tuple(faults.items())
        self._script = script
        self._failing: dict[bytes, int] = {}
        self._step: dict[str, int] = {}
        self.active = bool(faults or script)

    def next(self, row: str | None, digest: bytes) -> str | None:
        """Return the fault of this attempt, or None.

        Args:
            row: The row's name where it has one; a scripted row follows its script alone.
            digest: Of seed and request.
        """
        steps = None if row is None else self._script.get(row)
        if row is not None and steps is not None:
            fault = self._scripted(row, steps)
        else:
            fault = self._drawn(digest)
        return None if fault == OK else fault

    def _scripted(self, row: str, steps: str | Sequence[str]) -> str:
        if isinstance(steps, str):
            return steps
        at = self._step.get(row, 0)
        if at >= len(steps):
            return OK
        self._step[row] = at + 1
        return steps[at]

    def _drawn(self, digest: bytes) -> str:
        if not self._faults:
            return OK
        streak = self._failing.get(digest, 0)
        drawn = blake2b(digest + streak.to_bytes(8, "big"), digest_size=8).digest()
        left = int.from_bytes(drawn, "big") / 2**64
        for name, probability in self._faults:
            left -= probability
            if left < 0:
                self._failing[digest] = streak + 1
                return name
        self._failing.pop(digest, None)
        return OK
