"""Rows that are asked more than once: steps carried out, written down, and taken up again.

What a row's answer leads to is decided in `batcher.turns`; here the decision is carried out. Every
step is in the journal before anything depends on it, with all that was said so far, so that a row
goes on after a crash from where it stood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from batcher.answers import NOT_JSON, Family, family_of
from batcher.checks import Checker
from batcher.engine.clerk import Clerk
from batcher.engine.task import Task
from batcher.records import Failure, Reply
from batcher.turns import (
    Answered,
    Ask,
    CarryOut,
    Finish,
    Step,
    Talk,
    ToolCall,
    ToolCode,
    ToolResult,
    TurnPolicy,
    advance,
    call_id,
    fail,
    judge,
    next_body,
    read_talk,
    relaxed,
    story,
)

__all__ = ["Carrier", "Turns", "Work"]

_NOTHING_SAID = Talk()


class Carrier(Protocol):
    """What carries tool calls out: see `batcher.handlers`."""

    async def run(self, calls: Sequence[ToolCall]) -> list[ToolResult] | None:
        """Carry out the calls of one turn, together; None where the run stopped first."""

    def drain(self) -> None:
        """Begin with no other turn."""

    def abort(self) -> None:
        """Give up what is under way."""


class Work(NamedTuple):
    """The tool calls of one row that are to be carried out, and the answer that made them.

    `outcome` is None where that answer came in an earlier run.
    """

    calls: Sequence[ToolCall]
    outcome: Reply | None = None
    answer: Any = NOT_JSON


class Turns:
    """Takes rows from one answer to the next.

    Args:
        policy: What the job says.
        checker: Holds answers against what rows claim.
        clerk: Writes down where a row stands.

    Attributes:
        most: The most answers of a row, repairs aside.
    """

    def __init__(self, policy: TurnPolicy, *, checker: Checker, clerk: Clerk) -> None:
        self._policy = policy
        self.most = policy.max_turns if policy.carries_out else 1
        self._checker = checker
        self._clerk = clerk

    def accept(
        self, task: Task, outcome: Reply | Failure, answer: Any, family: Family
    ) -> float | Work | None:
        """Take a usable answer.

        Returns:
            As `Settler.settle`.
        """
        talk = task.talk or _NOTHING_SAID
        claims = task.row.claims
        if talk.turn > 1 and claims is not None:
            claims = relaxed(claims)
        checked = self._checker.check(claims, answer, family=family)
        step = self._judge(talk, Answered(task.row, _identity(task), family, answer, checked))
        if isinstance(step, Finish):
            self._finish(task, outcome, answer, step)
            return None
        task.talk = step.talk
        if isinstance(step, Ask):
            task.throw_away()
        self._clerk.note_attempt(task, outcome)
        if isinstance(step, CarryOut):
            assert isinstance(outcome, Reply)
            return Work(_calls(task, step.talk), outcome, answer)
        return self._ask(task, family)

    def carried_out(self, task: Task, work: Work, results: Sequence[ToolResult]) -> float | None:
        """Take the results of a row's tools; returns as `Settler.settle`."""
        talk = task.talk
        assert talk is not None
        failed = fail(self._policy, talk, results)
        if failed is not None:
            self._finish(task, work.outcome, work.answer, failed)
            return None
        family = family_of(task.row.path)
        task.talk = advance(talk, results, family)
        self._clerk.note_turn(task)
        return self._ask(task, family)

    def take_up(self, task: Task, conversation: Any) -> Work | None:
        """Take a row up where an earlier run left it; its tools, where they are due."""
        try:
            talk = read_talk(conversation)
        except (TypeError, KeyError):
            return None
        handled = self._policy.handled
        if any(handled is not None and due.name not in handled for due in talk.due):
            return None
        task.talk = talk
        if talk.due:
            return Work(_calls(task, talk))
        self._ask(task, family_of(task.row.path))
        return None

    def story(self, task: Task) -> bytes:
        """Tell of a row that ends otherwise than by an answer, as more keys of its result."""
        return b"" if task.talk is None else story(self._policy, task.talk)

    def _judge(self, talk: Talk, answered: Answered) -> Step:
        """Say what an answer leads to; only what can be written down leads anywhere."""
        try:
            step = judge(self._policy, talk, answered)
            if not isinstance(step, Finish):
                step.talk.written()
        except orjson.JSONEncodeError:
            # JSON is read deeper than it is written.
            what = "the answer is nested too deeply to be sent back"
            return Finish(str(ToolCode.NOT_HANDLED), what, answered.checked.extra)
        return step

    def _ask(self, task: Task, family: Family) -> float:
        assert task.talk is not None
        task.ask(next_body(task.row.body, task.talk, family))
        return 0.0

    def _finish(
        self, task: Task, outcome: Reply | Failure | None, answer: object, step: Finish
    ) -> None:
        self._clerk.finish(
            task, outcome, answer, code=step.code, message=step.message, extra=step.extra
        )


def _identity(task: Task) -> tuple[str | int, ...]:
    """What a row is known by, over all runs: never its line, which may shift."""
    return (task.member.unnamed or task.row.custom_id, task.row.request_hash)


def _calls(task: Task, talk: Talk) -> list[ToolCall]:
    row = task.row
    carried = orjson.loads(row.carry) if row.carry else {}
    identity = _identity(task)
    return [
        ToolCall(
            id=call_id(identity, turn=talk.turn, index=index),
            name=due.name,
            arguments=due.arguments,
            custom_id=row.custom_id,
            turn=talk.turn,
            index=index,
            tool_call_id=due.id,
            input=carried,
        )
        for index, due in enumerate(talk.due)
    ]
