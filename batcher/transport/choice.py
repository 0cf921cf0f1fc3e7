"""Which transport serves: the one that was asked for, where it can."""

from __future__ import annotations

from typing import Any

from batcher.transport.base import BaseTransport
from batcher.transport.session import SessionTransport

__all__ = ["open_transport"]


def open_transport(name: str, **options: Any) -> tuple[BaseTransport, str]:
    """Make the transport that a user asked for, or the plain one where that can't serve.

    Args:
        name: `session` or `lean`.
        options: Those of `BaseTransport`.

    Returns:
        The transport, to be entered; and a note for the user where it is another than was asked
        for, else empty.
    """
    if name != "lean":
        return SessionTransport(**options), ""
    try:
        from batcher.transport.lean import LeanTransport
    except ImportError:
        return SessionTransport(**options), _note("its aiohttp has other parts")
    transport = LeanTransport(**options)
    fault = transport.fault()
    if fault:
        return SessionTransport(**options), _note(fault)
    return transport, ""


def _note(why: str) -> str:
    return f"the lean transport can't serve here ({why}): the plain one does"
