"""The JSON forms of usage and spend: how results and totals write them, and the reading back.

Rules:
    * What is written is read back equal; `spend_text` writes what `spend_json` says.
    * An amount is decimal text, never a JSON number: a float would round money.
    * Keys that most rows don't need (`cache_write_tokens`, `attempts_without_usage`, `uncertain`,
      `unpriced`) stand only where they say something.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from batcher.amounts import NO_AMOUNT, Amount, Spend, Usage

__all__ = [
    "amount_json",
    "cost_text",
    "read_amount",
    "read_count",
    "read_part",
    "read_spend",
    "read_usage_json",
    "spend_json",
    "spend_text",
    "usage_json",
]


_NO_MONEY = Decimal("NaN")

# Makes a named tuple in a third of the time that calling its class takes.
_made = tuple.__new__


def cost_text(cost: Decimal) -> str:
    """Write an amount as plain decimal text: no exponent, no trailing zeros."""
    text = str(cost)
    if "E" in text:  # format() alone would do, at three times the time
        text = format(cost, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def usage_json(usage: Usage) -> dict[str, Any]:
    """Give the `usage` object of results and totals; cache writes show only where there are any."""
    prompt, completion, total, cached, cache_write, reasoning = usage
    prompt_details = {"cached_tokens": cached}
    if cache_write:
        prompt_details["cache_write_tokens"] = cache_write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def read_usage_json(mapping: Mapping[str, Any]) -> Usage:
    """Read back what `usage_json` gave; what is missing is zero.

    Raises:
        ValueError: A field has the wrong type; the text names it.
    """
    try:
        parts, more = mapping["prompt_tokens_details"], mapping["completion_tokens_details"]
        prompt, completion = mapping["prompt_tokens"], mapping["completion_tokens"]
        total, cached = mapping["total_tokens"], parts["cached_tokens"]
        written, reasoning = parts.get("cache_write_tokens", 0), more["reasoning_tokens"]
    except (KeyError, TypeError, AttributeError):
        return _read_sparse_usage(mapping)
    # One glance at all of them: this runs for every line that is read back.
    if (
        type(prompt) is type(completion) is type(total) is int
        and type(cached) is type(written) is type(reasoning) is int
        and (prompt | completion | total | cached | written | reasoning) >= 0
    ):
        return _made(Usage, (prompt, completion, total, cached, written, reasoning))
    return _read_sparse_usage(mapping)


def _read_sparse_usage(mapping: Mapping[str, Any]) -> Usage:
    prompt_details = read_part(mapping, "prompt_tokens_details")
    completion_details = read_part(mapping, "completion_tokens_details")
    return Usage(
        read_count(mapping, "prompt_tokens"),
        read_count(mapping, "completion_tokens"),
        read_count(mapping, "total_tokens"),
        read_count(prompt_details, "cached_tokens"),
        read_count(prompt_details, "cache_write_tokens"),
        read_count(completion_details, "reasoning_tokens"),
    )


def spend_json(spend: Spend) -> dict[str, Any]:
    """Give the keys of a result's `batcher` object that say what the row has cost."""
    fields: dict[str, Any] = {"attempts": spend.attempts}
    if spend.attempts_without_usage:
        fields["attempts_without_usage"] = spend.attempts_without_usage
    fields["usage"] = usage_json(spend.usage)
    fields["cost_usd"] = None if spend.cost_usd is None else cost_text(spend.cost_usd)
    if spend.uncertain != NO_AMOUNT:
        fields["uncertain"] = amount_json(spend.uncertain)
    if spend.unpriced:
        fields["unpriced"] = True
    return fields


def spend_text(spend: Spend) -> str:
    """Write `spend_json` as compact JSON members without the braces around them, without a dict."""
    attempts, without_usage, usage, cost, unpriced, uncertain = spend
    prompt, completion, total, cached, cache_write, reasoning = usage
    lost = f',"attempts_without_usage":{without_usage}' if without_usage else ""
    written = f',"cache_write_tokens":{cache_write}' if cache_write else ""
    flag = ',"unpriced":true' if unpriced else ""
    amount = "null" if cost is None else f'"{cost_text(cost)}"'
    if uncertain is not NO_AMOUNT and uncertain != NO_AMOUNT:
        usd, tokens = cost_text(uncertain.usd), uncertain.tokens
        flag = f',"uncertain":{{"cost_usd":"{usd}","total_tokens":{tokens}}}{flag}'
    return (
        f'"attempts":{attempts}{lost},"usage":{{"prompt_tokens":{prompt},'
        f'"completion_tokens":{completion},"total_tokens":{total},'
        f'"prompt_tokens_details":{{"cached_tokens":{cached}{written}}},'
        f'"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}},'
        f'"cost_usd":{amount}{flag}'
    )


def read_spend(mapping: Mapping[str, Any]) -> Spend:
    """Read back what `spend_json` gave, among whatever other keys; what is missing is zero.

    Raises:
        ValueError: A field has the wrong type; the text names it.
    """
    return _made(
        Spend,
        (
            read_count(mapping, "attempts"),
            read_count(mapping, "attempts_without_usage"),
            read_usage_json(read_part(mapping, "usage")),
            _money(mapping, "cost_usd"),
            mapping.get("unpriced") is True,
            read_amount(mapping, "uncertain"),
        ),
    )


def amount_json(amount: Amount) -> dict[str, Any]:
    """Give an amount as results and totals write it."""
    return {"cost_usd": cost_text(amount.usd), "total_tokens": amount.tokens}


def read_amount(mapping: Mapping[str, Any], key: str) -> Amount:
    """Read back what `amount_json` gave; a missing one is none.

    Raises:
        ValueError: It has the wrong form; the text names it.
    """
    if key not in mapping:
        return NO_AMOUNT
    part = read_part(mapping, key)
    return Amount(_money(part, "cost_usd") or NO_AMOUNT.usd, read_count(part, "total_tokens"))


def read_count(mapping: Mapping[str, Any], key: str) -> int:
    """Read a count; a missing one is zero.

    Raises:
        ValueError: It is no integer of zero or more.
    """
    value = mapping.get(key, 0)
    if type(value) is not int or value < 0:
        raise ValueError(f"{key} is not a count")
    return value


def read_part(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Read an object; a missing one is empty.

    Raises:
        ValueError: It is no object.
    """
    value = mapping.get(key, {})
    if type(value) is not dict and not isinstance(value, Mapping):  # the latter takes its time
        raise ValueError(f"{key} is not an object")
    return value


def _money(mapping: Mapping[str, Any], key: str) -> Decimal | None:
    text = mapping.get(key)
    if text is None:
        return None
    try:
        amount = Decimal(text) if type(text) is str else _NO_MONEY
    except InvalidOperation:
        amount = _NO_MONEY
    if amount.is_finite() and (not amount.is_signed() or not amount):
        return amount
    raise ValueError(f"{key} is not an amount in decimal text")
