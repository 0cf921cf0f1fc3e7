"""The most that an attempt can cost, said before it leaves, from the bytes that it sends.

The prompt. A byte-level BPE token stands for one byte of text at least, and so does a SentencePiece
token that is no byte itself; so a text has no more tokens than bytes. JSON only lengthens a text
(escapes), and the frame of a message in it (`{"role":"user","content":""},` has 29 bytes) is longer
than what a chat template puts around it (`<|start_header_id|>user<|end_header_id|>` and the like,
3 to 8 tokens). What a template or a provider adds once for a request is bounded by a constant. So
the bytes of the body and that constant bound the prompt, wherever the prompt is in the body.

It isn't where a part is measured otherwise or lies elsewhere: an image counts by its pixels, and
has a bound of its own; a file, a video, a search or an earlier conversation counts as what only the
endpoint knows, and is bounded by the model's context alone.

The answer. `max_tokens` and its like bound it, for all choices together; else the model's own
limit does, or on the basis `seen` twice the longest answer so far.

Should an endpoint count more than was said, the difference is added to every later bound of that
model: a bound that was wrong is wrong once.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from batcher.amounts import NO_AMOUNT, Amount, Usage
from batcher.answers import Family, family_of
from batcher.pricing import Pricer
from batcher.records import Row

__all__ = ["Bound", "Bounds", "Unbounded"]

# What stands in a prompt and in no body: default system prompts of open models (up to 450 tokens),
# and instructions for tools (Anthropic's are the longest documented, 313 to 804 tokens).
_HIDDEN_TOKENS: Final = 512
_HIDDEN_TOKENS_WITH_TOOLS: Final = 1536

# The dearest image that is documented: gpt-4o-mini, 2,833 + 8 tiles of 5,667. Others stay below
# 16,384 (Qwen-VL); gpt-4o has 1,445 at most, Claude 4,784.
_IMAGE_TOKENS: Final = 20_000
_DEAREST_IMAGES: Final = ("gpt-4o-mini", 50_000)

# On the basis of what was seen, an answer may be twice as long as the longest, and as this.
_SEEN_LEAST: Final = 128
# Before the first answer of a model without a known limit: longer than any answer is.
_UNSEEN: Final = 1_000_000

# Model names come from the rows: what is remembered of them is bounded.
_MOST_MODELS: Final = 4096

_IMAGES: Final = frozenset({b"image_url", b"input_image", b"image"})
# Types of parts, messages, tools, formats and JSON schemas that are wholly in the body. A sound is
# in it as well, with more bytes than tokens.
_IN_BODY: Final = (
    b"text input_text output_text input_audio content refusal message reasoning thinking "
    b"redacted_thinking function function_call function_call_output tool_use tool_result tool "
    b"custom custom_tool_call custom_tool_call_output json_object json_schema grammar "
    b"auto none any enabled disabled adaptive ephemeral base64 url "
    b"object string number integer boolean array null"
).split()
# What a bound depends on, looked for in one pass: other types; tools; what was predicted and is
# billed as part of the answer where it is not used; keys that bring in what is not in the body.
_MARKS: Final = re.compile(
    rb'"(?:type":"(?!(?:%b)")(?P<kind>[^"]*)|(?P<tools>tools":)|(?P<prediction>prediction":\{)'
    rb'|web_search_options":|previous_response_id":"|conversation":|plugins":|prompt":\{'
    rb'|file_id":)' % b"|".join(_IN_BODY)
)


class _Parts(NamedTuple):
    """What of a request is not measured by its text."""

    tools: bool = False
    prediction: bool = False
    images: int = 0
    elsewhere: bool = False


_PLAIN: Final = _Parts()


class Bound(NamedTuple):
    """The most that an attempt can cost: in all, and the tokens of its prompt and its answer."""

    amount: Amount
    prompt: int
    answer: int


class Unbounded(NamedTuple):
    """Why there is no bound, in a few words that follow the model's name."""

    why: str


_NO_PRICE: Final = Unbounded("has no price (--prices gives one)")
_NO_LIMIT: Final = Unbounded("has no known limit to its answers, and the row names none")
_NO_CONTEXT: Final = Unbounded("has no known context, and the row brings in what is not in it")


class Bounds:
    """Bounds what attempts can cost.

    Args:
        pricer: Prices, and limits of models.
        priced: Whether a bound must have a price; else its `usd` is 0 where none is known.
        seen: Whether answers without a limit of their own are bounded by those seen so far.
    """

    def __init__(self, pricer: Pricer, *, priced: bool = True, seen: bool = False) -> None:
        self._pricer = pricer
        self._priced = priced
        self._seen = seen
        self._longest: dict[str, int] = {}
        self._limit = lru_cache(maxsize=_MOST_MODELS)(pricer.model_output_limit)
        self._context = lru_cache(maxsize=_MOST_MODELS)(pricer.model_context)
        # What was counted beyond what was said, by model: prompt and answer.
        self._beyond: dict[str, tuple[int, int]] = {}

    def most(self, row: Row, body: bytes, now_unix: float) -> Bound | Unbounded:
        """Bound what an attempt can cost that sends `body` for a row now."""
        parts = _parts(body)
        prompt = self._prompt_tokens(row, body, parts)
        if prompt is None:
            return _NO_CONTEXT
        answer = self._answer_tokens(row, body, parts)
        if answer is None:
            return _NO_LIMIT
        if row.model in self._beyond:
            more_prompt, more_answer = self._beyond[row.model]
            prompt, answer = prompt + more_prompt, answer + more_answer
        usd = self._pricer.most(row.model, prompt, answer, now_unix)
        if usd is None:
            if self._priced:
                return _NO_PRICE
            usd = NO_AMOUNT.usd
        return Bound(Amount(usd, prompt + answer), prompt, answer)

    def knows(self, row: Row) -> bool:
        """Whether the row says itself how long its answer can be, or answers like it were seen."""
        return not self._seen or row.max_output_tokens is not None or row.model in self._longest

    def moves(self, row: Row) -> bool:
        """Whether the bound of a row changes with what is seen."""
        return (self._seen and row.max_output_tokens is None) or row.model in self._beyond

    def note(self, row: Row, usage: Usage) -> None:
        """Note how long an answer was."""
        if self._seen:
            each = -(-(usage.total_tokens - usage.prompt_tokens) // row.choices)
            self._longest[row.model] = max(self._longest.get(row.model, _SEEN_LEAST), each)

    def widen(self, model: str, said: Bound, usage: Usage) -> None:
        """Widen the bounds of a model of which an attempt used more than was said."""
        prompt, answer = self._beyond.get(model, (0, 0))
        answered = usage.total_tokens - usage.prompt_tokens
        prompt += max(0, usage.prompt_tokens - said.prompt)
        self._beyond[model] = (prompt, answer + max(0, answered - said.answer))

    def _prompt_tokens(self, row: Row, body: bytes, parts: _Parts) -> int | None:
        if parts.elsewhere:
            return self._context(row.model)
        tokens = len(body) + (_HIDDEN_TOKENS_WITH_TOOLS if parts.tools else _HIDDEN_TOKENS)
        if parts.images:
            name, dear = _DEAREST_IMAGES
            tokens += parts.images * (dear if name in row.model else _IMAGE_TOKENS)
        return tokens

    def _answer_tokens(self, row: Row, body: bytes, parts: _Parts) -> int | None:
        if family_of(row.path) is Family.EMBEDDINGS:
            return 0
        most = row.max_output_tokens
        if most is None:
            seen = self._longest.get(row.model)
            each = self._limit(row.model) if seen is None else 2 * seen
            if each is None and self._seen:
                each = _UNSEEN
            if each is None:
                return None
            most = each * row.choices
        return most + len(body) if parts.prediction else most


def _parts(body: bytes) -> _Parts:
    parts = _PLAIN
    for mark in _MARKS.finditer(body):
        name = mark.lastgroup
        if name == "tools":
            parts = parts._replace(tools=True)
        elif name == "prediction":
            parts = parts._replace(prediction=True)
        elif name == "kind" and mark["kind"] in _IMAGES:
            parts = parts._replace(images=parts.images + 1)
        else:
            parts = parts._replace(elsewhere=True)
    return parts
