"""The glance at a usual answer says what the full reading says, whatever the answer holds."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from batcher.answers import Family
from batcher.checks import Checker
from batcher.records import Reply
from batcher.retry import RetryPolicy, decide

TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "parameters": {
            "type": "object",
            "properties": {"id": {"type": "string"}},
            "required": ["id"],
        },
    },
}
CLAIMS: list[dict[str, Any] | None] = [
    None,
    {"tools": [TOOL]},
    {"tools": [TOOL], "tool_choice": "required"},
    {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "find"}}},
    {"tools": [TOOL], "tool_choice": "none"},
    {"response_format": {"type": "json_object"}},
]
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id":"7"}'}}
ANSWERS: list[dict[str, Any]] = [
    {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "error": None}],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
        "error": None,
    }
    for message, reason in (
        ({"content": None, "tool_calls": [CALL], "refusal": None}, "tool_calls"),
        ({"content": "Yes.", "refusal": None}, "stop"),
        ({"content": '{"id": "7"}', "function_call": None}, "stop"),
    )
]
ODD: tuple[Any, ...] = (
    None,
    "",
    "x",
    0,
    7,
    -1,
    10**12,
    1.5,
    True,
    [],
    ["x"],
    {},
    {"id": 1},
    "length",
    "{",
    [CALL],
)


def _odd(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the answer, and it with each of its values replaced by each odd one, or left out."""
    yield answer
    for path in _paths(answer):
        for value in (*ODD, ...):
            changed = copy.deepcopy(answer)
            place = changed
            for step in path[:-1]:
                place = place[step]
            if value is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = value
            yield changed


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        yield (*path, key)
        if isinstance(each, (dict, list)):
            yield from _paths(each, (*path, key))


@pytest.mark.parametrize("claims", CLAIMS)
def test_a_glance_checks_as_the_full_reading_does(
    claims: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with an answer, and what is listed of it, does not hang on who looks."""
    answers = [odd for answer in ANSWERS for odd in _odd(answer)]
    checker = Checker()
    glanced = [checker.check(claims, answer, family=Family.CHAT) for answer in answers]
    monkeypatch.setattr("batcher.checks.verdict.plain_extra", lambda *_: None)
    for answer, seen in zip(answers, glanced, strict=True):
        assert seen == checker.check(claims, answer, family=Family.CHAT), answer


def test_a_glance_judges_as_the_full_reading_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether an answer is one, and what it used, does not hang on who looks."""
    answers = [odd for answer in ANSWERS for odd in _odd(answer)]

    def judged() -> list[object]:
        return [
            decide(
                RetryPolicy(),
                Reply(200, {}, orjson.dumps(answer), 0.1),
                answer,
                family=Family.CHAT,
                charged=0,
                now_unix=0.0,
                jitter=0.5,
            )
            for answer in answers
        ]

    glanced = judged()
    # By its module, whose name in the package is that of the function.
    monkeypatch.setattr(sys.modules[decide.__module__], "plain_usage_of", lambda _: None)
    monkeypatch.setattr("batcher.answers.plain_usage", lambda _: None)
    for answer, seen, read in zip(answers, glanced, judged(), strict=True):
        assert seen == read, answer
