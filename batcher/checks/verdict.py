"""The verdict on an answer: does it have the shape that its row claims, and what is wrong if not?

The order in which faults outrank each other is the order in which they are looked for: how the
answer ended, then its calls one by one, then whether a call is missing, then its text. The row's
error is the first; every fault has its complaint. After a bad end only the calls are read, to list
them: that the rest is missing is no news.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from batcher.answers import Family
from batcher.checks.choices import Call, Choice, End, read_choices
from batcher.checks.claims import ANY_OBJECT, NOTHING_CLAIMED, Claims, Tool, compile_claims
from batcher.checks.findings import Checked, Code, Findings
from batcher.checks.jsontext import UnreadableError, read_json, read_lenient, written
from batcher.checks.plain import plain_extra
from batcher.checks.rules import AnswerRule
from batcher.checks.schemas import Schema
from batcher.records import RowError

__all__ = ["Checker"]

# Distinct sets of tools that are kept compiled. A job has one, or a few dozen; where every row has
# a set of its own, each is compiled (6 microseconds a small schema) and forgotten again.
CLAIMS_KEPT = 256
# Of tools named in a complaint: enough to choose from, short enough for a prompt.
TOOLS_LISTED_MAX = 32
# OpenAI allows a name 64 characters; what is longer is no slip of the pen.
NAME_MAX_CHARS = 64

_FINE = Checked()

# Makes a named tuple in a seventh of the time that calling its class takes: see `records`.
_new: Final = tuple.__new__

# Looking a member up in its Enum costs more than reading a field.
_CHAT = Family.CHAT


class Checker:
    """Checks the answers of one job.

    Args:
        rule: The job's `[answer]`, or None.
        lenient: Correct common slips in JSON (fences, trailing commas, Python literals) instead of
            failing them; the result says `"lenient":true`.
        calls_are_steps: The job carries its tools out, so a call is a step on the way and `rule`
            speaks of the final text alone. Otherwise the first call's arguments are the answer.
    """

    __slots__ = ("_calls_are_steps", "_compiled", "_last", "_lenient", "_rule")

    def __init__(
        self,
        rule: AnswerRule | None = None,
        *,
        lenient: bool = False,
        calls_are_steps: bool = False,
    ) -> None:
        self._rule = rule
        self._lenient = lenient
        self._calls_are_steps = calls_are_steps
        self._compiled = lru_cache(maxsize=CLAIMS_KEPT)(compile_claims)
        self._last: tuple[Mapping[str, Any] | None, Claims] = (None, NOTHING_CLAIMED)

    def fault(self, claims: Mapping[str, Any] | None) -> RowError | None:
        """Say, before a row is sent, why its claims could never be checked; None if they can."""
        return self._compile(claims).fault

    def glance(self, claims: Mapping[str, Any] | None, body: Mapping[str, Any]) -> bytes | None:
        """Give the `extra` of a chat's answer in which nothing is wrong.

        Returns:
            What `check` would find; None where that takes a closer look.
        """
        if self._rule is not None:
            return None
        # Rows that claim the same share one mapping (`codec` sees to that).
        known = self._last
        compiled = known[1] if claims is known[0] else self._compile(claims)
        return None if compiled.fault is not None else plain_extra(compiled, body)

    def check(
        self, claims: Mapping[str, Any] | None, body: Mapping[str, Any], *, family: Family
    ) -> Checked:
        """Check one answer.

        Args:
            claims: The row's claims (`Row.claims`).
            body: The answer's parsed body.
            family: Of the path that the request went to. Of a family whose answers are no text
                there is nothing to check.
        """
        if family is _CHAT and (extra := self.glance(claims, body)) is not None:
            return _new(Checked, (None, (), extra, 0)) if extra else _FINE
        compiled = self._compile(claims)
        if compiled.fault is not None:
            return Checked(error=compiled.fault, complaints=(compiled.fault.message,))
        choices = read_choices(body, family)
        if len(choices) == 1 and claims is None and self._rule is None and choices[0].end is None:
            return _FINE
        found = Findings(several=len(choices) > 1)
        if len(choices) == 1:
            self._check_choice(compiled, choices[0], found)
            return found.checked()
        for place, choice in enumerate(choices):
            found.begin(place, choice.number)
            self._check_choice(compiled, choice, found)
            found.end()
        return found.checked()

    def _compile(self, claims: Mapping[str, Any] | None) -> Claims:
        if claims is None:
            return NOTHING_CLAIMED
        # Most that claim the same follow one another. Writing the claims anew is the cheapest exact
        # key: 0.4 microseconds a tool. Comparing the mappings costs as much, and takes 1 for true.
        if claims is not self._last[0]:
            self._last = (claims, self._compiled(orjson.dumps(claims)))
        return self._last[1]

    def _check_choice(self, claims: Claims, choice: Choice, found: Findings) -> None:
        rule = self._rule
        if choice.end is not None:
            _check_end(choice.end, found, shaped=claims.shaped or rule is not None)
        first: object = None
        if claims.given:
            for place, call in enumerate(choice.calls):
                arguments = self._check_call(claims, call, place, found)
                if place == 0:
                    first = arguments
        if choice.end is not None or (claims.may_call and _call_missing(claims, choice, found)):
            return
        if not choice.calls:
            if claims.text is not None or rule is not None:
                self._check_text(claims.text, choice.text, found)
        elif rule is not None and first is not None and not self._calls_are_steps:
            _check_answer(rule, first, found)

    def _check_call(self, claims: Claims, call: Call, place: int, found: Findings) -> object:
        """Check one call and list it; return its arguments, or None if they are not fit for use."""
        tool = claims.tools.get(call.name)
        if tool is None or tool.custom:
            return _check_odd_call(claims, call, place, found)
        try:
            value, text = self._arguments(call, tool, found)
        except UnreadableError as error:
            code = Code.ARGUMENTS_INVALID_JSON
            what = f"tool_calls[{place}] {call.name}: the arguments"
            found.fault(code, f"{what} can't be read as JSON", f"{what} are {error}")
            found.list_call(tool.json_name, b"null", code)
            return None
        if type(value) is dict and tool.schema.is_valid(value):
            found.list_call(tool.json_name, text)
            return value
        schema = tool.schema if isinstance(value, dict) else ANY_OBJECT
        what = f"tool_calls[{place}] {call.name}: the arguments"
        found.schema_fault(Code.ARGUMENTS_SCHEMA, what, schema, value)
        found.list_call(tool.json_name, text, Code.ARGUMENTS_SCHEMA)
        return None

    def _arguments(self, call: Call, tool: Tool, found: Findings) -> tuple[object, bytes]:
        raw = call.arguments
        if isinstance(raw, str):
            if raw and not raw.isspace():
                return self._read(raw, found)
        elif raw is not None:
            return raw, written(raw)
        # Nothing at all is what some endpoints write for a tool that needs no arguments.
        if tool.schema.is_valid({}):
            return {}, b"{}"
        raise UnreadableError("empty")

    def _read(self, text: str, found: Findings) -> tuple[object, bytes]:
        try:
            return read_json(text)
        except UnreadableError:
            if not self._lenient:
                raise
        read = read_lenient(text)
        found.lenient = True
        return read

    def _check_text(self, wanted: Schema | None, text: str, found: Findings) -> None:
        rule = self._rule
        if wanted is None and rule is not None and not rule.wants_json:
            _list_label(*rule.label_of_text(text), found)
            return
        try:
            value, found.answer = self._read(text, found)
        except UnreadableError as error:
            complaint = f"the answer is {error}"
            found.fault(Code.ANSWER_SCHEMA, "the answer can't be read as JSON", complaint)
            return
        if wanted is not None and not wanted.is_valid(value):
            found.schema_fault(Code.ANSWER_SCHEMA, "the answer", wanted, value)
        elif rule is not None:
            _check_answer(rule, value, found)


def _check_end(end: End, found: Findings, *, shaped: bool) -> None:
    if end is End.FILTERED:
        text = "the answer was withheld or cut off by a content filter"
        found.fault(Code.CONTENT_FILTERED, text, text)
    elif end is End.REFUSED:
        text = "the model refused"
        found.fault(Code.REFUSED, text, text)
    else:
        found.truncated = True
        if shaped:
            text = "the answer was cut off by a limit on its tokens"
            found.fault(Code.ANSWER_TRUNCATED, text, text)


def _check_odd_call(claims: Claims, call: Call, place: int, found: Findings) -> object:
    """Check a call to a tool that is not on offer, or to one that takes any text."""
    raw, name = call.arguments, orjson.dumps(call.name)
    if call.name in claims.tools:
        text = raw if isinstance(raw, str) else ""
        found.list_call(name, orjson.dumps(text))
        return text
    offered = ", ".join(list(claims.tools)[:TOOLS_LISTED_MAX])
    what = f"tool_calls[{place}]"
    found.fault(
        Code.UNKNOWN_TOOL,
        f"{what}: calls a tool that the request does not offer",
        f'{what}: there is no tool "{call.name[:NAME_MAX_CHARS]}" to call; '
        + (f"the tools are: {offered}" if offered else "none may be called"),
    )
    try:
        arguments = read_json(raw)[1] if isinstance(raw, str) else written(raw)
    except UnreadableError:
        arguments = b"null"
    found.list_call(name, arguments, Code.UNKNOWN_TOOL)
    return None


def _call_missing(claims: Claims, choice: Choice, found: Findings) -> bool:
    """Note a call that had to come and did not; return whether one is missing."""
    named = claims.must_name
    if choice.calls and (not named or any(call.name == named for call in choice.calls)):
        return False
    if named:
        text = f"the tool {named} had to be called and was not"
    elif claims.must_call:
        text = "a tool had to be called and none was"
    elif choice.text and not choice.text.isspace():
        return False
    else:
        # It may choose to answer in words; this one says nothing at all.
        text = "neither a tool call nor a text came"
    found.fault(Code.NOT_CALLED, text, text)
    return True


def _check_answer(rule: AnswerRule, value: object, found: Findings) -> None:
    if rule.schema is not None and not rule.schema.is_valid(value):
        found.schema_fault(Code.ANSWER_SCHEMA, "the answer", rule.schema, value)
    elif rule.has_label:
        _list_label(*rule.label_of(value), found)


def _list_label(label: bytes, complaint: str, found: Findings) -> None:
    if label:
        found.label = label
    else:
        found.fault(Code.ANSWER_SCHEMA, "the answer has none of the job's labels", complaint)
