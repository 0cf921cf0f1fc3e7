"""Rate limits as an endpoint keeps them, with time as an argument.

Each key and model has a bucket of requests and one of tokens, refilled all the time.

A refused request takes nothing. The headers are OpenAI's; so is the refusal of one request that is
larger than the limit itself, which no waiting helps. A limit is stated as what its bucket holds, as
OpenAI does for limits of a minute and of a day alike, so that limit, remaining and reset agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from batcher.endpoints.sandbox.options import SandboxOptions
from batcher.endpoints.sandbox.refusals import Refusal

__all__ = ["Limits", "duration"]

_TOO_MANY = 429
_MINUTE_S = 60.0


@dataclass(slots=True)
class _Bucket:
    """What is left of one limit."""

    per_min: float
    capacity: float
    level: float
    at_s: float

    def refill(self, now_s: float) -> None:
        gained = (now_s - self.at_s) * self.per_min / _MINUTE_S
        self.level = min(self.capacity, self.level + gained)
        self.at_s = now_s

    def wait_s(self, amount: float) -> float:
        """Seconds until `amount` is there."""
        return max(0.0, (amount - self.level) * _MINUTE_S / self.per_min)

    def headers(self, kind: str) -> dict[str, str]:
        return {
            f"x-ratelimit-limit-{kind}": f"{self.capacity:.0f}",
            f"x-ratelimit-remaining-{kind}": f"{max(0, int(self.level))}",
            f"x-ratelimit-reset-{kind}": duration(self.wait_s(self.capacity)),
        }


@dataclass(slots=True)
class Limits:
    """All buckets of one sandbox."""

    options: SandboxOptions
    _buckets: dict[tuple[str, str], dict[str, _Bucket]] = field(default_factory=dict)

    def admit(self, key: str, model: str, *, tokens: int, now_s: float) -> dict[str, str]:
        """Take one request and its tokens; return the headers that tell what is left.

        Raises:
            Refusal: 429.
        """
        if self.options.rpm is None and self.options.tpm is None:
            return {}
        buckets = self._of(key, model, now_s)
        amounts = {"requests": 1, "tokens": tokens}
        for bucket in buckets.values():
            bucket.refill(now_s)
        for kind, bucket in buckets.items():
            if amounts[kind] > bucket.capacity:
                raise _too_large(model, bucket, tokens)
        kind = max(buckets, key=lambda name: buckets[name].wait_s(amounts[name]))
        wait_s = buckets[kind].wait_s(amounts[kind])
        if wait_s > 0:
            raise self._refusal(model, kind, buckets, wait_s)
        for name, bucket in buckets.items():
            bucket.level -= amounts[name]
        return self._headers(buckets)

    def _of(self, key: str, model: str, now_s: float) -> dict[str, _Bucket]:
        buckets = self._buckets.get((key, model))
        if buckets is None:
            rates = {"requests": self.options.rpm, "tokens": self.options.tpm}
            burst = self.options.limit_window_s / _MINUTE_S
            buckets = {
                kind: _Bucket(rate, max(1.0, rate * burst), max(1.0, rate * burst), now_s)
                for kind, rate in rates.items()
                if rate is not None
            }
            self._buckets[key, model] = buckets
        return buckets

    def _headers(self, buckets: dict[str, _Bucket]) -> dict[str, str]:
        if self.options.limit_headers != "openai":
            return {}
        told: dict[str, str] = {}
        for kind, bucket in buckets.items():
            told |= bucket.headers(kind)
        return told

    def _refusal(
        self, model: str, kind: str, buckets: dict[str, _Bucket], wait_s: float
    ) -> Refusal:
        headers = self._headers(buckets)
        if self.options.limit_headers != "none":
            headers["retry-after"] = str(int(wait_s) + 1)
        if self.options.limit_headers == "openai":
            headers["retry-after-ms"] = str(int(wait_s * 1000) + 1)
        said = (
            f"Rate limit reached for {model} on {kind} per min. Limit: "
            f"{buckets[kind].per_min:.0f}. Please try again in {duration(wait_s)}."
        )
        if self.options.limit_headers == "none":
            said = "Too many requests."
        return Refusal(_TOO_MANY, said, code="rate_limit_exceeded", kind=kind, headers=headers)


def _too_large(model: str, bucket: _Bucket, tokens: int) -> Refusal:
    said = (
        f"Request too large for {model} on tokens per min (TPM): Limit {bucket.capacity:.0f}, "
        f"Requested {tokens}. The input or output tokens must be reduced in order to run "
        "successfully."
    )
    return Refusal(_TOO_MANY, said, code="rate_limit_exceeded", kind="tokens")


def duration(seconds: float) -> str:
    """Write seconds as OpenAI's headers do: `900ms`, `5.27s`, `6m0s`, `1h0m0s`."""
    if seconds < 1:
        return f"{int(seconds * 1000)}ms"
    if seconds < _MINUTE_S:
        return f"{round(seconds, 3):g}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
