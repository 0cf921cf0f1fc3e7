"""The `[answer]` of a job: what every answer must be, whatever the requests say.

    [answer]
    schema = { type = "object", required = ["label"] }   # the answer is JSON and satisfies this
    labels = ["positive", "negative"]                     # the label is one of these
    label = "/label"                                      # where the label stands in the JSON

All three are optional. With `schema` or `label` the answer is JSON. With `labels` alone the whole
text, stripped, is the label. Where the answer is a tool call, its arguments are that JSON. The
table's `gold` is for reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from batcher.checks.schemas import Schema, UnusableSchemaError
from batcher.errors import UsageError

__all__ = ["AnswerRule"]

_MISSING = object()


class AnswerRule:
    """One `[answer]` table, compiled.

    Args:
        table: Has at least one of `schema` (a JSON Schema), `labels` (texts, whole numbers,
            booleans) and `label` (a JSON pointer, RFC 6901); other keys are not read.

    Attributes:
        schema: The compiled schema, or None.
        wants_json: Whether a text answer must be JSON.
        has_label: Whether an answer has a label.

    Raises:
        UsageError: The table can't be used; the text says why.
    """

    __slots__ = ("_labels", "_path", "has_label", "schema", "wants_json")

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.schema = _schema(table["schema"]) if "schema" in table else None
        self._labels = _labels(table["labels"]) if "labels" in table else None
        self._path = _path(table["label"]) if "label" in table else []
        self.wants_json = self.schema is not None or "label" in table
        self.has_label = "labels" in table or "label" in table

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> AnswerRule | None:
        """Compile a job's `[answer]`, or return None where it asks nothing of the answers."""
        return None if table.keys().isdisjoint({"schema", "labels", "label"}) else cls(table)

    def label_of_text(self, text: str) -> tuple[bytes, str]:
        """Read a plain text as the label.

        Returns:
            The label as JSON, and an empty text; or empty bytes, and what is wrong.
        """
        text = text.strip()
        for written, label in (self._labels or {}).items():
            if text == (label if isinstance(label, str) else written.decode()):
                return written, ""
        return b"", f"{_quote(text)} is not one of the labels {self._listed()}"

    def label_of(self, value: object) -> tuple[bytes, str]:
        """Find the label in a parsed answer; returns as `label_of_text`."""
        place = "/" + "/".join(self._path) if self._path else "the answer"
        label = _resolve(value, self._path)
        if label is _MISSING:
            return b"", f"there is no label at {place}"
        if not isinstance(label, str | int | float):
            return b"", f"{place} is no label but an object, an array or null"
        written = orjson.dumps(label)
        if self._labels is not None and written not in self._labels:
            return b"", f"{place}: {_quote(label)} is not one of the labels {self._listed()}"
        return written, ""

    def _listed(self) -> str:
        return ", ".join(written.decode() for written in self._labels or {})


def _schema(given: object) -> Schema:
    try:
        return Schema(given)
    except UnusableSchemaError as error:
        raise UsageError(f"[answer] schema {error}") from None


def _labels(given: object) -> dict[bytes, Any]:
    """Key the labels by their JSON, which tells 1, 1.0 and true apart."""
    if not isinstance(given, list | tuple) or not given:
        raise UsageError("[answer] labels is a list of at least one label")
    if not all(isinstance(label, str | int) for label in given):
        raise UsageError("[answer] labels are texts, whole numbers or booleans")
    return {orjson.dumps(label): label for label in given}


def _path(given: object) -> list[str]:
    if not isinstance(given, str) or (given and not given.startswith("/")):
        raise UsageError('[answer] label is a JSON pointer such as "/label"')
    return [part.replace("~1", "/").replace("~0", "~") for part in given.split("/")[1:]]


def _resolve(value: object, path: list[str]) -> object:
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif (
            isinstance(value, list)
            and part.isascii()
            and part.isdecimal()
            and int(part) < len(value)
        ):
            value = value[int(part)]
        else:
            return _MISSING
    return value


def _quote(value: object) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 100 else f"{text[:100]}..."  # noqa: PLR2004 - enough to know it by
