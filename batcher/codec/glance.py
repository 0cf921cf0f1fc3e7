"""Rows that can be sent, seen many at once: for whoever needs no more of them than their ids.

A body is decoded into a typed record, which holds the fields that the endpoint documents to their
types and makes no object of the rest. What a body claims of its answer is looked at once for all
rows that claim the same. Of every row that is not seen here to be good, `RowParser.parse` has the
word; of the others it would say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal, NamedTuple, Self

import msgspec

from batcher.codec.rows import RowParser
from batcher.codec.validity import check_body, type_rules
from batcher.records import Row
from batcher.settings import Settings
from batcher.settings.forms import is_row_path

__all__ = ["Glance", "Names"]

# The ids that rows give; None for a row that gives none.
Names = list[str | None]

_CHAT: Final = "/chat/completions"
_NOTHING: Final = msgspec.Raw()

# A body that is nested deeper can't be written again; a line with fewer brackets is none.
_MOST_BRACKETS: Final = 200
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[{\n"))

# As digits go, and exponents: integers of more than 64 bits, numbers beyond what a float holds.
_NUMBERS: Final = bytes(
    ord("0" if each in b"0123456789+" else "e" if each in b"eE" else " ") for each in range(256)
)
_LONG_NUMBERS: Final = (b"0" * 19, b"0e000")

# So few lines, one of which may be bad, are looked at closely rather than parted again.
_FEW: Final = 8

# Claims that are remembered, as in `RowParser`.
_MOST_CLAIMS: Final = 64
_MOST_CLAIMS_BYTES: Final = 64 * 1024


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[msgspec.Raw] | None = None


class _Body(msgspec.Struct, gc=False, kw_only=True):
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    model: str = ""
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, msgspec.Raw] | None = None
    user: str | None = None
    seed: int | None = None
    seen: int | None = None
    # What it claims of its answer.
    tools: msgspec.Raw = _NOTHING
    tool_choice: msgspec.Raw = _NOTHING
    response_format: msgspec.Raw = _NOTHING
    functions: msgspec.Raw = _NOTHING
    function_call: msgspec.Raw = _NOTHING
    text: msgspec.Raw = _NOTHING
    output_config: msgspec.Raw = _NOTHING
    output_format: msgspec.Raw = _NOTHING


class _Request(msgspec.Struct, gc=False, kw_only=True):
    """A line of OpenAI's Batch form."""

    body: _Body
    custom_id: str | int | None = None
    method: Literal["POST"] = "POST"
    url: str | None = None
    headers: msgspec.Raw = _NOTHING


class _Bare(_Body, gc=False, kw_only=True):
    """A body as a line."""

    custom_id: str | int | None = None
    method: msgspec.Raw = _NOTHING
    url: msgspec.Raw = _NOTHING
    body: msgspec.Raw = _NOTHING


_requests: Final = msgspec.json.Decoder(_Request).decode
_bares: Final = msgspec.json.Decoder(_Bare).decode


class _Decoded(NamedTuple):
    ids: list[str | int | None]
    bodies: Sequence[_Body]


class Glance:
    """Sees which rows of a job can be sent.

    Args:
        parser: Has the word on the first row that claims something.
        url: The path of rows that name none.
        names_model: Whether the job names a model for rows that name none.
    """

    def __init__(self, parser: RowParser, *, url: str, names_model: bool) -> None:
        self._parser = parser
        self._is_chat = url.endswith(_CHAT)
        self._names_model = names_model
        self._claims: set[bytes] = set()
        self._are_bare = False

    @classmethod
    def of(cls, settings: Settings, parser: RowParser) -> Self | None:
        """Make one for a job, or None where every row is to be looked at closely."""
        if settings.template is not None or settings.handlers:
            return None
        try:
            body = {"model": "any", "messages": [{"role": "user"}], **settings.defaults}
            check_body(_CHAT, body, type_rules(body))
        except ValueError:
            return None
        names_model = bool(settings.defaults.get("model"))
        return cls(parser, url=settings.url, names_model=names_model)

    def parts(self, raws: Sequence[bytes]) -> Iterator[tuple[int, Names | None]]:
        """Part lines into those that are good and those that are to be looked at closely.

        Args:
            raws: Lines without their ends.

        Yields:
            How many lines are next, and their names where they are good.
        """
        names = self._names(raws)
        if names is not None or len(raws) <= _FEW:
            yield len(raws), names
        else:
            half = len(raws) // 2
            yield from self.parts(raws[:half])
            yield from self.parts(raws[half:])

    def _names(self, raws: Sequence[bytes]) -> Names | None:
        """Take the ids of lines that are all good; None where one may not be."""
        try:
            found = None if _has_extremes(b"\n".join(raws)) else self._decoded(raws)
        except (ValueError, RecursionError):
            return None
        if found is None or not self._are_good(raws, found.bodies):
            return None
        return [given if given is None or type(given) is str else str(given) for given in found.ids]

    def _decoded(self, raws: Sequence[bytes]) -> _Decoded | None:
        """Decode lines that are all of one form and go to chat; None where they aren't."""
        for bare in (self._are_bare, not self._are_bare):
            try:
                found = self._of_bares(raws) if bare else self._of_requests(raws)
            except msgspec.DecodeError:
                continue
            self._are_bare = bare
            return found
        return None

    def _of_requests(self, raws: Sequence[bytes]) -> _Decoded | None:
        lines = list(map(_requests, raws))
        if any(line.headers for line in lines) or not all(
            self._is_chat if url is None else is_row_path(url) and url.endswith(_CHAT)
            for url in {line.url for line in lines}
        ):
            return None
        return _Decoded([line.custom_id for line in lines], [line.body for line in lines])

    def _of_bares(self, raws: Sequence[bytes]) -> _Decoded | None:
        lines = list(map(_bares, raws))
        if not self._is_chat or any(line.body or line.url or line.method for line in lines):
            return None
        return _Decoded([line.custom_id for line in lines], lines)

    def _are_good(self, raws: Sequence[bytes], bodies: Sequence[_Body]) -> bool:
        """Whether bodies that the decoder took are good in all else."""
        if any(body.stream for body in bodies):
            return False
        if not self._names_model and not all(body.model for body in bodies):
            return False
        claims = [_claims_of(body) for body in bodies]
        unknown = set(claims) - self._claims
        for key, raw in zip(claims, raws, strict=True) if unknown else ():
            if key in unknown:
                if type(self._parser.parse(1, raw)) is not Row:
                    return False
                unknown.discard(key)
                self._remember(key)
        return True

    def _remember(self, claims: bytes) -> None:
        if len(claims) <= _MOST_CLAIMS_BYTES:
            if len(self._claims) >= _MOST_CLAIMS:
                self._claims.clear()
            self._claims.add(claims)


def _has_extremes(text: bytes) -> bool:
    """Whether lines are nested deeply, or hold numbers that are not what they seem.

    Raises:
        UnicodeDecodeError: They are no UTF-8.
    """
    if not text.isascii():
        text.decode()
    numbers = text.translate(_NUMBERS)
    return any(each in numbers for each in _LONG_NUMBERS) or (
        max(map(len, text.translate(None, _NO_BRACKETS).split(b"\n"))) > _MOST_BRACKETS
    )


def _claims_of(body: _Body) -> bytes:
    return b"\0".join(
        (
            *(body.tools, body.tool_choice, body.response_format),
            *(body.functions, body.function_call),
            *(body.text, body.output_config, body.output_format),
        )
    )
