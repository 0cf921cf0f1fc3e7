"""How a call fails that is not the handler's own exception."""

from __future__ import annotations

__all__ = ["HandlerError", "HandlersStuckError"]


class HandlerError(Exception):
    """The call failed; the text says why, for the model and the result."""


class HandlersStuckError(HandlerError):
    """So many calls that ran out of time are still at work that no other is begun."""
