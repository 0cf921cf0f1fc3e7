"""What becomes of a row once an attempt has come back: judged, told on, written down.

The verdict is `retry`'s; here it is carried out: the governor is told how the attempt went, the
clerk writes the result or the attempt, the switch is thrown where no row can succeed.
"""

from __future__ import annotations

import random
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson

from batcher.answers import NOT_JSON, Family, family_of, plain_usage_of, read_usage
from batcher.checks import Checker
from batcher.engine.clerk import Clerk
from batcher.engine.embed import is_too_deep, read_again
from batcher.engine.purse import Purse
from batcher.engine.stop import StopSwitch
from batcher.engine.task import Task, permit_of
from batcher.engine.unison import Unison
from batcher.governor import Governor, Outcome
from batcher.records import Failure, FailureKind, Reply, StopReason
from batcher.retry import Accept, Cause, Retry, RetryPolicy, Stop, charge, decide
from batcher.retry import Final as Failed
from batcher.retry.hints import rate_headers

if TYPE_CHECKING:
    from batcher.engine.turns import Turns, Work

__all__ = ["Settler"]

# Rate limit headers are read at most so often: they change little between two answers.
_LEARN_EVERY_S: Final = 0.05

# A stale connection is resent at once; a row that finds one every time fails by itself.
_MOST_STALE: Final = 5

# Looking a member up in its Enum costs as much as a comparison.
_OK, _CHAT, _OK_STATUS = Outcome.OK, Family.CHAT, HTTPStatus.OK.value

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
        self._unison = Unison()

    def settle(self, task: Task, outcome: Reply | Failure, now_s: float) -> float | Work | None:
        """Settle an attempt.

        Args:
            task: Its row.
            outcome: What came back.
            now_s: Monotonic seconds.

        Returns:
            Seconds until the row is to be tried again; the tool calls that are to be carried out
            first; None when it has its result, or none in this run.
        """
        answer: Any = NOT_JSON
        if isinstance(outcome, Reply):
            self._reached = True
            try:
                answer = orjson.loads(outcome[2])
            except orjson.JSONDecodeError:
                outcome, answer = read_again(outcome)
            if self.turns is None and self._is_usual(task, outcome, answer, now_s):
                return None
        return self._settle_any(task, outcome, answer, now_s)

    def _is_usual(self, task: Task, reply: Reply, answer: Any, now_s: float) -> bool:
        """Settle what nearly every answer is: its row's first, whole, in the shape asked for.

        Whatever is not so is left as it is, for `_settle_any`, which would do the same with what is
        settled here.
        """
        row = task.row
        if reply[0] != _OK_STATUS or task.spend is not None or family_of(row.path) is not _CHAT:
            return False
        usage = plain_usage_of(answer)
        if usage is None:
            return False
        extra = b"" if self._checker is None else self._checker.glance(row.claims, answer)
        if extra is None or is_too_deep(reply[2]):
            return False
        task.used = used = usage[2]
        task.lane.succeeded(permit_of(task), now_s, used)
        if now_s >= self._learn_at_s:
            self._learn_rates(task, reply, now_s)
        self._unison.broken = True
        cost = self._clerk.succeed(task, reply, usage, extra)
        if self._purse is not None:
            self._purse.pay(task, usage, cost)
        return True

    def _settle_any(
        self, task: Task, outcome: Reply | Failure, answer: Any, now_s: float
    ) -> float | Work | None:
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
            task.lane.settle(permit_of(task), _OK, now_s, tokens=tokens)
        else:
            self._tell_failure(task, outcome, verdict, now_s, tokens)
        if now_s >= self._learn_at_s and isinstance(outcome, Reply):
            self._learn_rates(task, outcome, now_s)
        spend = self._clerk.spend(task, outcome, usage)
        task.add_spend(spend)
        if self._purse is not None:
            self._purse.settle(task, spend)
        if isinstance(verdict, Accept):
            self._unison.broken = True
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
        if _is(outcome, FailureKind.TLS_ERROR) and not self._reached:
            # A handshake that never succeeded is a wrong certificate, which no waiting mends.
            self._switch.throw(StopReason.ENDPOINT_DOWN, verdict.message)
        return verdict.wait_s

    def _weigh(
        self, task: Task, outcome: Reply | Failure, verdict: Retry, now_s: float
    ) -> Retry | Failed:
        """Count a retry for what it counts towards; it may turn out to be the last."""
        task.fresh = False
        cause = verdict.cause
        if cause is Cause.STALE and not _is(outcome, FailureKind.CANCELLED):
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
        if verdict.cause is Cause.STALE:
            charged = charge(self._policy, verdict, charged=task.charged)
        elif cause is Cause.OUTAGE:
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
        if kind is Outcome.OUTAGE:
            self._governor.blame = verdict.message
        task.lane.settle(
            permit_of(task),
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
        task.lane.learn(rate_headers(reply.headers), permit_of(task).sent_s, now_s)

    def _note_refusal(self, outcome: Reply | Failure, code: str) -> None:
        word = f"HTTP {outcome.status} ({code})" if isinstance(outcome, Reply) else ""
        if (why := self._unison.hear(word)) is not None:
            self._switch.throw(StopReason.REFUSED, why)


def _is(outcome: Reply | Failure, kind: FailureKind) -> bool:
    return isinstance(outcome, Failure) and outcome.kind is kind


def _outcome(outcome: Reply | Failure, verdict: Retry | Failed | Stop) -> Outcome:
    if isinstance(verdict, Retry):
        return _OUTCOMES[verdict.cause]
    # The last of several attempts failed as they did; any other refusal is an answer.
    failed = isinstance(outcome, Failure) or outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return Outcome.ERROR if failed else Outcome.FINAL
