"""How many tokens a prompt has, before it is sent: counted where the tokenizer is known.

OpenAI's models are counted by their own vocabulary, with the optional package quicktok-v1: plain
chat messages, texts to complete and to embed. Whatever else a prompt holds (tools, schemas, images)
is rendered in ways that nobody documents, so that it is estimated, as are all other models.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple, Protocol

import orjson

from batcher.answers import Family, family_of
from batcher.records import Row

__all__ = ["Count", "count_prompt", "encoding_of"]

# English has about four bytes a token, and so has most JSON.
_TOKENS_PER_BYTE: Final = 0.25

# By the beginning of a model's name; the longest that fits decides. Source: tiktoken, model.py.
_ENCODINGS: Final = {
    "gpt-3.5": "cl100k_base",
    "gpt-35": "cl100k_base",
    "gpt-4": "cl100k_base",
    "gpt-4o": "o200k_base",
    "gpt-4.1": "o200k_base",
    "gpt-4.5": "o200k_base",
    "gpt-5": "o200k_base",
    "chatgpt-4o": "o200k_base",
    "o1": "o200k_base",
    "o3": "o200k_base",
    "o4-mini": "o200k_base",
    "text-embedding-ada-002": "cl100k_base",
    "text-embedding-3": "cl100k_base",
}

# Around each message, for its name, and before the answer. Source: OpenAI cookbook, "How to count
# tokens with tiktoken".
_PER_MESSAGE: Final = 3
_PER_NAME: Final = 1
_BEFORE_ANSWER: Final = 3

_PLAIN: Final = frozenset({"role", "content", "name"})
_RENDERED: Final = ("tools", "functions", "response_format", "prediction", "web_search_options")


class _Encoding(Protocol):
    def count(self, text: str) -> int:
        """Count the tokens of a text."""


class Count(NamedTuple):
    """Tokens of a prompt; `exact` unless they are estimated."""

    tokens: int
    exact: bool


def encoding_of(model: str) -> str | None:
    """Name the vocabulary of a model; None where it is not known."""
    name = model.rpartition("/")[2].casefold()
    fits = [beginning for beginning in _ENCODINGS if name.startswith(beginning)]
    return _ENCODINGS[max(fits, key=len)] if fits else None


def count_prompt(row: Row) -> Count:
    """Count the tokens of a row's prompt, or estimate them."""
    name = encoding_of(row.model)
    encoding = None if name is None else _load(name)
    tokens = None if encoding is None else _counted(row, encoding)
    if tokens is None:
        return Count(max(1, round(len(row.body) * _TOKENS_PER_BYTE)), exact=False)
    return Count(tokens, exact=True)


@cache
def _load(name: str) -> _Encoding | None:
    """Load a vocabulary, where the package is there that has it."""
    if importlib.util.find_spec("quicktok") is None:
        return None
    import quicktok

    encoding: _Encoding = quicktok.get_encoding(name)
    return encoding


def _counted(row: Row, encoding: _Encoding) -> int | None:
    body, family = orjson.loads(row.body), family_of(row.path)
    if family is Family.CHAT:
        return None if any(body.get(key) for key in _RENDERED) else _messages(body, encoding)
    text = body.get("input" if family is Family.EMBEDDINGS else "prompt")
    texts = [text] if isinstance(text, str) else text
    if family not in (Family.EMBEDDINGS, Family.COMPLETIONS) or not isinstance(texts, list):
        return None
    if not all(isinstance(each, str) for each in texts):
        return None
    return sum(map(encoding.count, texts))


def _messages(body: Mapping[str, Any], encoding: _Encoding) -> int | None:
    tokens = _BEFORE_ANSWER
    for message in body["messages"]:
        texts = message.values()
        if not message.keys() <= _PLAIN or not all(isinstance(text, str) for text in texts):
            return None
        tokens += _PER_MESSAGE + sum(map(encoding.count, texts))
        tokens += _PER_NAME if "name" in message else 0
    return tokens
