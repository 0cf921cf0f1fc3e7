"""The shop's side of the job: what the model may call. It runs on this machine, as you."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.handlers import ToolCall

FIRST_DAY = date(2026, 12, 1)


def get_delivery_date(call: ToolCall, order_id: str) -> dict[str, str]:
    """Look up when an order arrives; a real shop would ask its database."""
    del call
    days = int(order_id.removeprefix("order_")) % 28
    return {"delivery_date": str(FIRST_DAY + timedelta(days=days))}
