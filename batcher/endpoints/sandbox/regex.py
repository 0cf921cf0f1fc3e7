"""A text that a regular expression matches, from a source of randomness.

The expression is parsed by the standard library's own parser. JSON Schema means ECMA 262, which is
close enough: what does not parse gives no text, and the caller does without.
"""

from __future__ import annotations

import importlib
import re
import string
from random import Random
from typing import Any

__all__ = ["matching"]

# `sre_parse`, its public name, is deprecated and warns on import.
_PARSER: Any = importlib.import_module("re._parser")

_CATEGORIES = {
    "CATEGORY_DIGIT": string.digits,
    "CATEGORY_WORD": string.ascii_lowercase + string.digits,
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_DIGIT": string.ascii_lowercase,
    "CATEGORY_NOT_WORD": " -",
    "CATEGORY_NOT_SPACE": string.ascii_lowercase + string.digits,
}
_ANY = string.ascii_lowercase + string.digits
_PRINTABLE = string.ascii_letters + string.digits + " -_.:/"

# How far an open-ended repetition goes beyond its least.
_REPEAT_MORE = 3


def matching(pattern: str, rng: Random, *, min_length: int = 0) -> str | None:
    """Return a text in which `pattern` is found, or None when it can't be read.

    Args:
        pattern: Python's or JSON Schema's.
        rng: Seeded by the caller.
        min_length: Open-ended repetitions try to be so long.
    """
    try:
        parsed = _PARSER.parse(pattern)
    except (re.error, OverflowError, RecursionError):
        return None
    groups: dict[int, str] = {}
    text = "".join(_one(str(op), arg, rng, groups, min_length) for op, arg in parsed)
    if len(text) < min_length and not pattern.endswith("$"):
        text += "".join(rng.choices(_ANY, k=min_length - len(text)))
    return text


def _all(items: Any, rng: Random, groups: dict[int, str], least: int) -> str:
    return "".join(_one(str(op), arg, rng, groups, least) for op, arg in items)


def _one(op: str, arg: Any, rng: Random, groups: dict[int, str], least: int) -> str:  # noqa: C901, PLR0911 - the parser's own nodes, a case each
    match op:
        case "LITERAL":
            return chr(arg)
        case "NOT_LITERAL":
            return rng.choice([char for char in _ANY if ord(char) != arg])
        case "ANY":
            return rng.choice(_ANY)
        case "IN":
            return rng.choice(_class(arg))
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            low, high, inner = arg
            times = rng.randint(low, min(int(high), max(low + _REPEAT_MORE, least)))
            times = max(times, min(least, int(high)))
            return "".join(_all(inner, rng, groups, 0) for _ in range(times))
        case "SUBPATTERN":
            text = _all(arg[-1], rng, groups, least)
            if arg[0] is not None:
                groups[arg[0]] = text
            return text
        case "ATOMIC_GROUP":
            return _all(arg, rng, groups, least)
        case "BRANCH":
            return _all(rng.choice(arg[1]), rng, groups, least)
        case "GROUPREF":
            return groups.get(arg, "")
    # Anchors match where they stand; what lookarounds ask for is left to the caller's check.
    return ""


def _class(items: Any) -> str:
    """The characters of a class such as `[a-z_]`; printable ones for a negated one."""
    negated = bool(items) and str(items[0][0]) == "NEGATE"
    chars: list[str] = []
    for op, arg in items[1:] if negated else items:
        match str(op):
            case "LITERAL":
                chars.append(chr(arg))
            case "RANGE":
                chars.extend(map(chr, range(arg[0], min(arg[1], arg[0] + 128) + 1)))
            case "CATEGORY":
                chars.extend(_CATEGORIES.get(str(arg), _ANY))
    if negated:
        return "".join(char for char in _PRINTABLE if char not in chars) or "~"
    return "".join(chars) or _ANY
