"""Killing a run: at a moment, or at a call of the operating system."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.crash.endpoint import Endpoint

# A run that takes longer hangs. The longest real wait is a backoff of a few seconds.
HANG_S = 60.0


class Kill(NamedTuple):
    """When to kill a run.

    Attributes:
        requests: Once the endpoint has seen so many requests.
        delay_s: And so much later.
        call, number, how: By itself instead, at a call of the operating system; see `trap`.
            Without a call, `number` is the signal.
        only: Of the calls, count those alone that touch a file of this name.
    """

    requests: int = 0
    delay_s: float = 0.0
    call: str = ""
    number: int = signal.SIGKILL
    how: str = ""
    only: str = ""

    @classmethod
    def drawn(cls, draw: random.Random) -> Kill:
        """Draw a moment of any phase: starting, reading, sending, writing, publishing."""
        kind = draw.randrange(10)
        if kind < 2:
            return cls(delay_s=draw.uniform(0.05, 1.2))
        if kind < 6:
            return cls(requests=draw.randint(1, 60), delay_s=draw.uniform(0, 0.12))
        call = draw.choice(("write", "fsync", "rename", "open", "ftruncate", "unlink"))
        how = draw.choice(("before", "after", "torn") if call == "write" else ("before", "after"))
        most = 6 if call in ("write", "fsync") else 2
        return cls(call=call, number=draw.randint(1, most), how=how)

    @property
    def trap(self) -> tuple[str, str, str]:
        """What `trap.py` is told."""
        return (self.call, str(self.number), self.how)

    def strike(
        self, process: subprocess.Popen[bytes], endpoint: Endpoint, begun: Callable[[], bool]
    ) -> None:
        """Wait for the moment and kill; a run that ends before is left alone.

        Only a kill may come before the run has `begun`: while Python itself starts, an interrupt
        is Python's to answer.
        """
        if self.call:
            return
        until_s = time.monotonic() + HANG_S
        while not (self.number == signal.SIGKILL or begun()) or (
            self.requests and not endpoint.wait_for(self.requests, 0.01)
        ):
            if process.poll() is not None or time.monotonic() > until_s:
                return
            # A lock file and a dying process tell nobody: this bounds how late we look.
            time.sleep(0.001)
        try:
            process.wait(self.delay_s)
        except subprocess.TimeoutExpired:
            process.send_signal(self.number)
