"""What limits and breakers have to do with a job that does not run.

Whoever asks sees one organization. So of a limit over all organizations it is said that it is reached, and nothing of
who runs what.
"""

from collections.abc import Iterator
from datetime import datetime

from fairlane.domain.explain_facts import Facts, LimitOn
from fairlane.domain.reasons import Reason, ReasonCode, time_of
from fairlane.domain.statuses import JobStatus


def limit_reasons(facts: Facts) -> Iterator[Reason]:
    """Limits that let nothing start: those that allow none, and, of a job that is ready, those that are reached."""
    is_ready = facts.place_in_lane is not None
    for one in facts.limits:
        most, rate = one.limit.max_running, one.limit.execution_rate
        if most == 0 or (most is not None and is_ready and one.running >= most):
            yield _max_running(one, most)
        if rate == 0 or (rate is not None and is_ready and one.next_start is not None):
            yield _execution_rate(one)


def _max_running(one: LimitOn, most: int) -> Reason:
    organization, job_type = one.subject
    what = f"{job_type} job" if job_type is not None else "job"
    if organization is None:
        code, who = ReasonCode.JOB_TYPE_MAX_RUNNING, "All organizations together"
    elif job_type is None:
        code, who = ReasonCode.ORGANIZATION_MAX_RUNNING, f"Organization {organization}"
    else:
        code, who = ReasonCode.JOB_TYPE_MAX_RUNNING_IN_ORGANIZATION, f"Organization {organization}"
    if most == 0:
        return Reason(code, _none_allowed(who, "run", what))
    number = "that many" if organization is None else f"{one.running:,} of {most:,}"
    sentence = f"{who} may run {_count(most, what)} at once, and {number} run; the next starts when fewer do."
    return Reason(code, sentence)


def _execution_rate(one: LimitOn) -> Reason:
    organization, job_type = one.subject
    what = f"{job_type} job"
    if organization is None:
        code, who = ReasonCode.JOB_TYPE_EXECUTION_RATE, "All organizations together"
    else:
        code, who = ReasonCode.JOB_TYPE_EXECUTION_RATE_IN_ORGANIZATION, f"Organization {organization}"
    if one.next_start is None:
        return Reason(code, _none_allowed(who, "start", what))
    allowed = _count(one.limit.execution_rate or 0, what)
    sentence = f"{who} may start {allowed} in {one.limit.execution_rate_window:g} s, and did; the next may start at"
    return Reason(code, f"{sentence} {time_of(one.next_start)}.")


def breaker_reasons(facts: Facts) -> Iterator[Reason]:
    """An open breaker: until when, or whose trial it waits for."""
    breaker = facts.breaker
    if breaker is None or not _is_due_before(breaker.until, facts):
        return
    why = f"Too much of {breaker.job_type} failed in organization {breaker.organization}"
    close = f"An operator can let all start now: `{breaker.pair.close_command}`."
    if breaker.trial is not None:
        sentence = (
            f"{why}; job {breaker.trial.job_id} runs on trial, and the others start once one has completed. {close}"
        )
        yield Reason(ReasonCode.BREAKER_TRIAL, sentence)
    elif breaker.lets_try(facts.now):
        sentence = f"{why}; the next one to start is on trial, and the others start once one has completed. {close}"
        yield Reason(ReasonCode.BREAKER_TRIAL, sentence)
    else:
        sentence = (
            f"{why}, so nothing of it starts until {time_of(breaker.until)}; then one job is on trial, "
            f"and the others start once one has completed. {close}"
        )
        yield Reason(ReasonCode.BREAKER_OPEN, sentence)


def _is_due_before(moment: datetime, facts: Facts) -> bool:
    """Whether it is ready, or its retry comes before this moment."""
    retry_at = facts.job.next_retry_at if facts.job.status is JobStatus.QUEUED else None
    return facts.place_in_lane is not None or (retry_at is not None and retry_at < moment)


def _none_allowed(who: str, verb: str, what: str) -> str:
    return f"{who} may {verb} no {what}: none allowed. It waits until an operator raises the limit."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
