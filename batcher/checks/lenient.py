"""What models write when they mean JSON: fences, trailing commas, Python literals.

A text is rewritten token by token into JSON, in one pass and in linear time, without evaluating
anything; whether the outcome is JSON is then for a real parser to say. What is corrected:

- a Markdown fence around the text, with or without words around the fence, if there is only one;
- a comma before a closing bracket;
- `True`, `False`, `None`;
- single-quoted strings, their escapes, and raw line breaks or tabs in any string.

What is not: missing brackets or quotes, comments, NaN, tuples, two values in a row. Those are
guesses about what was meant.
"""

from __future__ import annotations

import re

import orjson

__all__ = ["lenient_json"]

_FENCE = re.compile(r"```[\w+-]*[ \t]*\r?\n(.*?)```", re.DOTALL)
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<number>-?\d[\d.eE+-]*)
    |(?P<word>[A-Za-z]+)
    |(?P<mark>[{}\[\],:])""",
    re.DOTALL | re.VERBOSE,
)
_WORDS = {"True": "true", "False": "false", "None": "null"} | {
    word: word for word in ("true", "false", "null")
}
# A comma after one of these, or after nothing, trails no value.
_NO_VALUE_BEFORE: tuple[list[str], ...] = ([], ["["], ["{"], [","], [":"])
_IN_STRING = re.compile(r"""\\(x[0-9a-fA-F]{2}|.)|["\x00-\x1f]""", re.DOTALL)


def lenient_json(text: str) -> str | None:
    """Rewrite a text that is almost JSON into JSON.

    Returns:
        JSON text, or None if these corrections don't make it JSON.
    """
    fenced = _FENCE.findall(text)
    if len(fenced) == 1:
        text = fenced[0]
    rewritten = _rewrite(text)
    if rewritten is None:
        return None
    try:
        orjson.loads(rewritten)
    except orjson.JSONDecodeError:
        return None
    return rewritten


def _rewrite(text: str) -> str | None:
    pieces: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        at = match.end()
        kind, piece = match.lastgroup, match.group()
        if kind == "space":
            continue
        if kind == "string":
            piece = f'"{_IN_STRING.sub(_json_escape, piece[1:-1])}"'
        elif kind == "word":
            piece = _WORDS.get(piece, "")
        elif piece in "]}" and pieces[-1:] == [","] and pieces[-2:-1] not in _NO_VALUE_BEFORE:
            pieces.pop()
        if not piece:
            return None
        pieces.append(piece)
    # Blanks between, lest two numbers in a row become one.
    return " ".join(pieces)


def _json_escape(match: re.Match[str]) -> str:
    """Write one escape of a Python or JSON string, or a character that needs one, as JSON does."""
    escape: str | None = match.group(1)
    if escape is None:
        character = match.group()
        return '\\"' if character == '"' else f"\\u{ord(character):04x}"
    if escape[0] == "x":
        return f"\\u00{escape[1:]}" if len(escape) > 1 else "\\\\x"
    if escape == "'":
        return "'"
    # Python keeps the backslash of an escape that it does not know.
    return f"\\{escape}" if escape in '"\\/bfnrtu' else f"\\\\{escape}"
