"""What is found while an answer is checked, gathered into a `Checked`.

Two texts are kept of each fault: a message for the row's error, which names only what the request
holds (a place, a tool, a keyword), and a complaint for the model, which may quote the answer.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from batcher.checks.schemas import Schema
from batcher.records import RowError

__all__ = ["REPAIRABLE", "Checked", "Code", "Findings"]


class Code(StrEnum):
    """The error codes of an answer that is whole but not what was asked for."""

    ARGUMENTS_INVALID_JSON = "tool_arguments_invalid_json"
    ARGUMENTS_SCHEMA = "tool_arguments_schema"
    UNKNOWN_TOOL = "unknown_tool"
    NOT_CALLED = "tool_not_called"
    ANSWER_SCHEMA = "answer_schema"
    ANSWER_TRUNCATED = "answer_truncated"
    REFUSED = "refused"
    CONTENT_FILTERED = "content_filtered"
    INVALID_SCHEMA = "invalid_schema"


# What a model can be asked to correct. A cut-off answer would be cut off again, a filter and a
# refusal concern the prompt, and an unusable schema is the request's own.
REPAIRABLE = frozenset(
    {
        Code.ARGUMENTS_INVALID_JSON,
        Code.ARGUMENTS_SCHEMA,
        Code.UNKNOWN_TOOL,
        Code.NOT_CALLED,
        Code.ANSWER_SCHEMA,
    }
)


class Checked(NamedTuple):
    """What is to be said of one answer.

    Attributes:
        error: The row's error, free of prompt and answer; None when the answer is as claimed.
        complaints: What is wrong, exactly. They may quote the answer, so they belong in the result
            and in a repair, never in a log.
        extra: Keys for the result's `batcher` object, as JSON object text without braces; or empty.
            `tool_calls`; `answer` and `label`, or with several choices `answers`, a list of
            `{"choice", "answer", "label"}`, and where they have labels `label`, the one that most
            have, with `votes` and `disagreement`; `truncated` and `lenient` where true.
        choice: Place, in the answer's list, of the first choice at fault; 0 when none is.
    """

    error: RowError | None = None
    complaints: tuple[str, ...] = ()
    extra: bytes = b""
    choice: int = 0


class Findings:
    """Gathers one answer's findings, choice by choice.

    Args:
        several: Whether the answer has several choices, so that each thing says which it is of.

    Attributes:
        lenient: Whether any JSON had to be corrected.
        truncated: Whether any choice was cut off.
        answer: JSON text of the present choice's parsed answer, or empty.
        label: JSON text of its label, or empty.
    """

    # One is made for every answer, and most need none of these.
    answer = b""
    label = b""
    lenient = False
    truncated = False
    _place = 0
    _where = ""
    _of_choice = b""

    def __init__(self, *, several: bool) -> None:
        self._several = several
        self._errors: list[tuple[int, RowError]] = []
        self._complaints: list[str] = []
        self._calls: list[bytes] = []
        self._answers: list[bytes] = []
        self._votes: dict[bytes, int] = {}

    def begin(self, place: int, number: int) -> None:
        """Turn to the choice at `place` of several, which calls itself `number`."""
        self._place = place
        self._where = f"choices[{place}]: "
        self._of_choice = b',"choice":%d' % number
        self.answer = self.label = b""

    def end(self) -> None:
        """Close the present choice of several: list its answer."""
        if self.label:
            self._votes[self.label] = self._votes.get(self.label, 0) + 1
        if self.answer or self.label:
            self._answers.append(b"{%b}" % b",".join([self._of_choice[1:], *self._answer_parts()]))

    def fault(self, code: Code, message: str, complaint: str) -> None:
        """Note a fault: `message` for the row's error, `complaint` for the model."""
        self._errors.append((self._place, RowError(code.value, self._where + message)))
        self._complaints.append(self._where + complaint)

    def schema_fault(self, code: Code, what: str, schema: Schema, value: object) -> None:
        """Note that `what` does not satisfy its schema, with a complaint for each thing wrong."""
        for complaint in schema.complaints(value):
            message = f'{what}: the schema\'s "{complaint.keyword}" is not satisfied'
            self.fault(code, message, f"{what}: {complaint.text}")

    def list_call(self, name: bytes, arguments: bytes, code: Code | None = None) -> None:
        """List a call: its name and arguments as JSON, and what is wrong with it."""
        wrong = b"" if code is None else b',"error":"%b"' % code.value.encode()
        listed = b'{"name":%b,"arguments":%b%b%b}' % (name, arguments, self._of_choice, wrong)
        self._calls.append(listed)

    def checked(self) -> Checked:
        """Sum up."""
        parts = []
        if self._calls:
            parts.append(b'"tool_calls":[%b]' % b",".join(self._calls))
        if self._answers:
            parts.append(b'"answers":[%b]' % b",".join(self._answers))
            if self._votes and not self._errors:
                parts.append(_majority(self._votes))
        elif (self.answer or self.label) and not self._several:
            parts.extend(self._answer_parts())
        if self.truncated:
            parts.append(b'"truncated":true')
        if self.lenient:
            parts.append(b'"lenient":true')
        extra = b",".join(parts)
        if not self._errors:
            return Checked(None, (), extra)
        place, error = self._errors[0]
        if len(self._errors) > 1:
            error = error._replace(message=f"{error.message} (and {len(self._errors) - 1} more)")
        return Checked(error, tuple(self._complaints), extra, place)

    def _answer_parts(self) -> list[bytes]:
        parts = []
        if self.answer:
            parts.append(b'"answer":' + self.answer)
        if self.label:
            parts.append(b'"label":' + self.label)
        return parts


def _majority(votes: dict[bytes, int]) -> bytes:
    """Write the label that most choices have (of a tie the first one's), and how they voted."""
    ranked = sorted(votes.items(), key=lambda vote: -vote[1])
    label, most = ranked[0]
    listed = b",".join(b'{"label":%b,"count":%d}' % vote for vote in ranked)
    apart = 1 - most / sum(votes.values())
    return b'"label":%b,"votes":[%b],"disagreement":%.3f' % (label, listed, apart)
