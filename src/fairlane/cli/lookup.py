"""Lookup of a job by its whole id, the beginning of it, or the end that `worker` and `top` show."""

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from uuid import UUID

import typer

from fairlane import FairlaneError, Job, JobStatus, OrganizationNotFound, PermissionDenied
from fairlane.cli.session import engine
from fairlane.domain.jobs import job_not_found
from fairlane.domain.reasons import Reason
from fairlane.domain.texts import Platform

if TYPE_CHECKING:
    from fairlane import Fairlane

_SEARCHED: Final = 1000  # newest jobs that are searched for an end of an id that is too short for a list's search
_FEWEST_DIGITS: Final = 4
_HOST: Final = "the application's own directory says so."


class AmbiguousId(FairlaneError):
    """The error that several jobs, or error groups, match an id."""


class ShortId(FairlaneError):
    """Too little of a job's id to look for it."""


class NoSuchGroup(FairlaneError):
    """The error that an organization has no dead letters with a fingerprint."""


def find(fl: "Fairlane", text: str, organization: str) -> Job:
    """Return the job of a whole or partial id, as `find_id` does."""
    return fl.get(find_id(fl, text, organization), organization=organization)


def find_id(fl: "Fairlane", text: str, organization: str) -> UUID:
    """Return the id of the job with a partial id. A whole id is returned without a search.

    Raises:
        JobNotFound: the organization has no such job.
        AmbiguousId: it has several; the message says what to do.
        ShortId: it may have many.
    """
    if _is_id(text):
        return UUID(text)
    digits = text.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{0,32}", digits):
        raise job_not_found(text, organization)
    if len(digits) < _FEWEST_DIGITS:
        few = f"give at least {_FEWEST_DIGITS} characters of its beginning or end"
        raise ShortId(f"{text} is too short for an id; {few}.")
    page = fl.reads.list(organization, text=text, limit=2, with_parameters=False)
    by_id = tuple(job for job in page.items if job.id.hex.startswith(digits) or job.id.hex.endswith(digits))
    found = by_id or _by_end(fl, digits, organization)
    if not found:
        refuse_unknown(fl, organization)
        raise job_not_found(text, organization)
    if len(found) > 1:
        raise AmbiguousId(f"Several jobs of {organization} have {text} in their id; give the whole id.")
    return found[0].id


def find_fingerprint(fl: "Fairlane", text: str, organization: str) -> str:
    """Return the whole fingerprint of a given one, or of the code at its end, which `groups` shows.

    Raises:
        NoSuchGroup: the organization has no such group.
        AmbiguousId: it has several.
    """
    every = {one.fingerprint for one in fl.dead_letters.groups(organization=organization, resolution=None)}
    found = sorted(every & {text} or {one for one in every if len(text) >= _FEWEST_DIGITS and one.endswith(text)})
    if not found:
        refuse_unknown(fl, organization)
        groups = f"fairlane dead-letters groups -o {shlex.quote(organization)}"
        raise NoSuchGroup(f"Organization {organization} has no dead letters with fingerprint {text}; see: {groups}")
    if len(found) > 1:
        raise AmbiguousId(f"Several error groups of {organization} end in {text}; give the whole fingerprint.")
    return found[0]


def fingerprint_code(fingerprint: str) -> str:
    """Return what to type for a fingerprint: the code at its end, after the error's type; else all, quoted."""
    found = re.fullmatch(r".* ([0-9a-f]{16})", fingerprint)
    return found[1] if found is not None else shlex.quote(fingerprint)


def breakers_on(fl: "Fairlane", jobs: Sequence[Job]) -> dict[UUID, Reason]:
    """Return a function that says which jobs an open breaker holds back. Breakers are read once for all jobs."""
    if not any(one.status is JobStatus.QUEUED for one in jobs):
        return {}
    from fairlane.domain.explain import breaker_on

    found = {one.job_type: one for one in fl.job_types.breakers(organization=jobs[0].organization)}
    if not found:
        return {}
    now = fl.database.look(fl.database.clock.now)
    return {job.id: reason for job in jobs for reason in breaker_on(job, found.get(job.job_type), now)}


def refuse_unknown(fl: "Fairlane", organization: str) -> None:
    """Refuse an unknown organization whose list is empty: a typo in its id must not look like having no jobs.

    Raises:
        OrganizationNotFound
    """
    if organization not in fl.directory.organizations([organization]):
        raise no_organization(fl, organization)


def no_organization(fl: "Fairlane", organization: str) -> OrganizationNotFound:
    """Return the error for an unknown organization. If only the case is wrong, it names the right one."""
    there: list[str] = []
    with suppress(FairlaneError):  # a login of an organization may not read others
        there = [one.id for one in fl.organizations.list() if one.id.casefold() == organization.casefold()]
    remedy = f"create it: {orgs_create(organization)}" if keeps_people(fl) else _HOST
    if there:
        remedy = f"names are case-sensitive, and there is {there[0]!r}."
    return OrganizationNotFound(f"There is no organization {organization!r}; {remedy}")


def refuse_stranger(fl: "Fairlane", organization: str, user: str | None) -> None:
    """Refuse to act as a user who is not a member, or in the platform as one who is no operator.

    For an application the job would be unknown; the operator may know why.

    Raises:
        PermissionDenied
    """
    if isinstance(organization, Platform):
        if user is not None and not fl.users.get(user).is_operator:
            from fairlane.tenancy.tenants import no_member

            raise no_member(user, organization)
        return
    if user is not None and (organization, user) not in fl.directory.members([(organization, user)]):
        add = f"fairlane members add {shlex.quote(user)} -o {shlex.quote(organization)}"
        remedy = f"add them: {add}" if keeps_people(fl) else _HOST
        raise PermissionDenied(f"{user} is not a member of organization {organization}; {remedy}")


def acting(context: typer.Context, user: str | None) -> "Fairlane":
    """Return the engine for an operator's command, and refuse an unknown user: the audit must not name a typo.

    Raises:
        ConfigurationError: there is no such user, and no such member, as far as this can be known.
    """
    fl = engine(context)
    if user is not None and fl.members.of(user) == ():  # None: the application's own directory can't be asked
        fl.users.get(user)
    return fl


def orgs_create(organization: str) -> str:
    """Return the command that creates the organization."""
    return f"fairlane orgs create {shlex.quote(organization)}"


def keeps_people(fl: "Fairlane") -> bool:
    """Return True if Fairlane keeps organizations and members, and not the application's directory."""
    from fairlane.tenancy.directory import StoredDirectory

    return isinstance(fl.directory, StoredDirectory)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _by_end(fl: "Fairlane", end: str, organization: str) -> tuple[Job, ...]:
    newest = fl.reads.list(organization, limit=_SEARCHED, with_parameters=False)
    return tuple(job for job in newest.items if job.id.hex.endswith(end))
