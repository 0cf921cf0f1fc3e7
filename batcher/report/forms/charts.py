"""The charts of a report: what each shows, as HTML with inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from html import escape
from typing import Final, NamedTuple

from batcher.report.cells import Cell
from batcher.report.forms.axis import Axis
from batcher.report.forms.columns import name_words, seconds, visible
from batcher.report.forms.svg import Plot
from batcher.report.sketch import Sketch
from batcher.words import count, money, short

__all__ = [
    "Figure",
    "cumulative",
    "in_flight",
    "latency",
    "ranking",
    "results",
    "spend",
    "throughput",
]

# As many as the page has colours; the rest are one.
_MOST_MODELS: Final = 7
_MOST_RANKED: Final = 10
_REST: Final = "all others"
_BARS: Final = 60


class Figure(NamedTuple):
    """A chart: its title, what is in it as HTML, and whether it needs the page's width."""

    title: str
    inside: str
    wide: bool = False


def spend(axis: Axis) -> Figure:
    """Spend over time, by model."""
    models = _models(axis)
    most = max(float(sum(slot.cost_usd.values())) for slot in axis.slots.values())
    plot = Plot(most, _dollars)
    for at_s, slot in axis.slots.items():
        lower, lines = 0.0, [axis.name(at_s)]
        for number, (model, cost) in enumerate(_by_model(slot.cost_usd, models)):
            if cost:
                upper = lower + float(cost)
                plot.bar(axis.left(at_s), axis.width, lower, upper, f"s{number}")
                lines.append(f"{visible(model)}: {money(cost)}")
                lower = upper
        plot.tip(axis.left(at_s), axis.width, "\n".join(lines))
    plot.below(axis.labels())
    legend = "".join(
        f'<li><i class="s{number}"></i>{escape(visible(model))}</li>'
        for number, model in enumerate(models)
    )
    return Figure(
        f"Spend per {axis.per}, by model",
        plot.drawn(f"Spend per {axis.per}") + f'<ul class="legend">{legend}</ul>',
        wide=True,
    )


def cumulative(axis: Axis, budget_usd: Decimal | None) -> Figure:
    """The cost so far, and the budget."""
    whole = 0.0
    points = [(0.0, 0.0)]
    for at_s, slot in axis.slots.items():
        points.append((axis.left(at_s), whole))
        whole += float(sum(slot.cost_usd.values()))
        points.append((axis.left(at_s + axis.width_s), whole))
    plot = Plot(max(whole, float(budget_usd or 0)), _dollars)
    plot.line(points, "s0", filled=True)
    if budget_usd is not None:
        plot.level(float(budget_usd), f"budget {money(budget_usd)}")
    plot.below(axis.labels())
    return Figure("Cost so far", plot.drawn(f"Cost so far: {_dollars(whole)} in the end"))


def results(axis: Axis) -> Figure:
    """Results over time, failures apart."""
    plot = Plot(max(slot.results for slot in axis.slots.values()), short)
    for at_s, slot in axis.slots.items():
        good = slot.results - slot.failed
        left = axis.left(at_s)
        plot.bar(left, axis.width, 0, good, "s2")
        if slot.failed:
            plot.bar(left, axis.width, good, slot.results, "bad")
        words = f"{axis.name(at_s)}\n{count(good)} succeeded\n{count(slot.failed)} failed"
        plot.tip(left, axis.width, words)
    plot.below(axis.labels())
    legend = '<ul class="legend"><li><i class="s2"></i>succeeded</li>'
    legend += '<li><i class="bad"></i>failed</li></ul>'
    said = f"Results per {axis.per}"
    return Figure(said, plot.drawn(said) + legend)


def throughput(axis: Axis) -> Figure:
    """Results a minute, over the minutes in which any came."""
    return _levels(
        axis,
        "Throughput: results a minute, while results came",
        {at_s: slot.results * 60 / slot.active_s for at_s, slot in axis.slots.items()},
        "a minute",
        style="s6",
    )


def in_flight(axis: Axis) -> Figure:
    """How many requests were in flight on average: their latencies by the time that passed."""
    found = _levels(
        axis,
        "Requests in flight, average while results came",
        {at_s: slot.busy_s / slot.active_s for at_s, slot in axis.slots.items()},
        "in flight",
        style="s4",
    )
    hint = "Reckoned from latencies; the window that the program chose is not recorded."
    return found._replace(inside=f'{found.inside}<p class="hint">{hint}</p>')


def _levels(axis: Axis, title: str, levels: dict[int, float], unit: str, *, style: str) -> Figure:
    plot = Plot(max(levels.values()), lambda value: f"{value:.3g}")
    for at_s, level in levels.items():
        plot.bar(axis.left(at_s), axis.width, 0, level, style)
        plot.tip(axis.left(at_s), axis.width, f"{axis.name(at_s)}\n{level:.3g} {unit}")
    plot.below(axis.labels())
    return Figure(title, plot.drawn(title))


def latency(sketch: Sketch) -> Figure:
    """How long the last attempts took, on a logarithmic axis."""
    bars = sketch.histogram(_BARS)
    low, high = math.log10(bars[0][0]), math.log10(bars[-1][1])
    width = 100 / len(bars)
    # Room above the bars, where the quantiles are written.
    plot = Plot(max(number for _, _, number in bars) * 1.25, short)
    for place, (begin, end, number) in enumerate(bars):
        if number:
            plot.bar(place * width, width, 0, number, "s0")
            words = f"{seconds(begin)} to {seconds(end)}\n{count(number)} results"
            plot.tip(place * width, width, words)
    for row, share in enumerate((0.99, 0.95, 0.5)):
        found = sketch.quantile(share) or 0.0
        left = (math.log10(max(found, bars[0][0])) - low) / (high - low) * 100
        plot.mark(left, row, f"p{share * 100:.0f} {seconds(found)}")
    plot.below(_log_labels(low, high))
    return Figure("Latency of the last attempt", plot.drawn("Distribution of latencies"))


def ranking(
    title: str,
    by: str,
    cells: Sequence[tuple[str, Cell]],
    value: Callable[[Cell], Decimal | int],
    words: Callable[[Decimal | int], str],
    *,
    style: str = "",
) -> Figure:
    """Bars of the largest, each with its share; without a style, in the colours of `spend`."""
    found = sorted(
        ((value(cell), name) for name, cell in cells), key=lambda each: (-each[0], each[1])
    )
    whole = sum(each for each, _ in found)
    bars = [(name_words(by, name), each) for each, name in found[:_MOST_RANKED] if each]
    rest = sum(each for each, _ in found[_MOST_RANKED:])
    if rest:
        bars.append((_REST, rest))
    most = max((each for _, each in bars), default=1)
    lines = []
    for place, (name, each) in enumerate(bars):
        colour = style or f"s{min(place, _MOST_MODELS)}"
        width = float(each / most) * 100
        lines.append(
            f'<li><span class="name">{escape(visible(name))}</span>'
            f'<span class="value">{escape(words(each))} <small>{_part(each, whole)}</small></span>'
            f'<span class="track"><span class="{colour}" style="width:{width:.2f}%">'
            "</span></span></li>"
        )
    return Figure(title, f'<ol class="ranking">{"".join(lines)}</ol>')


def _models(axis: Axis) -> list[str]:
    """Name the models that cost most, and the rest where there is one."""
    costs: dict[str, Decimal] = {}
    for slot in axis.slots.values():
        for model, cost in slot.cost_usd.items():
            costs[model] = costs.get(model, Decimal(0)) + cost
    ranked = sorted(costs, key=lambda model: (-costs[model], model))
    return ranked[:_MOST_MODELS] + ([_REST] if len(ranked) > _MOST_MODELS else [])


def _by_model(costs: dict[str, Decimal], models: list[str]) -> Iterable[tuple[str, Decimal]]:
    known = {model: costs.get(model, Decimal(0)) for model in models}
    if _REST in known:
        known[_REST] = sum(costs.values(), Decimal(0)) - sum(known.values(), Decimal(0))
    return known.items()


def _dollars(value: float) -> str:
    if value >= 1000:  # noqa: PLR2004 - where thousands begin
        return f"${short(value)}"
    if value == int(value):
        return f"${value:.0f}"
    return f"${value:.2f}" if value >= 0.01 else f"${value:.2g}"  # noqa: PLR2004 - a cent


def _part(value: Decimal | int, whole: Decimal | int) -> str:
    part = float(value / whole) if whole else 0.0
    return f"{part:.0%}" if part >= 0.1 or not part else f"{part:.1%}"  # noqa: PLR2004 - two digits


def _log_labels(low: float, high: float) -> Iterable[tuple[float, str]]:
    wide = high - low > 2  # noqa: PLR2004 - decades; more than that leave no room between them
    for decade in range(math.floor(low), math.ceil(high) + 1):
        for step in (1,) if wide else (1, 2, 5):
            value = step * 10.0**decade
            place = (math.log10(value) - low) / (high - low) * 100
            if 0 <= place <= 100:  # noqa: PLR2004 - percent
                yield place, f"{value:g} s"
