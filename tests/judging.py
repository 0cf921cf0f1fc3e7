"""Answers held against what their requests asked for."""

from __future__ import annotations

import json
from typing import Any

import orjson

from batcher.answers import family_of
from batcher.checks import CLAIM_FIELDS, AnswerRule, Checked, Checker
from tests.corpus.answers import Case

__all__ = ["SECRET", "check", "claims_of", "extra_of", "judge"]

SECRET = "Zanzibar"


def claims_of(request: dict[str, Any]) -> dict[str, Any] | None:
    """Pick what a request claims."""
    return {name: request[name] for name in CLAIM_FIELDS if name in request} or None


def check(case: Case, **options: bool) -> Checked:
    """Check a case's answer as it comes from the wire."""
    rule = AnswerRule.from_table(case.rule) if case.rule else None
    body = orjson.loads(orjson.dumps(case.answer))
    return Checker(rule, **options).check(
        claims_of(case.request), body, family=family_of(case.path)
    )


def judge(request: dict[str, Any], answer: dict[str, Any], **options: bool) -> Checked:
    """Check one answer to one request."""
    return check(Case("", request, answer, None), **options)


def extra_of(checked: Checked) -> dict[str, Any]:
    """Read the keys for the result."""
    parsed: dict[str, Any] = json.loads(b"{%b}" % checked.extra)
    return parsed
