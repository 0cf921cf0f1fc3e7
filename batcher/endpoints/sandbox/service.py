"""What the sandbox makes of a request: a decision without a clock, a socket or a delay of its own.

`Service.decide` is called once for each request, in the order of arrival, with the time as an
argument. It says what to answer and after how long; the server carries that out and tells the books
once it has been.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

from batcher.endpoints.sandbox.books import Books
from batcher.endpoints.sandbox.chat import check_stream
from batcher.endpoints.sandbox.compose import Ask, Choice, compose
from batcher.endpoints.sandbox.families import FAMILIES, Family
from batcher.endpoints.sandbox.faults import FaultPlan, is_status
from batcher.endpoints.sandbox.limits import Limits
from batcher.endpoints.sandbox.options import SandboxOptions
from batcher.endpoints.sandbox.refusals import Refusal, bad
from batcher.endpoints.sandbox.statuses import REFUSALS, bare_status
from batcher.records import Usage

__all__ = ["Outcome", "Service"]

# `created` is drawn from the request, within a day from here, so that an answer is the same to the
# byte whenever it is asked for: 2026-01-01.
_CREATED_FROM = 1_767_225_600
_DAY_S = 86_400

# What `GET /v1/models` lists while any model will do.
_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1-nano", "claude-sonnet-4-5", "text-embedding-3-small")

# Faults that change what a good answer says rather than how it is sent.
_CONTENT = frozenset(
    (
        "tool_bad_json",
        "tool_bad_types",
        "tool_unknown",
        "tool_none",
        "tool_wrong_finish",
        "answer_schema",
        "fenced",
        "length",
        "refusal",
        "content_filter",
    )
)

# 200s that hold no answer, and what they hold.
_HOLLOW: Mapping[str, bytes] = {
    "empty": b"",
    "blank": b"\n\n\n",
    "html": b"<html><head><title>Welcome</title></head><body>Welcome</body></html>",
    "error_in_200": b'{"error":{"message":"Provider returned error","code":502}}',
    "rate_limit_in_200": b'{"error":{"message":"Rate limited upstream","code":429}}',
    "quota_in_200": (
        b'{"error":{"message":"You exceeded your current quota.",'
        b'"type":"insufficient_quota","code":"insufficient_quota"}}'
    ),
}

# Charged answers whose usage the client can't read.
_UNREADABLE = frozenset(("truncated", "cut_json", "no_usage", "bad_gzip"))

# Faults of the connection, for the server to carry out; these leave nothing to charge.
_SILENT = frozenset(("reset", "timeout", "garbage", "too_large"))


class Outcome(NamedTuple):
    """What becomes of a request.

    Attributes:
        status: HTTP status.
        body: The answer's body.
        headers: Beyond those that every answer has.
        delay_s: How long it takes, before what load adds.
        fault: The fault that the server carries out or has been given, or None.
        key, model: Whom to charge.
        usage: What to charge; None for nothing.
        answers: Whether a whole HTTP answer is sent at all.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]
    delay_s: float = 0.0
    fault: str | None = None
    key: str = ""
    model: str = ""
    usage: Usage | None = None

    @property
    def silent(self) -> bool:
        """Whether nothing whole is sent."""
        return self.fault in _SILENT

    @property
    def readable(self) -> bool:
        """Whether the client can read the usage."""
        return self.fault not in _UNREADABLE


@dataclass(slots=True)
class Service:
    """One sandbox without its sockets."""

    options: SandboxOptions
    books: Books = field(init=False)
    _plan: FaultPlan = field(init=False)
    _limits: Limits = field(init=False)
    _seed: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.books = Books(self.options)
        self._plan = FaultPlan(self.options.faults, self.options.script)
        self._limits = Limits(self.options)
        self._seed = str(self.options.seed).encode()[:64]

    def decide(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, now_s: float
    ) -> Outcome:
        """Decide on a request.

        Args:
            method, path: As they came; the path with or without `/v1`.
            headers: Case-insensitive.
            now_s: Seconds since the sandbox began to listen.
        """
        name = path.removeprefix("/v1")
        family = FAMILIES.get(name)
        try:
            if family is None:
                return self._other(method, name)
            self.books.total.requests += 1
            if method != "POST":
                raise _not_allowed(method, path)
            key = self._key(headers)
            self.books.key(key).requests += 1
            return self._answer(family, name, headers, body, key, now_s=now_s)
        except Refusal as refusal:
            self.books.errors[refusal.code or refusal.kind] += 1
            told = refusal.body(anthropic=family is not None and family.anthropic)
            return Outcome(refusal.status, told, refusal.headers)

    def refuse_size(self) -> Outcome:
        """Refuse a request whose body was too long to be read."""
        self.books.total.requests += 1
        self.books.errors["request_too_large"] += 1
        said = f"Maximum content size limit ({self.options.max_body_bytes}) exceeded."
        refusal = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said, code="request_too_large")
        return Outcome(refusal.status, refusal.body(anthropic=False), {})

    def _other(self, method: str, name: str) -> Outcome:
        """Serve what is no family: the list of models, the books."""
        if method == "GET" and name == "/models":
            return Outcome(HTTPStatus.OK, orjson.dumps(_models(self.options.models or _MODELS)), {})
        if method == "GET" and name == "/sandbox/books":
            return Outcome(HTTPStatus.OK, orjson.dumps(self.books.told()), {})
        model = name.removeprefix("/models/")
        if method == "GET" and model != name and model in (self.options.models or _MODELS):
            return Outcome(HTTPStatus.OK, orjson.dumps(_models([model])["data"][0]), {})
        self.books.total.requests += 1
        raise Refusal(
            HTTPStatus.NOT_FOUND, "Invalid URL: there is nothing here.", code="unknown_url"
        )

    def _key(self, headers: Mapping[str, str]) -> str:
        """Return the request's key, once it is known to be one and to have something left."""
        given = headers.get("Authorization", "")
        key = given[7:] if given[:7].lower() == "bearer " else ""
        key = key or headers.get("api-key") or headers.get("x-api-key") or ""
        if not self.options.keys:
            return key
        if not key:
            said = (
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth."
            )
            raise Refusal(HTTPStatus.UNAUTHORIZED, said)
        quota = self.options.keys.get(key)
        if quota is None:
            raise REFUSALS["401"](self.options)
        used = self.books.key(key)
        if (
            (quota.requests is not None and used.charged >= quota.requests)
            or (quota.tokens is not None and used.usage.total_tokens >= quota.tokens)
            or (quota.usd is not None and self.books.usd(used.usage) >= quota.usd)
        ):
            raise REFUSALS["insufficient_quota"](self.options)
        return key

    def _answer(
        self,
        family: Family,
        name: str,
        headers: Mapping[str, str],
        body: bytes,
        key: str,
        *,
        now_s: float,
    ) -> Outcome:
        """Answer a request of a family, or let it meet its fault."""
        hashed = blake2b(body, digest_size=32, key=self._seed, person=name.encode()[:16])
        digest = hashed.digest()
        request = _json_object(body)
        fault = self._fault(request, headers, digest, now_s=now_s)
        if fault in REFUSALS or (fault is not None and is_status(fault)):
            self.books.faults[fault] += 1
            raise REFUSALS[fault](self.options) if fault in REFUSALS else bare_status(fault)
        if fault in _SILENT or fault in _HOLLOW:
            self.books.faults[fault] += 1
            return Outcome(HTTPStatus.OK, _HOLLOW.get(fault, b""), {}, fault=fault)
        ask = self._read(family, request)
        return self._composed(family, ask, request, digest, key, fault, now_s=now_s)

    def _fault(
        self,
        request: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        digest: bytes,
        *,
        now_s: float,
    ) -> str | None:
        at = self.books.total.requests
        for outage in self.options.outage:
            if outage.covers(request=at, now_s=now_s):
                return outage.fault
        if not self._plan.active:
            return None
        return self._plan.next(_row(request or {}, headers), digest)

    def _read(self, family: Family, request: dict[str, Any] | None) -> Ask:
        """Check a request as the real endpoint does."""
        if request is None:
            said = (
                "We could not parse the JSON body of your request. (HINT: this likely means you "
                "aren't using your HTTP library correctly.)"
            )
            raise bad(said, None, None)
        model = request.get("model")
        if not isinstance(model, str) or not model:
            raise bad("you must provide a model parameter", None, None)
        check_stream(request)
        if self.options.models and model not in self.options.models:
            said = f"The model `{model}` does not exist or you do not have access to it."
            raise Refusal(HTTPStatus.NOT_FOUND, said, param="model", code="model_not_found")
        ask = family.read(request)
        if ask.prompt_tokens > self.options.context_tokens:
            said = (
                f"This model's maximum context length is {self.options.context_tokens} tokens. "
                f"However, your messages resulted in {ask.prompt_tokens} tokens."
            )
            raise bad(said, "messages", "context_length_exceeded")
        return ask

    def _composed(
        self,
        family: Family,
        ask: Ask,
        request: Mapping[str, Any],
        digest: bytes,
        key: str,
        fault: str | None,
        *,
        now_s: float,
    ) -> Outcome:
        """Write the answer, admit it, and price its time."""
        draw = int.from_bytes(digest[:16], "big")
        choices = self._choices(ask, draw, None)
        if fault in _CONTENT:
            spoilt = self._choices(ask, draw, fault)
            fault = None if spoilt == choices else fault
            choices = spoilt
        usage = self._usage(ask, choices)
        headers = self._limits.admit(key, ask.model, tokens=usage.total_tokens, now_s=now_s)
        if fault is not None:
            self.books.faults[fault] += 1
        self.books.model(ask.model).requests += 1
        written = family.write(
            ask,
            choices,
            f"{draw % 2**96:024x}",
            _CREATED_FROM + draw % _DAY_S,
            family.usage(usage),
            request,
        )
        delay_s = self.options.latency.at(int.from_bytes(digest[16:24], "big") / 2**64)
        delay_s += self.options.token_latency_s * usage.completion_tokens
        return Outcome(
            HTTPStatus.OK,
            _spoil(written, family, fault),
            headers,
            delay_s + (self.options.slow_s if fault == "slow" else 0.0),
            fault,
            key,
            ask.model,
            usage,
        )

    def _choices(self, ask: Ask, draw: int, fault: str | None) -> list[Choice]:
        return compose(
            ask,
            draw=draw,
            words=self.options.answer_tokens,
            reasoning_tokens=self.options.reasoning_tokens,
            fault=fault,
        )

    def _usage(self, ask: Ask, choices: list[Choice]) -> Usage:
        reasoning = self.options.reasoning_tokens * len(choices)
        if ask.max_tokens is not None:
            reasoning = min(reasoning, ask.max_tokens * len(choices))
        completion = reasoning + sum(choice.tokens for choice in choices)
        return Usage(
            prompt_tokens=ask.prompt_tokens,
            completion_tokens=completion,
            total_tokens=ask.prompt_tokens + completion,
            cached_tokens=int(ask.prompt_tokens * self.options.cached_share),
            reasoning_tokens=reasoning,
        )


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return request if isinstance(request, dict) else None


def _row(request: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """The name by which a script knows a row."""
    user = request.get("user")
    if isinstance(user, str):
        return user
    metadata = request.get("metadata")
    row = metadata.get("row") if isinstance(metadata, dict) else None
    return row if isinstance(row, str) else headers.get("X-Sandbox-Row")


def _spoil(written: dict[str, Any], family: Family, fault: str | None) -> bytes:
    """Write the body, without what a fault takes from it."""
    if fault == "no_choices":
        del written[family.answers]
    elif fault == "no_usage":
        del written["usage"]
    body = orjson.dumps(written)
    return body[: len(body) // 2] if fault == "cut_json" else body


def _models(names: tuple[str, ...] | list[str]) -> dict[str, Any]:
    listed = [
        {"id": name, "object": "model", "created": _CREATED_FROM, "owned_by": "sandbox"}
        for name in names
    ]
    return {"object": "list", "data": listed}


def _not_allowed(method: str, path: str) -> Refusal:
    said = f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use POST?)"
    return Refusal(
        HTTPStatus.METHOD_NOT_ALLOWED, said, code="method_not_supported", headers={"Allow": "POST"}
    )
