"""Makes up the results of a month of nightly jobs, so that there is something to report on.

    python month.py [YYYY-MM]      # writes output/results/*.jsonl; by default, of last month

Everything is invented but the form: each file is an output as `batcher run` leaves it.
"""

from __future__ import annotations

import json
import random
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# Of a million tokens, in USD: input, cached input, output. Invented as well.
PRICES = {
    "gpt-4o": (2.5, 1.25, 10),
    "gpt-4o-mini": (0.15, 0.075, 0.6),
    "o4-mini": (1.1, 0.275, 4.4),
}
# Job: the model, rows a night, prompt and completion tokens on average, and its labels.
JOBS: dict[str, tuple[str, int, int, int, list[str]]] = {
    "tickets": ("gpt-4o", 60, 900, 160, []),
    "reviews": ("gpt-4o-mini", 90, 700, 12, ["positive", "negative", "mixed"]),
    "contracts": ("o4-mini", 24, 3200, 700, ["standard", "to be read", "refused"]),
}
ERRORS = ["timeout", "http_500", "answer_schema", "context_length_exceeded"]


def main() -> None:
    """Write a file for each job and each of its nights."""
    first = _first_of(sys.argv[1] if len(sys.argv) > 1 else None)
    dice = random.Random(first.strftime("%Y-%m"))
    folder = HERE / "output" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    night = first
    while night.month == first.month:
        for name in JOBS:
            if name != "contracts" or night.weekday() in (1, 4):
                lines = _night(name, night + timedelta(hours=2), dice)
                path = folder / f"{name}-{night:%Y-%m-%d}.jsonl"
                path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n"
                                        for line in lines))  # fmt: skip
        night += timedelta(days=1)
    print(f"results of {first:%B %Y} are in {folder}")


def _first_of(month: str | None) -> datetime:
    if month:
        return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    this = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (this - timedelta(days=1)).replace(day=1)


def _night(job: str, begin: datetime, dice: random.Random) -> list[dict[str, Any]]:
    _, usual, _, _, _ = JOBS[job]
    weekend = begin.weekday() >= 5
    rows = max(4, round(usual * dice.uniform(0.7, 1.3) * (0.4 if weekend else 1)))
    now, lines = begin, []
    for row in range(1, rows + 1):
        now += timedelta(seconds=dice.expovariate(1 / 2))
        lines.append(_result(job, row, now, dice))
    spent = sum(Decimal(line["batcher"]["cost_usd"] or 0) for line in lines)
    failed = sum("error_code" in line["batcher"] for line in lines)
    totals = {
        "object": "batch.totals",
        "custom_id": None,
        "request_counts": {"total": rows, "completed": rows - failed, "failed": failed},
        "cost_usd": str(spent),
        "started_at": _stamp(begin),
        "finished_at": _stamp(now),
        "wall_s": (now - begin).total_seconds(),
        "version": "0.1.0",
    }
    return [*lines, totals]


def _result(job: str, row: int, now: datetime, dice: random.Random) -> dict[str, Any]:
    model, _, prompt_usual, completion_usual, labels = JOBS[job]
    failed = dice.random() < 0.025
    attempts = 1 + (dice.random() < 0.06) + 3 * failed
    prompt = round(prompt_usual * dice.lognormvariate(0, 0.3))
    completion = round(completion_usual * dice.lognormvariate(0, 0.4))
    cached = prompt // 2 if dice.random() < 0.3 else 0
    reasoning = completion * 2 // 3 if model == "o4-mini" else 0
    code = dice.choice(ERRORS) if failed else ""
    answered = code in ("", "answer_schema")
    usage = _usage(prompt, completion, cached, reasoning) if answered else _usage(0, 0, 0, 0)
    ours: dict[str, Any] = {
        "row": row,
        "request_hash": f"{dice.getrandbits(128):032x}",
        "model": model,
        "endpoint": "yunwu" if job == "tickets" else "openai",
        "finished_at": _stamp(now),
        "latency_s": round(dice.lognormvariate(0.2, 0.5) * (4 if reasoning else 1), 3),
        "attempts": attempts,
        "usage": usage,
        "cost_usd": _cost(model, usage) if answered else None,
    }
    if code == "timeout":
        ours["attempts_without_usage"] = attempts
    if code:
        ours["error_code"] = code
    elif labels:
        ours["label"] = dice.choices(labels, [6, 3, 1])[0]
    status = 200 if answered else 500
    return {
        "id": f"batch_req_{dice.getrandbits(96):024x}",
        "custom_id": f"{job}-{now:%m%d}-{row}",
        "response": {"status_code": status, "request_id": "", "body": {}},
        "error": {"code": code, "message": "made up"} if code else None,
        "batcher": ours,
    }


def _usage(prompt: int, completion: int, cached: int, reasoning: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _cost(model: str, usage: dict[str, Any]) -> str:
    whole, cached, output = (Decimal(str(price)) for price in PRICES[model])
    known = usage["prompt_tokens_details"]["cached_tokens"]
    spent = (usage["prompt_tokens"] - known) * whole + known * cached
    return str((spent + usage["completion_tokens"] * output) / 10**6)


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


if __name__ == "__main__":
    main()
