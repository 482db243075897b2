"""Access to live events: `fairlane.realtime` asks here who may watch what. The rules are those of requests."""

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fairlane.api import problems
from fairlane.api.authentication import network_of
from fairlane.api.problems import ORGANIZATION_UNKNOWN, Problem, said
from fairlane.api.rates import Rate, Rates, rate_key
from fairlane.api.representations import Job
from fairlane.api.request_tenants import tenant_in, tenant_of
from fairlane.api.tenant_queue import TenantQueue
from fairlane.app import Fairlane
from fairlane.domain.permissions import Access, Principal, Right
from fairlane.domain.texts import is_storable
from fairlane.realtime.events import Overview, Running
from fairlane.realtime.hub import EVERYTHING, Room, RoomKind
from fairlane.realtime.live import THREADS, Live, Opened
from fairlane.realtime.membership import Membership, is_operator
from fairlane.tenancy.directory import access_of

_MOST_RUNNING: Final = 200  # in a snapshot


class Wanted(BaseModel):
    """The subject of a subscription: an organization, one of its jobs, or for operators all jobs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    organization: str | None = Field(default=None, min_length=1, max_length=140, examples=["acme"])
    job: str | None = Field(default=None, max_length=100, description="The id of a job of the organization.")
    operator: bool = Field(default=False, description="The jobs of all organizations; for operators.")
    after: str | None = Field(
        default=None, max_length=2_000, description="The last cursor that the client got for the room."
    )


class Left(BaseModel):
    """A room to leave."""

    room: str = Field(examples=["org:acme"])


class JobSnapshot(BaseModel):
    """The snapshot of a job's room. `job` includes at least the transition with this `sequence`."""

    job: Job
    sequence: int


def live_of(fl: Fairlane, read_timeout: float) -> Live:
    """Make the realtime side of an application.

    Args:
        read_timeout: seconds that the database may take for a read, of a client or of the feed.
    """
    membership = Membership(fl.tickets.principals, fl.directory, fl.settings.directory_max_age)
    # All clients may wait: after an outage they return at once, and each asks one question at a time.
    queue = TenantQueue(THREADS, each=THREADS // 2, longest=sys.maxsize)
    return Live(fl.database, fl.keyring, membership, turn=queue.at, read_timeout=read_timeout)


class Door:
    """The check of who may watch, by the same rules as reads over REST."""

    def __init__(self, fl: Fairlane, rates: Rates) -> None:
        self._fl = fl
        self._rates = rates

    def count(self, connection: Mapping[str, Any]) -> None:
        """Count a connection, or a further ticket of it, before the database is asked.

        Args:
            connection: the ASGI scope of the connection.

        Raises:
            Problem: too many without a valid ticket came from the address.
        """
        self._rates.count_ticket(network_of(connection))

    def admit(self, ticket: str, connection: Mapping[str, Any]) -> Principal | None:
        """Return the principal of a ticket, which is valid once. Only an invalid ticket stays counted."""
        is_none = False
        try:
            principal = self._fl.tickets.redeem(ticket)
            is_none = principal is None
        finally:
            if not is_none:
                self._rates.prove_ticket(network_of(connection))
        return principal

    def tenant(self, principal: Principal) -> str:
        """Return the tenant whose turn `open` takes."""
        return tenant_of(principal)

    def open(self, principal: Principal, wanted: Mapping[str, Any]) -> Opened:
        """Return the room that the principal wants.

        Raises:
            Problem, FairlaneError
        """
        self._rates.count(Rate.STATUS, rate_key(principal))
        asked = _asked(wanted)
        if asked.operator:
            return self.open_all(principal)
        found = access_of(self._fl.directory, principal, asked.organization or "")
        if found is None:
            raise Problem(404, "organization-not-found", ORGANIZATION_UNKNOWN)
        if not found.is_operator:
            self._rates.count_together(Rate.STATUS, found.organization)
        if Right.JOBS_READ not in found.rights:
            raise Problem(
                403, "permission-denied", f"This needs the right {Right.JOBS_READ}, which you don't have here."
            )
        return self.open_for(found, asked.job)

    def open_for(self, access: Access, job: str | None) -> Opened:
        """Return the room of an organization, or of its job, for a principal who may see the organization.

        Raises:
            JobNotFound
        """
        if job is None:
            room = Room(RoomKind.ORGANIZATION, access.organization)
            return Opened(room, partial(self._overview, access.organization), tenant_in(access))
        found = self._fl.reads.get(job, access.organization, with_parameters=False)
        room = Room(RoomKind.JOB, access.organization, found.id)
        return Opened(room, partial(self._job, access, room), tenant_in(access))

    def open_all(self, principal: Principal) -> Opened:
        """Return the room of all jobs.

        Raises:
            Problem: the principal is no operator.
        """
        if not is_operator(principal):
            raise Problem(403, "permission-denied", "This is for operators.")
        return Opened(EVERYTHING, partial(self._overview, None), self.tenant(principal))

    def problem(self, error: Exception) -> dict[str, Any]:
        """Return the problem with which REST answers the error."""
        return problems.problem_of(error).document()

    def _job(self, access: Access, room: Room) -> dict[str, Any]:
        assert room.job_id is not None
        # The sequence is read first, so that the job is at least as new.
        sequence = self._fl.reads.last_sequence(room.job_id, room.organization)
        job = self._fl.get(room.job_id, organization=room.organization)
        return JobSnapshot(job=Job.of(job, access), sequence=sequence).model_dump(mode="json")

    def _overview(self, organization: str | None) -> dict[str, Any]:
        running = [
            Running(
                organization=one.organization,
                job_id=one.id,
                job_type=one.job_type,
                attempt=one.attempt,
                percent=one.progress,
                message=one.progress_message,
                started_at=one.started_at,
            )
            for one in self._fl.reads.running(organization, limit=_MOST_RUNNING)
        ]
        counts = self._fl.reads.by_status(organization)
        return Overview(running=running, counts=dict(counts)).model_dump(mode="json")


def _asked(wanted: Mapping[str, Any]) -> Wanted:
    try:
        asked = Wanted.model_validate(dict(wanted))
    except ValidationError as error:
        first = error.errors()[0]
        where = "/" + "/".join(map(str, first["loc"]))
        raise Problem(422, "invalid-request", f"{where}: {said(first['type'], first['msg'])}") from None
    if asked.operator == (asked.organization is not None):
        raise Problem(422, "invalid-request", "Name an organization, and perhaps a job of it; or say operator: true.")
    if not is_storable(asked.job or ""):
        raise Problem(422, "invalid-request", "/job: it has characters that no id has.")
    return asked
