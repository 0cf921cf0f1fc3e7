"""What an answer leads to: the end of its row, another request, or tools to be carried out.

An answer that has not its shape is asked for again within `max_repairs`, if a model could mend what
is wrong. An answer with calls leads to their results and a new request, within `max_turns`. Any
other answer ends the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import orjson

from batcher.answers import Family
from batcher.checks import REPAIRABLE, Checked, repair_messages
from batcher.numbers import read_whole
from batcher.records import Row, RowError
from batcher.turns.messages import answer_messages, identify, result_messages
from batcher.turns.talk import Due, Talk, call_id
from batcher.turns.terms import ToolCode, ToolResult

__all__ = [
    "Answered",
    "Ask",
    "CarryOut",
    "Finish",
    "Step",
    "TurnPolicy",
    "advance",
    "fail",
    "judge",
    "story",
]

_CALLS = b'"tool_calls":['


class TurnPolicy(NamedTuple):
    """What a job says of rows that are asked more than once.

    Attributes:
        on_invalid: `fail`, `retry` or `repair`.
        max_repairs: How often an invalid answer of a row is asked for again.
        handled: The tools that have a handler; None for every tool.
        carries_out: Whether tools are carried out at all.
        others_end: Whether a call of a tool that has no handler ends its row as a success.
        max_turns: Most answers of a row, repairs aside.
        tells_errors: Whether a handler's error is told to the model.
        transcript: Whether a result holds all that was said after the request.
    """

    on_invalid: str = "fail"
    max_repairs: int = 2
    handled: frozenset[str] | None = frozenset()
    carries_out: bool = False
    others_end: bool = False
    max_turns: int = 10
    tells_errors: bool = True
    transcript: bool = False


class Answered(NamedTuple):
    """An answer to a row, and what is known of both.

    Attributes:
        row: The row.
        identity: What the row is known by, as `call_id` wants it.
        family: Of the path that it goes to.
        body: The answer's parsed body; ids of calls in it are mended.
        checked: What the answer is worth.
    """

    row: Row
    identity: Sequence[str | int]
    family: Family
    body: Mapping[str, Any]
    checked: Checked


class Finish(NamedTuple):
    """The row has its result; `code` is empty for a success."""

    code: str
    message: str
    extra: bytes


class Ask(NamedTuple):
    """The row is asked again, from where it stands now."""

    talk: Talk


class CarryOut(NamedTuple):
    """The calls that are `due` are to be carried out."""

    talk: Talk


Step: TypeAlias = Finish | Ask | CarryOut


def judge(policy: TurnPolicy, talk: Talk, answered: Answered) -> Step:
    """Say what an answer leads to, from where its row stood when it was asked for."""
    checked = answered.checked
    error = checked.error
    if error is None:
        if policy.carries_out and checked.extra.startswith(_CALLS):
            return _carry_out(policy, talk, answered)
        return _finish(policy, talk, answered)
    if policy.on_invalid != "fail":
        wrong = {"turn": talk.turn, "code": error.code, "complaints": list(checked.complaints)}
        talk = replace(talk, invalid=[*talk.invalid, wrong])
        if error.code in REPAIRABLE and talk.repairs < policy.max_repairs:
            return _ask_again(policy, talk, answered)
    return _finish(policy, talk, answered, error)


def advance(talk: Talk, results: Sequence[ToolResult], family: Family) -> Talk:
    """Go on to the next turn with the results of the calls that were due."""
    told = [
        (f"Error: {result.detail}", True) if result.code else (result.content, False)
        for result in results
    ]
    return replace(
        talk,
        turn=talk.turn + 1,
        added=[*talk.added, *result_messages(talk.due, told, family)],
        due=[],
        calls=[*talk.calls, *_listed(talk, results)],
    )


def fail(policy: TurnPolicy, talk: Talk, results: Sequence[ToolResult]) -> Finish | None:
    """End a row whose tools have failed, where the job says so."""
    failed = next((result for result in results if result.code), None)
    if failed is None or policy.tells_errors:
        return None
    talk = replace(talk, calls=[*talk.calls, *_listed(talk, results)])
    return Finish(str(failed.code), failed.message, story(policy, talk))


def story(
    policy: TurnPolicy, talk: Talk, *, last: Sequence[Mapping[str, Any]] = (), extra: bytes = b""
) -> bytes:
    """Tell of a row that was asked more than once, as more keys of its result.

    Args:
        last: The messages of the last answer, for the transcript.
        extra: What the check of the last answer found.
    """
    fields: dict[str, Any] = {}
    calls = talk.calls
    if calls:
        fields["turns"] = talk.turn
        if extra.startswith(_CALLS):
            found = read_whole(b"{%b}" % extra)
            calls = [*calls, *({**call, "turn": talk.turn} for call in found.pop("tool_calls"))]
            extra = orjson.dumps(found)[1:-1]
        fields["tool_calls"] = calls
    if talk.invalid:
        fields["invalid_answers"] = talk.invalid
    if policy.transcript and talk.added:
        fields["transcript"] = [*talk.added, *last]
    return b",".join(part for part in (orjson.dumps(fields)[1:-1], extra) if part)


def _ask_again(policy: TurnPolicy, talk: Talk, answered: Answered) -> Ask:
    added = talk.added
    if policy.on_invalid == "repair":
        _identify(talk, answered)
        checked = answered.checked
        added = added + repair_messages(
            answered.body, checked.complaints, family=answered.family, choice=checked.choice
        )
    return Ask(replace(talk, repairs=talk.repairs + 1, added=added))


def _carry_out(policy: TurnPolicy, talk: Talk, answered: Answered) -> Step:
    calls = read_whole(b"{%b}" % answered.checked.extra)["tool_calls"]
    if all("choice" not in call for call in calls):
        names = {call["name"] for call in calls}
        others = set() if policy.handled is None else names - policy.handled
        if others:
            what = f"the tool {min(others)} has no handler"
            error = None if policy.others_end else RowError(ToolCode.NOT_HANDLED, what)
        elif talk.turn < policy.max_turns:
            return CarryOut(_with_calls(talk, answered, calls))
        else:
            what = f"after {talk.turn} turns the model still calls tools"
            error = RowError(ToolCode.MAX_TURNS, what)
    else:
        what = "the answer has several choices, so that none of their calls is made"
        error = RowError(ToolCode.NOT_HANDLED, what)
    return _finish(policy, talk, answered, error)


def _with_calls(talk: Talk, answered: Answered, calls: Sequence[Mapping[str, Any]]) -> Talk:
    """Add an answer's calls to what was said; they are due."""
    ids = _identify(talk, answered) or [""] * len(calls)
    dues = [
        Due(given, call["name"], call["arguments"], isinstance(call["arguments"], str))
        for given, call in zip(ids, calls, strict=True)
    ]
    said = answer_messages(answered.body, answered.family, dues)
    return replace(talk, added=[*talk.added, *said], due=dues)


def _finish(
    policy: TurnPolicy, talk: Talk, answered: Answered, error: RowError | None = None
) -> Finish:
    told = policy.transcript and talk.added
    last = answer_messages(answered.body, answered.family) if told else ()
    extra = story(policy, talk, last=last, extra=answered.checked.extra)
    return Finish(str(error.code), error.message, extra) if error else Finish("", "", extra)


def _identify(talk: Talk, answered: Answered) -> list[str]:
    return identify(
        answered.body,
        answered.family,
        request=answered.row.body,
        added=talk.added,
        new_id=lambda place: call_id(answered.identity, turn=talk.turn, index=place),
    )


def _listed(talk: Talk, results: Sequence[ToolResult]) -> list[dict[str, Any]]:
    return [
        {"name": due.name, "arguments": due.arguments, "turn": talk.turn}
        | ({"error": str(result.code), "message": result.detail} if result.code else {})
        for due, result in zip(talk.due, results, strict=True)
    ]
