"""Whether the first results of a run are all the same refusal: then all would be, too."""

from __future__ import annotations

from typing import Final

__all__ = ["Unison"]

# The contract: when so many are, the run stops.
_SAME_REFUSALS: Final = 50


class Unison:
    """Listens to the results of a run.

    Attributes:
        broken: Whether a result was no refusal, or another one; then nothing more can come of it.
    """

    def __init__(self) -> None:
        self.broken = False
        self._word = ""
        self._count = 0

    def hear(self, word: str) -> str | None:
        """Hear of a refusal, or of another failure (an empty word).

        Returns:
            Why the run is to stop, or None.
        """
        if self.broken or not word or (self._count and word != self._word):
            self.broken = True
            return None
        self._word = word
        self._count += 1
        if self._count != _SAME_REFUSALS:
            return None
        return f"the first {_SAME_REFUSALS} results are all the same refusal: {word}"
