"""What a job is told: flags, environment and job file, resolved into one frozen `Settings`.

Flags win over `BATCHER_*` in the environment, which wins over the job file, which wins over
`OPENAI_BASE_URL`. Nothing here reads a file or the environment: mappings come in.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from batcher.errors import UsageError
from batcher.settings.addresses import base_url_of, origin_of, target_url
from batcher.settings.credentials import KeyPlace, api_key, check_headers, given_key
from batcher.settings.forms import form_of
from batcher.settings.handlers import handler_table
from batcher.settings.layers import Given, gather
from batcher.settings.options import OPTIONS
from batcher.settings.record import Settings
from batcher.settings.values import deadline_unix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

__all__ = ["NamedEndpoint", "Settings", "Surroundings", "resolve", "target_url"]

NO_BASE_URL = (
    "say where requests go: --base-url URL, BATCHER_BASE_URL, or base_url = ... in the job file;"
    " a URL such as https://yunwu.ai/v1, or a named endpoint such as sandbox (answers made up on"
    " this machine, no key), local (a small real model on this machine) or openai"
)


_FIELDS = frozenset(one.name for one in fields(Settings))
# Endpoints that a run serves itself, with a free table in the job file.
_ENDPOINT_TABLES = frozenset({"sandbox"})


class NamedEndpoint(Protocol):
    """What the settings need to know of an endpoint that has a name."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def base_url(self) -> str:
        """Its base URL; empty where the run serves it itself."""

    @property
    def key_variable(self) -> str | None:
        """The environment variable that usually holds its key; None where it takes none."""


class Surroundings(NamedTuple):
    """What lies around a run and is brought to it, so that `resolve` stays pure.

    Attributes:
        environ: The environment.
        now: Aware, in the local zone.
        find: Finds an endpoint by its name.
        read_key: Reads a key file.
        key: The key itself, where a program gives it.
    """

    environ: Mapping[str, str]
    now: datetime
    find: Callable[[str], NamedEndpoint | None]
    read_key: Callable[[Path], str]
    key: str | None = None


def resolve(
    *,
    flags: Mapping[str, Any],
    job: Mapping[str, Any],
    job_file: Path | None,
    around: Surroundings,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    sending: bool = True,
) -> Settings:
    """Settle what holds for a job.

    Args:
        flags: By setting name, as text or as typed values; `source` and `output` among them.
        job: The job file's content, or empty.
        job_file: Its path: the paths in it are relative to its folder.
        around: The environment, the time and the two lookups.
        arguments: What a program gives, keyed and typed as in a job file; it wins over all.
        sending: False for a check, which needs neither an output nor an endpoint nor a key; what
            is not given is then empty (`output` is `Path()`).

    Raises:
        UsageError: On the first thing that is wrong or missing.
    """
    given = gather(
        flags=flags,
        environ=around.environ,
        job=job,
        job_file=job_file,
        arguments=arguments,
    )
    settled = {
        option.settings_field: given[option.name].value
        for option in OPTIONS
        if option.name in given and not option.section and option.settings_field in _FIELDS
    }
    settled |= _files(given, sending=sending)
    settled |= _endpoint(given, around, sending=sending)
    settled["answer"] = _section(given, "answer")
    settled["handlers"] = handler_table(
        _section(given, "handlers"), given, around.environ, around.read_key, sending=sending
    )
    if "prices" in given:
        settled["prices"] = str(given["prices"].value)
    if "deadline" in given:
        settled["deadline_unix"] = deadline_unix(given["deadline"].value, around.now)
    settings = Settings(**settled)
    _check_together(settings)
    return settings


def _files(given: Mapping[str, Given], *, sending: bool) -> dict[str, Any]:
    source = given.get("source")
    if source is None:
        raise UsageError("say what to send: batcher run SOURCE -o OUTPUT, or batcher run JOB.toml")
    path = None if str(source.value) == "-" else source.value
    output = given["output"].value if "output" in given else Path()
    if sending and "output" not in given:
        raise UsageError("say where the results go: -o OUTPUT, or output = ... in the job file")
    if path is not None and sending and path in {output, Path(f"{output}.partial")}:
        raise UsageError(f"{given['output'].said_by}: the results would replace the source")
    return {"source": path, "output": output}


def _endpoint(given: Mapping[str, Given], around: Surroundings, *, sending: bool) -> dict[str, Any]:
    """Settle base URL, its name, the key and the headers: they must fit one another."""
    said = given.get("base_url")
    fallback = around.environ.get("OPENAI_BASE_URL", "")
    if said is None and fallback:
        said = Given(fallback, "OPENAI_BASE_URL", 3)
    if said is None:
        if sending:
            raise UsageError(NO_BASE_URL)
        return {"base_url": "", "endpoint": "", "headers": ()}
    named = around.find(said.value)
    base_url = named.base_url if named else _url(said)
    name = named.name if named else _host_name(base_url, around)
    key = _key(given, around, named, base_url) if sending and base_url else None
    auth_header = given["auth_header"].value if "auth_header" in given else "Authorization"
    return {
        "base_url": base_url.rstrip("/"),
        "endpoint": name,
        "api_key": key,
        "headers": _headers(given, auth_header=auth_header, key=key),
        "endpoint_options": _options_of(given, name),
    }


def _host_name(base_url: str, around: Surroundings) -> str:
    """Name an endpoint by its host; a host that is called like a named endpoint, with its port."""
    origin = origin_of(base_url)
    if origin is None:
        return ""
    return f"{origin.host}:{origin.port}" if around.find(origin.host) else origin.host


def _url(said: Given) -> str:
    if "://" not in said.value and "/" not in said.value:
        raise UsageError(
            f"{said.said_by} must be a URL that begins with http:// or https://, or the name of"
            " an endpoint; it is no name that is known"
        )
    return base_url_of(said.value, said_by=said.said_by)


def _key(
    given: Mapping[str, Given], around: Surroundings, named: NamedEndpoint | None, base_url: str
) -> str | None:
    if around.key is not None:
        return given_key(around.key)
    variable, file = given.get("api_key_env"), given.get("api_key_file")
    place = None
    if variable and file and variable.rank == file.rank:
        raise UsageError(f"{variable.said_by} and {file.said_by}: give one of them")
    if variable and (file is None or variable.rank < file.rank):
        place = KeyPlace(variable.said_by, variable=variable.value)
    elif file:
        place = KeyPlace(file.said_by, file=file.value)
    key_variable = named.key_variable if named else None
    key = api_key(
        place,
        environ=around.environ,
        base_url=base_url,
        key_variable=key_variable,
        read_key=around.read_key,
    )
    if key is None and named and key_variable:
        raise UsageError(
            f"the endpoint {named.name} wants a key: set BATCHER_API_KEY or {key_variable},"
            " or say where it is by --api-key-env or --api-key-file"
        )
    return key


def _headers(
    given: Mapping[str, Given], *, auth_header: str, key: str | None
) -> tuple[tuple[str, str], ...]:
    """Give the headers, the last word on each name; the highest layer speaks last."""
    said = given.get("headers")
    if said is None:
        return ()
    check_headers(said.value, said_by=said.said_by, auth_header=auth_header, key=key)
    last = {name.lower(): (name, value) for name, value in said.value}
    return tuple(last.values())


def _section(given: Mapping[str, Given], section: str) -> dict[str, Any]:
    return {
        option.name: given[option.key].value
        for option in OPTIONS
        if option.section == section and option.key in given
    }


def _options_of(given: Mapping[str, Given], endpoint: str) -> dict[str, Any]:
    """Give the options of an endpoint that the run serves itself: its table of the job file."""
    table = given[endpoint].value if endpoint in given and endpoint in _ENDPOINT_TABLES else {}
    return {**table, **_section(given, endpoint)}


def _check_together(settings: Settings) -> None:
    """Refuse settings that contradict one another."""
    if settings.fresh and settings.retry_failed:
        raise UsageError("--fresh starts over, --retry-failed goes on: give one of them")
    if settings.max_cost_usd and settings.prices == "none":
        raise UsageError("--max-cost needs prices: with --prices none nothing could be sent")
    if settings.template is None and form_of(settings.source, settings.source_format) != "jsonl":
        raise UsageError(
            "the rows of a table need a request template, [request] in a job file, which their"
            " fields fill; batcher init makes a job to start from"
        )
    if settings.template is None and (settings.id_field or settings.carry):
        raise UsageError("id_field and carry need a template: [request]")
    if "gold" in settings.answer and settings.answer["gold"] not in settings.carry:
        raise UsageError("answer.gold must be one of the fields that carry names")
    if not settings.check_answers and (settings.handlers or settings.on_invalid != "fail"):
        raise UsageError("--no-check-answers finds no answer invalid, and lets no tool be called")
