"""batcher within a program: its surface, settings, errors, reading results back."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import textwrap
import traceback
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import batcher
from tests.harness import row, rows
from tests.program import Program
from tests.server import Endpoint, Say, refusal

PUBLIC = {
    "BatcherError", "ModelTotals", "OutputLockedError", "Processing", "Progress", "RequestCounts",
    "Result", "Results", "Stop", "StoppedError", "StorageError", "ToolCall", "Totals", "Usage",
    "UsageError", "process", "read_results", "run", "run_async",
}  # fmt: skip


def test_the_surface_is_exact() -> None:
    """`__all__` names what is public, each name is there, and nothing else is shown."""
    assert set(batcher.__all__) == PUBLIC
    assert len(batcher.__all__) == len(PUBLIC)
    for name in batcher.__all__:
        value = getattr(batcher, name)
        assert value.__doc__, name
        assert value.__module__.startswith("batcher."), name
    assert set(dir(batcher)) == PUBLIC | {"__version__"}
    with pytest.raises(AttributeError):
        _ = batcher.nothing_of_the_kind


def test_importing_is_quick() -> None:
    """`import batcher` imports nothing that sends, shows or reckons."""
    code = (
        "import sys, batcher; assert batcher.__all__; heavy = {'aiohttp', 'anyio', 'orjson',"
        " 'click', 'rich', 'asyncio', 'batcher.library'} & set(sys.modules); sys.exit(str(heavy)"
        " if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_documented() -> None:
    """docs/library.md names all that is public."""
    text = (Path(__file__).parents[1] / "docs" / "library.md").read_text()
    assert not {name for name in batcher.__all__ if f"`{name}" not in text and name not in text}


def test_run_returns_the_totals(program: Program, endpoint: Endpoint, handlers: None) -> None:
    """The totals are those of the file, typed; failed rows are no error of the run."""
    endpoint.on("r2", refusal(400, "context_length_exceeded", message="too long"))
    program.write(rows(3))
    totals = program.run()
    assert totals.request_counts == batcher.RequestCounts(3, 2, 1)
    assert totals.errors == {"context_length_exceeded": 1}
    assert (totals.complete, totals.stop_reason, totals.exit_code) == (True, None, 3)
    assert totals.raise_for_stop() is totals
    assert totals.usage.total_tokens == 2 * (10 + 2 + 5)
    assert totals.attempts == endpoint.books.attempts == 3
    assert totals.cost_usd is None
    assert totals.finished_at >= totals.started_at
    assert totals.by_model["m"].request_counts == totals.request_counts
    found = batcher.read_results(program.output)
    assert found.totals == dataclasses.replace(totals, exit_code=found.totals.exit_code)


def test_records_are_frozen_and_tell_no_prompt(program: Program) -> None:
    """A record can't be changed, and its representation holds neither prompt nor answer."""
    program.write([row("secret prompt", "a")])
    program.run()
    (result,) = batcher.read_results(program.output)
    assert result.text == "echo secret prompt"
    assert "secret" not in repr(result)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.custom_id = "b"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        batcher.read_results(program.output).totals.attempts = 0  # type: ignore[misc]


def test_results_are_read_back(program: Program, endpoint: Endpoint) -> None:
    """Each result has its row's outcome, in types; the file may be gone over again."""
    call = {"type": "function", "id": "c1", "function": {"name": "f", "arguments": '{"x": 1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    endpoint.on("tool", Say(body=json.dumps(answer).encode()))
    endpoint.on("bad", refusal(422, "nope", message="not so"))
    tools = [{"type": "function", "function": {"name": "f"}}]
    program.write([row("tool", tools=tools), row("bad"), row("fine"), "not json"])
    program.run(prices="list")
    results = batcher.read_results(program.output)
    found = {result.custom_id: result for result in results}
    assert {name: result.succeeded for name, result in found.items()} == {
        "tool": True, "bad": False, "fine": True, "row-4": False,
    }  # fmt: skip
    assert found["tool"].tool_calls == (batcher.ToolCall("f", {"x": 1}),)
    assert (found["bad"].status_code, found["bad"].error_code) == (422, "nope")
    assert found["bad"].error_message == "not so"
    assert found["row-4"].body is None
    assert found["row-4"].error_code == "invalid_json"
    assert found["fine"].usage == batcher.Usage(14, 5, 19, 4, 0, 2)
    assert (found["fine"].row, found["fine"].attempts, found["fine"].text) == (3, 1, "echo fine")
    assert found["fine"].finished_at.tzinfo is not None
    assert sum(1 for _ in results) == 4


def test_reading_is_lazy(program: Program) -> None:
    """The first result is there before the rest of the file has been read."""
    program.write(rows(50))
    program.run()
    with program.output.open("r+b") as file:
        lines = file.readlines()
        file.seek(len(lines[0]))
        file.truncate()
        file.write(b"damaged\n")
    results = iter(batcher.read_results(program.output))
    assert next(results).succeeded
    with pytest.raises(batcher.UsageError, match="line 2 is no result"):
        next(results)


def test_settings_are_those_of_a_job_file(program: Program, tmp_path: Path) -> None:
    """Template, answer and defaults are given as in a job file; paths may be `Path`s."""
    program.write([{"id": "a", "text": "hello", "gold": "x"}])
    totals = program.run(
        request={"model": "m", "messages": [{"role": "user", "content": "{{ text }}"}]},
        id_field="id",
        carry=["gold"],
        answer={"labels": ["echo hello", "other"], "gold": "gold"},
        timeout="90s",
        concurrency=2,
    )
    assert totals.request_counts.completed == 1
    (result,) = batcher.read_results(program.output)
    assert (result.label, result.input) == ("echo hello", {"gold": "x"})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_attemps": 3}, "did you mean 'max_attempts'"),
        ({"answer": {"lable": "/x"}}, "did you mean 'answer.label'"),
        ({"model": "gpt-4o"}, "belongs into"),
        ({"concurrency": "8"}, "concurrency must be a whole number"),
        ({"concurrency": True}, "concurrency must be a whole number"),
        ({"progress": "bar"}, "on_progress"),
        ({"json": True}, "returns the totals"),
        ({"api_key": ""}, "api_key is empty"),
        ({"fresh": True, "retry_failed": True}, "give one of them"),
    ],
)
def test_wrong_settings_are_refused(
    program: Program, endpoint: Endpoint, settings: dict[str, Any], words: str
) -> None:
    """An unknown name is refused with the nearest right one, and nothing is sent."""
    program.write(rows(1))
    with pytest.raises(batcher.UsageError, match=words):
        program.run(**settings)
    assert endpoint.books.attempts == 0


def test_arguments_win_over_the_environment(
    program: Program, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the program says counts; what it leaves out may come from the environment."""
    monkeypatch.setenv("BATCHER_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("BATCHER_LIMIT", "2")
    monkeypatch.setenv("BATCHER_API_KEY", "sk-of-the-environment")
    program.write(rows(3))
    assert program.run(api_key="sk-given").request_counts.total == 2
    assert endpoint.books.seen[0].headers["Authorization"] == "Bearer sk-given"
    assert program.run(limit=3).request_counts.total == 3
    assert endpoint.books.seen[2].headers["Authorization"] == "Bearer sk-of-the-environment"


def test_a_job_file_runs(program: Program, tmp_path: Path) -> None:
    """A job file names source and output; arguments win over what it says."""
    program.write(rows(3))
    text = f'source = "in.jsonl"\noutput = "x.jsonl"\nbase_url = "{program.endpoint.url}"\n'
    (tmp_path / "job.toml").write_text(text + 'prices = "none"\n')
    assert batcher.run(tmp_path / "job.toml").complete
    assert (tmp_path / "x.jsonl").exists()
    assert batcher.run(tmp_path / "job.toml", program.output, limit=1).request_counts.total == 1


def test_errors_are_the_command_lines(program: Program) -> None:
    """What ends a run before it began is an exception of the public tree."""
    with pytest.raises(batcher.UsageError, match="can't be read"):
        program.run()
    with pytest.raises(batcher.UsageError, match="no job has written here"):
        batcher.read_results(program.output)
    assert issubclass(batcher.OutputLockedError, batcher.BatcherError)


def test_an_unfinished_job_is_read_when_asked(program: Program, endpoint: Endpoint) -> None:
    """What an unfinished job has is read on request alone; a row's last result counts."""
    endpoint.on("r2", refusal(401))
    program.write(rows(2))
    totals = program.run(concurrency=1)
    assert (totals.stop_reason, totals.exit_code) == ("refused", 5)
    with pytest.raises(batcher.UsageError, match="not finished"):
        batcher.read_results(program.output)
    results = batcher.read_results(program.output, unfinished=True)
    assert [result.custom_id for result in results] == ["r1"]
    with pytest.raises(batcher.UsageError, match="not finished"):
        _ = results.totals


def test_money_is_exact(program: Program, endpoint: Endpoint) -> None:
    """Costs are decimals, to the last digit."""
    prices = program.folder / "prices.toml"
    prices.write_text('[models."m"]\ninput = 0.1\noutput = 0.3\n')
    program.write(rows(1))
    totals = program.run(prices=prices)
    assert isinstance(totals.cost_usd, Decimal)
    (result,) = batcher.read_results(program.output)
    assert result.cost_usd == totals.cost_usd == totals.by_model["m"].cost_usd


def test_no_secret_in_a_traceback(program: Program) -> None:
    """What an error's traceback prints holds neither the key nor a prompt."""
    key, prompt = "sk-very-secret"[:], "a secret prompt"[:]
    program.write([prompt])
    with pytest.raises(batcher.UsageError) as caught:
        program.run(api_key=key, strict=True)
    text = "".join(traceback.format_exception(caught.value))
    assert key not in text
    assert prompt not in text


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_work(program: Program, number: int) -> None:
    """The first example of docs/library.md, and that of `process`, run as they stand."""
    text = (Path(__file__).parents[1] / "docs" / "library.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    example = [block for block in blocks if "base_url=" in block and "Timer" not in block][number]
    code = example.replace('"openai"', repr(program.endpoint.url))
    if "async for" in code:
        head = "import asyncio, batcher\nfrom tests.harness import rows\nrows = rows(3)\n"
        body = textwrap.indent(code, "    ")
        code = f"{head}async def main():\n{body}\nasyncio.run(main())\n"
    program.write(rows(3))
    program.source.rename(program.folder / "requests.jsonl")
    root = str(Path(__file__).parents[1])
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=program.folder, env=environ, capture_output=True,
        text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
