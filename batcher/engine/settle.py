"""What becomes of a row once an attempt has come back: judged, told on, written down.

The verdict is `retry`'s; here it is carried out: the governor is told how the attempt went, the
clerk writes the result or the attempt, the switch is thrown where no row can succeed.
"""

from __future__ import annotations

import random
import time
from http import HTTPStatus
from typing import Any, Final

import orjson

from batcher.answers import NOT_JSON, Family, family_of, read_usage
from batcher.checks import Checker
from batcher.engine.clerk import Clerk
from batcher.engine.purse import Purse
from batcher.engine.stop import StopSwitch
from batcher.engine.task import Task
from batcher.engine.turns import Turns, Work
from batcher.governor import Governor, Outcome, Permit
from batcher.records import Failure, FailureKind, Reply, StopReason
from batcher.retry import Accept, Cause, Retry, RetryPolicy, Stop, charge, decide
from batcher.retry import Final as Failed
from batcher.retry.hints import rate_headers

__all__ = ["Settler"]

# Rate limit headers are read at most so often: they change little between two answers.
_LEARN_EVERY_S: Final = 0.05

# The contract: when the first results of a run are all the same refusal, the run stops.
_SAME_REFUSALS: Final = 50

# A stale connection is resent at once; a row that finds one every time fails by itself.
_MOST_STALE: Final = 5

# Looking a member up in its Enum costs as much as a comparison.
_OK: Final = Outcome.OK

_OUTCOMES: Final = {
    Cause.OWN: Outcome.ERROR,
    Cause.OUTAGE: Outcome.OUTAGE,
    Cause.THROTTLED: Outcome.THROTTLED,
    Cause.STALE: Outcome.VOID,
}


class Settler:
    """Carries out verdicts.

    Args:
        policy: When to try again.
        governor: Told of every attempt.
        clerk: Writes down what comes of it.
        switch: Thrown where no row can succeed.
        checker: Holds answers against what rows claim; None where that is not wanted.
        turns: Takes rows from one answer to the next; None where each is asked once.
        purse: Told what each attempt cost; None without a budget.
    """

    def __init__(
        self,
        *,
        policy: RetryPolicy,
        governor: Governor,
        clerk: Clerk,
        switch: StopSwitch,
        checker: Checker | None = None,
        turns: Turns | None = None,
        purse: Purse | None = None,
    ) -> None:
        self._purse = purse
        self._policy = policy
        self._governor = governor
        self._clerk = clerk
        self._switch = switch
        self._checker = checker
        self.turns = turns
        self._learn_at_s = 0.0
        self._reached = False
        # The refusal that every result so far has been, and how often; None once one was not.
        self._refusal: tuple[str, int] | None = ("", 0)

    def settle(self, task: Task, outcome: Reply | Failure) -> float | Work | None:
        """Settle an attempt.

        Returns:
            Seconds until the row is to be tried again; the tool calls that are to be carried out
            first; None when it has its result, or none in this run.
        """
        now_s = time.monotonic()
        answer: Any = NOT_JSON
        if isinstance(outcome, Reply):
            self._reached = True
            try:
                answer = orjson.loads(outcome.body)
            except orjson.JSONDecodeError:
                answer = NOT_JSON
        family = family_of(task.row.path)
        verdict = decide(
            self._policy,
            outcome,
            answer,
            family=family,
            charged=task.charged,
            now_unix=time.time(),
            jitter=random.random(),
        )
        usage = verdict.usage if isinstance(verdict, Accept) else read_usage(answer, family)
        tokens = usage.total_tokens if usage else None
        if isinstance(verdict, Accept):
            task.lane.settle(_permit(task), _OK, now_s, tokens=tokens)
        else:
            self._tell_failure(task, outcome, verdict, now_s, tokens)
        if now_s >= self._learn_at_s and isinstance(outcome, Reply):
            self._learn_rates(task, outcome, now_s)
        spend = self._clerk.spend(task, outcome, usage)
        task.add_spend(spend)
        if self._purse is not None:
            self._purse.settle(task, spend)
        if isinstance(verdict, Accept):
            self._refusal = None
            return self._accept(task, outcome, answer, family)
        return self._not_accepted(task, outcome, answer, verdict, now_s)

    def open(self, task: Task) -> Work | None:
        """Take up a row that attempts were made for before this run; its tools, if they are due."""
        task.spend, task.thrown_away, said = self._clerk.earlier(task.member)
        return None if self.turns is None or said is None else self.turns.take_up(task, said)

    def _accept(
        self, task: Task, outcome: Reply | Failure, answer: Any, family: Family
    ) -> float | Work | None:
        """Write a usable answer down: a success where it has the shape that the row asks for."""
        if self.turns is not None:
            return self.turns.accept(task, outcome, answer, family)
        if self._checker is None:
            self._clerk.finish(task, outcome, answer)
            return None
        error, _, extra, _ = self._checker.check(task.row.claims, answer, family=family)
        code, message = error or ("", "")
        self._clerk.finish(task, outcome, answer, code=code, message=message, extra=extra)
        return None

    def _not_accepted(
        self,
        task: Task,
        outcome: Reply | Failure,
        answer: object,
        verdict: Retry | Failed | Stop,
        now_s: float,
    ) -> float | None:
        if isinstance(verdict, Retry):
            verdict = self._weigh(task, outcome, verdict, now_s)
        if isinstance(verdict, Failed):
            code, message = verdict.code, verdict.message
            extra = self.turns.story(task) if self.turns else b""
            self._clerk.finish(task, outcome, answer, code=code, message=message, extra=extra)
            self._note_refusal(outcome, verdict.code)
            return None
        task.throw_away()
        self._clerk.note_attempt(task, outcome)
        if isinstance(verdict, Stop):
            self._switch.throw(verdict.reason, verdict.message)
            return None
        if _is_untrusted(outcome) and not self._reached:
            # A handshake that never succeeded is a wrong certificate, which no waiting mends.
            self._switch.throw(StopReason.ENDPOINT_DOWN, verdict.message)
        return verdict.wait_s

    def _weigh(
        self, task: Task, outcome: Reply | Failure, verdict: Retry, now_s: float
    ) -> Retry | Failed:
        """Count a retry for what it counts towards; it may turn out to be the last."""
        task.fresh = False
        cause = verdict.cause
        if cause is Cause.STALE and not _was_ended(outcome):
            task.stale += 1
            if task.stale <= _MOST_STALE:
                return verdict
            cause = Cause.OWN
        task.stale = 0
        if cause is Cause.THROTTLED:
            return self._weigh_throttled(task, verdict, now_s)
        task.throttled_since_s = None
        if cause is Cause.STALE or self._excused(task, cause, now_s):
            return verdict
        charged: Retry | Failed = verdict
        if cause is Cause.OUTAGE:
            task.outages_s = (*task.outages_s, now_s)
            since_s = now_s - task.outages_s[0]
            charged = charge(self._policy, verdict, charged=task.charged, since_s=since_s)
        task.charged += 1
        return charged

    def _excused(self, task: Task, cause: Cause, now_s: float) -> bool:
        """Whether a failure is the endpoint's alone: it is down. So were those before it."""
        since_s = self._governor.outage_since(now_s) if cause is Cause.OUTAGE else None
        if since_s is None:
            return False
        task.forgive(since_s)
        return True

    def _weigh_throttled(self, task: Task, verdict: Retry, now_s: float) -> Retry | Failed:
        """A refusal for rate is nobody's fault, but no row may be refused for ever.

        While nobody succeeds, how long to go on is the run's matter and not the row's.
        """
        if task.throttled_since_s is None:
            task.throttled_since_s = now_s
        waited_s = now_s - task.throttled_since_s
        all_since_s = self._governor.refused_since_s
        alone = all_since_s is None or all_since_s > task.throttled_since_s
        if not alone or waited_s <= self._policy.give_up_after_s:
            return verdict
        return Failed(verdict.code, f"{verdict.message}; refused for {waited_s:.0f} s")

    def _tell_failure(
        self,
        task: Task,
        outcome: Reply | Failure,
        verdict: Retry | Failed | Stop,
        now_s: float,
        tokens: int | None,
    ) -> None:
        kind = _outcome(outcome, verdict)
        task.lane.settle(
            _permit(task),
            kind,
            now_s,
            tokens=tokens,
            wait_s=verdict.told_s if isinstance(verdict, Retry) else None,
            row=task.member.entry,
            connection_refused=isinstance(outcome, Failure) and not outcome.sent,
        )
        if kind is Outcome.THROTTLED:
            # What a refusal tells of the rate is always heard.
            self._learn_at_s = now_s

    def _learn_rates(self, task: Task, reply: Reply, now_s: float) -> None:
        self._learn_at_s = now_s + _LEARN_EVERY_S
        task.lane.learn(rate_headers(reply.headers), _permit(task).sent_s, now_s)

    def _note_refusal(self, outcome: Reply | Failure, code: str) -> None:
        if self._refusal is None:
            return
        word = f"HTTP {outcome.status} ({code})" if isinstance(outcome, Reply) else ""
        known, count = self._refusal
        if not word or (count and word != known):
            self._refusal = None
            return
        self._refusal = (word, count + 1)
        if count + 1 == _SAME_REFUSALS:
            message = f"the first {_SAME_REFUSALS} results are all the same refusal: {word}"
            self._switch.throw(StopReason.REFUSED, message)


def _is_untrusted(outcome: Reply | Failure) -> bool:
    return isinstance(outcome, Failure) and outcome.kind is FailureKind.TLS_ERROR


def _was_ended(outcome: Reply | Failure) -> bool:
    return isinstance(outcome, Failure) and outcome.kind is FailureKind.CANCELLED


def _permit(task: Task) -> Permit:
    assert task.permit is not None
    return task.permit


def _outcome(outcome: Reply | Failure, verdict: Retry | Failed | Stop) -> Outcome:
    if isinstance(verdict, Retry):
        return _OUTCOMES[verdict.cause]
    # The last of several attempts failed as they did; any other refusal is an answer.
    failed = isinstance(outcome, Failure) or outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return Outcome.ERROR if failed else Outcome.FINAL
