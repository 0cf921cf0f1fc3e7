"""The switch that stops a run: the first cause decides."""

from __future__ import annotations

from batcher.records import StopReason

__all__ = ["StopSwitch"]


class StopSwitch:
    """Thrown once, by whoever finds the first reason to stop.

    Attributes:
        reason: Why; None while the run goes on.
        message: In plain words.
        urgent: Whether what is in flight is to be broken off rather than awaited.
    """

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self.message = ""
        self.urgent = False

    @property
    def thrown(self) -> bool:
        """Whether the run is to stop."""
        return self.reason is not None

    def throw(self, reason: StopReason, message: str) -> None:
        """Stop the run, unless it is being stopped already."""
        if self.reason is None:
            self.reason = reason
            self.message = message
