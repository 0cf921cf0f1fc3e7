"""The end of a run in a few lines: what came of it, what it cost, where it is, how to go on."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batcher.records import StopReason
from batcher.words import count, duration, money, plural

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batcher.job import Outcome

__all__ = [
    "cost_words",
    "count_words",
    "error_words",
    "spent_lines",
    "summary",
    "token_words",
    "uncertain_words",
]

# The rest of a long tail of codes stands in the totals.
_TOP_ERRORS = 3
_MOST_MODELS = 3
# What must change before the same command can do better.
_BEFORE_AGAIN = {
    StopReason.BUDGET: "with a larger budget ",
    StopReason.REFUSED: "once the endpoint accepts you ",
    StopReason.STORAGE: "once that is mended ",
}


def summary(outcome: Outcome, *, output: Path) -> list[str]:
    """Say how a run ended.

    Returns:
        Lines without line ends; the first says the most.
    """
    totals = outcome.totals
    lines = [_headline(outcome)]
    if outcome.stop is not None and totals.get("request_counts"):
        lines.append(f"  so far: {_done(totals)}")
    lines += [f"  {line}" for line in (*spent_lines(totals), *_agreement(outcome))]
    if outcome.stop is None:
        lines.append(f"  results: {output}")
    else:
        lines += [f"  results so far: {output}.partial", f"  {_go_on(outcome)}"]
    return lines


def _headline(outcome: Outcome) -> str:
    if outcome.stop is None:
        words = f"complete: {count_words(outcome.totals)}"
        return f"{words} ({outcome.message})" if outcome.message else words
    return f"stopped: {outcome.message or outcome.stop.word.replace('_', ' ')}"


def count_words(totals: Mapping[str, Any]) -> str:
    """Say how many rows there are, and what became of them."""
    total = totals.get("request_counts", {}).get("total", 0)
    return f"{plural(total, 'row')}, {_done(totals)}"


def _done(totals: Mapping[str, Any]) -> str:
    counts = totals.get("request_counts", {})
    words = f"{count(counts.get('completed', 0))} completed"
    failed = counts.get("failed", 0)
    if not failed:
        return words
    errors = error_words(totals)
    return f"{words}, {count(failed)} failed" + (f" ({errors})" if errors else "")


def error_words(totals: Mapping[str, Any]) -> str:
    """Name the most frequent error codes."""
    errors = sorted(totals.get("errors", {}).items(), key=lambda item: (-item[1], item[0]))
    words = [f"{count(number)} {code}" for code, number in errors[:_TOP_ERRORS]]
    if len(errors) > _TOP_ERRORS:
        words.append(f"{count(len(errors) - _TOP_ERRORS)} more codes")
    return ", ".join(words)


def token_words(totals: Mapping[str, Any]) -> str:
    """Say how many tokens went in and out."""
    usage = totals.get("usage", {})
    prompt, completion = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    return f"{count(prompt)} prompt + {count(completion)} completion tokens"


def cost_words(totals: Mapping[str, Any]) -> str:
    """Say what it cost; an unknown price is never zero."""
    cost = totals.get("cost_usd")
    unpriced = list(totals.get("unpriced_models", ()))
    if cost is None:
        return "nothing is priced"
    if not unpriced:
        return money(cost)
    named = ", ".join(unpriced[:_MOST_MODELS]) + (", ..." if len(unpriced) > _MOST_MODELS else "")
    return f"at least {money(cost)} (no price for {named})"


def spent_lines(totals: Mapping[str, Any]) -> list[str]:
    """Say what it took: attempts, tokens, money and time."""
    attempts = totals.get("attempts", 0)
    parts = [plural(attempts, "attempt"), token_words(totals), cost_words(totals)]
    if "wall_s" in totals:
        parts.append(duration(totals["wall_s"]))
    return [", ".join(parts), *uncertain_words(totals)]


def uncertain_words(totals: Mapping[str, Any]) -> list[str]:
    """Say what may have been billed without our hearing of it; nothing where nothing was."""
    lines = []
    unknown, killed = totals.get("attempts_without_usage", 0), _killed(totals)
    if unknown:
        what = "may have been billed though no usage came back"
        of_rows = _amount_words(totals.get("uncertain", {}), killed)
        lines.append(f"{plural(unknown, 'attempt')} {what}{of_rows}")
    if killed:
        lines.append(f"what was in flight when a run was killed{_amount_words(killed, {})}")
    return lines


def _killed(totals: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = totals.get("uncertain", {}).get("killed_runs", {})
    return found


def _amount_words(amount: Mapping[str, Any], less: Mapping[str, Any]) -> str:
    tokens = amount.get("total_tokens", 0) - less.get("total_tokens", 0)
    usd = Decimal(amount.get("cost_usd", 0)) - Decimal(less.get("cost_usd", 0))
    words = f": at most {count(tokens)} tokens" if tokens else ""
    return f"{words}, {money(usd)}" if usd else words


def _agreement(outcome: Outcome) -> list[str]:
    if outcome.agreement is None:
        return []
    agreed, compared = outcome.agreement
    if not compared:
        return ["no label could be compared with a known one"]
    part = agreed / compared
    return [f"{count(agreed)} of {count(compared)} labels agree with the known ones ({part:.1%})"]


def _go_on(outcome: Outcome) -> str:
    pending = outcome.totals.get("pending")
    what = f" for the {plural(pending, 'pending row')}" if isinstance(pending, int) else ""
    before = _BEFORE_AGAIN.get(outcome.stop, "") if outcome.stop else ""
    return f"to go on, run the same command again {before}".rstrip() + what
