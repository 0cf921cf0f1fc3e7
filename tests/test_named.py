"""The table of named endpoints is sound, and is found by name, by host and by a near name."""

import re
from urllib.parse import urlsplit

import pytest
from genai_prices.data_snapshot import get_snapshot

from batcher.endpoints.named import ENDPOINTS, Endpoint, by_host, find, nearest

EACH = [pytest.param(one, id=one.name) for one in ENDPOINTS.values()]


@pytest.mark.parametrize("one", EACH)
def test_base_url_is_an_sdk_base(one: Endpoint) -> None:
    """A base is https or this machine, without the call's path; one that is served has none."""
    url = urlsplit(one.base_url)
    assert one.served is not bool(one.base_url)
    assert one.served or url.scheme == "https" or url.hostname == "localhost"
    assert not one.base_url.endswith(("/", "/completions"))
    assert one.served or url.path, "a base without a path would take the row's path whole"


@pytest.mark.parametrize("one", EACH)
def test_key_goes_with_distance(one: Endpoint) -> None:
    """Whatever is off this machine has a key's variable, and nothing on it has."""
    assert (one.key_variable is not None) is one.base_url.startswith("https://")


@pytest.mark.parametrize("one", EACH)
def test_provider_is_known_to_the_price_list(one: Endpoint) -> None:
    """A provider's id is one of genai-prices, whose own pattern recognises the base URL."""
    patterns = {each.id: each.api_pattern for each in get_snapshot().providers}
    assert one.provider is None or re.search(patterns[one.provider], one.base_url)


def test_yunwu_is_the_documented_call() -> None:
    """The page's call is the base URL with the path of an SDK."""
    found = find("yunwu")
    assert found is not None
    assert found.base_url + "/chat/completions" == "https://yunwu.ai/v1/chat/completions"


def test_find_wants_the_exact_name() -> None:
    """A name is found as it stands, and nothing else is."""
    assert find("openai") is ENDPOINTS["openai"]
    assert find("OpenAI") is None
    assert find("https://api.openai.com/v1") is None


@pytest.mark.parametrize(
    ("host", "name"),
    [
        pytest.param("api.openai.com", "openai", id="a provider's host"),
        pytest.param("API.OpenAI.com", "openai", id="hosts have no case"),
        pytest.param("localhost", None, id="several may be at localhost"),
        pytest.param("openai.com", None, id="another host of the provider"),
        pytest.param("", None, id="no host"),
    ],
)
def test_by_host(host: str, name: str | None) -> None:
    """An endpoint is known by the host of its base URL."""
    found = by_host(host)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        pytest.param("opnai", "openai", id="a letter left out"),
        pytest.param("OpenRouter", "openrouter", id="case"),
        pytest.param("sandbx", "sandbox", id="one served by the run"),
        pytest.param("yunwo", "yunwu", id="a wrong letter"),
        pytest.param("zzz", None, id="nothing like it"),
    ],
)
def test_nearest(typed: str, meant: str | None) -> None:
    """A typing error leads to the name that was meant."""
    assert nearest(typed) == meant
