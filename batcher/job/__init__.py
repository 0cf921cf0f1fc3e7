"""One job, run once, from the lock to the publication."""

from batcher.job.outcome import BrokenOffError, InterruptedRunError, Outcome, Watch
from batcher.job.run import run

__all__ = ["BrokenOffError", "InterruptedRunError", "Outcome", "Watch", "run"]
