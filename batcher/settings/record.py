"""One job, as everything that a run needs to be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Settings:
    """One job, resolved.

    Attributes:
        source: Path of the rows, or None for standard input.
        output: Path of the finished results.
        base_url: The endpoint's base URL, without a trailing slash; for an endpoint that the run
            serves itself (`sandbox`, `local`) it is filled in once that listens.
        endpoint: Name of the endpoint for results and reports: a named endpoint's, else the host.
        api_key: The key; never shown: `repr` tells no field.
        headers: More request headers.
        auth_header: Header that carries the key; `Authorization` gets `Bearer `.
        source_format: How its rows are written: `jsonl`, `csv` or `tsv`; or `auto`.
        url: The path of rows that name none.
        defaults: Body fields for what a row leaves out.
        template: A request template whose text is rendered with each data row's fields; or None.
        id_field, carry: With a template: the field that names the row; fields copied to the result.
        rehearse: Whether the sandbox stands in for the endpoint, so that there is neither a key nor
            an output of the job's own; `priced_as` then names the endpoint whose prices hold.
        endpoint_options: Options of an endpoint that the run serves itself (`[sandbox]`,
            `[local]`).
        answer: What an answer must be like: `label`, `gold`, `schema`, `labels`, where given.
        handlers: What carries tool calls out: `[handlers]`, with `api_key`.
    """

    source: Path | None
    output: Path
    base_url: str
    endpoint: str
    api_key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    auth_header: str = "Authorization"
    ca_file: Path | None = None
    trust_env: bool = False
    source_format: str = "auto"
    url: str = "/v1/chat/completions"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    template: Mapping[str, Any] | None = None
    id_field: str | None = None
    carry: tuple[str, ...] = ()
    concurrency: int = 256
    rpm: float | None = None
    tpm: float | None = None
    max_attempts: int = 6
    timeout_s: float = 600.0
    connect_timeout_s: float = 10.0
    deadline_unix: float | None = None
    drain_s: float | None = None
    max_cost_usd: str | None = None
    max_tokens_total: int | None = None
    budget_basis: str = "limit"
    ledger: Path | None = None
    max_cost_month_usd: str | None = None
    prices: str = "list"
    give_up_after_s: float = 900.0
    ordered: bool = False
    limit: int | None = None
    strict: bool = False
    check_answers: bool = True
    lenient: bool = False
    on_invalid: str = "fail"
    max_repairs: int = 2
    transcript: bool = False
    retry_failed: bool = False
    resend: bool = False
    prune: bool = False
    fresh: bool = False
    durability: str = "fsync"
    transport: str = "lean"
    rehearse: bool = False
    priced_as: str = ""
    endpoint_options: Mapping[str, Any] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)
    handlers: Mapping[str, Any] = field(default_factory=dict)
    progress: str = "auto"
    json: bool = False
    cost: bool = False
