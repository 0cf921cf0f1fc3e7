"""The verdicts on answers: every case of the corpus, and what must hold for any answer."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher import checks
from batcher.answers import Family
from batcher.checks import CLAIM_FIELDS, AnswerRule, Checked, Checker, Code
from tests.corpus.answers import CASES, Case
from tests.corpus.forms import (
    DATE,
    DATE_SCHEMA,
    GOOD,
    LABELS,
    answers,
    ask,
    ask_format,
    ask_plain,
    call,
    calls,
    chat,
    choice,
    expression,
    says,
    tool,
    typed,
)
from tests.judging import SECRET, check, claims_of, extra_of, judge


def test_the_public_names_are_exact() -> None:
    """Everything that the package names is there, and in order."""
    assert sorted(checks.__all__, key=lambda name: (not name.isupper(), name)) == checks.__all__
    assert all(hasattr(checks, name) for name in checks.__all__)


def test_every_code_and_every_case_counts() -> None:
    """The corpus shows each code and names each case once."""
    assert {case.code for case in CASES} == {None, *(code.value for code in Code)}
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_verdict(case: Case) -> None:
    """An answer gets its verdict, and what could be parsed of it."""
    checked = check(case)
    assert (checked.error.code if checked.error else None) == case.code
    assert bool(checked.complaints) == (case.code is not None)
    assert b"\n" not in checked.extra
    assert b"\r" not in checked.extra
    if case.extra is not None:
        assert extra_of(checked) == case.extra


COMPLAINTS = [
    pytest.param(
        ask(),
        answers('{"order_id": 5}'),
        f'tool_calls[0] {DATE}: the arguments: /order_id: 5 is not of type "string"',
        id="a type, with its path",
    ),
    pytest.param(
        ask(),
        answers("{}"),
        f'tool_calls[0] {DATE}: the arguments: "order_id" is a required property',
        id="a missing property",
    ),
    pytest.param(
        ask(),
        answers('{"order_id": "x",}'),
        f"tool_calls[0] {DATE}: the arguments are not JSON: trailing comma is not allowed:"
        """ line 1 column 17 (char 16), near '{"order_id": "x",}'""",
        id="where it stops being JSON",
    ),
    pytest.param(
        ask(tools=[tool({}, "a"), tool({}, "b")]),
        calls(call("{}", "c")),
        'tool_calls[0]: there is no tool "c" to call; the tools are: a, b',
        id="the tools that there are",
    ),
    pytest.param(
        ask_format(typed(x={"anyOf": [{"type": "string"}, typed(y={"type": "null"})]})),
        says('{"x": {"y": 1}}'),
        'the answer: /x: {"y":1} is not valid under any of the schemas listed in the'
        ' \'anyOf\' keyword (/x: {"y":1} is not of type "string"; /x/y: 1 is not of type "null")',
        id="each branch of a union",
    ),
    pytest.param(
        ask(typed(**{"a/b~c": {"type": "null"}})),
        answers('{"a/b~c": 1}'),
        f'tool_calls[0] {DATE}: the arguments: /a~1b~0c: 1 is not of type "null"',
        id="a pointer is escaped",
    ),
    pytest.param(
        ask(n=2),
        chat(choice({"content": "Which?"}), choice({"tool_calls": [call("{}")]}, index=1)),
        f'choices[1]: tool_calls[0] {DATE}: the arguments: "order_id" is a required property',
        id="the choice at fault",
    ),
]


@pytest.mark.parametrize(("request_body", "answer", "complaint"), COMPLAINTS)
def test_complaint(request_body: dict[str, Any], answer: dict[str, Any], complaint: str) -> None:
    """A complaint says where, and what is wrong there."""
    assert judge(request_body, answer).complaints == (complaint,)


def test_the_choice_at_fault_is_known() -> None:
    """With several choices, the first one at fault is told."""
    good = choice({"content": "Which?"})
    bad = choice({"tool_calls": [call("{}")]}, index=1)
    assert judge(ask(n=3), chat(good, bad, bad)).choice == 1


def test_many_faults_are_cut_short() -> None:
    """A hundred faults give a handful of complaints, and a long value is not repeated whole."""
    schema = typed(x={"type": "array", "items": {"type": "integer"}})
    checked = judge(ask(schema), answers(json.dumps({"x": ["long " * 1000] * 100})))
    assert len(checked.complaints) < 12
    assert all(len(text) < 1000 for text in checked.complaints)
    assert checked.complaints[-1].endswith("and 92 more faults")


@pytest.mark.parametrize(
    ("request_body", "answer"),
    [
        pytest.param(ask(), answers(f'{{"order_id": "{SECRET}'), id="broken JSON"),
        pytest.param(ask(), answers(json.dumps({"order_id": [SECRET]})), id="a value"),
        pytest.param(ask(), answers(json.dumps({SECRET: 1})), id="a key"),
        pytest.param(
            ask(typed(x={"additionalProperties": {"type": "null"}})),
            answers(json.dumps({"x": {SECRET: 1}})),
            id="a key on the path",
        ),
        pytest.param(ask(), calls(call("{}", SECRET)), id="a tool's name"),
        pytest.param(ask(), says(None, refusal=SECRET), id="a refusal"),
        pytest.param(ask_format(typed()), says(SECRET), id="a text"),
    ],
)
def test_errors_hold_nothing_of_the_answer(
    request_body: dict[str, Any], answer: dict[str, Any]
) -> None:
    """What goes into logs quotes no answer."""
    checked = judge(request_body, answer)
    assert checked.error is not None
    assert SECRET not in checked.error.message


def test_references_are_never_followed(tmp_path: Path) -> None:
    """No file is read and no host is called for a schema's reference."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

    file = tmp_path / "schema.json"
    file.write_text('{"type": "object"}')
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        host = f"http://127.0.0.1:{server.server_port}/schema.json"
        try:
            schemas = (
                {"$ref": host},
                {"$ref": file.as_uri()},
                {"$schema": host},
                {"$id": host, "$ref": "other.json"},
                {"$dynamicRef": host},
            )
            errors = [judge(ask(schema), answers(GOOD)).error for schema in schemas]
        finally:
            server.shutdown()
            thread.join(timeout=5)
    assert [error.code for error in errors if error] == ["invalid_schema"] * len(schemas)
    assert asked == []


def test_an_unusable_schema_is_known_before_sending() -> None:
    """A request whose claims can't be checked can be told from its claims alone."""
    checker = Checker()
    assert checker.fault(claims_of(ask())) is None
    assert checker.fault(None) is None
    fault = checker.fault(claims_of(ask({"properties": {"x": {"type": "float"}}})))
    assert fault is not None
    assert fault.message == (
        f"the request's own fault: the schema of tool {DATE} is not valid JSON Schema:"
        ' fails "anyOf" at "/properties/x/type"'
    )


def test_schemas_that_python_finds_equal_are_told_apart() -> None:
    """1, 1.0 and true are different constants, though rows that hold them compare equal."""
    checker = Checker()
    for constant in (1, True):
        request = claims_of(ask(typed(x={"const": constant})))
        found = checker.check(request, answers('{"x": true}'), family=Family.CHAT)
        assert (found.error is None) == (constant is True)


def test_a_recursive_union_can_not_stall_the_run() -> None:
    """A complaint about a deep answer stays short rather than walk 2 ** 60 branches."""
    branches = [typed(op={"const": op}, left={"$ref": "#/$defs/e"}) for op in ("add", "mul")]
    schema = {
        "$defs": {"e": {"anyOf": [{"type": "number"}, *branches]}},
        **typed(e={"$ref": "#/$defs/e"}),
    }
    checked = judge(ask(schema), answers(expression(60, '"x"')))
    assert checked.error is not None
    assert "levels deep and fails its schema" in checked.complaints[0]


def test_without_claims_calls_are_not_judged() -> None:
    """An endpoint may have tools of its own."""
    assert judge(ask_plain(), calls(call("{", "search"))) == Checked()


def test_a_call_on_the_way_is_no_answer() -> None:
    """Where the job carries its tools out, `[answer]` waits for the final text."""
    rule = AnswerRule({"labels": LABELS})
    body = answers(GOOD)
    claims = claims_of(ask())
    assert Checker(rule).check(claims, body, family=Family.CHAT).error is not None
    steps = Checker(rule, calls_are_steps=True)
    assert steps.check(claims, body, family=Family.CHAT).error is None
    assert steps.check(claims, says("?"), family=Family.CHAT).error is not None
    assert extra_of(steps.check(claims, says("negative"), family=Family.CHAT)) == {
        "label": "negative"
    }


_KEYS = [
    *("choices", "message", "content", "tool_calls", "function", "name", "arguments", "refusal"),
    *("finish_reason", "type", "text", "output", "input", "index", "id", "status", "stop_reason"),
    *("incomplete_details", "tools", "tool_choice", "response_format", "json_schema", "schema"),
    *("parameters", "custom", "allowed_tools"),
]
_TEXT = st.text(alphabet='aé🚚{}[]"\n', max_size=5) | st.sampled_from(
    [GOOD, "function", "required"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | _TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4)
    ),
    max_leaves=20,
)
_MESSAGE = st.fixed_dictionaries({"message": _JSON, "finish_reason": _JSON})
_BODY = st.dictionaries(
    st.sampled_from(["choices", "content", "output", "status", "stop_reason"]),
    _JSON | st.lists(_MESSAGE, max_size=2),
)
_CLAIMS = st.none() | st.dictionaries(st.sampled_from(CLAIM_FIELDS), _JSON, max_size=3)


@settings(deadline=None)
@given(claims=_CLAIMS, body=_BODY, family=st.sampled_from(Family), lenient=st.booleans())
def test_nothing_that_comes_can_raise(
    claims: dict[str, Any] | None, body: dict[str, Any], family: Family, *, lenient: bool
) -> None:
    """Whatever a request claims and an endpoint answers, there is a verdict, in valid JSON."""
    rule = AnswerRule({"label": "/name"})
    checked = Checker(rule, lenient=lenient).check(claims, body, family=family)
    extra_of(checked)
    assert bool(checked.complaints) == (checked.error is not None)


@given(value=_JSON)
def test_arguments_are_kept_as_written(value: object) -> None:
    """What the result lists is what the model wrote, layout aside."""
    arguments = json.dumps({"x": value}, indent=1)
    checked = judge(ask({}), answers(arguments))
    assert extra_of(checked)["tool_calls"][0]["arguments"] == {"x": value}


def test_rows_share_one_compiled_set_of_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same tools, parsed anew in every row, are compiled once."""
    compiled = []
    original = checks.claims.compile_claims

    def count(text: bytes) -> object:
        compiled.append(text)
        return original(text)

    monkeypatch.setattr("batcher.checks.verdict.compile_claims", count)
    checker = Checker()
    for _ in range(3):
        checker.check(
            claims_of(json.loads(json.dumps(ask(DATE_SCHEMA)))), answers(GOOD), family=Family.CHAT
        )
    assert len(compiled) == 1
