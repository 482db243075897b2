"""The verbs for many jobs at once: `fl.bulk`."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Connection
from uuid_utils.compat import uuid7

from fairlane.domain.bulk import MOST_WORKING, NEEDED, BulkAction, BulkVerb, fitting, verb_of
from fairlane.domain.errors import FairlaneError, InvalidParameters, PermissionDenied, TooManyBulkActions
from fairlane.domain.jobs import job_type_not_found, statuses_of
from fairlane.domain.origin import acts_as_operator, is_trusted, origin
from fairlane.domain.permissions import Right
from fairlane.domain.texts import storable
from fairlane.engine.system.bulk_rows import bulk_action_of, kept_filters, kept_wanted, unknown
from fairlane.engine.system.bulk_steps import BulkSteps
from fairlane.engine.system.bulk_work import check_pace
from fairlane.store.row_security import Administered
from fairlane.store.statements import audit, job_types
from fairlane.store.statements import bulk_actions as statements
from fairlane.store.statements.job_list import WantedJobs
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.directory import Directory, is_operator
from fairlane.tenancy.tenants import Tenants, no_member

_AT_ONCE: Final = 2.0  # seconds that the call that begins an action works at it


class Bulk:
    """Cancel, retry or delete all jobs that match filters. Each job is audited by itself, and each action as a whole.

    Args:
        resolved: returns the jobs that match filters, with a text resolved as of now: `Matching.resolved`.
    """

    def __init__(
        self, database: Database, resolved: Callable[..., WantedJobs], steps: BulkSteps, directory: Directory
    ) -> None:
        self._database = database
        self._resolved = resolved
        self._steps = steps
        self._tenants = Tenants(database, directory, has_platform=True)

    def start(
        self,
        verb: BulkVerb | str,
        filters: Mapping[str, Any],
        *,
        organization: str,
        user: str | None = None,
        per_second: float | None = None,
        seconds: float = _AT_ONCE,
        token: str | None = None,
    ) -> BulkAction:
        """Begin a bulk action: "cancel", "retry" or "delete". Workers do the rest after `seconds`.

        Args:
            filters: as in `Reads.list`; {} = all jobs. The action takes only jobs in statuses that the verb allows, and
                only jobs that are there by now. A filter that is empty or None is refused: it never means all.
            user: the acting user; jobs that they may not change are refused, one by one.
            per_second: the number of dead letters that become ready each second, so that they don't fail together a
                second time; None: all at once. Other verbs have no pace.
            seconds: how long this call works at it before it returns.
            token: the hash of the token that begins it; the action ends with the token.

        Raises:
            InvalidParameters: a filter, the verb or the pace makes no sense, or it takes no jobs of these statuses.
            OrganizationNotFound: there is none, or its jobs can't be retried, as it was deleted.
            JobTypeNotFound: the filter names a type that is not registered.
            PermissionDenied: `user` is neither a member of the organization nor an operator.
            TooManyBulkActions: the organization has ten bulk actions at work.
            StorageUnavailable: the database is away, and nothing was begun.
        """
        storable(organization=organization, user=user)
        if not isinstance(filters, Mapping):
            raise InvalidParameters(
                f"filters must be a mapping, for example {{'job_type': 'report.pdf'}}, not {filters!r:.80}."
            )
        given = dict(filters)
        if "status" in given:
            given["status"] = sorted(statuses_of(given["status"]))
        statuses = fitting(verb, given)
        check_pace(verb_of(verb), per_second)
        self._tenants.require(organization, deleted_too=verb_of(verb) is not BulkVerb.RETRY)
        wanted = self._resolved(organization, **{**given, "status": sorted(statuses)})
        begun, taken = uuid7(), uuid4()
        values = {
            "id": begun,
            "verb": verb_of(verb),
            "user_id": user,
            "needs": None if is_trusted() else NEEDED[verb_of(verb)],
            "token": token,
            "filters": kept_filters(given),
            "per_second": per_second,
            "taken": taken,
        }
        wanted = replace(wanted, statuses=statuses, undecided=verb_of(verb) is BulkVerb.RETRY)
        membership = self._tenants.membership(organization, user)

        def begin(connection: Connection) -> AnyRow:
            if user is not None and membership(connection) is None and not is_operator(connection, user):
                raise no_member(user, organization, is_stored=not self._tenants.is_of_host)
            return self._create(connection, organization, wanted, values)

        row = self._database.write(begin, of=Administered(organization))
        # It has begun: workers go on with it after any error from here on.
        with suppress(FairlaneError):
            deadline = monotonic() + seconds
            self._steps.step(row, taken)
            while monotonic() < deadline and self._steps.go_on(organization, begun):
                pass
            return self.get(begun, organization=organization)
        return bulk_action_of(row, row.created_at)

    def get(self, action: UUID | str, *, organization: str) -> BulkAction:
        """Return a bulk action with its progress. It is kept for a day after its end.

        Raises:
            BulkActionNotFound, OrganizationNotFound
        """
        key = _id_of(organization, action)

        def read(connection: Connection) -> BulkAction:
            row = self._row(connection, organization, key)
            return bulk_action_of(row, self._database.clock.now(connection))

        return self._tenants.read(read, of=organization)

    def list(self, *, organization: str, before: UUID | None = None, limit: int = 100) -> tuple[BulkAction, ...]:
        """Return the bulk actions that go on or ended within a day, the newest first, from just after `before`.

        Raises:
            OrganizationNotFound
        """

        def read(connection: Connection) -> tuple[BulkAction, ...]:
            now = self._database.clock.now(connection)
            return tuple(bulk_action_of(row, now) for row in statements.of(connection, organization, before, limit))

        return self._tenants.read(read, of=organization)

    def stop(
        self, action: UUID | str, *, organization: str, user: str | None = None, only_own: bool = False
    ) -> BulkAction:
        """Stop a bulk action within a second: its changes stay. An action that has ended is not changed.

        Args:
            user: the user who stops it; None = the system.
            only_own: whether the action has to be theirs.

        Raises:
            BulkActionNotFound, OrganizationNotFound, PermissionDenied
        """
        key = _id_of(organization, action)
        actor = self._tenants.actor(organization, user, Right.JOBS_CHANGE)

        def work(connection: Connection) -> BulkAction:
            # Checked once the user of the action is known.
            row = statements.lock(connection, organization, key)
            if row is None:
                raise unknown(organization, key)
            is_own = row.user_id == user
            if only_own and not is_own:
                raise PermissionDenied(f"Bulk action {key} is not {user}'s: ask an admin to stop it.")
            actor.refuse_unless_may(connection, full=not is_own)
            now = self._database.clock.now(connection)
            if row.ended_at is None:
                by = user or SYSTEM
                values = {"ended_at": now, "look_at": None, "stopped_by": by}
                statements.change(connection, organization, key, values)
                audit.record(connection, now, organization, by, "bulk_actions.stop", key)
            return bulk_action_of(self._row(connection, organization, key), now)

        return self._tenants.write(work, organization)

    def _create(
        self, connection: Connection, organization: str, wanted: WantedJobs, values: Mapping[str, Any]
    ) -> AnyRow:
        # Two calls at once may both pass the check: the bound only keeps an organization from a thousand actions.
        if statements.working(connection, organization) >= MOST_WORKING:
            raise TooManyBulkActions(
                f"{MOST_WORKING} bulk actions of {organization} go on; wait for one of them, or stop it."
            )
        if wanted.job_type is not None and job_types.options_of(connection, wanted.job_type) is None:
            raise job_type_not_found(wanted.job_type)
        now = self._database.clock.now(connection)
        row = {
            **values,
            "organization_id": organization,
            "origin": origin(),
            "as_operator": acts_as_operator(),
            "wanted": kept_wanted(replace(wanted, there_at=now)),
            "refusals": "[]",
            **dict.fromkeys(("changed", "passed_over", "refused", "failures"), 0),
            "look_at": now + statements.TAKEN_FOR,
            "created_at": now,
        }
        statements.create(connection, row)
        # Only the names of filters: the audit need not hold the searched values.
        names = sorted(name for name, value in json.loads(values["filters"]).items() if value)
        after = {"verb": values["verb"], "filters": names, "per_second": values["per_second"]}
        actor = values["user_id"] or SYSTEM
        audit.record(connection, now, organization, actor, "bulk_actions.start", values["id"], after=after)
        return self._row(connection, organization, values["id"])

    def _row(self, connection: Connection, organization: str, action: UUID) -> AnyRow:
        row = statements.find(connection, organization, action)
        if row is None:
            raise unknown(organization, action)
        return row


def _id_of(organization: str, action: UUID | str) -> UUID:
    try:
        return action if isinstance(action, UUID) else UUID(action)
    except ValueError:
        raise unknown(organization, action) from None
