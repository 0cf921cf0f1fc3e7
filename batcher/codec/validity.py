"""What makes a request valid.

Of a chat row only `model` and `messages` are required; the fields that the endpoint documents have
the documented type, or null; unknown fields pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

__all__ = ["StreamError", "TypeRule", "check_body", "type_rules"]

TypeRule = tuple[str, Callable[[object], bool], str]
"""A field, what tells whether a value has its type, and that type in words."""


class StreamError(ValueError):
    """The row asks for a stream."""


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_integer(value: object) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_object(value: object) -> bool:
    return type(value) is dict


def _is_stop(value: object) -> bool:
    return type(value) is str or (type(value) is list and all(map(_is_text, value)))


def _is_tools(value: object) -> bool:
    return type(value) is list and all(map(_is_tool, value))


def _is_tool(value: object) -> bool:
    if type(value) is not dict:
        return False
    if value.get("type") != "function":
        return True
    function = value.get("function")
    return type(function) is dict and type(function.get("name")) is str


# Source: the endpoint's page, and the OpenAI reference where real traffic goes beyond the page.
_TYPES: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "temperature": (_is_number, "a number"),
    "top_p": (_is_number, "a number"),
    "n": (_is_integer, "an integer"),
    "stop": (_is_stop, "a text or an array of texts"),
    "max_tokens": (_is_integer, "an integer"),
    "max_completion_tokens": (_is_integer, "an integer"),
    "presence_penalty": (_is_number, "a number"),
    "frequency_penalty": (_is_number, "a number"),
    "logit_bias": (_is_object, "an object"),
    "user": (_is_text, "a text"),
    "response_format": (_is_object, "an object"),
    "seed": (_is_integer, "an integer"),
    "seen": (_is_integer, "an integer"),
    "tools": (_is_tools, "an array of objects, each function with its name"),
    "tool_choice": (lambda value: type(value) in (str, dict), "a text or an object"),
}


_CONTENT_TYPES: Final = frozenset({str, list, type(None)})


def type_rules(names: Collection[str]) -> tuple[TypeRule, ...]:
    """Give the rules for those of the fields that have a documented type."""
    return tuple((name, *_TYPES[name]) for name in names if name in _TYPES)


def check_body(path: str, body: Mapping[str, Any], rules: tuple[TypeRule, ...]) -> None:
    """Raise `ValueError`, with a text that quotes no value, unless `body` can be sent to `path`.

    Args:
        rules: Those for the fields of a chat body that are not known to have their types.
    """
    stream = body.get("stream")
    if stream is True:
        raise StreamError
    if not path.endswith("/chat/completions"):
        model = body.get("model")
        if model is not None and type(model) is not str:
            raise ValueError("model is not a text")
        return
    if stream not in (None, False):
        raise ValueError("stream is not true or false")
    model = body.get("model")
    if type(model) is not str or not model:
        raise ValueError("model is missing or no text" if not model else "model is not a text")
    _check_messages(body.get("messages"))
    for name, has_type, words in rules:
        value = body[name]
        if value is not None and not has_type(value):
            raise ValueError(f"{name} is not {words}")


def _check_messages(messages: object) -> None:
    if type(messages) is not list or not messages:
        raise ValueError("messages is missing, empty or no array")
    if _are_plain(messages):
        return
    for number, message in enumerate(messages, 1):
        if type(message) is not dict:
            raise ValueError(f"message {number} is not an object")
        if type(message.get("role")) is not str:
            raise ValueError(f"message {number} has no role, or one that is no text")
        if type(message.get("content")) not in _CONTENT_TYPES:
            raise ValueError(f"the content of message {number} is neither a text nor an array")


def _are_plain(messages: list[Any]) -> bool:
    """Whether all have a role and a content that will do, as nearly always."""
    try:
        for message in messages:
            content = type(message["content"])
            if type(message["role"]) is not str or (
                content is not str and content not in _CONTENT_TYPES
            ):
                return False
    except (KeyError, TypeError):
        return False
    return True
