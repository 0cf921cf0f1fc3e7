"""Settings: names of endpoints, base URLs, and where a row's path leads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.settings import forms, target_url
from batcher.settings.addresses import origin_of
from tests.settling import EXAMPLE, refusal, settle


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
