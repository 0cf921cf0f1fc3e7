"""Reading an answer of any family: what it used, whether it is one, and the error inside it.

Answers come from endpoints that differ in every detail, so nothing here trusts a type and nothing
raises: what can't be read is None. Three rules:

* **Usage** has one normal form, `amounts.Usage`, for every family: see `usage`.
* **An error** may sit in any answer, one with status 200 included. Its `code` and `type` are kept
  only where they look like a code, since they go into totals and logs; its message may quote the
  prompt and must never be shown.
* **An answer** is usable when it holds what its family answers with; whether that is any good is
  for other modules.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from batcher.amounts import Usage
from batcher.usage import count, messages_usage, parts_usage, plain_usage

__all__ = [
    "NOT_JSON",
    "ErrorInfo",
    "Family",
    "embedded_error",
    "family_of",
    "has_choices",
    "missing_part",
    "plain_usage_of",
    "read_usage",
]

# Stands for the parsed body where the body is no JSON; JSON's own null parses to None.
NOT_JSON: Final = object()

# What we are ready to call a code: it becomes a key of the totals and a word in logs.
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
# Above every numeric code in use (the longest have six digits), and cheap to write as text.
_CODES_END = 10**9
_STATUS = re.compile(r"[1-5][0-9]{2}")


class Family(Enum):
    """Which of the documented calls a path names, and so how its answer is written."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"
    OTHER = "other"


class ErrorInfo(NamedTuple):
    """An error that an endpoint reported.

    Attributes:
        code: Its code as text, or empty where it has none that looks like a code.
        type: Its type (Google's `status`), under the same rule.
        message: Its text as it came. It may quote the prompt: for tests of its wording only.
        status: The HTTP status that the code states, such as 429 for `429` or `"429"`; else None.
    """

    code: str
    type: str
    message: str
    status: int | None

    @property
    def name(self) -> str:
        """The code where it is a word rather than an HTTP status, else empty."""
        return "" if self.status is not None else self.code


# Looking a member up in its Enum costs more than reading a count.
_CHAT, _COMPLETIONS = Family.CHAT, Family.COMPLETIONS
_RESPONSES, _MESSAGES = Family.RESPONSES, Family.MESSAGES

_FAMILIES = {
    "embeddings": Family.EMBEDDINGS,
    "responses": Family.RESPONSES,
    "messages": Family.MESSAGES,
}


@lru_cache(maxsize=256)
def family_of(path: str) -> Family:
    """Say which family answers at `path`, by the path's end; a query does not matter."""
    parts = path.partition("?")[0].rstrip("/").rsplit("/", 2)
    if parts[-1] == "completions":
        return Family.CHAT if len(parts) > 1 and parts[-2] == "chat" else Family.COMPLETIONS
    return _FAMILIES.get(parts[-1], Family.OTHER)


def plain_usage_of(answer: Any) -> Usage | None:
    """Read the usage of what nearly every chat answer is: one choice, no error, a plain usage.

    Every row passes here, and this takes half the time of the closer look. None says nothing.
    """
    # Whatever is not of the type that it should be can't be asked for a key by name.
    try:
        [choice] = answer["choices"]
        if choice.get("error") or answer.get("error") or answer.get("object") == "error":
            return None
        return plain_usage(answer["usage"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def has_choices(path: str) -> bool:
    """Whether the family at `path` gives as many choices as `n` asks for."""
    return family_of(path) in (_CHAT, _COMPLETIONS)


def read_usage(answer: object, family: Family) -> Usage | None:
    """Read an answer's usage into the normal form.

    The field names found decide, for relays answer in each other's shapes; the family decides
    where an answer has both sets of names.

    Args:
        answer: The parsed body.
        family: Of the path that the request went to.

    Returns:
        The usage, or None where the answer has none that can be used. A missing or unusable count
        is derived from the others where that is possible, else it is 0.

    Source: the providers' API references; checked against genai-prices' `extract_usage`.
    """
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return None
    own_names = family is _RESPONSES or family is _MESSAGES
    found = None if own_names else plain_usage(usage)
    if found is not None:
        return found
    if own_names or "prompt_tokens" not in usage:
        if family is _MESSAGES or "cache_read_input_tokens" in usage:
            found = messages_usage(usage)
        else:
            found = parts_usage(usage, "input_tokens", "output_tokens")
        if found is not None:
            return found
    found = parts_usage(usage, "prompt_tokens", "completion_tokens")
    if found is None and family is Family.EMBEDDINGS:
        total = count(usage.get("total_tokens"))  # Voyage counts nothing else
        return None if total is None else Usage(total, 0, total)
    return found


def embedded_error(answer: object) -> ErrorInfo | None:
    """Find the error that an answer reports, whatever its status.

    Knows `{"error": {...}}` (OpenAI, Anthropic, OpenRouter, LiteLLM), `{"error": "text"}`, the same
    in a list of one (Google), `{"object": "error", ...}` (older vLLM), an error of a choice
    (OpenRouter), and a response whose `status` is `failed`.
    """
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, dict):
        return None
    error = answer.get("error")
    if error:
        return _error_info(error)
    if answer.get("object") == "error":
        return _error_info(answer)
    choices = answer.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("error"):
                return _error_info(choice["error"])
    elif answer.get("status") == "failed" and answer.get("object") == "response":
        return ErrorInfo("", "response_failed", "", None)
    return None


def _error_info(error: object) -> ErrorInfo:
    """Read an error object, or a text in its place."""
    if not isinstance(error, dict):
        return ErrorInfo("", "", error if isinstance(error, str) else "", None)
    code = _code(error.get("code"))
    message = error.get("message")
    return ErrorInfo(
        code,
        _code(error.get("type")) or _code(error.get("status")),
        message if isinstance(message, str) else "",
        int(code) if _STATUS.fullmatch(code) else None,
    )


def _code(value: object) -> str:
    """Take a code or a type as text; empty where it doesn't look like one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _CODES_END:
        return str(value)
    # LiteLLM writes Python's None as text.
    if isinstance(value, str) and value != "None" and _CODE.fullmatch(value):
        return value
    return ""


def missing_part(answer: object, family: Family) -> str | None:
    """Say under which code an answer without an error is no answer; None when it is one.

    Returns:
        `invalid_answer` when it isn't even of the right type, else `no_choices`, `no_data`,
        `no_output` or `no_content` by family. Anthropic may answer with an empty list, and so may
        a response that its token limit cut off.
    """
    if not isinstance(answer, dict):
        return None if family is Family.OTHER and isinstance(answer, list) else "invalid_answer"
    if family is _CHAT or family is _COMPLETIONS:
        choices = answer.get("choices")
        usable = isinstance(choices, list) and bool(choices) and isinstance(choices[0], dict)
        return None if usable else "no_choices"
    if family is Family.EMBEDDINGS:
        return None if isinstance(answer.get("data"), list) and answer["data"] else "no_data"
    if family is _RESPONSES:
        output = answer.get("output")
        usable = isinstance(output, list) and (bool(output) or answer.get("status") == "incomplete")
        return None if usable else "no_output"
    if family is _MESSAGES:
        return None if isinstance(answer.get("content"), list) else "no_content"
    return None
