"""A price table of the user's own: `prices.toml`, read into tariffs.

The format is described in docs/prices.md. Here are its rules:
    * A model's name is compared without regard to case, as the built-in list does. An exact name
      wins over a pattern, a longer pattern over a shorter one, an earlier one over a later.
    * What a model's table does not say of `multiplier` and `currency` is as the file says on top.
    * A rate is a number, kept as written: no float comes near it. After multiplier and currency it
      is rounded to 12 decimals of a dollar per million tokens.
    * An error names the key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, NamedTuple

from batcher.errors import UsageError
from batcher.pricing.tariff import Rates, Step, Tariff

__all__ = ["PriceTable"]

_TOP_KEYS = ("list", "list_multiplier", "multiplier", "currency", "usd_per_unit", "models")
_RATE_KEYS = ("input", "cached_input", "cache_write", "output", "request")
_MODEL_KEYS = (
    *_RATE_KEYS,
    "max_output_tokens",
    "context_tokens",
    "multiplier",
    "currency",
    "usd_per_unit",
)

# Above any price in any currency, and below what would make numbers of a million digits.
_MAX_NUMBER = Decimal(10) ** 9

# Enough of a SHA-256 to tell two versions of a file apart.
_HASH_DIGITS = 12


class _Entry(NamedTuple):
    tariff: Tariff
    output_limit: int | None
    context: int | None


class PriceTable:
    """A user's prices: a `PriceSource`.

    Attributes:
        name: The file's name and its hash.
        list_too: Whether models that are not in the table have their list price.
        list_multiplier: What that list price is multiplied by, if by anything.
    """

    def __init__(self, data: bytes, *, file_name: str) -> None:
        """Read the file's bytes.

        Raises:
            UsageError: They are no price table; the text names the file and the key.
        """
        self.name = f"{file_name} sha256:{hashlib.sha256(data).hexdigest()[:_HASH_DIGITS]}"
        top = _Section(_read_toml(data, file_name), file_name, "")
        top.check(_TOP_KEYS)
        self.list_too = top.boolean("list", default=True)
        self.list_multiplier = top.number("list_multiplier")
        _factor(top, top)  # wrong on top is wrong even where no model needs it
        self._exact: dict[str, _Entry] = {}
        self._patterns: list[tuple[re.Pattern[str], _Entry]] = []
        patterns: list[tuple[str, _Entry]] = []
        for model, section in top.sections("models"):
            name, entry = model.casefold(), _entry(section, top)
            if "*" in name:
                patterns.append((name, entry))
            elif name in self._exact:
                raise section.error("", "stands twice; names are compared without regard to case")
            else:
                self._exact[name] = entry
        patterns.sort(key=lambda item: -len(item[0].replace("*", "")))
        self._patterns = [(_compiled(pattern), entry) for pattern, entry in patterns]

    def warm(self) -> None:
        """Do nothing: the table is read."""

    def tariff(self, model: str, when_unix: float) -> Tariff | None:
        """The price of a model, at any time; None when the table has none."""
        del when_unix
        entry = self._find(model)
        return None if entry is None else entry.tariff

    def output_limit(self, model: str) -> int | None:
        """The model's `max_output_tokens`, where the table says it."""
        entry = self._find(model)
        return None if entry is None else entry.output_limit

    def context(self, model: str) -> int | None:
        """The model's `context_tokens`, where the table says them."""
        entry = self._find(model)
        return None if entry is None else entry.context

    def _find(self, model: str) -> _Entry | None:
        name = model.casefold()
        entry = self._exact.get(name)
        if entry is not None:
            return entry
        return next((entry for pattern, entry in self._patterns if pattern.fullmatch(name)), None)


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def _read_toml(data: bytes, file_name: str) -> Mapping[str, Any]:
    import tomllib

    try:
        return tomllib.loads(data.decode("utf-8-sig"), parse_float=Decimal)
    except UnicodeDecodeError:
        raise UsageError(f"{file_name}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file_name}: not TOML: {error}") from None


class _Section:
    """A table of the file, read with errors that name the key."""

    def __init__(self, fields: Mapping[str, Any], file_name: str, path: str) -> None:
        self.fields = fields
        self._file_name = file_name
        self._path = path

    def error(self, key: str, message: str) -> UsageError:
        """An error of a key, or of the table itself."""
        path = ".".join(part for part in (self._path, key) if part)
        return UsageError(f"{self._file_name}: {path} {message}")

    def check(self, keys: Iterable[str]) -> None:
        """Refuse a key that is none of `keys`, and say which was meant."""
        for key in self.fields:
            if key not in keys:
                near = get_close_matches(key, keys, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(keys)}"
                raise self.error(key, f"is unknown; {hint}")

    def number(self, key: str) -> Decimal | None:
        """A number from zero to a billion, as written."""
        value = self.fields.get(key)
        if value is None:
            return None
        if isinstance(value, Decimal) or type(value) is int:
            number = Decimal(value)
            if number.is_finite() and 0 <= number <= _MAX_NUMBER:
                return number
        raise self.error(key, "must be a number from 0 to 1000000000")

    def boolean(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.fields.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def text(self, key: str) -> str | None:
        """A string."""
        value = self.fields.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self.error(key, "must be text")

    def sections(self, key: str) -> Iterable[tuple[str, _Section]]:
        """The tables within a table, by name."""
        tables = self.fields.get(key, {})
        if not isinstance(tables, dict):
            raise self.error(key, "must be a table")
        for name, fields in tables.items():
            path = f'{key}."{name}"'
            if not isinstance(fields, dict):
                raise self.error(path, "must be a table, such as { input = 1, output = 2 }")
            yield name, _Section(fields, self._file_name, path)


def _entry(section: _Section, top: _Section) -> _Entry:
    section.check(_MODEL_KEYS)
    rates = {key: section.number(key) for key in _RATE_KEYS}
    if rates["input"] is None and rates["request"] is None:
        raise section.error("input", "is missing")
    # Who pays by the request pays nothing for tokens that the table doesn't price.
    unsaid = None if rates["request"] is None else Decimal(0)
    as_written = Rates(
        input=unsaid if rates["input"] is None else rates["input"],
        output=unsaid if rates["output"] is None else rates["output"],
        cached=rates["cached_input"],
        cache_write=rates["cache_write"],
        request=rates["request"],
    )
    tariff = Tariff([Step(-1, as_written.times(_factor(section, top)))])
    return _Entry(tariff, _limit(section, "max_output_tokens"), _limit(section, "context_tokens"))


def _limit(section: _Section, key: str) -> int | None:
    limit = section.fields.get(key)
    if limit is not None and (type(limit) is not int or limit < 1):
        raise section.error(key, "must be a whole number of one or more")
    return limit


def _factor(section: _Section, top: _Section) -> Decimal:
    """From a rate as written to dollars: the multiplier and the currency's rate."""
    multiplier = (section if "multiplier" in section.fields else top).number("multiplier")
    own = "currency" in section.fields or "usd_per_unit" in section.fields
    usd = _usd_per_unit(section if own else top)
    return usd if multiplier is None else multiplier * usd


def _usd_per_unit(section: _Section) -> Decimal:
    currency, usd = section.text("currency"), section.number("usd_per_unit")
    if currency is None or currency.upper() == "USD":
        if usd is not None and usd != 1:
            raise section.error("usd_per_unit", "needs a currency other than USD")
        return Decimal(1)
    if not usd:
        raise section.error("usd_per_unit", f"is missing: what one {currency} is in USD")
    return usd
