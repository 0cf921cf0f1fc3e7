"""From `--prices FILE|list|none` to a `Pricer`: the one place of pricing that opens a file."""

from __future__ import annotations

from pathlib import Path

from batcher.errors import UsageError
from batcher.pricing.builtin import BuiltInList
from batcher.pricing.pricer import Pricer
from batcher.pricing.table import PriceTable

__all__ = ["load_pricer"]


def load_pricer(prices: str, *, provider: str | None = None) -> Pricer:
    """Make the pricer that a job asks for.

    Args:
        prices: `list`, `none`, or the path of a price table.
        provider: The endpoint's provider in the built-in list (`openai`, `deepseek`, ...), if any.

    Raises:
        UsageError: The file can't be read, or is no price table.
    """
    if prices == "none":
        return Pricer()
    if prices == "list":
        return Pricer([BuiltInList(provider)])
    path = Path(prices)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"prices: can't read {prices}: {error.strerror}") from None
    table = PriceTable(data, file_name=path.name)
    if not table.list_too:
        return Pricer([table])
    return Pricer([table, BuiltInList(provider, multiplier=table.list_multiplier)])
