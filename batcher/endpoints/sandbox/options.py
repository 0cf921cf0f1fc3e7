"""What the sandbox is told: one frozen record, from flags or from a job file's `[sandbox]` table.

Every key is checked for its name, type and range before anything listens, and a wrong name is
answered with the nearest right one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from statistics import NormalDist
from typing import Any

from batcher.endpoints.sandbox.faults import OK, fault_problem
from batcher.errors import UsageError

__all__ = ["KeyQuota", "Latency", "Outage", "SandboxOptions"]

# How each law is written: its name, then its numbers.
_LAWS: Mapping[str, tuple[str, ...]] = {
    "constant": ("seconds",),
    "uniform": ("least seconds", "most seconds"),
    "lognormal": ("median seconds", "sigma"),
    "exponential": ("mean seconds",),
}
_LIMIT_HEADERS = ("openai", "retry_after", "none")
_NORMAL = NormalDist()

# The ends of a draw are infinite under some laws: a draw is kept this far from them.
_DRAW_MARGIN = 1e-9


@dataclass(frozen=True, slots=True)
class Latency:
    """A law of the time an answer takes, such as `lognormal:0.8,0.5` (median 0.8 s, sigma 0.5).

    Attributes:
        law: `constant`, `uniform`, `lognormal` or `exponential`.
        numbers: Seconds, least and most; or median and sigma; or the mean.
    """

    law: str = "constant"
    numbers: tuple[float, ...] = (0.0,)

    @classmethod
    def parse(cls, value: object) -> Latency:
        """Read a number (constant seconds) or a text `law:number,number`.

        Raises:
            UsageError: There is no such law, or its numbers are wrong.
        """
        if isinstance(value, Latency):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return cls("constant", (_least("latency", value, 0),))
        law, _, rest = str(value).partition(":")
        if law not in _LAWS:
            near = get_close_matches(law, _LAWS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the laws are {', '.join(_LAWS)}"
            raise UsageError(f"sandbox: latency: there is no law {law!r}: {hint}")
        try:
            numbers = tuple(_least("latency", float(part), 0) for part in rest.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != len(_LAWS[law]) or (law == "uniform" and numbers[0] > numbers[-1]):
            raise UsageError(f"sandbox: latency: {law} is written {law}:{','.join(_LAWS[law])}")
        return cls(law, numbers)

    def __str__(self) -> str:
        return f"{self.law}:{','.join(map(repr, self.numbers))}"

    def at(self, draw: float) -> float:
        """Return the seconds at a uniform draw in [0, 1): the law's quantile."""
        first, last = self.numbers[0], self.numbers[-1]
        draw = min(max(draw, _DRAW_MARGIN), 1 - _DRAW_MARGIN)
        match self.law:
            case "uniform":
                return first + (last - first) * draw
            case "lognormal":
                return first * math.exp(last * _NORMAL.inv_cdf(draw))
            case "exponential":
                return -first * math.log(1 - draw)
        return first


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
        fault: What each request meets.
    """

    from_request: int | None = None
    to_request: int | None = None
    from_s: float | None = None
    to_s: float | None = None
    fault: str = "503"

    def covers(self, *, request: int, now_s: float) -> bool:
        """Whether a request, by its number and the time since the start, falls into it."""
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
        limit_window_s: How many seconds' worth of the rate may be used in one burst.
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
    latency: Latency = Latency()
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
        return options

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


def _wrong(key: str, wanted: str, value: object) -> UsageError:
    return UsageError(f"sandbox: {key}: expected {wanted}, not {type(value).__name__}")


def _least(key: str, value: object, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(key, "a number", value)
    if not least <= value < math.inf:
        raise UsageError(f"sandbox: {key}: expected a number of at least {least:g}, not {value!r}")
    return value


def _number(key: str, value: object) -> float:
    return float(_least(key, value, 0))


def _positive(key: str, value: object) -> float:
    number = _number(key, value)
    if number == 0:
        raise UsageError(f"sandbox: {key}: expected a number above 0")
    return number


def _share(key: str, value: object) -> float:
    number = _number(key, value)
    if number > 1:
        raise UsageError(f"sandbox: {key}: expected a number from 0 to 1, not {value!r}")
    return number


def _integer(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(key, "an integer", value)
    return int(_least(key, value, 0))


def _count(key: str, value: object) -> int:
    return max(1, _integer(key, value))


def _signed(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(key, "an integer", value)
    return value


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(key, "true or false", value)
    return value


def _table(key: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(key, "a table", value)
    return value


def _names(key: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong(key, "a list of texts", value)
    for item in value:
        if not isinstance(item, str):
            raise _wrong(key, "a list of texts", item)
    return tuple(value)


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
        _fault(key, name): _share(f"{key}.{name}", probability)
        for name, probability in _table(key, value).items()
    }


def _steps(key: str, value: object) -> str | tuple[str, ...]:
    if isinstance(value, (str, int)):
        return _fault(key, value)
    if not isinstance(value, Sequence):
        raise _wrong(key, "a fault or a list of them", value)
    return tuple(_fault(key, step) for step in value)


def _script(key: str, value: object) -> dict[str, str | tuple[str, ...]]:
    return {row: _steps(f"{key}.{row}", steps) for row, steps in _table(key, value).items()}


def _record(
    key: str, value: object, readers: Mapping[str, Callable[[str, object], Any]]
) -> dict[str, Any]:
    """Read a table whose keys are known; None stands for a key left out."""
    read = {}
    for name, item in _table(key, value).items():
        if name not in readers:
            raise UsageError(f"sandbox: {key}: {name!r} is none of {', '.join(readers)}")
        if item is not None:
            read[name] = readers[name](f"{key}.{name}", item)
    return read


def _keys(key: str, value: object) -> dict[str, KeyQuota]:
    """Read quotas by key; a key's text stays out of every error."""
    return {
        name: quota
        if isinstance(quota, KeyQuota)
        else KeyQuota(**_record(f"{key}.<key {at}>", quota, _QUOTA))
        for at, (name, quota) in enumerate(_table(key, value).items(), 1)
    }


def _outages(key: str, value: object) -> tuple[Outage, ...]:
    windows = [value] if isinstance(value, (Mapping, Outage)) else value
    if isinstance(windows, str) or not isinstance(windows, Sequence):
        raise _wrong(key, "a table or a list of them", value)
    return tuple(
        window if isinstance(window, Outage) else Outage(**_record(key, window, _OUTAGE))
        for window in windows
    )


_QUOTA: Mapping[str, Callable[[str, object], Any]] = {
    "requests": _integer,
    "tokens": _integer,
    "usd": _number,
}
_OUTAGE: Mapping[str, Callable[[str, object], Any]] = {
    "from_request": _count,
    "to_request": _count,
    "from_s": _number,
    "to_s": _number,
    "fault": _fault,
}
_READERS: Mapping[str, Callable[[str, object], Any]] = {
    "seed": _signed,
    "models": _names,
    "keys": _keys,
    "latency": lambda _key, value: Latency.parse(value),
    "token_latency_s": _number,
    "rpm": _positive,
    "tpm": _positive,
    "limit_window_s": _positive,
    "limit_headers": _limit_headers,
    "capacity": _count,
    "overload": _number,
    "faults": _faults,
    "script": _script,
    "outage": _outages,
    "retry_after_s": _number,
    "slow_s": _number,
    "hang_s": _number,
    "huge_bytes": _integer,
    "answer_tokens": _count,
    "cached_share": _share,
    "reasoning_tokens": _integer,
    "context_tokens": _count,
    "max_body_bytes": _count,
    "prompt_usd_per_mtok": _number,
    "completion_usd_per_mtok": _number,
    "gzip": _flag,
}
