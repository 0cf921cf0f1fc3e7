"""What the sandbox answers: from one neutral form of a request to one neutral form of an answer.

Each family (chat, completions, responses, messages) reads its request into an `Ask` and writes
`Choice`s in its own shape. In between, nothing depends on anything but the seed, the request and
the fault that the attempt meets.

With tools and `tool_choice: auto`, a tool is called unless the last message is a tool's result;
then the answer quotes that result. Of several tools the one is called whose name and description
share most words with the last message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from batcher.endpoints.sandbox.clues import Clues
from batcher.endpoints.sandbox.dice import Dice
from batcher.endpoints.sandbox.schema import Compiled, compiled, instance
from batcher.endpoints.sandbox.words import count_tokens, prose, to_tokens

__all__ = ["JSON_OBJECT", "Ask", "Call", "Choice", "Draft", "Tool", "compose"]

# What `response_format: json_object` is answered with: any object would do.
JSON_OBJECT = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
}
_WORDS = re.compile(r"[a-z0-9]+")

# A tool's result is quoted so far.
_QUOTE_MAX_CHARS = 2000

_REFUSAL = "I'm sorry, I can't help with that."


class Tool(NamedTuple):
    """A tool that a request offers.

    Attributes:
        parameters: Its JSON Schema, compiled.
        tokens: What it adds to the prompt.
    """

    name: str
    description: str
    parameters: Compiled
    tokens: int


class Call(NamedTuple):
    """A call of a tool; `arguments` is JSON text, or what a fault made of it."""

    id: str
    name: str
    arguments: str


class Choice(NamedTuple):
    """One answer. `finish` is `stop`, `length`, `tool_calls` or `content_filter`."""

    text: str | None
    calls: tuple[Call, ...]
    finish: str
    refusal: str | None = None

    @property
    def tokens(self) -> int:
        """The tokens of its text and calls."""
        said = count_tokens(self.text or self.refusal or "")
        for call in self.calls:
            said += count_tokens(call.name) + count_tokens(call.arguments)
        return said


@dataclass(slots=True, kw_only=True)
class Ask:
    """A request, whatever its family.

    Attributes:
        model: As named in the request.
        texts: What user and tools said, oldest first.
        prompt_tokens: Estimate of the whole prompt.
        tools: What may be called.
        tool_choice: `auto`, `none`, `required`, or `=name` of the one tool that must be called.
        schema: What the answer's JSON must satisfy; None for free text.
        result: The last message, when it is a tool's result.
        stop: Texts before which an answer is cut.
        max_tokens: Most tokens of one answer.
        n: How many answers.
    """

    model: str
    texts: Sequence[str]
    prompt_tokens: int
    tools: Sequence[Tool] = ()
    tool_choice: str = "auto"
    schema: Any = None
    result: str | None = None
    stop: Sequence[str] = ()
    max_tokens: int | None = None
    n: int = 1


class Draft(NamedTuple):
    """All that a family needs to write an answer.

    Attributes:
        ask: The request, read.
        choices: The answers.
        ident: A name drawn from the request, for the answer's `id`.
        created: Unix seconds.
        usage: In the family's own words.
        request: The request's body.
    """

    ask: Ask
    choices: Sequence[Choice]
    ident: str
    created: int
    usage: dict[str, Any]
    request: Mapping[str, Any]


def compose(
    ask: Ask, *, draw: int, words: int, reasoning_tokens: int, fault: str | None
) -> list[Choice]:
    """Answer a request.

    Args:
        ask: The request.
        draw: A large integer that stands for seed and request.
        words: Mean length of a free answer.
        reasoning_tokens: What `max_tokens` loses to reasoning.
        fault: One of the faults of content, or None.
    """
    most = None if ask.max_tokens is None else max(0, ask.max_tokens - reasoning_tokens)
    return [
        _cut(_one(ask, draw + at, words, fault), ask.stop, most, halve=fault == "length")
        for at in range(ask.n)
    ]


def _one(ask: Ask, draw: int, words: int, fault: str | None) -> Choice:
    if fault == "refusal":
        return Choice(None, (), "stop", _REFUSAL)
    if fault == "content_filter":
        return Choice(None, (), "content_filter")
    tool = None if fault == "tool_none" else _due(ask)
    if tool is not None:
        return _call(ask, tool, draw, fault)
    if ask.schema is not None:
        return Choice(_json(ask, draw, fault), (), "stop")
    if ask.result is not None:
        return Choice(f"Here is what I found: {ask.result[:_QUOTE_MAX_CHARS]}", (), "stop")
    return Choice(prose(draw, words=1 + draw % (2 * words - 1)), (), "stop")


def _due(ask: Ask) -> Tool | None:
    """Return the tool that is to be called, if any."""
    if not ask.tools or ask.tool_choice == "none":
        return None
    if ask.tool_choice.startswith("="):
        return next(tool for tool in ask.tools if tool.name == ask.tool_choice[1:])
    if ask.tool_choice == "auto" and ask.result is not None:
        return None
    if len(ask.tools) == 1:
        return ask.tools[0]
    said = set(_WORDS.findall(ask.texts[-1].lower())) if ask.texts else set()
    return max(
        ask.tools,
        key=lambda t: len(said.intersection(_WORDS.findall(f"{t.name} {t.description}".lower()))),
    )


def _call(ask: Ask, tool: Tool, draw: int, fault: str | None) -> Choice:
    made = instance(tool.parameters, Dice(draw), Clues(ask.texts))
    if fault == "tool_bad_types":
        made = _spoilt(tool.parameters, made)
    arguments = orjson.dumps(made).decode()
    name = tool.name
    if fault == "tool_bad_json":
        arguments = arguments[:-1]
    elif fault == "tool_unknown":
        offered = {other.name for other in ask.tools}
        name = next(new for at in range(2, 99) if (new := f"{name}_v{at}") not in offered)
    finish = "stop" if fault == "tool_wrong_finish" else "tool_calls"
    return Choice(None, (Call(f"call_{draw % 2**96:024x}", name, arguments),), finish)


def _json(ask: Ask, draw: int, fault: str | None) -> str:
    made = instance(ask.schema, Dice(draw), Clues(ask.texts))
    if fault == "answer_schema":
        made = _spoilt(compiled(ask.schema), made)
    said = orjson.dumps(made).decode()
    return f"```json\n{said}\n```" if fault == "fenced" else said


def _spoilt(schema: Compiled, made: object) -> object:
    """Change as little as breaks the schema: a value's type, else a field's presence, else all."""
    if isinstance(made, dict):
        for name, value in made.items():
            wrong: object = [] if isinstance(value, str) else "a text"
            if not schema.allows(changed := {**made, name: wrong}):
                return changed
        for name in made:
            if not schema.allows(changed := {key: made[key] for key in made if key != name}):
                return changed
    others: tuple[object, ...] = ("a text", None, [])
    return next((other for other in others if not schema.allows(other)), "a text")


def _cut(choice: Choice, stop: Sequence[str], most: int | None, *, halve: bool) -> Choice:
    """Apply stop sequences to the text, then the bound on tokens to whatever was said."""
    said = choice.text
    if said is not None:
        ends = [at for mark in stop if mark and (at := said.find(mark)) >= 0]
        choice = choice._replace(text=said[: min(ends)]) if ends else choice
    if halve:
        most = min(choice.tokens // 2, choice.tokens if most is None else most)
    if most is None or choice.tokens <= most:
        return choice
    if choice.calls:
        call = choice.calls[0]
        kept = to_tokens(call.arguments, max(0, most - count_tokens(call.name)))
        return choice._replace(calls=(call._replace(arguments=kept),), finish="length")
    return choice._replace(text=to_tokens(choice.text or "", most), finish="length", refusal=None)
