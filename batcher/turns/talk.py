"""Where a row stands that is asked more than once, as a value that survives the process.

A `Talk` is written into the journal with every step (`batch.attempt` lines, key `conversation`) and
read back when the run goes on: no answer that was written down is paid for again, and no tool whose
result was written down is called again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

__all__ = ["Due", "Talk", "call_id", "read_talk"]


@dataclass(slots=True)
class Due:
    """A call that is to be carried out.

    Attributes:
        id: Under which the model's message has it, and its result must come back.
        arguments: As checked; a text for a custom tool.
    """

    id: str
    name: str
    arguments: Any
    custom: bool = False


@dataclass(slots=True)
class Talk:
    """What has been said after a row's request.

    Attributes:
        turn: Which turn the answer that is awaited belongs to, from 1.
        repairs: How often an invalid answer was asked for again.
        added: Messages (items, for responses) after the request's own.
        due: Calls of the last answer whose results are awaited.
        calls: Calls that were carried out, as the result lists them.
        invalid: What was wrong with each answer that had not its shape.
    """

    turn: int = 1
    repairs: int = 0
    added: list[dict[str, Any]] = field(default_factory=list)
    due: list[Due] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    invalid: list[dict[str, Any]] = field(default_factory=list)

    def written(self) -> bytes:
        """Write it as JSON."""
        return orjson.dumps(self)


def read_talk(fields: Mapping[str, Any]) -> Talk:
    """Read back what `Talk.written` wrote.

    Raises:
        TypeError: It was not written by us.
    """
    return Talk(**{**fields, "due": [Due(**each) for each in fields["due"]]})


def call_id(identity: Sequence[str | int], *, turn: int, index: int) -> str:
    """Name a call by what stays the same over a crash.

    Args:
        identity: Of the row: its `custom_id`, or for a row without one which of its like it is;
            and its `request_hash`.
        turn: From 1.
        index: Of the call among those of its turn, from 0.
    """
    facts = orjson.dumps([*identity, turn, index])
    return f"call_{sha256(facts).hexdigest()[:24]}"
