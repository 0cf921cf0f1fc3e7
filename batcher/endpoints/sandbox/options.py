"""What the sandbox is told: one frozen record, from flags or from a job file's `[sandbox]` table.

Every key is checked for its name, type and range before anything listens, and a wrong name is
answered with the nearest right one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from batcher.endpoints.sandbox import readers
from batcher.endpoints.sandbox.faults import OK, fault_problem
from batcher.endpoints.sandbox.latency import INSTANT, Latency
from batcher.errors import UsageError

__all__ = ["REFUSED", "KeyQuota", "Latency", "Outage", "SandboxOptions"]

# What an outage is like in which nobody listens.
REFUSED = "refused"

_LIMIT_HEADERS = ("openai", "retry_after", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyQuota:
    """What a key may use up before it is refused as `insufficient_quota`; None is no bound."""

    requests: int | None = None
    tokens: int | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A window in which every request meets one fault.

    Attributes:
        from_request, to_request: First and last request of it, counted from 1 as they arrive.
        from_s, to_s: Its bounds in seconds since the sandbox began to listen.
        fault: What each request meets; `refused` is a window in seconds in which nobody listens.
    """

    from_request: int | None = None
    to_request: int | None = None
    from_s: float | None = None
    to_s: float | None = None
    fault: str = "503"

    def covers(self, *, request: int, now_s: float) -> bool:
        """Whether a request, by its number and the time since the start, falls into it."""
        if self.fault == REFUSED:
            return False
        if self.from_request is not None or self.to_request is not None:
            return (self.from_request or 1) <= request <= (self.to_request or math.inf)
        return (self.from_s or 0.0) <= now_s < (math.inf if self.to_s is None else self.to_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOptions:
    """How the sandbox behaves; the defaults are an endpoint that never fails and answers at once.

    Attributes:
        seed: The same seed and the same request give the same answer.
        models: The models that exist; any name is one while this is empty.
        keys: Quota by API key; any key, or none, will do while this is empty.
        latency: Law of the time an answer takes.
        token_latency_s: More seconds for each token of the answer.
        rpm, tpm: Requests, tokens a minute, for each key and model.
        limit_window_s: How many seconds' worth of the rate may be used in one burst; the limit that
            headers state.
        limit_headers: What tells of the limits: `openai` (`x-ratelimit-*` on every answer, and
            Retry-After), `retry_after` (that alone, on a refusal), `none`.
        capacity: Requests at once beyond which all get slower in proportion.
        overload: Beyond capacity, answers are slower by the load to the power `1 + overload`: above
            0, throughput falls as load rises.
        faults: Probability of each fault.
        script: Steps of each row; a row is known by its body's `user`, its `metadata.row`, or its
            `X-Sandbox-Row` header.
        outage: Windows in which everything fails.
        retry_after_s: What the hinted refusals among the faults tell.
        slow_s, hang_s, huge_bytes: Measures of the faults `slow`, `timeout`, `too_large`.
        answer_tokens: Mean length of an answer in words.
        cached_share: The part of each prompt that counts as cached.
        reasoning_tokens: Reasoning tokens of each choice.
        context_tokens: Longest prompt.
        max_body_bytes: Longest request.
        prompt_usd_per_mtok, completion_usd_per_mtok: Prices, for the books and quotas in USD.
        gzip: Whether answers are compressed for clients that accept it.
    """

    seed: int = 0
    models: tuple[str, ...] = ()
    keys: Mapping[str, KeyQuota] = field(default_factory=dict, repr=False)
    latency: Latency = INSTANT
    token_latency_s: float = 0.0
    rpm: float | None = None
    tpm: float | None = None
    limit_window_s: float = 60.0
    limit_headers: str = "openai"
    capacity: int | None = None
    overload: float = 0.0
    faults: Mapping[str, float] = field(default_factory=dict)
    script: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    outage: tuple[Outage, ...] = ()
    retry_after_s: float = 1.0
    slow_s: float = 30.0
    hang_s: float = 3600.0
    huge_bytes: int = 80 * 2**20
    answer_tokens: int = 24
    cached_share: float = 0.0
    reasoning_tokens: int = 0
    context_tokens: int = 1_000_000
    max_body_bytes: int = 64 * 2**20
    # gpt-4o's list prices.
    prompt_usd_per_mtok: float = 2.5
    completion_usd_per_mtok: float = 10.0
    gzip: bool = False

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> SandboxOptions:
        """Check a job file's `[sandbox]` table, or what `to_mapping` gave.

        Raises:
            UsageError: A key is unknown (the text names the nearest), or its value is wrong.
        """
        checked = {}
        for key, value in mapping.items():
            if key not in _READERS:
                near = get_close_matches(key, _READERS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"keys: {', '.join(_READERS)}"
                raise UsageError(f"sandbox: there is no key {key!r}: {hint}")
            if value is not None:
                checked[key] = _READERS[key](key, value)
        options = cls(**checked)
        if sum(options.faults.values()) > 1:
            raise UsageError("sandbox: faults: the probabilities add up to more than 1")
        if options.capacity is not None and not options.takes_time:
            raise UsageError(
                "sandbox: capacity: an answer that takes no time gets no slower; give a latency too"
            )
        return options

    @property
    def takes_time(self) -> bool:
        """Whether an answer takes any time."""
        return self.latency != INSTANT or self.token_latency_s > 0

    def to_mapping(self) -> dict[str, Any]:
        """Return plain JSON values that `from_mapping` reads back."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def _plain(value: object) -> object:
    if isinstance(value, Latency):
        return str(value)
    if isinstance(value, (KeyQuota, Outage)):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _limit_headers(key: str, value: object) -> str:
    if value not in _LIMIT_HEADERS:
        raise UsageError(f"sandbox: {key}: expected one of {', '.join(_LIMIT_HEADERS)}")
    return str(value)


def _fault(key: str, value: object) -> str:
    problem = None if value == OK else fault_problem(str(value))
    if problem:
        raise UsageError(f"sandbox: {key}: {problem}")
    return str(value)


def _faults(key: str, value: object) -> dict[str, float]:
    return {
        _fault(key, name): readers.share(f"{key}.{name}", probability)
        for name, probability in readers.table(key, value).items()
    }


def _steps(key: str, value: object) -> str | tuple[str, ...]:
    if isinstance(value, (str, int)):
        return _fault(key, value)
    if not isinstance(value, Sequence):
        raise readers.wrong(key, "a fault or a list of them", value)
    return tuple(_fault(key, step) for step in value)


def _script(key: str, value: object) -> dict[str, str | tuple[str, ...]]:
    return {row: _steps(f"{key}.{row}", steps) for row, steps in readers.table(key, value).items()}


def _keys(key: str, value: object) -> dict[str, KeyQuota]:
    """Read quotas by key; a key's text stays out of every error."""
    return {
        name: quota
        if isinstance(quota, KeyQuota)
        else KeyQuota(**readers.record(f"{key}.<key {at}>", quota, _QUOTA))
        for at, (name, quota) in enumerate(readers.table(key, value).items(), 1)
    }


def _outage_fault(key: str, value: object) -> str:
    return REFUSED if value == REFUSED else _fault(key, value)


def _outage(key: str, value: object) -> Outage:
    outage = value if isinstance(value, Outage) else Outage(**readers.record(key, value, _OUTAGE))
    by_request = outage.from_request is not None or outage.to_request is not None
    if outage.fault == REFUSED and by_request:
        raise UsageError(
            f"sandbox: {key}: a connection is refused before there is a request: give from_s, to_s"
        )
    return outage


def _outages(key: str, value: object) -> tuple[Outage, ...]:
    windows = [value] if isinstance(value, (Mapping, Outage)) else value
    if isinstance(windows, str) or not isinstance(windows, Sequence):
        raise readers.wrong(key, "a table or a list of them", value)
    return tuple(_outage(key, window) for window in windows)


_QUOTA: Mapping[str, readers.Reader] = {
    "requests": readers.integer,
    "tokens": readers.integer,
    "usd": readers.number,
}
_OUTAGE: Mapping[str, readers.Reader] = {
    "from_request": readers.count,
    "to_request": readers.count,
    "from_s": readers.number,
    "to_s": readers.number,
    "fault": _outage_fault,
}
_READERS: Mapping[str, readers.Reader] = {
    "seed": readers.signed,
    "models": readers.names,
    "keys": _keys,
    "latency": lambda _key, value: Latency.parse(value),
    "token_latency_s": readers.number,
    "rpm": readers.positive,
    "tpm": readers.positive,
    "limit_window_s": readers.positive,
    "limit_headers": _limit_headers,
    "capacity": readers.count,
    "overload": readers.number,
    "faults": _faults,
    "script": _script,
    "outage": _outages,
    "retry_after_s": readers.number,
    "slow_s": readers.number,
    "hang_s": readers.number,
    "huge_bytes": readers.integer,
    "answer_tokens": readers.count,
    "cached_share": readers.share,
    "reasoning_tokens": readers.integer,
    "context_tokens": readers.count,
    "max_body_bytes": readers.count,
    "prompt_usd_per_mtok": readers.number,
    "completion_usd_per_mtok": readers.number,
    "gzip": readers.flag,
}
