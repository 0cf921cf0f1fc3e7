"""Endpoints that have a name: where they are, where their key usually lies, whose prices hold.

A base URL here is what an OpenAI SDK would be given: `/chat/completions` is appended to it. Each is
its provider's own, from the document named beside it. Pure data: a new endpoint is a line.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

__all__ = ["ENDPOINTS", "Endpoint", "by_host", "find", "nearest"]


class Endpoint(NamedTuple):
    """An endpoint that has a name.

    Attributes:
        name: What `--base-url` takes.
        base_url: As an SDK takes it, without a trailing slash; empty where the run serves it.
        key_variable: The environment variable that usually holds its key; None where none is.
        provider: Its id in genai-prices, or None where its prices are not listed there.
        served: Whether the run serves it itself.
    """

    name: str
    base_url: str
    key_variable: str | None = None
    provider: str | None = None
    served: bool = False


_ALL: Final = (
    Endpoint("sandbox", "", served=True),
    Endpoint("local", "", served=True),
    # The page of its call: POST https://yunwu.ai/v1/chat/completions. A relay with its own prices.
    Endpoint("yunwu", "https://yunwu.ai/v1", "YUNWU_API_KEY"),
    # openai-python, _client.py
    Endpoint("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", "openai"),
    # openrouter.ai/docs/quickstart
    Endpoint("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "openrouter"),
    # api-docs.deepseek.com
    Endpoint("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", "deepseek"),
    # docs.together.ai/docs/openai-api-compatibility
    Endpoint("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", "together"),
    # console.groq.com/docs/openai
    Endpoint("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", "groq"),
    # docs.mistral.ai/api
    Endpoint("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", "mistral"),
    # docs.fireworks.ai/tools-sdks/openai-compatibility
    Endpoint(
        "fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", "fireworks"
    ),
    # docs.x.ai/docs/api-reference
    Endpoint("xai", "https://api.x.ai/v1", "XAI_API_KEY", "x-ai"),
    # inference-docs.cerebras.ai/resources/openai
    Endpoint("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", "cerebras"),
    # ai.google.dev/gemini-api/docs/openai
    Endpoint(
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GEMINI_API_KEY",
        "google",
    ),
    # docs.anthropic.com/en/api/openai-sdk. Its own `/v1/messages` lies under the same base, but
    # wants the key in `x-api-key` and a header `anthropic-version`.
    Endpoint("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", "anthropic"),
    # ollama, docs/openai.md
    Endpoint("ollama", "http://localhost:11434/v1"),
    # docs.vllm.ai, serving/openai_compatible_server
    Endpoint("vllm", "http://localhost:8000/v1"),
    # lmstudio.ai/docs, OpenAI compatibility endpoints
    Endpoint("lmstudio", "http://localhost:1234/v1"),
    # llama.cpp, tools/server/README.md
    Endpoint("llamacpp", "http://localhost:8080/v1"),
)
ENDPOINTS: Final = {one.name: one for one in _ALL}

_BY_HOST: Final = {
    host: one for one in _ALL if (host := urlsplit(one.base_url).hostname) and host != "localhost"
}

# difflib's own default is 0.6; a name this short needs more likeness to be meant.
_LIKENESS: Final = 0.7


def find(name: str) -> Endpoint | None:
    """Find an endpoint by its exact name."""
    return ENDPOINTS.get(name)


def by_host(host: str) -> Endpoint | None:
    """Find the named endpoint that is at a host; several may be at `localhost`, so none is."""
    return _BY_HOST.get(host.lower())


def nearest(name: str) -> str | None:
    """Give the name that was probably meant by one that does not exist."""
    # 4 ms of import for the unlucky alone
    from difflib import get_close_matches

    close = get_close_matches(name.lower(), ENDPOINTS, n=1, cutoff=_LIKENESS)
    return close[0] if close else None
