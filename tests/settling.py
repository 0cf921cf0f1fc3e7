"""Settings resolved from flags, variables and jobs made up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from batcher.errors import UsageError
from batcher.settings import Settings, Surroundings, resolve

__all__ = ["EXAMPLE", "NAMED", "NOON", "SECRET", "Named", "refusal", "settle"]

SECRET = "sk-secret-0123456789"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=timezone(timedelta(hours=1)))


class Named(NamedTuple):
    name: str
    base_url: str
    key_variable: str | None


NAMED = {
    "openai": Named("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "yunwu": Named("yunwu", "https://yunwu.ai/v1", "YUNWU_API_KEY"),
    "ollama": Named("ollama", "http://localhost:11434/v1", None),
    "local": Named("local", "", None),
    "sandbox": Named("sandbox", "", None),
}
EXAMPLE: dict[str, Any] = {
    "source": "reviews.jsonl",
    "output": "output/results.jsonl",
    "base_url": "local",
    "concurrency": 8,
    "id_field": "id",
    "carry": ["label", "source"],
    "defaults": {"temperature": 0},
    "request": {"model": "m", "messages": [{"role": "user", "content": "{{ text }}"}]},
    "answer": {"label": "/label", "gold": "label"},
}


def settle(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    job: Mapping[str, Any] | None = None,
    job_file: Path | None = None,
    now: datetime = NOON,
    sending: bool = True,
) -> Settings:
    """Resolve with a source, an output and an endpoint unless a job brings them."""
    base = {"source": "in.jsonl", "output": "out.jsonl", "base_url": "http://h"}
    return resolve(
        flags={**({} if job else base), **(flags or {})},
        job=job or {},
        job_file=job_file or (Path("jobs/x/job.toml") if job else None),
        around=Surroundings(environ or {}, now, NAMED.get, lambda _: f"{SECRET}\n"),
        sending=sending,
    )


def refusal(**kwargs: Any) -> str:
    """Give the words with which settings are refused."""
    with pytest.raises(UsageError) as caught:
        settle(**kwargs)
    return str(caught.value)
