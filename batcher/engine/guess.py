"""How many tokens a row will use, by its bytes: a guess that each answer corrects."""

from __future__ import annotations

from typing import Final

from batcher.engine.task import Task

__all__ = ["Guess"]

# Before anything is known: English prompts have about four bytes a token.
_TOKENS_PER_BYTE: Final = 0.25

# How much of the guess each answer makes up.
_LEARNING: Final = 0.02


class Guess:
    """The guess for all rows of a run.

    Attributes:
        per_byte: Tokens that a byte of a request stands for, the answer's included.
    """

    def __init__(self) -> None:
        self.per_byte = _TOKENS_PER_BYTE

    def learn(self, task: Task) -> None:
        """Let what a row used, which must be known, correct what the next are expected to use."""
        self.per_byte += (task.used / len(task.body) - self.per_byte) * _LEARNING
