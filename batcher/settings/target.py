"""Where a job's requests go, and what goes with them: base URL, name, key, headers, options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from batcher.errors import UsageError
from batcher.settings.addresses import base_url_of, origin_of
from batcher.settings.credentials import KeyPlace, api_key, check_headers, given_key
from batcher.settings.layers import Given
from batcher.settings.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = ["NamedEndpoint", "Surroundings", "section", "settle_rehearsal", "settle_target"]

NO_BASE_URL = (
    "say where requests go: --base-url URL, BATCHER_BASE_URL, or base_url = ... in the job file;"
    " a URL such as https://yunwu.ai/v1, or a named endpoint such as sandbox (answers made up on"
    " this machine, no key), local (a small real model on this machine) or openai"
)

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
        nearest: Gives the endpoint's name that was probably meant by one that does not exist.
    """

    environ: Mapping[str, str]
    now: datetime
    find: Callable[[str], NamedEndpoint | None]
    read_key: Callable[[Path], str]
    key: str | None = None
    nearest: Callable[[str], str | None] = lambda _: None


def settle_target(
    given: Mapping[str, Given], around: Surroundings, *, sending: bool
) -> dict[str, Any]:
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
    base_url = named.base_url if named else _url(said, around)
    name = named.name if named else _host_name(base_url, around)
    key = _key(given, around, named, base_url) if sending and base_url else None
    auth_header = given["auth_header"].value if "auth_header" in given else "Authorization"
    served = _served(given, name)
    return {
        **served,
        "base_url": base_url.rstrip("/"),
        "endpoint": name,
        "api_key": key or served["api_key"],
        "headers": _headers(given, auth_header=auth_header, key=key),
    }


def settle_rehearsal(given: Mapping[str, Given], endpoint: str) -> dict[str, Any]:
    """Put the sandbox in the endpoint's place; leave out whatever would touch the world."""
    return {
        "output": Path(),
        "base_url": "",
        "endpoint": "sandbox",
        "headers": (),
        "handlers": {},
        "priced_as": endpoint,
        **_served(given, "sandbox"),
    }


def _served(given: Mapping[str, Given], endpoint: str) -> dict[str, Any]:
    """Give the options of an endpoint that the run serves itself, and a key that it takes."""
    options = _options_of(given, endpoint)
    keys = options.get("keys")
    own = next(iter(keys), None) if endpoint == "sandbox" and isinstance(keys, Mapping) else None
    return {"endpoint_options": options, "api_key": own}


def _host_name(base_url: str, around: Surroundings) -> str:
    """Name an endpoint by its host; a host that is called like a named endpoint, with its port."""
    origin = origin_of(base_url)
    if origin is None:
        return ""
    return f"{origin.host}:{origin.port}" if around.find(origin.host) else origin.host


def _url(said: Given, around: Surroundings) -> str:
    if "://" not in said.value and "/" not in said.value:
        near = around.nearest(said.value)
        hint = f"did you mean {near!r}?" if near else "it is no name that is known"
        raise UsageError(
            f"{said.said_by} must be a URL that begins with http:// or https://, or the name of"
            f" an endpoint; {hint}"
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


def section(given: Mapping[str, Given], name: str) -> dict[str, Any]:
    """Give what was said in one of the job file's tables."""
    return {
        option.name: given[option.key].value
        for option in OPTIONS
        if option.section == name and option.key in given
    }


def _options_of(given: Mapping[str, Given], endpoint: str) -> dict[str, Any]:
    """Give the options of an endpoint that the run serves itself: its table of the job file."""
    table = given[endpoint].value if endpoint in given and endpoint in _ENDPOINT_TABLES else {}
    return {**table, **section(given, endpoint)}
