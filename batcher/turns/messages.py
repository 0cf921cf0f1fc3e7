"""The conversation after a request: the model's calls, their results, and the body that holds both.

The model's own message goes back as it came, since its endpoint wants to see its reasoning again
(DeepSeek's `reasoning_content`, Anthropic's thinking blocks, the reasoning items of responses);
only what is null or empty is left out. Arguments that some endpoints could not parse again are
written as they were checked. A call without an id, or with one that another call has, gets ours: a
result must find its call and no other.

A `tool_choice` that forces a call is spent once a call was carried out: it would force calls for
ever (OpenAI's Agents SDK has the same rule, `reset_tool_choice`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from batcher.answers import Family
from batcher.turns.talk import Due, Talk

__all__ = ["answer_messages", "identify", "next_body", "relaxed", "result_messages"]

_CALL_ITEMS = frozenset({"function_call", "custom_tool_call"})


def identify(
    answer: Mapping[str, Any],
    family: Family,
    *,
    request: bytes,
    added: Iterable[Mapping[str, Any]],
    new_id: Callable[[int], str],
) -> list[str]:
    """See to it that each call of an answer has an id of its own, in the answer itself.

    Args:
        answer: The parsed body; a missing or repeated id is replaced in it.
        family: Its form.
        request: The row's own body, and
        added: what was said after it: they hold ids that are taken.
        new_id: Gives an id by the call's place.

    Returns:
        The ids in order; empty for a call of the legacy kind, which has none.
    """
    said = [*_said(orjson.loads(request), family), *added]
    taken = {holder.get(key) for holder, key in _holders(said, family)}
    ids = []
    for place, (holder, key) in enumerate(_holders(_own_messages(answer, family), family)):
        given = holder.get(key)
        if not isinstance(given, str) or not given or given in taken:
            given = holder[key] = new_id(place)
        taken.add(given)
        ids.append(given)
    return ids


def answer_messages(
    answer: Mapping[str, Any], family: Family, dues: Sequence[Due] = ()
) -> list[dict[str, Any]]:
    """Give the model's answer as messages (items, for responses) to be sent back.

    Args:
        answer: The parsed body, with ids by `identify`; the arguments of `dues` are put into it
            where it has them as no JSON text.
        family: Its form.
        dues: Its calls, in order.
    """
    messages = _own_messages(answer, family)
    for (holder, _), due in zip(_holders(messages, family), dues, strict=False):
        if not due.custom:
            _settle_arguments(holder, due, family)
    return messages


def result_messages(
    dues: Sequence[Due], contents: Sequence[tuple[str, bool]], family: Family
) -> list[dict[str, Any]]:
    """Give the results of calls as messages.

    Args:
        dues: The calls, in order.
        contents: Of each, what its tool said, and whether that is an error.
        family: Whose messages.
    """
    pairs = list(zip(dues, contents, strict=True))
    if family is Family.MESSAGES:
        blocks: list[dict[str, Any]] = [
            {"type": "tool_result", "tool_use_id": due.id, "content": text}
            | ({"is_error": True} if failed else {})
            for due, (text, failed) in pairs
        ]
        return [{"role": "user", "content": blocks}]
    if family is Family.RESPONSES:
        return [
            {
                "type": "custom_tool_call_output" if due.custom else "function_call_output",
                "call_id": due.id,
                "output": text,
            }
            for due, (text, _) in pairs
        ]
    return [
        {"role": "tool", "tool_call_id": due.id, "content": text}
        if due.id
        else {"role": "function", "name": due.name, "content": text}
        for due, (text, _) in pairs
    ]


def next_body(body: bytes, talk: Talk, family: Family) -> bytes:
    """Give the body that goes on from where a row stands.

    Args:
        body: The row's own.
        talk: What was said since.
        family: Of the path that it goes to; without messages it stays as it is.
    """
    if not talk.added:
        return body
    fields = orjson.loads(body)
    key = "input" if family is Family.RESPONSES else "messages"
    fields[key] = [*_said(fields, family), *talk.added]
    return orjson.dumps(relaxed(fields) if talk.turn > 1 else fields)


def relaxed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a body, or its claims, with no `tool_choice` that forces a call."""
    copy = dict(fields)
    choice = copy.get("tool_choice")
    if choice == "required":
        copy["tool_choice"] = "auto"
    elif isinstance(choice, Mapping):
        copy["tool_choice"] = _relaxed_choice(choice)
    if isinstance(copy.get("function_call"), Mapping):
        copy["function_call"] = "auto"
    return copy


def _relaxed_choice(choice: Mapping[str, Any]) -> object:
    kind = choice.get("type")
    if kind in ("auto", "none"):
        return choice
    if kind in ("any", "tool"):
        # Anthropic's; `disable_parallel_tool_use` stands beside it.
        return {"type": "auto"} | {k: v for k, v in choice.items() if k not in ("type", "name")}
    if kind == "allowed_tools":
        inner = choice.get("allowed_tools")
        if isinstance(inner, Mapping):
            return {**choice, "allowed_tools": {**inner, "mode": "auto"}}
        return {**choice, "mode": "auto"}
    return "auto"


def _said(fields: Mapping[str, Any], family: Family) -> list[Any]:
    said = fields.get("input" if family is Family.RESPONSES else "messages")
    if isinstance(said, str):
        return [{"role": "user", "content": said}]
    return said if isinstance(said, list) else []


def _own_messages(answer: Mapping[str, Any], family: Family) -> list[dict[str, Any]]:
    if family is Family.RESPONSES:
        return [item for item in answer["output"] if isinstance(item, dict)]
    if family is Family.MESSAGES:
        return [{"role": "assistant", "content": answer["content"]}]
    choice = answer["choices"][0]
    message = choice.get("message")
    if not isinstance(message, dict):
        return [{"role": "assistant", "content": choice.get("text") or ""}]
    kept = {key: value for key, value in message.items() if value is not None and value != []}
    return [{"role": "assistant", "content": None, **kept}]


def _holders(messages: Iterable[Any], family: Family) -> list[tuple[dict[str, Any], str]]:
    """Find every call in messages: the object that holds its id, and under which key."""
    found: list[tuple[dict[str, Any], str]] = []
    for message in messages:
        if not isinstance(message, dict):
            continue
        if family is Family.RESPONSES:
            if message.get("type") in _CALL_ITEMS:
                found.append((message, "call_id"))
        elif family is Family.MESSAGES:
            found += [(block, "id") for block in _dicts(message.get("content"), "tool_use")]
        else:
            found += [(call, "id") for call in _dicts(message.get("tool_calls"))]
    return found


def _dicts(items: object, kind: str | None = None) -> list[dict[str, Any]]:
    if not isinstance(items, list):
        return []
    return [
        item
        for item in items
        if isinstance(item, dict) and (kind is None or item.get("type") == kind)
    ]


def _settle_arguments(holder: dict[str, Any], due: Due, family: Family) -> None:
    """Write the arguments of a past call as its family has them, where they are not so."""
    if family is Family.MESSAGES:
        holder["input"] = due.arguments
        return
    inner = holder if family is Family.RESPONSES else holder.get("function")
    if isinstance(inner, dict) and not _is_json(inner.get("arguments")):
        inner["arguments"] = orjson.dumps(due.arguments).decode()


def _is_json(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
