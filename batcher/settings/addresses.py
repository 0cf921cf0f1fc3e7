"""Where requests go: base URLs, and the one rule that joins a row's path to one.

A base with a path takes the row's path without its leading `/v1`, as SDK base URLs are meant
(`https://host/v1`, `https://host/openai/v1`, `https://host/api/v3`); a base without one takes it
whole. The origin is always the base URL's. No message here quotes a URL: it may hold a password.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from batcher.errors import UsageError

__all__ = ["Origin", "base_url_of", "origin_of", "target_url"]

# Base URLs end before these; people copy the whole address out of a provider's page.
_ROW_PATHS = ("completions", "/embeddings", "/responses", "/messages")


class Origin(NamedTuple):
    """Scheme, host (lower case) and port of a URL."""

    scheme: str
    host: str
    port: int


def origin_of(url: str) -> Origin | None:
    """Take the origin out of an http(s) URL; None when it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    return Origin(parts.scheme, parts.hostname, port or {"http": 80, "https": 443}[parts.scheme])


def base_url_of(text: str, *, said_by: str) -> str:
    """Check a base URL and drop its trailing slash.

    Args:
        text: The URL as the user gave it.
        said_by: What gave it, such as `--base-url`, for the message.

    Raises:
        UsageError: When it isn't a plain http(s) address.
    """
    fault = _fault(text)
    if fault:
        raise UsageError(f"{said_by}: {fault}")
    return text.rstrip("/")


def _fault(text: str) -> str:
    authority, _, path = text.partition("://")[2].partition("/")
    faults = (
        (
            re.fullmatch(r"[!-~]+", text, re.ASCII) is None or "\\" in text,
            "a base URL has no blanks, backslashes or other than ASCII characters",
        ),
        (
            origin_of(text) is None,
            "a base URL begins with http:// or https:// and names a host",
        ),
        (
            "@" in authority,
            "a base URL holds no user or password; the key goes into BATCHER_API_KEY",
        ),
        (
            "?" in text or "#" in text,
            "a base URL has no query and no fragment; a row's url may have a query",
        ),
        (".." in path.split("/"), "a base URL has no .. in its path"),
        (
            path.rstrip("/").endswith(_ROW_PATHS),
            "a base URL ends before the path that the row brings, such as /chat/completions",
        ),
    )
    return next((words for wrong, words in faults if wrong), "")


def target_url(base_url: str, path: str) -> str:
    """Join a row's path to a base URL.

    Args:
        base_url: As `base_url_of` returns it.
        path: The row's, beginning with one `/`.

    Returns:
        The whole URL; its origin is the base's.
    """
    base_path = base_url.partition("://")[2].partition("/")[2].strip("/")
    if base_path and re.match(r"/v1(?=[/?]|$)", path):
        path = path.removeprefix("/v1")
    return base_url.rstrip("/") + path
