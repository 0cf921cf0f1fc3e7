"""Pricers of a table or of the built-in list, and usages to price."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import Provider
from hypothesis import strategies as st

from batcher.amounts import Usage
from batcher.pricing import Pricer
from batcher.pricing.builtin import BuiltInList
from batcher.pricing.table import PriceTable

__all__ = ["LISTED", "MTOK", "NOON", "PROVIDERS", "listed", "moments", "table", "usages"]

PROVIDERS: Sequence[Provider] = get_snapshot().providers
LISTED = [(provider, model) for provider in PROVIDERS for model in provider.models]
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
MTOK = 1_000_000


@st.composite
def usages(draw: st.DrawFn, most: int = 2 * MTOK) -> Usage:
    """Draw a usage whose parts fit into their wholes."""
    prompt, completion = draw(st.integers(0, most)), draw(st.integers(0, most))
    cached = draw(st.just(0) | st.integers(0, prompt))
    written = draw(st.just(0) | st.integers(0, prompt - cached))
    reasoning = draw(st.just(0) | st.integers(0, completion))
    return Usage(prompt, completion, prompt + completion, cached, written, reasoning)


moments = st.floats(
    datetime(2023, 1, 1, tzinfo=UTC).timestamp(), datetime(2028, 1, 1, tzinfo=UTC).timestamp()
)


def table(text: str) -> Pricer:
    """Make a pricer of a table without the list."""
    return Pricer([PriceTable(text.encode(), file_name="prices.toml")])


def listed(provider: str | None = None) -> Pricer:
    """Make a pricer of the built-in list."""
    return Pricer([BuiltInList(provider)])
