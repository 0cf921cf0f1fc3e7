"""Settings: where a key goes, and which headers may be sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batcher.errors import UsageError
from batcher.settings.jobfile import read_key
from tests.settling import EXAMPLE, SECRET, refusal, settle

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
