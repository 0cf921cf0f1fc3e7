"""What every family's requests have in common: an object, a model, a row's name."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from batcher.endpoints.sandbox.chat import check_stream
from batcher.endpoints.sandbox.refusals import Refusal, bad

__all__ = ["checked", "json_object", "not_allowed", "row_name"]


def json_object(body: bytes) -> dict[str, Any] | None:
    """Parse a body; None for what is no JSON object."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return request if isinstance(request, dict) else None


def checked(request: dict[str, Any] | None) -> dict[str, Any]:
    """Check what all families ask for: an object, a model, no streaming."""
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
    return request


def row_name(request: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """Return the name by which a script knows a row."""
    user = request.get("user")
    if isinstance(user, str):
        return user
    metadata = request.get("metadata")
    row = metadata.get("row") if isinstance(metadata, dict) else None
    return row if isinstance(row, str) else headers.get("X-Sandbox-Row")


def not_allowed(method: str) -> Refusal:
    """Return the refusal of a method other than POST."""
    said = f"Not allowed to {method} here. (HINT: Perhaps you meant to use POST?)"
    headers = {"Allow": "POST"}
    return Refusal(
        HTTPStatus.METHOD_NOT_ALLOWED, said, code="method_not_supported", headers=headers
    )
