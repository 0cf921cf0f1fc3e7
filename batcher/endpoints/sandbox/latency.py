"""Laws of the time an answer takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from statistics import NormalDist

from batcher.endpoints.sandbox.readers import least
from batcher.errors import UsageError

__all__ = ["INSTANT", "Latency"]

# How each law is written: its name, then its numbers.
_LAWS: Mapping[str, tuple[str, ...]] = {
    "constant": ("seconds",),
    "uniform": ("least seconds", "most seconds"),
    "lognormal": ("median seconds", "sigma"),
    "exponential": ("mean seconds",),
}
_NORMAL = NormalDist()

# The ends of a draw are infinite under some laws: a draw is kept this far from them.
_DRAW_MARGIN = 1e-9


@dataclass(frozen=True, slots=True)
class Latency:
    """A law of the time an answer takes, such as `lognormal:0.8,0.5` (median 0.8 s, sigma 0.5).

    Attributes:
        law: `constant`, `uniform`, `lognormal` or `exponential`.
        numbers: Seconds, least and most; or median and sigma; or the mean.
    """

    law: str = "constant"
    numbers: tuple[float, ...] = (0.0,)

    @classmethod
    def parse(cls, value: object) -> Latency:
        """Read a number (constant seconds), also as a text, or a text `law:number,number`.

        Raises:
            UsageError: There is no such law, or its numbers are wrong.
        """
        if isinstance(value, Latency):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return cls("constant", (least("latency", value, 0),))
        law, _, rest = str(value).partition(":")
        if _is_number(law) and not rest:
            law, rest = "constant", law
        if law not in _LAWS:
            near = get_close_matches(law, _LAWS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the laws are {', '.join(_LAWS)}"
            raise UsageError(f"sandbox: latency: there is no law {law!r}: {hint}")
        try:
            numbers = tuple(least("latency", float(part), 0) for part in rest.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != len(_LAWS[law]) or (law == "uniform" and numbers[0] > numbers[-1]):
            raise UsageError(f"sandbox: latency: {law} is written {law}:{','.join(_LAWS[law])}")
        return cls(law, numbers)

    def __str__(self) -> str:
        return f"{self.law}:{','.join(map(repr, self.numbers))}"

    def at(self, draw: float) -> float:
        """Return the seconds at a uniform draw in [0, 1): the law's quantile."""
        first, last = self.numbers[0], self.numbers[-1]
        draw = min(max(draw, _DRAW_MARGIN), 1 - _DRAW_MARGIN)
        match self.law:
            case "uniform":
                return first + (last - first) * draw
            case "lognormal":
                return first * math.exp(last * _NORMAL.inv_cdf(draw))
            case "exponential":
                return -first * math.log(1 - draw)
        return first


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


INSTANT = Latency()
