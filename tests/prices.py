"""Write `batcher/pricing/listed.tsv` anew, after an update of genai-prices.

`python -m tests.prices`. It holds what the installed list says of every model by its own name, so
that a run which asks for nothing else need not import the list: that takes 0.2 s and 25 MB.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import orjson
from genai_prices.data_snapshot import get_snapshot

from batcher.pricing import builtin

__all__ = ["PLACE", "extract"]

PLACE = Path(builtin.__file__).with_name("listed.tsv")


def extract() -> bytes:
    """Ask the list for each model of each provider, and for each of their names anywhere."""
    providers = get_snapshot().providers
    names = sorted({model.id for provider in providers for model in provider.models})
    lines = [version("genai-prices").encode(), *_lines(None, names)]
    for provider in providers:
        lines += _lines(provider.id, sorted({model.id for model in provider.models}))
    return b"\n".join([*lines, b""])


def _lines(provider: str | None, names: list[str]) -> Iterator[bytes]:
    source = builtin.BuiltInList(provider)
    now_unix = time.time()
    for name in names:
        tariff = source.looked_up(name, now_unix)
        # A price that ends some time, or changes with the hour, is the list's own affair.
        if tariff is not None and tariff.until == math.inf:
            since = None if tariff.since == -math.inf else tariff.since
            steps = [[step.above, *map(_text, step.rates)] for step in tariff.steps]
            entry = orjson.dumps([since, source.window(name), steps])
            yield b"%b\t%b\t%b" % ((provider or "").encode(), name.encode(), entry)


def _text(rate: object) -> str | None:
    return None if rate is None else str(rate)


if __name__ == "__main__":
    PLACE.write_bytes(extract())
