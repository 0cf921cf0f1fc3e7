"""Settings: what wins, what is refused and how that is said; job files and their schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import batcher
from batcher.errors import UsageError
from batcher.settings import (
    Settings,
    addresses,
    credentials,
    forms,
    jobfile,
    layers,
    options,
    schema,
    values,
)
from batcher.settings.jobfile import read_job
from batcher.settings.options import OPTIONS
from tests.settling import EXAMPLE, NOON, SECRET, refusal, settle


def test_example_job() -> None:
    """The example job file gives what it says, its paths relative to its folder."""
    settings = settle(job=EXAMPLE)
    assert settings.source == Path("jobs/x/reviews.jsonl")
    assert settings.output == Path("jobs/x/output/results.jsonl")
    assert (settings.endpoint, settings.base_url, settings.api_key) == ("local", "", None)
    assert settings.concurrency == 8
    assert settings.carry == ("label", "source")
    assert settings.defaults == {"temperature": 0}
    assert settings.template == EXAMPLE["request"]
    assert settings.answer == {"label": "/label", "gold": "label"}
    assert (settings.timeout_s, settings.max_attempts, settings.durability) == (600.0, 6, "fsync")


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        pytest.param({"rpm": "1"}, {"BATCHER_RPM": "2"}, 1.0, id="a flag wins"),
        pytest.param({}, {"BATCHER_RPM": "2"}, 2.0, id="a variable beats the job"),
        pytest.param({}, {"BATCHER_RPM": ""}, 3.0, id="an empty variable says nothing"),
        pytest.param({"rpm": None}, {}, 3.0, id="the job file is asked last"),
    ],
)
def test_precedence(flags: dict[str, Any], environ: dict[str, str], expected: float) -> None:
    """Flags win over variables, which win over the job file."""
    assert settle(flags, environ=environ, job={**EXAMPLE, "rpm": 3}).rpm == expected


def test_openai_base_url_comes_last() -> None:
    """OPENAI_BASE_URL counts only when nothing else names an endpoint."""
    environ = {"OPENAI_BASE_URL": "https://relay.example/v1/"}
    flags = {"base_url": None}
    assert settle(flags, environ=environ).base_url == "https://relay.example/v1"
    assert settle(environ=environ).base_url == "http://h"
    assert settle(job=EXAMPLE, environ=environ).endpoint == "local"


def test_booleans_can_be_unsaid() -> None:
    """A flag turns off what the job file turns on."""
    assert settle(job={**EXAMPLE, "ordered": True}).ordered
    assert not settle({"ordered": False}, job={**EXAMPLE, "ordered": True}).ordered


def test_no_endpoint_says_how() -> None:
    """Without a base URL, the error names every way to give one."""
    text = refusal(flags={"base_url": None})
    for way in ("--base-url", "BATCHER_BASE_URL", "base_url =", "sandbox", "local", "https://"):
        assert way in text


def test_check_needs_neither_output_nor_endpoint() -> None:
    """A check runs on a source alone, and asks for no key."""
    settings = settle({"output": None, "base_url": None}, sending=False)
    assert (settings.output, settings.base_url) == (Path(), "")
    assert settle({"base_url": "yunwu"}, sending=False).api_key is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"concurency": 8}, ["'concurency'", "'concurrency'"], id="a near name"),
        pytest.param({"answer": {"lable": ""}}, ["'answer.lable'", "'answer.label'"], id="inner"),
        pytest.param({"default": {}}, ["'default'", "'defaults'"], id="a table"),
        pytest.param({"temperature": 0}, ["'temperature'", "[defaults]"], id="a body field"),
        pytest.param({"api_key": SECRET}, ["api_key_env", "BATCHER_API_KEY"], id="a key"),
        pytest.param({"zzz": 1}, ["'zzz'", "docs/job-file.md"], id="nothing near"),
        pytest.param({"concurrency": "8"}, ["concurrency", "whole number"], id="text for number"),
        pytest.param({"concurrency": True}, ["concurrency", "whole number"], id="bool for number"),
        pytest.param({"rpm": float("nan")}, ["rpm", "number above 0"], id="nan"),
        pytest.param({"ordered": 1}, ["ordered", "true or false"], id="number for bool"),
        pytest.param({"carry": "label"}, ["carry", "array"], id="text for array"),
        pytest.param({"answer": 1}, ["answer", "table"], id="number for table"),
        pytest.param({"defaults": {"d": NOON}}, ["defaults", "no dates"], id="a date in a body"),
        pytest.param({"defaults": {"d": 2**64}}, ["defaults"], id="an integer beyond JSON"),
        pytest.param({"durability": "maybe"}, ["durability", "fsync or flush"], id="a word"),
        pytest.param({"url": "https://evil/"}, ["url", "without a host"], id="a url with a host"),
        pytest.param({"timeout": 0}, ["timeout", "duration"], id="no time at all"),
        pytest.param({"timeout": "2 h"}, ["timeout", "duration"], id="a blank in a duration"),
        pytest.param({"deadline": "25:00"}, ["deadline", "06:00"], id="no such time"),
        pytest.param({"max_cost": -1}, ["max_cost", "dollars"], id="negative money"),
        pytest.param({"headers": {"X": "a\r\nY: b"}}, ["headers"], id="a header that breaks out"),
        pytest.param({"headers": {"X Y": "a"}}, ["headers"], id="no header name"),
    ],
)
def test_bad_job(change: dict[str, Any], words: list[str]) -> None:
    """A bad key or value is named with its file, what it must be, and the nearest right name."""
    text = refusal(job={**EXAMPLE, **change})
    for word in ["job.toml", *words]:
        assert word in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        pytest.param({"fresh": True, "retry_failed": True}, "--retry-failed", id="fresh, retry"),
        pytest.param({"max_cost": "1", "prices": "none"}, "--prices none", id="budget, no price"),
        pytest.param({"output": "in.jsonl"}, "replace the source", id="output is source"),
        pytest.param({"output": "in", "source": "in.partial"}, "replace the source", id="partial"),
        pytest.param({"source": None}, "batcher run SOURCE", id="no source"),
        pytest.param({"output": None}, "-o OUTPUT", id="no output"),
        pytest.param({"concurrency": "1e3"}, "--concurrency must be a whole", id="text of a flag"),
        pytest.param({"base_url": "opnai"}, "http://", id="an unknown name"),
    ],
)
def test_bad_flags(change: dict[str, Any], word: str) -> None:
    """Flags that can't be read, or contradict one another, are named."""
    assert word in refusal(flags=change)


def test_template_words_need_a_template() -> None:
    """`carry` without `[request]`, or a gold field that isn't carried, is a mistake."""
    without = {key: value for key, value in EXAMPLE.items() if key != "request"}
    assert "[request]" in refusal(job=without)
    assert "carry" in refusal(job={**EXAMPLE, "carry": []})


def test_paths_of_a_job() -> None:
    """Each path in a job file is relative to it; `-`, words and absolute paths stay."""
    job = {**EXAMPLE, "prices": "p.toml", "ca_file": "ca.pem", "source": "-"}
    settings = settle(job={**job, "local": {"model_file": "m.gguf"}})
    assert settings.source is None
    assert settings.prices == str(Path("jobs/x/p.toml"))
    assert settings.ca_file == Path("jobs/x/ca.pem")
    assert settings.endpoint_options == {"model_file": Path("jobs/x/m.gguf")}
    assert settle(job={**EXAMPLE, "prices": "list"}).prices == "list"
    assert settle(job={**EXAMPLE, "output": "/o"}).output == Path("/o")
    assert settle({"prices": "p.toml"}).prices == "p.toml"


def test_money_is_exact() -> None:
    """A budget is decimal text, whatever it came as."""
    assert settle({"max_cost": "0.10"}).max_cost_usd == "0.10"
    assert settle(job={**EXAMPLE, "max_cost": 0.1}).max_cost_usd == "0.1"


def test_misspelt_variables() -> None:
    """A nearly right variable is pointed out; a foreign one isn't."""
    environ = {"BATCHER_CONCURENCY": "8", "BATCHER_WEBHOOK": "x", "BATCHER_RPM": "5", "HOME": "/"}
    (note,) = layers.misspelt_variables(environ)
    assert "BATCHER_CONCURRENCY" in note


def test_schema_file_is_derived() -> None:
    """The schema for editors is the one that the table gives."""
    path = Path(batcher.__file__).parent / "settings" / "job.schema.json"
    made = (
        "python -c 'from batcher.settings.schema import job_schema_text as t; print(t(), end=\"\")'"
    )
    assert path.read_text("utf-8") == schema.job_schema_text(), f"{made} > {path.name}"


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True), ({"concurrency": 0}, False), ({"concurrency": "8"}, False),
        ({"deadline": "06:00"}, True), ({"timeout": "15m"}, True), ({"timeout": "soon"}, False),
        ({"prices": "x.toml"}, True), ({"url": "//evil"}, False), ({"url": "/v1/x"}, True),
        ({"nonsense": 1}, False), ({"answer": {"labels": ["a"]}}, True),
        ({"answer": {"x": 1}}, False), ({"headers": {"X": "y"}}, True),
        ({"headers": {"X": 1}}, False), ({"max_cost": "2.50"}, True), ({"max_cost": "x"}, False),
        ({"local": {"model_file": "m"}}, True), ({"auth_header": "a b"}, False),
        ({"progress": "bar"}, True), ({"progress": "big"}, False), ({"output": ""}, False),
        ({"answer": {"label": "label"}}, False), ({"api_key_env": "A-B"}, False),
    ],
)  # fmt: skip
def test_schema_judges_as_the_reader(change: dict[str, Any], good: bool) -> None:  # noqa: FBT001 - a table's column
    """An editor complains about what the program refuses, and about nothing else."""
    job = {**EXAMPLE, **change}
    assert jsonschema_rs.is_valid(json.loads(schema.job_schema_text()), job) is good
    if good:
        settle(job=job, environ={"BATCHER_API_KEY": "k"})
    else:
        refusal(job=job)


def test_table_is_sound() -> None:
    """Names, flags and keys are unique, and what fills a field of the settings has that field."""
    for names in (
        [option.key for option in OPTIONS],
        [option.flag for option in OPTIONS if option.flag],
        [option.name for option in OPTIONS if option.on_command_line],
    ):
        assert len(names) == len(set(names))
    elsewhere = {"api_key_env", "api_key_file", "sandbox"}
    for option in OPTIONS:
        if not option.section and option.name not in elsewhere:
            assert option.settings_field in Settings.__dataclass_fields__
        assert schema.default_text(option)
        assert not option.help.endswith(".")


def test_job_file_is_read(tmp_path: Path) -> None:
    """A job file is TOML in UTF-8, with or without a byte order mark."""
    path = tmp_path / "job.toml"
    path.write_bytes(b'\xef\xbb\xbfsource = "in.jsonl"\r\n')
    assert read_job(path) == {"source": "in.jsonl"}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"a = 1 2\nb", "line 1", id="no TOML"),
        pytest.param(b"\xff", "UTF-8", id="no UTF-8"),
        pytest.param(b"a = " + b"[" * 9999, "no TOML|nested", id="too deep"),
    ],
)
def test_bad_job_file(tmp_path: Path, content: bytes | None, word: str) -> None:
    """A job file that can't be read is named, with the reason."""
    path = tmp_path / "job.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=word) as caught:
        read_job(path)
    assert "job.toml" in str(caught.value)


@pytest.mark.parametrize(
    "module", [addresses, credentials, forms, jobfile, layers, options, schema, values]
)
def test_public_names_exist(module: Any) -> None:
    """Each name in `__all__` is there."""
    assert all(hasattr(module, name) for name in module.__all__)
