"""A request template: the texts of a JSON value, filled with the fields of a data row.

Templates are minijinja's, strict: a field that the row does not have is an error of that row. The
whole row is at hand as `row`, for names that are no words: `{{ row["Review text"] }}`. Templates
can read neither files nor the environment, call nothing but filters, and stop after `_FUEL` steps.
A text that is rendered stays a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from minijinja import Environment, TemplateError

from batcher.errors import UsageError

__all__ = ["Template"]

# Some ten times what a long few-shot prompt takes: a loop without an end stops within milliseconds.
_FUEL: Final = 1_000_000

# Enough of a row's names to see which one was meant.
_SHOWN_NAMES: Final = 8
_SHOWN_LETTERS: Final = 40


class Template:
    """The job's `[request]` table, ready to be filled.

    Args:
        request: A JSON object; each text in it may be a template.

    Raises:
        UsageError: A template does not parse; names its place.
    """

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._environment = Environment(
            undefined_behavior="strict",
            debug=False,
            fuel=_FUEL,
            keep_trailing_newline=True,
            auto_escape_callback=lambda _: False,
        )
        self._fields: dict[str, frozenset[str]] = {}
        self._request = {key: self._compile(value, key) for key, value in request.items()}

    def __call__(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Fill the template.

        Raises:
            ValueError: A field is missing or a template fails; names the place and the field, never
                a value.
        """
        return {key: self._fill(value, fields) for key, value in self._request.items()}

    def _compile(self, value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return {key: self._compile(each, f"{place}.{key}") for key, each in value.items()}
        if isinstance(value, list):
            return [self._compile(each, f"{place}[{number}]") for number, each in enumerate(value)]
        if not isinstance(value, str) or not any(mark in value for mark in ("{{", "{%", "{#")):
            return value
        try:
            self._environment.add_template(place, value)
            wanted = self._environment.undeclared_variables_in_template(place)
        except TemplateError as error:
            raise UsageError(
                f"the template at request.{place} does not parse: {error.message}"
            ) from None
        self._fields[place] = frozenset(wanted)
        return _Text(place)

    def _fill(self, value: Any, fields: Mapping[str, Any]) -> Any:
        if isinstance(value, _Text):
            return self._render(value, fields)
        if isinstance(value, dict):
            return {key: self._fill(each, fields) for key, each in value.items()}
        if isinstance(value, list):
            return [self._fill(each, fields) for each in value]
        return value

    def _render(self, place: str, fields: Mapping[str, Any]) -> str:
        wanted = self._fields[place]
        context = fields
        if "row" in wanted and "row" not in fields:
            context = {**fields, "row": fields}
        try:
            return self._environment.render_template(place, **context)
        except TemplateError as error:
            why = _why(error, missing=sorted(wanted - context.keys()), fields=fields)
            raise ValueError(f"the template at request.{place} can't be filled: {why}") from None


def _why(error: TemplateError, *, missing: list[str], fields: Mapping[str, Any]) -> str:
    """Say what a template lacks; with the names that the row has, cut where they are many."""
    known = ", ".join(repr(name[:_SHOWN_LETTERS]) for name in list(fields)[:_SHOWN_NAMES])
    has = f"; it has {known or 'none'}{', ...' if len(fields) > _SHOWN_NAMES else ''}"
    if missing:
        return f"the row has no field {missing[0]!r}{has}"
    kind = str(error.kind)
    return f"it asks for what the row does not have{has}" if kind == "UndefinedError" else kind


class _Text(str):
    """The name of a compiled template, told apart from plain text."""

    __slots__ = ()
