"""The families of endpoints that the sandbox serves: how each is read, answered and billed.

Chat is the page itself; the others are there in form, so that rows of any family can be rehearsed.
Embeddings are unit vectors drawn from the text alone: the same text has the same vector.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Mapping
from hashlib import blake2b
from random import Random
from typing import Any, NamedTuple

from batcher.amounts import Usage
from batcher.endpoints.sandbox import refusals
from batcher.endpoints.sandbox.chat import read_chat, write_chat
from batcher.endpoints.sandbox.compose import Ask, Draft
from batcher.endpoints.sandbox.messages import messages_usage, read_messages, write_messages
from batcher.endpoints.sandbox.refusals import COMMON, missing, wrong_type
from batcher.endpoints.sandbox.responses import read_responses, responses_usage, write_responses
from batcher.endpoints.sandbox.words import count_tokens

__all__ = ["FAMILIES", "Family"]

# text-embedding-3-small's is 1536; a short one keeps rehearsals small.
_DIMENSIONS = 64
_DIMENSIONS_MAX = 4096

Body = dict[str, Any]


class Family(NamedTuple):
    """One endpoint.

    Attributes:
        read: Checks a body and reads it.
        write: Writes an answer as JSON values.
        usage: Writes usage in the family's own words.
        answers: The key without which an answer is none, for the fault `no_choices`.
        anthropic: Whether its errors have Anthropic's shape.
    """

    read: Callable[[Mapping[str, Any]], Ask]
    write: Callable[[Draft], Body]
    usage: Callable[[Usage], Body]
    answers: str
    anthropic: bool = False


def _openai_usage(usage: Usage) -> Body:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _embedding_usage(usage: Usage) -> Body:
    return {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens}


def _strings(where: str, value: object) -> list[str]:
    """Read a string or a non-empty array of strings or of token numbers."""
    if value is None:
        raise missing(where)
    if isinstance(value, str):
        return [value]
    refusals.array(where, value)
    items = value if isinstance(value, list) else []
    if all(isinstance(item, int) for item in items):
        return [" ".join(map(str, items))]
    for at, item in enumerate(items):
        if not isinstance(item, (str, list)):
            raise wrong_type(f"{where}[{at}]", "a string", item)
    return [item if isinstance(item, str) else " ".join(map(str, item)) for item in items]


def _read_completions(body: Mapping[str, Any]) -> Ask:
    refusals.check_fields(body, COMMON)
    prompts = _strings("prompt", body.get("prompt"))
    stop = body.get("stop") or ()
    return Ask(
        model=body["model"],
        texts=prompts,
        prompt_tokens=sum(map(count_tokens, prompts)),
        stop=(stop,) if isinstance(stop, str) else stop,
        # OpenAI's own default here is 16.
        max_tokens=body.get("max_tokens") or 16,
        n=(body.get("n") or 1) * len(prompts),
    )


def _write_completions(draft: Draft) -> Body:
    return {
        "id": f"cmpl-{draft.ident}",
        "object": "text_completion",
        "created": draft.created,
        "model": draft.ask.model,
        "choices": [
            {
                "text": choice.text or "",
                "index": at,
                "logprobs": None,
                "finish_reason": choice.finish,
            }
            for at, choice in enumerate(draft.choices)
        ],
        "usage": draft.usage,
    }


def _read_embeddings(body: Mapping[str, Any]) -> Ask:
    checks = {**COMMON, "dimensions": refusals.integer(1, _DIMENSIONS_MAX)}
    refusals.check_fields(body, checks)
    if body.get("encoding_format") is not None:
        refusals.one_of("encoding_format", body["encoding_format"], ("float", "base64"))
    texts = _strings("input", body.get("input"))
    return Ask(model=body["model"], texts=texts, prompt_tokens=sum(map(count_tokens, texts)), n=0)


def _write_embeddings(draft: Draft) -> Body:
    dimensions = draft.request.get("dimensions") or _DIMENSIONS
    packed = draft.request.get("encoding_format") == "base64"
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": at,
                "embedding": _vector(text, dimensions, packed=packed),
            }
            for at, text in enumerate(draft.ask.texts)
        ],
        "model": draft.ask.model,
        "usage": draft.usage,
    }


def _vector(text: str, dimensions: int, *, packed: bool) -> list[float] | str:
    """Return a unit vector, as numbers or as little-endian float32 in base64."""
    rng = Random(blake2b(text.encode("utf-8", "replace"), digest_size=16).digest())
    numbers = [rng.gauss(0, 1) for _ in range(dimensions)]
    norm = math.hypot(*numbers)
    numbers = [round(number / norm, 8) for number in numbers]
    if packed:
        return base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode()
    return numbers


FAMILIES: Mapping[str, Family] = {
    "/chat/completions": Family(read_chat, write_chat, _openai_usage, "choices"),
    "/completions": Family(_read_completions, _write_completions, _openai_usage, "choices"),
    "/embeddings": Family(_read_embeddings, _write_embeddings, _embedding_usage, "data"),
    "/responses": Family(read_responses, write_responses, responses_usage, "output"),
    "/messages": Family(read_messages, write_messages, messages_usage, "content", anthropic=True),
}
