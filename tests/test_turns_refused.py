"""What a job with handlers can't do, found before anything is paid: by a check, or at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness import Job, row
from tests.server import Endpoint
from tests.talking import answer, calling, plan, results_in, tool_row, write_job

ADD = "def add(call, a, b):\n    return a + b\n"


@pytest.mark.parametrize("more", [{"n": 2}, {"n": 3.0}, {"n": 2, "tool_choice": "required"}])
def test_a_row_that_asks_for_several_choices(job: Job, endpoint: Endpoint, more: dict[str, Any]):
    """Each choice would be a conversation of its own: such a row is not sent, and not paid."""
    job.write([tool_row("r1", **more), tool_row("r2", n=1)])
    endpoint.always(
        plan(
            lambda seen: calling(seen, {"a": 1, "b": 2}),
            lambda seen: answer(seen, {"content": results_in(seen)[-1]}),
        )
    )
    path = write_job(job, functions=ADD)
    assert job.invoke("check", path, "--json").totals["first_bad"][0]["code"] == "invalid_request"
    ran = job.run(source=path)
    assert ran.code == 3, ran.err
    error = job.result("r1")["error"]
    assert error["code"] == "invalid_request"
    assert "n is above 1" in error["message"]
    assert "r1" not in endpoint.books.keys
    assert job.result("r2")["batcher"]["turns"] == 2


@pytest.mark.parametrize("more", [{"tools": []}, {"tool_choice": "none"}])
def test_several_choices_without_a_tool_to_call(job: Job, endpoint: Endpoint, more: dict[str, Any]):
    """Where no tool may be called there is nothing to carry out, so several choices may come."""
    job.write([tool_row("r1", n=2, **more)])
    endpoint.always(lambda seen: answer(seen, {"content": "x"}))
    assert job.run(source=write_job(job, functions=ADD)).code == 0


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("[defaults]\nn = 2\n", "defaults.n"),
        ('[answer]\nlabels = ["3"]\nvotes = 3\n', "answer.votes"),
        ('[request]\nmodel = "m"\nn = 2\n', "request.n"),
    ],
)
def test_a_job_that_asks_for_several_choices(job: Job, endpoint: Endpoint, table: str, name: str):
    """A job that carries tools out and asks for several choices of each row is refused at once."""
    job.write([tool_row("r1")])
    path = write_job(job, functions=ADD)
    with Path(path).open("a") as file:
        file.write("\n" + table)
    ran = job.run(source=path)
    assert ran.code == 2
    assert f"{name} is above 1" in ran.err
    assert f"{name} is above 1" in job.run("--rehearse", source=path).err
    assert endpoint.books.attempts == 0


BOTH = "HANDLERS = {'add': print}\ndef other(call): ...\n"
RUNS = "raise SystemExit('a check runs nobody\\'s code')\n"


@pytest.mark.parametrize(
    "functions",
    [
        pytest.param(ADD, id="a function"),
        pytest.param("async " + ADD, id="an async one"),
        pytest.param(BOTH, id="by a name"),
        pytest.param("if 1 > 0:\n    add = lambda call, a, b: a + b\n", id="a lambda"),
        pytest.param("HANDLERS = dict(other=print)\n", id="names that only running it would tell"),
        pytest.param("from elsewhere import HANDLERS\n", id="names of another file"),
    ],
)
def test_check_finds_the_functions(job: Job, functions: str):
    """A check reads the file of functions without running it, and has nothing to say of these."""
    job.write([tool_row("r1")])
    ran = job.invoke("check", write_job(job, functions=functions + RUNS), "--json")
    assert ran.code == 0, ran.err
    assert "tools_without_handler" not in ran.totals


@pytest.mark.parametrize(
    "functions",
    [
        pytest.param("def ad(call, a, b): ...\n", id="misspelt"),
        pytest.param("def _add(call, a, b): ...\n", id="private"),
        pytest.param("class K:\n    def add(self, call): ...\n", id="a method"),
        pytest.param("from operator import add\n", id="imported"),
        pytest.param("HANDLERS = {'plus': print}\n", id="by another name"),
    ],
)
def test_check_finds_a_tool_without_a_function(job: Job, functions: str):
    """A tool of the rows that has no function is found; `tools` may leave it out."""
    job.write([row("r0"), tool_row("r1"), tool_row("r2"), tool_row("r3", tool_choice="none")])
    path = write_job(job, functions=functions)
    ran = job.invoke("check", path, "--json")
    assert ran.code == 2
    (found,) = ran.totals["tools_without_handler"]
    assert found == {"tool": "add", "line": 2, "rows": 2}
    said_so = job.invoke_text("check", path, "--cost")
    assert said_so.code == 2
    assert "line 2: no function carries out the tool add" in said_so.out
    (job.folder / "tools.py").write_text(functions + "def one(call): ...\n")
    assert (
        job.invoke("check", write_job(job, 'python = "tools.py"\ntools = ["one"]'), "--json").code
        == 0
    )


@pytest.mark.parametrize(
    ("functions", "handlers", "words"),
    [
        pytest.param("", 'python = "none.py"', "there is no Python file", id="no file"),
        pytest.param("def add(:\n", "", "tools.py is no Python (line 1)", id="no Python"),
        pytest.param(ADD, 'tools = ["ad"]', "has no function ad", id="no such function"),
    ],
)
def test_check_refuses_handlers(job: Job, functions: str, handlers: str, words: str):
    """What a job names and is not there ends a check like a run."""
    job.write([tool_row("r1")])
    path = write_job(job, handlers, functions)
    ran = job.invoke("check", path)
    assert ran.code == 2
    assert words in ran.err


def test_an_endpoints_own_tools_need_no_function(job: Job):
    """A web search that the endpoint makes is nothing to be carried out here."""
    own = [{"type": "web_search_20250305", "name": "web_search"}, {"type": "web_search"}]
    job.write([{"url": "/v1/messages", "body": {"model": "m", "messages": [], "tools": own}}])
    assert job.invoke("check", write_job(job, functions=ADD), "--json").code == 0


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_job_whose_own_tool_has_no_function(job: Job, endpoint: Endpoint, command: str):
    """Where every row would offer it, nothing is sent."""
    job.write([row("r1")])
    path = write_job(job, functions="def ad(call, a, b): ...\n")
    with Path(path).open("a") as file:
        file.write('[[defaults.tools]]\ntype = "function"\nfunction = { name = "add" }\n')
    ran = job.run(source=path) if command == "run" else job.invoke("check", path)
    assert ran.code == 2
    assert "tools.py has no function for the tool add" in ran.err
    assert endpoint.books.attempts == 0
