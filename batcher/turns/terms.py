"""The records that flow while a row's tool calls are carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

__all__ = ["ToolCall", "ToolCode", "ToolResult"]


class ToolCode(StrEnum):
    """The error codes of a row whose tools were carried out."""

    FAILED = "tool_failed"
    TIMEOUT = "tool_timeout"
    NOT_HANDLED = "tool_not_handled"
    MAX_TURNS = "max_turns_exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call of a tool, as a handler gets it.

    Attributes:
        id: Names this very call, and stays the same when the run dies and goes on: 24 hex digits
            of SHA-256 over the row, its request, `turn` and `index`, after `call_`.
        name: The tool.
        arguments: Checked against the tool's schema. Of a custom tool: its `input`, any text.
        custom_id: The row's.
        turn: Which of the row's turns, from 1.
        index: Which of the turn's calls, from 0.
        tool_call_id: The model's own id of the call, which others may share.
        input: The fields that the job carries from the row into the result.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]
    custom_id: str
    turn: int
    index: int
    tool_call_id: str
    input: Mapping[str, Any]


class ToolResult(NamedTuple):
    """What came of a call.

    Attributes:
        content: What the tool said; empty where it failed.
        code: None where all went well.
        message: Why it failed: words of ours, free of what the handler said.
        detail: The same for the model and the result, with what the handler said.
    """

    content: str
    code: ToolCode | None = None
    message: str = ""
    detail: str = ""
