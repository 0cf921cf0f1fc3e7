"""A row that is asked more than once: corrections, and turns with tools between them."""

from batcher.turns.messages import next_body, relaxed
from batcher.turns.steps import (
    Answered,
    Ask,
    CarryOut,
    Finish,
    Step,
    TurnPolicy,
    advance,
    fail,
    judge,
    story,
)
from batcher.turns.talk import Due, Talk, call_id, read_talk
from batcher.turns.terms import ToolCall, ToolCode, ToolResult

__all__ = [
    "Answered",
    "Ask",
    "CarryOut",
    "Due",
    "Finish",
    "Step",
    "Talk",
    "ToolCall",
    "ToolCode",
    "ToolResult",
    "TurnPolicy",
    "advance",
    "call_id",
    "fail",
    "judge",
    "next_body",
    "read_talk",
    "relaxed",
    "story",
]
