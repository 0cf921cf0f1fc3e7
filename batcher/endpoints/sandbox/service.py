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

from batcher.amounts import Usage
from batcher.endpoints.sandbox.books import Books
from batcher.endpoints.sandbox.compose import Ask, Choice, Draft, compose
from batcher.endpoints.sandbox.families import FAMILIES, Family
from batcher.endpoints.sandbox.faults import CONTENT, SILENT, UNREADABLE, FaultPlan, is_status
from batcher.endpoints.sandbox.incoming import checked, json_object, not_allowed, row_name
from batcher.endpoints.sandbox.latency import INSTANT
from batcher.endpoints.sandbox.limits import Limits
from batcher.endpoints.sandbox.options import SandboxOptions
from batcher.endpoints.sandbox.refusals import Refusal, bad
from batcher.endpoints.sandbox.statuses import HOLLOW, REFUSALS, bare_status

__all__ = ["Outcome", "Service"]

# `created` is drawn from the request, within a day from here, so that an answer is the same to the
# byte whenever it is asked for: 2026-01-01.
_CREATED_FROM = 1_767_225_600
_DAY_S = 86_400

# What `GET /v1/models` lists while any model will do.
_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1-nano", "claude-sonnet-4-5", "text-embedding-3-small")

# blake2b's own bounds on what distinguishes its uses.
_PERSON_MAX_BYTES = 16
_KEY_MAX_BYTES = 64


class Outcome(NamedTuple):
    """What becomes of a request.

    Attributes:
        status: HTTP status.
        body: The answer's body.
        headers: Beyond those that every answer has.
        counted: Whether the books count it: reading them is not counted.
        delay_s: How long it takes, before what load adds.
        fault: The fault that the server carries out or that the body holds, or None.
        key: Whom to charge.
        model: For what.
        usage: What to charge; None for nothing.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]
    counted: bool = True
    delay_s: float = 0.0
    fault: str | None = None
    key: str = ""
    model: str = ""
    usage: Usage | None = None

    @property
    def silent(self) -> bool:
        """Whether no whole answer is sent."""
        return self.fault in SILENT

    @property
    def readable(self) -> bool:
        """Whether the client can read the usage."""
        return self.fault not in UNREADABLE


class _Attempt(NamedTuple):
    """One request of a family, with what its answer is drawn from."""

    family: Family
    request: dict[str, Any] | None
    headers: Mapping[str, str]
    digest: bytes
    key: str
    now_s: float


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
        self._seed = str(self.options.seed).encode()[:_KEY_MAX_BYTES]

    def decide(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, now_s: float
    ) -> Outcome:
        """Decide on a request.

        Args:
            method: As it came.
            path: With or without `/v1`.
            headers: Case-insensitive.
            body: Decoded.
            now_s: Seconds since the sandbox began to listen.
        """
        name = path.removeprefix("/v1")
        family = FAMILIES.get(name)
        try:
            if family is None:
                return self._other(method, name)
            self.books.requests += 1
            if method != "POST":
                raise not_allowed(method)
            key = self._key(headers)
            person = name.encode()[:_PERSON_MAX_BYTES]
            digest = blake2b(body, digest_size=32, key=self._seed, person=person).digest()
            return self._answer(_Attempt(family, json_object(body), headers, digest, key, now_s))
        except Refusal as refusal:
            self.books.errors[refusal.code or refusal.kind] += 1
            told = refusal.body(anthropic=family is not None and family.anthropic)
            return Outcome(refusal.status, told, refusal.headers)

    def refuse_size(self) -> Outcome:
        """Refuse a request whose body was too long to be read."""
        self.books.requests += 1
        self.books.errors["request_too_large"] += 1
        said = f"Maximum content size limit ({self.options.max_body_bytes}) exceeded."
        refusal = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said, code="request_too_large")
        return Outcome(refusal.status, refusal.body(anthropic=False), {})

    def _other(self, method: str, name: str) -> Outcome:
        """Serve what is no family: the list of models, the books."""
        models = self.options.models or _MODELS
        model = name.removeprefix("/models/")
        told: dict[str, Any] | None = None
        if name == "/models":
            told = {"object": "list", "data": [_model(known) for known in models]}
        elif name == "/sandbox/books":
            told = self.books.told()
        elif model != name and model in models:
            told = _model(model)
        if told is None or method != "GET":
            self.books.requests += 1
            said = "Invalid URL: there is nothing here."
            raise Refusal(HTTPStatus.NOT_FOUND, said, code="unknown_url")
        return Outcome(HTTPStatus.OK, orjson.dumps(told), {}, counted=False)

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
        used = self.books.of_key(key)
        if (
            (quota.requests is not None and used.charged >= quota.requests)
            or (quota.tokens is not None and used.usage.total_tokens >= quota.tokens)
            or (quota.usd is not None and self.books.usd(used.usage) >= quota.usd)
        ):
            raise REFUSALS["insufficient_quota"](self.options)
        return key

    def _answer(self, attempt: _Attempt) -> Outcome:
        """Answer a request of a family, or let it meet its fault."""
        fault = self._fault(attempt)
        if fault is not None:
            if fault in REFUSALS or is_status(fault):
                self.books.faults[fault] += 1
                raise REFUSALS[fault](self.options) if fault in REFUSALS else bare_status(fault)
            if fault in SILENT or fault in HOLLOW:
                self.books.faults[fault] += 1
                return Outcome(HTTPStatus.OK, HOLLOW.get(fault, b""), {}, fault=fault)
        request = checked(attempt.request)
        return self._composed(attempt, self._read(attempt.family, request), request, fault)

    def _fault(self, attempt: _Attempt) -> str | None:
        for outage in self.options.outage:
            if outage.covers(request=self.books.requests, now_s=attempt.now_s):
                return outage.fault
        if not self._plan.active:
            return None
        return self._plan.next(row_name(attempt.request or {}, attempt.headers), attempt.digest)

    def _read(self, family: Family, request: Mapping[str, Any]) -> Ask:
        """Check a request as the real endpoint does."""
        model = request["model"]
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
        self, attempt: _Attempt, ask: Ask, request: Mapping[str, Any], fault: str | None
    ) -> Outcome:
        """Write the answer, admit it, and say what it costs and how long it takes."""
        draw = int.from_bytes(attempt.digest[:16], "big")
        choices = self._choices(ask, draw, None)
        if fault in CONTENT:
            spoilt = self._choices(ask, draw, fault)
            fault = None if spoilt == choices else fault
            choices = spoilt
        usage = self._usage(ask, choices)
        self.books.account(attempt.key, ask.model).requests += 1
        headers = self._limits.admit(
            attempt.key, ask.model, tokens=usage.total_tokens, now_s=attempt.now_s
        )
        if fault is not None:
            self.books.faults[fault] += 1
        family = attempt.family
        ident, created = f"{draw % 2**96:024x}", _CREATED_FROM + draw % _DAY_S
        draft = Draft(ask, choices, ident, created, family.usage(usage), request)
        return Outcome(
            HTTPStatus.OK,
            _spoil(family.write(draft), family, fault),
            headers,
            True,
            self._delay_s(attempt.digest, usage) + (self.options.slow_s if fault == "slow" else 0),
            fault,
            attempt.key,
            ask.model,
            usage,
        )

    def _delay_s(self, digest: bytes, usage: Usage) -> float:
        if self.options.latency == INSTANT:
            return self.options.token_latency_s * usage.completion_tokens
        delay_s = self.options.latency.at(int.from_bytes(digest[16:24], "big") / 2**64)
        return delay_s + self.options.token_latency_s * usage.completion_tokens

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


def _spoil(written: dict[str, Any], family: Family, fault: str | None) -> bytes:
    """Write the body, without what a fault takes from it."""
    if fault == "no_choices":
        del written[family.answers]
    elif fault == "no_usage":
        del written["usage"]
    body = orjson.dumps(written)
    return body[: len(body) // 2] if fault == "cut_json" else body


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED_FROM, "owned_by": "sandbox"}
