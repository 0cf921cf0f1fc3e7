"""What a job makes of answers: the label that it reads, and how lenient it is."""

from __future__ import annotations

from typing import Any

import pytest

from batcher.checks import AnswerRule
from batcher.errors import UsageError
from tests.corpus.answers import Case
from tests.corpus.forms import DATE, GOOD, answers, ask, ask_format, ask_plain, says, typed
from tests.judging import check, extra_of, judge


@pytest.mark.parametrize(
    ("table", "answer", "label"),
    [
        pytest.param({"labels": [1, 2]}, "2", 2, id="a number in words"),
        pytest.param({"labels": [1, 2], "label": ""}, "2", 2, id="the whole answer"),
        pytest.param({"labels": [1], "label": "/a/0"}, '{"a":[1]}', 1, id="in an array"),
        pytest.param({"labels": [1], "label": "/a"}, '{"a":true}', None, id="true is not 1"),
        pytest.param({"label": "/a~1b"}, '{"a/b":"x"}', "x", id="any label, escaped pointer"),
        pytest.param({"label": "/a/9"}, '{"a":[1]}', None, id="beyond an array"),
        pytest.param({"label": "/a"}, '{"a":null}', None, id="null is no label"),
        pytest.param({"labels": ["yes"]}, '"yes"', None, id="quotes are no part of a word"),
    ],
)
def test_label(table: dict[str, Any], answer: str, label: object) -> None:
    """A label is found where the job says, and is one of those that it lists."""
    checked = check(Case("", ask_plain(), says(answer), None, rule=table))
    assert (checked.error is None) == (label is not None)
    assert extra_of(checked).get("label") == label


@pytest.mark.parametrize(
    "table",
    [
        pytest.param({"schema": {"type": "dict"}}, id="an invalid schema"),
        pytest.param({"labels": []}, id="no labels"),
        pytest.param({"labels": "positive"}, id="a text for labels"),
        pytest.param({"labels": [1.5]}, id="a fraction for a label"),
        pytest.param({"label": "label"}, id="no pointer"),
    ],
)
def test_an_unusable_rule_is_bad_usage(table: dict[str, Any]) -> None:
    """A job whose `[answer]` can't be used is refused at once."""
    with pytest.raises(UsageError, match=r"^\[answer\]"):
        AnswerRule(table)


def test_a_rule_that_asks_nothing_is_none() -> None:
    """An `[answer]` that only names the gold field checks nothing."""
    assert AnswerRule.from_table({"gold": "label"}) is None


@pytest.mark.parametrize(
    ("request_body", "answer", "extra"),
    [
        pytest.param(
            ask(),
            answers("```json\n{'order_id': 'x',}\n```"),
            {"tool_calls": [{"name": DATE, "arguments": {"order_id": "x"}}], "lenient": True},
            id="arguments",
        ),
        pytest.param(
            ask_format(typed(x={})),
            says("{'x': None}"),
            {"answer": {"x": None}, "lenient": True},
            id="an answer",
        ),
        pytest.param(
            ask(),
            answers(GOOD),
            {"tool_calls": [{"name": DATE, "arguments": {"order_id": "order_12345"}}]},
            id="what is right is not marked",
        ),
    ],
)
def test_lenient(
    request_body: dict[str, Any], answer: dict[str, Any], extra: dict[str, Any]
) -> None:
    """When asked for, slips in JSON are corrected, and the result says so."""
    checked = judge(request_body, answer, lenient=True)
    assert checked.error is None
    assert extra_of(checked) == extra


def test_lenient_does_not_excuse_the_shape() -> None:
    """A corrected text still has to satisfy its schema."""
    checked = judge(ask(), answers("{'order_id': 5}"), lenient=True)
    assert checked.error is not None
    assert checked.error.code == "tool_arguments_schema"
    assert judge(ask(), answers("{'order_id': "), lenient=True).error is not None
