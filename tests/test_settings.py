"""Settings: what wins, what is refused and how that is said, where the key goes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import batcher
from batcher.errors import UsageError
from batcher.settings import (
    Settings,
    Surroundings,
    addresses,
    credentials,
    forms,
    jobfile,
    layers,
    options,
    resolve,
    schema,
    target_url,
    values,
)
from batcher.settings.addresses import origin_of
from batcher.settings.jobfile import read_job, read_key
from batcher.settings.options import OPTIONS
from batcher.settings.values import UnfitError, deadline_unix, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = "sk-secret-0123456789"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=timezone(timedelta(hours=1)))


class Named(NamedTuple):
    name: str
    base_url: str
    key_variable: str | None


NAMED = {
    "openai": Named("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "yunwu": Named("yunwu", "https://yunwu.ai/v1", "YUNWU_API_KEY"),
    "ollama": Named("ollama", "http://localhost:11434/v1", None),
    "local": Named("local", "", None),
    "sandbox": Named("sandbox", "", None),
}
EXAMPLE: dict[str, Any] = {
    "source": "reviews.jsonl",
    "output": "output/results.jsonl",
    "base_url": "local",
    "concurrency": 8,
    "id_field": "id",
    "carry": ["label", "source"],
    "defaults": {"temperature": 0},
    "request": {"model": "m", "messages": [{"role": "user", "content": "{{ text }}"}]},
    "answer": {"label": "/label", "gold": "label"},
}


def settle(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    job: Mapping[str, Any] | None = None,
    job_file: Path | None = None,
    now: datetime = NOON,
    sending: bool = True,
) -> Settings:
    """Resolve with a source, an output and an endpoint unless a job brings them."""
    base = {"source": "in.jsonl", "output": "out.jsonl", "base_url": "http://h"}
    return resolve(
        flags={**({} if job else base), **(flags or {})},
        job=job or {},
        job_file=job_file or (Path("jobs/x/job.toml") if job else None),
        around=Surroundings(environ or {}, now, NAMED.get, lambda _: f"{SECRET}\n"),
        sending=sending,
    )


def refusal(**kwargs: Any) -> str:
    """Give the words with which settings are refused."""
    with pytest.raises(UsageError) as caught:
        settle(**kwargs)
    return str(caught.value)


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


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("https://yunwu.ai/v1", "yunwu.ai"), ("yunwu", "yunwu"), ("http://H:8000/v1", "h"),
        ("http://sandbox:8000/v1", "sandbox:8000"), ("http://local/v1", "local:80"),
    ],
)  # fmt: skip
def test_name_of_the_endpoint(base_url: str, name: str) -> None:
    """An address is called by its host, and never like an endpoint that it isn't."""
    assert settle({"base_url": base_url}, environ={"BATCHER_API_KEY": "k"}).endpoint == name


def test_options_of_a_served_endpoint() -> None:
    """An endpoint that the run serves gets its own table, and no other's."""
    job = {**EXAMPLE, "sandbox": {"seed": 7}, "local": {"model_file": "m"}}
    assert settle({"base_url": "sandbox"}, job=job).endpoint_options == {"seed": 7}
    assert "seed" not in settle(job=job).endpoint_options


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("https://h/v1", "/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h", "/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/api/v3", "/v1/chat/completions", "https://h/api/v3/chat/completions"),
        ("https://h/v1", "/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/v1", "/v1beta/models", "https://h/v1/v1beta/models"),
        ("https://h/v1", "/v1?api-version=1", "https://h/v1?api-version=1"),
        ("http://[::1]:8000/v1", "/v1/embeddings", "http://[::1]:8000/v1/embeddings"),
    ],
)
def test_target_url(base: str, path: str, expected: str) -> None:
    """A base with a path takes the row's path without `/v1`; one without takes it whole."""
    assert target_url(base, path) == expected


@given(
    base=st.sampled_from(["https://h.example", "https://h.example:8443/v1", "http://h.example/a"]),
    path=st.text(alphabet="/v1@.:\\?#ab", max_size=12).map("/{}".format),
)
def test_target_stays_at_home(base: str, path: str) -> None:
    """Whatever path passes, the origin of the target is the base's."""
    if forms.is_row_path(path):
        assert origin_of(target_url(base, path)) == origin_of(base)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h", "http:///x", "https://u:p@h", "https://h?x=1", "https://h/v1#x", "https://h:x",
        "https://h/v1/chat/completions", "https://h/../v1", "https://h/a b", "https:\\\\h",
        "h:80/v1", "https://h:99999", "https://ü.example",
    ],
)  # fmt: skip
def test_bad_base_url(url: str) -> None:
    """A base URL is plain http(s): a refusal names the flag and quotes nothing of it."""
    text = refusal(flags={"base_url": url})
    assert "--base-url" in text
    assert url not in text


KEYS = {
    "BATCHER_API_KEY": "batcher",
    "OPENAI_API_KEY": "openai",
    "YUNWU_API_KEY": "yunwu",
    "MINE": "mine",
}


def only(*names: str, **more: str) -> dict[str, str]:
    """Give an environment of some of the keys."""
    return {**{name: KEYS[name] for name in names}, **more}


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        pytest.param({"base_url": "yunwu"}, KEYS, "batcher", id="BATCHER_API_KEY first"),
        pytest.param({"base_url": "yunwu"}, only("OPENAI_API_KEY", "YUNWU_API_KEY"), "yunwu",
                     id="then the endpoint's own"),
        pytest.param({"base_url": "yunwu", "api_key_env": "MINE"}, KEYS, "mine",
                     id="a named variable wins"),
        pytest.param({"base_url": "yunwu", "api_key_file": "k"}, KEYS, SECRET, id="a file wins"),
        pytest.param({"base_url": "openai"}, only("OPENAI_API_KEY"), "openai", id="openai"),
        pytest.param({"base_url": "https://api.openai.com/v1"}, only("OPENAI_API_KEY"), "openai",
                     id="openai by its address"),
        pytest.param({"base_url": "https://h/v1"}, only("OPENAI_API_KEY"), None,
                     id="never elsewhere"),
        pytest.param({"base_url": "https://api.openai.com.evil/v1"}, only("OPENAI_API_KEY"), None,
                     id="nor to a look-alike"),
        pytest.param({"base_url": "http://api.openai.com/v1"}, only("OPENAI_API_KEY"), None,
                     id="nor in the clear"),
        pytest.param({"base_url": "https://h/other"},
                     only("OPENAI_API_KEY", OPENAI_BASE_URL="https://H/v1"), "openai",
                     id="the host of OPENAI_BASE_URL"),
        pytest.param({"base_url": "http://h/v1"},
                     only("OPENAI_API_KEY", OPENAI_BASE_URL="https://h/v1"), None,
                     id="not in the clear there either"),
        pytest.param({"base_url": None},
                     only("OPENAI_API_KEY", OPENAI_BASE_URL="http://h/v1"), "openai",
                     id="OPENAI_BASE_URL itself"),
        pytest.param({"base_url": "http://h"}, {"BATCHER_API_KEY": " "}, None, id="blank is none"),
        pytest.param({"base_url": "ollama"}, only("OPENAI_API_KEY"), None, id="needs none"),
        pytest.param({"base_url": "sandbox"}, KEYS, None, id="what we serve gets none"),
    ],
)  # fmt: skip
def test_key(flags: dict[str, Any], environ: dict[str, str], expected: str | None) -> None:
    """A key goes where it was meant to go, and nowhere else."""
    assert settle(flags, environ=environ).api_key == expected


@pytest.mark.parametrize(
    ("flags", "environ", "word"),
    [
        pytest.param({"base_url": "yunwu"}, only("OPENAI_API_KEY"), "YUNWU_API_KEY", id="missing"),
        pytest.param({"api_key_env": SECRET}, {}, "name of an environment", id="a key as a name"),
        pytest.param({"api_key_env": "sk_x"}, {}, "holds no key", id="an unset variable"),
        pytest.param({"api_key_env": "A", "api_key_file": "f"}, {}, "give one", id="two places"),
        pytest.param({}, {"BATCHER_API_KEY": f"{SECRET}\nX: y"}, "BATCHER_API_KEY", id="LF"),
        pytest.param({"headers": (f"Authorization: {SECRET}",)}, {}, "--header", id="bearer"),
        pytest.param({"headers": (f"x-api-key: {SECRET}",)}, {}, "--auth-header", id="api key"),
        pytest.param({"headers": (f"api: {SECRET}",), "auth_header": "API"}, {}, "API",
                     id="the auth header"),
        pytest.param({"headers": (f"X-Foo: a {SECRET}",)}, {"BATCHER_API_KEY": SECRET}, "X-Foo",
                     id="the key in another"),
        pytest.param({"headers": ("Host: evil",)}, {}, "Host", id="another host"),
        pytest.param({"headers": (f"X: {SECRET}\r\nY: z",)}, {}, "--header", id="CR and LF"),
        pytest.param({"headers": (SECRET,)}, {}, "--header", id="no colon"),
    ],
)  # fmt: skip
def test_key_refusals(flags: dict[str, Any], environ: dict[str, str], word: str) -> None:
    """A key in the wrong place is refused without being quoted."""
    text = refusal(flags=flags, environ=environ)
    assert word.lower() in text.lower()
    assert SECRET not in text
    assert "sk_x" not in text


def test_a_header_of_a_job_that_carries_a_key() -> None:
    """A job file can't bring Authorization either."""
    text = refusal(job={**EXAMPLE, "base_url": "http://h", "headers": {"authorization": SECRET}})
    assert "headers" in text
    assert SECRET not in text


def test_headers_add_up() -> None:
    """Headers of all places are sent; of one name, the highest word counts."""
    job = {**EXAMPLE, "base_url": "http://h", "headers": {"X-A": "job", "X-B": "job"}}
    settings = settle({"headers": ("x-a: flag",)}, environ={"BATCHER_HEADER": "X-C: env"}, job=job)
    assert dict(settings.headers) == {"x-a": "flag", "X-B": "job", "X-C": "env"}


def test_secrets_are_not_shown() -> None:
    """Neither the key nor a header is in the settings' repr."""
    settings = settle({"headers": ("X-A: hidden",)}, environ={"BATCHER_API_KEY": SECRET})
    assert settings.api_key == SECRET
    assert SECRET not in repr(settings)
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h30m", 9000), ("1d", 86400), ("1.5h", 5400),
     ("0", 0), ("0.25", 0.25), ("1d2h3m4s", 93784)],
)  # fmt: skip
def test_durations(text: str, expected: float) -> None:
    """A duration is seconds, or days to seconds in this order."""
    assert seconds(text) == expected


@given(st.text(alphabet="0dhms.:+- e", max_size=8))
def test_durations_and_schema_agree(text: str) -> None:
    """The schema takes a text exactly when it is a duration; zeros keep it short enough."""
    takes = jsonschema_rs.is_valid(dict(values.duration(zero=True).schema), text)
    try:
        assert seconds(text) == 0
    except UnfitError:
        assert not takes
    else:
        assert takes


class SpringForward(tzinfo):
    """A zone at +01:00 that goes to +02:00 at 02:00 on 29 March 2026."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        assert dt is not None
        late = dt.replace(tzinfo=None) >= datetime(2026, 3, 29, 2)  # noqa: DTZ001 - wall clock
        return timedelta(hours=2 if late else 1)

    def dst(self, _: datetime | None) -> timedelta:
        return timedelta()

    def tzname(self, _: datetime | None) -> str:
        return "spring"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2h30m", "2026-11-22T14:30:00+01:00", id="a duration"),
        pytest.param("90", "2026-11-22T12:01:30+01:00", id="seconds"),
        pytest.param("18:00", "2026-11-22T18:00:00+01:00", id="later today"),
        pytest.param("06:00", "2026-11-23T06:00:00+01:00", id="tomorrow"),
        pytest.param("6:00", "2026-11-23T06:00:00+01:00", id="a short hour"),
        pytest.param("12:00", "2026-11-23T12:00:00+01:00", id="this very moment is tomorrow's"),
        pytest.param("12:00:01", "2026-11-22T12:00:01+01:00", id="with seconds"),
        pytest.param("12:30+02:00", "2026-11-23T12:30:00+02:00", id="past in its offset"),
        pytest.param("06:00+09:00", "2026-11-23T06:00:00+09:00", id="an offset a day ahead"),
        pytest.param("11:30Z", "2026-11-22T11:30:00+00:00", id="UTC"),
    ],
)
def test_deadline(text: str, expected: str) -> None:
    """A deadline is so long from now, or the next such time of day."""
    assert deadline_unix(text, NOON) == datetime.fromisoformat(expected).timestamp()


def test_deadline_over_a_clock_change() -> None:
    """06:00 is 06:00 on the clock, though the night is an hour shorter."""
    now = datetime(2026, 3, 28, 22, tzinfo=SpringForward())
    assert deadline_unix("06:00", now) - now.timestamp() == 7 * 3600


@given(st.times(), st.datetimes(timezones=st.just(UTC)))
def test_deadline_is_within_a_day(time: Any, now: datetime) -> None:
    """The next time of day is always ahead, and at most a day."""
    ahead = deadline_unix(f"{time:%H:%M:%S}", now) - now.timestamp()
    assert 0 < ahead <= 86400


def test_deadline_reaches_the_settings() -> None:
    """The settings hold the moment, whether a flag or a job file's number said it."""
    assert settle({"deadline": "60"}).deadline_unix == NOON.timestamp() + 60
    assert settle(job={**EXAMPLE, "deadline": 60}).deadline_unix == NOON.timestamp() + 60


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


def test_key_file(tmp_path: Path) -> None:
    """A key file is read; a missing or endless one is refused, and its content not quoted."""
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    assert read_key(path).strip() == SECRET
    path.write_text(SECRET * 1000)
    with pytest.raises(UsageError, match="too large") as caught:
        read_key(path)
    assert SECRET not in str(caught.value)
    with pytest.raises(UsageError, match="No such file"):
        read_key(tmp_path / "none")


@pytest.mark.parametrize(
    "module", [addresses, credentials, forms, jobfile, layers, options, schema, values]
)
def test_public_names_exist(module: Any) -> None:
    """Each name in `__all__` is there."""
    assert all(hasattr(module, name) for name in module.__all__)
