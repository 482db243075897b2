"""What limits and breakers have to do with a job that does not run.

Whoever asks sees one organization. So of a limit over all organizations it is said that it is reached, and nothing of
who runs what.
"""

import shlex
from collections.abc import Iterator
from datetime import datetime

from fairlane.domain.breaker import Breaker
from fairlane.domain.explain_facts import Facts, LimitOn
from fairlane.domain.limits import Subject
from fairlane.domain.reasons import Reason, ReasonCode, number_in_lane, time_of
from fairlane.domain.statuses import JobStatus


def limit_reasons(facts: Facts) -> Iterator[Reason]:
    """Yield limits that let nothing start.

    They are those that allow none, and, of a job that is ready, those that are reached.
    """
    is_ready = facts.place_in_lane is not None
    for one in facts.limits:
        most, rate = one.limit.max_running, one.limit.execution_rate
        if most == 0 or (most is not None and is_ready and one.running >= most):
            yield _max_running(facts, one, most)
        if rate == 0 or (rate is not None and is_ready and one.next_start is not None):
            yield _execution_rate(facts, one)


def max_running_code(subject: Subject) -> ReasonCode:
    """Return what a limit on what runs at once is called as a reason."""
    if subject.organization is None:
        return ReasonCode.JOB_TYPE_MAX_RUNNING
    if subject.job_type is None:
        return ReasonCode.ORGANIZATION_MAX_RUNNING
    return ReasonCode.JOB_TYPE_MAX_RUNNING_IN_ORGANIZATION


def execution_rate_code(subject: Subject) -> ReasonCode:
    """Return what a limit on what starts in a window is called as a reason."""
    if subject.organization is None:
        return ReasonCode.JOB_TYPE_EXECUTION_RATE
    return ReasonCode.JOB_TYPE_EXECUTION_RATE_IN_ORGANIZATION


def _who(organization: str | None) -> str:
    return f"Organization {organization}" if organization is not None else "All organizations together"


def _max_running(facts: Facts, one: LimitOn, most: int) -> Reason:
    organization, job_type = one.subject
    what = f"{job_type} job" if job_type is not None else "job"
    code, who = max_running_code(one.subject), _who(organization)
    remedy, commands = _remedy(facts, one.subject, "--max-running")
    if most == 0 or facts.place_in_lane is None:
        return Reason(code, f"{who} may run no {what}: none allowed. {remedy}", commands)
    number = "that many" if organization is None else f"{one.running:,} of {most:,}"
    place = number_in_lane(facts.job, facts.place_in_lane)
    sentence = (
        f"{who} may run {_count(most, what)} at once, and {number} run; it is {place}, "
        f"and the next starts when fewer do. {remedy}"
    )
    return Reason(code, sentence, commands)


def _execution_rate(facts: Facts, one: LimitOn) -> Reason:
    organization, job_type = one.subject
    what = f"{job_type} job"
    code, who = execution_rate_code(one.subject), _who(organization)
    remedy, commands = _remedy(facts, one.subject, "--execution-rate")
    if one.next_start is None or facts.place_in_lane is None:
        return Reason(code, f"{who} may start no {what}: none allowed. {remedy}", commands)
    allowed = _count(one.limit.execution_rate or 0, what)
    place = number_in_lane(facts.job, facts.place_in_lane)
    sentence = (
        f"{who} may start {allowed} in {one.limit.execution_rate_window:g} s, and did; it is {place}, "
        f"and the next may start at {time_of(one.next_start)}. {remedy}"
    )
    return Reason(code, sentence, commands)


def _remedy(facts: Facts, subject: Subject, option: str) -> tuple[str, tuple[str, ...]]:
    """Say who can raise the limit, and the commands that do."""
    whose = shlex.quote(subject.organization or "")
    if subject.job_type is None:
        if facts.is_hosted:
            return "The application's own directory sets this limit.", ()
        return "An operator can raise this limit.", (f"fairlane orgs update {whose} {option} N",)
    of, name = f" -o {whose}" if subject.organization else "", shlex.quote(subject.job_type)
    see, change = f"fairlane types limits {name}", f"fairlane types limit {name}{of} {option} N"
    return "An operator can see what uses this limit, and raise it.", (see, change)


def breaker_reasons(facts: Facts) -> Iterator[Reason]:
    """Yield an open breaker: until when, or whose trial it waits for."""
    breaker = facts.breaker
    if breaker is not None and _is_due_before(breaker.until, facts):
        yield _breaker_reason(breaker, facts.now)


def _breaker_reason(breaker: Breaker, now: datetime) -> Reason:
    """Say what a breaker that is open at `now` does to all that is ready."""
    why = f"Too much of {breaker.job_type} failed in organization {breaker.organization}"
    close, commands = "An operator can let all start now.", (breaker.pair.close_command,)
    if breaker.trial is not None:
        sentence = (
            f"{why}; job {breaker.trial.job_id} runs on trial, and the others start once one has completed. {close}"
        )
        return Reason(ReasonCode.BREAKER_TRIAL, sentence, commands)
    if breaker.lets_try(now):
        sentence = f"{why}; the next one to start is on trial, and the others start once one has completed. {close}"
        return Reason(ReasonCode.BREAKER_TRIAL, sentence, commands)
    sentence = (
        f"{why}, so nothing of it starts until {time_of(breaker.until)}; then one job is on trial, "
        f"and the others start once one has completed. {close}"
    )
    return Reason(ReasonCode.BREAKER_OPEN, sentence, commands)


def _is_due_before(moment: datetime, facts: Facts) -> bool:
    """Return True if it is ready, or its retry comes before this moment."""
    retry_at = facts.job.next_retry_at if facts.job.status is JobStatus.QUEUED else None
    return facts.place_in_lane is not None or (retry_at is not None and retry_at < moment)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
