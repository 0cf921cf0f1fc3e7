"""What the built-in list says of each model by its own name, kept beside it.

Importing the list takes 0.2 s and 25 MB; most runs ask it for one or two models that it knows by
their very names. Their prices stand in `listed.tsv`, drawn from the list by `tests/prices.py`.
They count only while the installed list is of the same version. Whatever is not there is the list's
own affair: other names of a model, prices that change with the hour, models that it does not know.
"""

from __future__ import annotations

import importlib.util
from decimal import Decimal
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from batcher.pricing.tariff import Rates, Step

__all__ = ["Extract", "Listed", "installed_version"]

# A line for each entry: provider (empty: any host), model, and the entry as JSON. Parsing all of it
# would take ten times as long as finding one line.
_PLACE: Final = Path(__file__).with_name("listed.tsv")


class Listed(NamedTuple):
    """A model's entry.

    Attributes:
        since: Unix time from which the price holds.
        context_window: In tokens, where the list has it.
        steps: The price.
    """

    since: float
    context_window: int | None
    steps: list[Step]


class Extract:
    """The entries for one endpoint.

    Args:
        provider: Its provider's id in the list; None for any host.
    """

    def __init__(self, provider: str | None) -> None:
        self._provider = provider or ""

    def find(self, model: str) -> Listed | None:
        """Give the entry of a model; None says nothing."""
        at = self._lines.find(f"\n{self._provider}\t{model}\t".encode())
        if at < 0 or "\t" in model or "\n" in model:
            return None
        entry = self._lines[at + 1 : self._lines.index(b"\n", at + 1)].split(b"\t", 2)[2]
        since, window, steps = orjson.loads(entry)
        return Listed(-inf if since is None else since, window, [_step(*each) for each in steps])

    @cached_property
    def _lines(self) -> bytes:
        drawn = _PLACE.read_bytes()
        return drawn if drawn.startswith(f"{installed_version()}\n".encode()) else b""


def installed_version() -> str:
    """Say which version of the list is installed, by the name of its folder of metadata.

    `importlib.metadata` says the same, and takes as long to import as all of this.
    """
    found = importlib.util.find_spec("genai_prices")
    if found is None or found.origin is None:
        return ""
    beside = Path(found.origin).parent.parent
    names = [path.name for path in beside.glob("genai_prices-*.dist-info")]
    return names[0].removesuffix(".dist-info").partition("-")[2] if len(names) == 1 else ""


def _step(above: int, *rates: str | None) -> Step:
    return Step(above, Rates(*(None if rate is None else Decimal(rate) for rate in rates)))
