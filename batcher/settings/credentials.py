"""Which key goes to which endpoint, and what may not stand in a header.

A key is never a flag and never in a job file: those name a variable or a file that holds it. A key
that was meant for one provider never goes to another by default: `OPENAI_API_KEY` goes to OpenAI,
or to the host of `OPENAI_BASE_URL`, alone. No message here quotes a key, a header's value or the
name of a variable that the user gave, which may be a key in the wrong place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from batcher.errors import UsageError
from batcher.settings.addresses import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["KeyPlace", "api_key", "check_headers", "given_key"]

# Headers that carry a key somewhere; `auth_header` names the one to use.
_KEY_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"}
)
# Set by the transport: another value would send the request elsewhere or cut it differently.
_FRAMING_HEADERS = frozenset(
    {
        "host", "content-length", "content-type", "content-encoding", "transfer-encoding",
        "connection", "upgrade", "te", "trailer", "expect", "accept-encoding",
    }
)  # fmt: skip
_OPENAI_ORIGIN = "https://api.openai.com"


class KeyPlace(NamedTuple):
    """Where the user said the key is.

    Attributes:
        said_by: The flag, variable or job key that said it.
        variable: The environment variable's name, or None.
        file: The file's path, or None.
    """

    said_by: str
    variable: str | None = None
    file: Path | None = None


def api_key(
    place: KeyPlace | None,
    *,
    environ: Mapping[str, str],
    base_url: str,
    key_variable: str | None,
    read_key: Callable[[Path], str],
) -> str | None:
    """Find the key for an endpoint.

    Args:
        place: Where the user said it is; it decides alone.
        environ: The environment.
        base_url: Where the key would go.
        key_variable: The named endpoint's own variable, if it is a named one.
        read_key: Reads a key file.

    Returns:
        The key, or None when none is set.

    Raises:
        UsageError: When the place holds none, or what it holds can't stand in a header.
    """
    if place is not None and place.file is not None:
        return _checked(read_key(place.file), place.said_by, needed=True)
    if place is not None and place.variable is not None:
        return _checked(environ.get(place.variable, ""), place.said_by, needed=True)
    own = _own_variable(environ, base_url, key_variable)
    for name in ("BATCHER_API_KEY", own):
        key = _checked(environ.get(name, ""), name, needed=False) if name else None
        if key:
            return key
    return None


def given_key(text: str) -> str:
    """Check a key that a program gives.

    Raises:
        UsageError: It is empty, or can't stand in a header.
    """
    key = _checked(text, "api_key", needed=False)
    if key is None:
        raise UsageError("api_key is empty; leave it out where the endpoint takes no key")
    return key


def _own_variable(
    environ: Mapping[str, str], base_url: str, key_variable: str | None
) -> str | None:
    """Name the variable whose key belongs to this endpoint by default."""
    if key_variable and key_variable != "OPENAI_API_KEY":
        return key_variable
    target = origin_of(base_url)
    homes = (origin_of(_OPENAI_ORIGIN), origin_of(environ.get("OPENAI_BASE_URL", "")))
    for home in homes:
        # "https" > "http": never to a less private place than the key was meant for.
        if target and home and target.host == home.host and target.scheme >= home.scheme:
            return "OPENAI_API_KEY"
    return None


def _checked(text: str, said_by: str, *, needed: bool) -> str | None:
    key = text.strip()
    if not key:
        if needed:
            raise UsageError(f"{said_by}: what it names holds no key")
        return None
    if re.fullmatch(r"[!-~]+", key, re.ASCII) is None:
        raise UsageError(f"{said_by}: the key holds blanks, line ends or other than ASCII")
    return key


def check_headers(
    headers: tuple[tuple[str, str], ...], *, said_by: str, auth_header: str, key: str | None
) -> None:
    """Refuse headers that would carry the key or change how the request is framed.

    Args:
        headers: Name and value.
        said_by: The flag, variable or job key that gave them.
        auth_header: The header that the key goes into.
        key: The key, which may stand in no header of the user's.

    Raises:
        UsageError: At the first such header; its value isn't quoted.
    """
    for name, value in headers:
        lower = name.lower()
        if lower in _KEY_HEADERS or lower == auth_header.lower() or (key and key in value):
            raise UsageError(
                f"{said_by}: the header {name} would carry a key; put the key into"
                " BATCHER_API_KEY, and name another header than Authorization by --auth-header"
            )
        if lower in _FRAMING_HEADERS:
            raise UsageError(f"{said_by}: the header {name} is set for each request already")
