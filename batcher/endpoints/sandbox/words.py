"""Plain words for answers of which nothing in particular is asked, and the length of a text."""

from __future__ import annotations

__all__ = ["WORDS", "count_tokens", "prose", "to_tokens"]

WORDS: tuple[str, ...] = tuple(
    """
    about above again answer around balance before begin between bright build carry
    certain change circle clear common corner country course cover current detail during
    early effect enough evening every family field figure finish first follow forest
    future garden gather general glass ground group happen harbour history house island
    journey kitchen language letter light little manner market matter measure middle
    minute morning mountain nature number office order paper pattern people picture
    planet plenty point possible present question quiet reason record result river
    season second simple single sketch small sound spring station stone story street
    summer system table thing thought through together travel valley village voice water
    weather window winter wonder world write yellow
    """.split()  # noqa: SIM905 - as a list literal it is a hundred lines
)

# A token of English is about four bytes: openai-cookbook, "How to count tokens".
_TOKEN_BYTES = 4

# Text to cut answers from. Its length is prime to that of the words, so that cuts differ.
_PROSE = " ".join(WORDS[(at * 37 + at // 11) % len(WORDS)] for at in range(4099))


def count_tokens(text: str) -> int:
    """Estimate the tokens of a text: the same text, the same number."""
    length = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-length // _TOKEN_BYTES)


def to_tokens(text: str, most: int) -> str:
    """Cut a text to at most so many tokens."""
    if count_tokens(text) <= most:
        return text
    return text.encode("utf-8", "replace")[: most * _TOKEN_BYTES].decode("utf-8", "ignore")


def prose(draw: int, *, words: int) -> str:
    """Return a sentence of about so many words.

    Args:
        draw: Any large integer; the same gives the same sentence.
        words: At least 1.
    """
    length = max(4, words * 7)
    start = _PROSE.index(" ", draw % (len(_PROSE) - length - 20)) + 1
    while length > len(_PROSE) - start:
        length //= 2
    end = _PROSE.find(" ", start + length)
    text = _PROSE[start : end if end > 0 else None]
    return f"{text[0].upper()}{text[1:]}."
