"""Values for a tool's arguments, found in the messages where they fit.

A model that is asked for the delivery date of `order_12345` puts that into `order_id`. The sandbox
does the same with a few plain rules, the newest message first:

1. an allowed value (`enum`) that the text names;
2. what the text gives under the property's name: `city: Paris`, `city is Paris`;
3. a text of the wanted `format` or `pattern`;
4. an identifier that begins like the property's name: `order_12345` for `order_id`;
5. for what sounds like free text (`query`, `message`), the whole message;
6. for other texts, something quoted, or a name in the middle of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

__all__ = ["Clues"]

_WORD = re.compile(r"[^\s,;:!?\"'()\[\]{}<>]+")
_NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?(?![\w-])")
# Begins where a word begins: else a long text without spaces takes quadratic time.
_WITH_DIGIT = re.compile(
    r"(?<![^\s,;:!?\"'()\[\]{}<>])[^\s,;:!?\"'()\[\]{}<>\d]*+\d[^\s,;:!?\"'()\[\]{}<>]*"
)
_QUOTED = re.compile(
    r"[\"\u201c'\u2018`]([^\"\u201c\u201d'\u2018\u2019`\n]{1,200})[\"\u201d'\u2019`]"
)
_PROPER = re.compile(r"(?<=[a-z,] )[A-Z][\w-]+(?: [A-Z][\w-]+)*")
_SPLIT = re.compile(r"[_\W]+|(?<=[a-z0-9])(?=[A-Z])")

_FORMATS = {
    "date": re.compile(r"\b\d{4}-\d{2}-\d{2}\b"),
    "date-time": re.compile(
        r"\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})"
    ),
    "time": re.compile(r"\b\d{2}:\d{2}:\d{2}(?:Z|[+-]\d{2}:\d{2})"),
    "email": re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"),
    "uri": re.compile(r"\bhttps?://[^\s\"'<>]+[^\s\"'<>.,;:!?)]"),
    "uuid": re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"),
    "ipv4": re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"),
}

# Last words of property names that want an identifier rather than prose.
_IDENTIFIERS = {"id", "ids", "number", "no", "code", "key", "ref", "reference", "sku", "uuid"}

# Property names that want the user's own words.
_PROSE = {"query", "question", "text", "message", "content", "prompt", "input", "description"}

# A longer text is not searched: the oldest part of a long prompt holds no argument.
_SEARCH_MAX_CHARS = 20_000


class Clues:
    """The texts of a request's user and tool messages, searched for values.

    Args:
        texts: Oldest first.
    """

    __slots__ = ("_texts",)

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text[-_SEARCH_MAX_CHARS:] for text in reversed(texts)]

    def member(self, allowed: Sequence[object]) -> object | None:
        """Return the allowed text that the newest message names, as a word of its own."""
        names = [value for value in allowed if isinstance(value, str) and value]
        for text in self._texts:
            lowered = text.lower()
            for name in names:
                if name.lower() in lowered and _is_word(name.lower(), lowered):
                    return name
        return None

    def strings(self, name: str, form: str | None) -> Iterator[str]:
        """Yield texts that a property may be meant to hold, the likeliest first."""
        words = _words(name)
        for text in self._texts:
            if form in _FORMATS:
                yield from _FORMATS[form].findall(text)
                continue
            yield from _given(text, words)
            yield from _identifiers(text, words)
            if words and words[-1] in _PROSE:
                yield text.strip()
            elif not words or words[-1] not in _IDENTIFIERS:
                yield from _QUOTED.findall(text)
                yield from _PROPER.findall(text)

    def words(self) -> Iterator[str]:
        """Yield every word, newest message first: for a pattern to choose from."""
        for text in self._texts:
            for found in _WORD.findall(text):
                yield found.rstrip(".")

    def numbers(self, name: str) -> Iterator[float]:
        """Yield numbers: those given under the property's name, then all others."""
        words = _words(name)
        for text in self._texts:
            for given in _given(text, words):
                if _NUMBER.fullmatch(given):
                    yield float(given)
        for text in self._texts:
            yield from map(float, _NUMBER.findall(text))


def _is_word(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


@lru_cache(maxsize=1024)
def _words(name: str) -> tuple[str, ...]:
    """The words of a property's name: `order_id` and `orderId` alike."""
    return tuple(word.lower() for word in _SPLIT.split(name) if word)


@lru_cache(maxsize=1024)
def _given_pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    name = r"[\s_-]*".join(map(re.escape, words))
    return re.compile(rf"\b{name}\s*(?::|=|\bis\b)\s*[\"']?([\w@.+/-]*\w)", re.IGNORECASE)


def _given(text: str, words: tuple[str, ...]) -> list[str]:
    """What stands after `name:`, `name is` or `name =`."""
    return _given_pattern(words).findall(text) if words else []


def _identifiers(text: str, words: tuple[str, ...]) -> Iterator[str]:
    """Words with a digit in them: those that begin like the name, then others if it wants one."""
    if not words:
        return
    found = [word.rstrip(".") for word in _WITH_DIGIT.findall(text)]
    for word in found:
        if word.lower().startswith(words[0]):
            yield word
    if words[-1] in _IDENTIFIERS:
        yield from (word for word in found if not word[0].isdigit() or word.isdigit())
