"""Rows and prices of which it is known to the token what they may cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.harness import row
from tests.server import Endpoint

__all__ = ["MOST", "PRICES", "capped", "cost_of"]

# A million tokens in cost 10, out 1000: an answer of the endpoint's (5 tokens) some 0.0051.
PRICES = """
[models.m]
input = 10
output = 1000
max_output_tokens = 40
[models.cheap]
input = 1
output = 100
[models."free"]
input = 0
output = 0
"""

# The most tokens of a row `r1` to `r9`: its bytes, what no body shows, and its longest answer.
MOST = len(b'{"model":"m","messages":[{"role":"user","content":"r1"}],"max_tokens":5}') + 512 + 5


def capped(count: int, *, most: int = 5, **more: Any) -> list[dict[str, Any]]:
    """Rows that say how long their answer may be."""
    return [row(f"r{number}", max_tokens=most, **more) for number in range(1, count + 1)]


def cost_of(endpoint: Endpoint) -> Decimal:
    """What the endpoint charged by its own books, at the table's prices."""
    usage = endpoint.books.usage
    return (10 * Decimal(usage["prompt_tokens"]) + 1000 * usage["completion_tokens"]) / 1_000_000
