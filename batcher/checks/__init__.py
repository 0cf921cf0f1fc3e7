"""Checking the answers that claim a shape: tool calls, structured answers, labels.

    claims of the request     claims.py   Claims (schemas compiled, kept for rows that share them)
    body of the answer        choices.py  Choice (one form for every family of endpoints)
    [answer] of the job       rules.py    AnswerRule
    Claims, Choices, a rule   verdict.py  Checked (the row's error, the complaints, what was parsed)
    answer and complaints     repair.py   messages that ask the model to correct itself

Everything here is a pure function of its arguments, but for one bounded cache of compiled schemas
in a `Checker`.

What counts as what:

- A row *claims a shape* if it offers tools that may be called, asks for a JSON `response_format`,
  or its job has an `[answer]`. Only such rows fail for being cut off; another row's cut text is a
  success that says `"truncated":true`. A refusal (`refused`) and a filter (`content_filtered`)
  fail any row: what was asked for did not come. A row that claims nothing is not checked further.
- A `finish_reason` is believed when it says that the answer was cut off, filtered or refused. It is
  not needed to see a call: relays say `stop` there.
- A schema that can't be used (invalid, or with a reference that leads out of it) is the request's
  own fault, `invalid_schema`. `Checker.fault` tells before anything is sent or paid.
- Every call stands in `tool_calls`, in order: a good one as `{"name","arguments"}`, a bad one with
  its code as `"error"` too, and with `"arguments":null` where they don't parse. The raw text is in
  the answer's body, which the caller keeps.
- JSON is read strictly: no NaN, no comments, no trailing commas, numbers within the range of a
  double. Of a repeated key the last value counts, as for every common parser. Integers beyond 64
  bits are checked as doubles. The parsed text is written as the model wrote it, digit by digit, so
  nothing is lost on the way.
"""

from __future__ import annotations

from batcher.checks.choices import Call, Choice, End, read_choices
from batcher.checks.claims import CLAIM_FIELDS, carried_out
from batcher.checks.findings import REPAIRABLE, Checked, Code
from batcher.checks.lenient import lenient_json
from batcher.checks.repair import repair_messages
from batcher.checks.rules import AnswerRule
from batcher.checks.verdict import Checker

__all__ = [
    "CLAIM_FIELDS",
    "REPAIRABLE",
    "AnswerRule",
    "Call",
    "Checked",
    "Checker",
    "Choice",
    "Code",
    "End",
    "carried_out",
    "lenient_json",
    "read_choices",
    "repair_messages",
]
