"""The table `[handlers]`: what carries tool calls out, and the key of an endpoint that does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batcher.errors import UsageError
from batcher.settings.addresses import origin_of
from batcher.settings.credentials import KeyPlace, api_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batcher.settings.layers import Given

__all__ = ["handler_table"]


def handler_table(
    handlers: dict[str, Any],
    given: Mapping[str, Given],
    environ: Mapping[str, str],
    read_key: Callable[[Path], str],
    *,
    sending: bool,
) -> dict[str, Any]:
    """Settle the table.

    Args:
        handlers: Its keys that were given.
        given: Everything that was, for who said it.
        environ: The environment.
        read_key: Reads a key file.
        sending: Whether calls will be made, so that the key must be there.

    Returns:
        The keys as given, with `api_key` for the key that `api_key_env` names.

    Raises:
        UsageError: It can't be used; the text says why.
    """
    if not handlers:
        return {}
    _refuse_unclear(handlers)
    if sending and "api_key_env" in handlers:
        place = KeyPlace(
            given["handlers.api_key_env"].said_by, variable=handlers.pop("api_key_env")
        )
        handlers["api_key"] = api_key(
            place,
            environ=environ,
            base_url=handlers.get("url", ""),
            key_variable=None,
            read_key=read_key,
        )
    return handlers


def _refuse_unclear(handlers: Mapping[str, Any]) -> None:
    if ("python" in handlers) == ("url" in handlers):
        raise UsageError("[handlers] names either python, a file of functions, or a url")
    if "url" in handlers and origin_of(handlers["url"]) is None:
        raise UsageError("handlers.url begins with http:// or https:// and names a host")
