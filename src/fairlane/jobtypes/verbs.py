"""The verbs of operators about job types: pause, disable, limit, and circuit breakers: `fl.job_types`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from fairlane.domain.arguments import INHERIT, Inheriting, Seconds, count
from fairlane.domain.breaker import Breaker, Pair
from fairlane.domain.errors import ConfigurationError
from fairlane.domain.events import BreakerClosed, Emit
from fairlane.domain.jobs import job_type_not_found
from fairlane.domain.limits import Limit, Subject
from fairlane.domain.metrics import PauseView
from fairlane.domain.texts import ORGANIZATION_IDS, Platform, storable
from fairlane.jobtypes.catalogue import Catalogue
from fairlane.jobtypes.options import Options, rate_window
from fairlane.jobtypes.parameters_json_schema import json_schema
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import breakers, running_limits
from fairlane.store.statements import job_types as statements
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.authority import Told
from fairlane.tenancy.directory import Directory
from fairlane.tenancy.pausing import Pausable, Pauses
from fairlane.tenancy.tenants import Tenants

Overrides = Mapping[Subject, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class JobTypeLimit:
    """A limit on a job type; None = unlimited, 0 = none.

    `organization` None: of all organizations together. `changed` names the values that `fl.job_types.limit` set; the
    rest is from the type's handler, and unlimited for one organization.
    """

    job_type: str
    organization: str | None
    max_running: int | None
    execution_rate: int | None
    execution_rate_window: float
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobTypeView:
    """A registered job type.

    `parameters` is the JSON Schema of its jobs' parameters; each submission is checked anyway. `limits` are its limits:
    that of all organizations together, then that of the organization that asks, if it was set. The limits in `options`
    are those of the type's handler.
    """

    name: str
    enabled: bool
    paused: bool
    options: Options
    limits: tuple[JobTypeLimit, ...]
    parameters: Mapping[str, Any]
    registered_at: datetime
    pause: PauseView | None = None


class JobTypes(Pauses):
    """Pause, disable, limit and delete job types, for all organizations; see and close their circuit breakers.

    Verbs that change something take the acting `user`; None = the system.
    """

    def __init__(self, database: Database, emit: Emit, directory: Directory, catalogue: Catalogue) -> None:
        super().__init__(database, Pausable.JOB_TYPE)
        self._catalogue = catalogue
        self._emit = emit
        self._tenants = Tenants(database, directory, has_platform=True)

    def list(self, *, organization: str | None = None) -> tuple[JobTypeView, ...]:
        """Return all registered types, by name.

        Args:
            organization: include this organization's own limits; None = only those of all together.

        Raises:
            OrganizationNotFound
        """
        if organization is not None:
            self._tenants.require(organization)
        pauses = self._pauses()
        rows, overrides = self._database.read(_types_and_overrides, of=EVERYONE)
        return tuple(
            JobTypeView(
                row.name,
                row.enabled,
                row.name in pauses,
                Options.from_json(row.options),
                _limits(row, overrides, [Subject(organization, row.name)]),
                json_schema(json.loads(row.schema)),
                row.registered_at,
                pauses.get(row.name),
            )
            for row in rows
        )

    def breakers(self, *, organization: str | None = None) -> tuple[Breaker, ...]:
        """Return the circuit breakers that are open.

        Args:
            organization: the organization of the breakers; None = all organizations, for operators.

        Raises:
            OrganizationNotFound
        """
        if organization is None:
            return tuple(self._database.read(breakers.open_breakers, of=EVERYONE))
        return tuple(self._tenants.read(lambda c: breakers.open_of(c, organization), of=organization))

    def close_breaker(self, name: str, *, organization: str, user: str | None = None) -> bool:
        """Let jobs of the type start again in the organization at once; return False if its breaker was not open.

        Only attempts that end from the next full minute on count towards opening it again.

        Raises:
            InvalidParameters: a text that can't be stored.
            JobTypeNotFound, OrganizationNotFound, PermissionDenied
        """
        storable(name=name)
        self._tenants.check(organization)
        pair = Pair(organization, name)

        def work(connection: Connection) -> tuple[bool, Told | None]:
            found = breakers.lock_open(connection, pair)
            now = self._database.clock.now(connection)
            if found is None or not breakers.change(connection, found, found.closed(now)):
                self._require(connection, name)
                return False, None
            return True, Told(name, {"until": found.until}, at=now)

        was_open = self._change("close_breaker", name, user, work, organization)
        if was_open:
            self._database.hint()
            self._emit(BreakerClosed(organization, name, user or SYSTEM))
        else:
            self._tenants.require(organization)
        return was_open

    def enable(self, name: str, *, user: str | None = None) -> None:
        """Let the type be submitted again.

        Raises:
            JobTypeNotFound, PermissionDenied
        """
        self._set_enabled(name, user, enabled=True)

    def disable(self, name: str, *, user: str | None = None) -> None:
        """Refuse submissions of the type; existing jobs run.

        Raises:
            JobTypeNotFound, PermissionDenied
        """
        self._set_enabled(name, user, enabled=False)

    def delete(self, name: str, *, user: str | None = None) -> None:
        """Delete a type that has no jobs.

        A process that has the type's handler registers it again when it submits it.

        Raises:
            JobTypeNotFound, PermissionDenied
            ConfigurationError: there are jobs of the type.
            StorageUnavailable: a transaction that submits it stays open for too long.
        """

        storable(name=name)

        def work(connection: Connection) -> tuple[None, Told]:
            # Removed first: from then on no submission begins, and those that have begun are seen.
            if not statements.remove(connection, name):
                raise job_type_not_found(name)
            if statements.is_referenced(connection, name):
                raise ConfigurationError(
                    f"Jobs of type {name} are there; it can be deleted when retention has removed them."
                )
            running_limits.forget_type(connection, name)
            return None, Told(name)

        self._change("delete", name, user, work)

    def limit(
        self,
        name: str,
        *,
        organization: str | None = None,
        max_running: int | Inheriting | None = INHERIT,
        execution_rate: int | Inheriting | None = INHERIT,
        execution_rate_window: Seconds | Inheriting = INHERIT,
        user: str | None = None,
    ) -> JobTypeLimit:
        """Change the given values of a type's limits; the rest stays. `reset_limit` undoes all changes.

        Workers use the new limits within a tenth of a second; jobs that run beyond them finish.

        Args:
            organization: limit the jobs of this organization; None = of all organizations together. Both limits hold.
            max_running: at once. None = unlimited, whatever the type's handler says; 0 = none.
            execution_rate: starts within any `execution_rate_window`, counted from the moment the rate was set.
            execution_rate_window: at most a day; 60 s unless said otherwise.

        Raises:
            JobTypeNotFound, OrganizationNotFound, ConfigurationError, PermissionDenied
        """
        changes: dict[str, Any] = {}
        if max_running is not INHERIT:
            changes["max_running"] = count("max_running", max_running)
        if execution_rate is not INHERIT:
            changes["execution_rate"] = count("execution_rate", execution_rate)
        if execution_rate_window is not INHERIT:
            changes["execution_rate_window"] = rate_window("execution_rate_window", execution_rate_window)
        subject = _limit_subject(name, organization)
        if organization is not None:
            self._tenants.require(organization, deleted_too=False)

        def work(connection: Connection) -> tuple[JobTypeLimit, Told | None]:
            row, told = self._require(connection, name), None
            if changes:
                before = running_limits.overrides(connection).get(subject, {})
                _refuse_window_alone(_limit(subject, row.options, {**before, **changes}), changes)
                running_limits.set_limit(connection, subject, changes)
                told = Told(name, {one: before[one] for one in changes if one in before} or None, changes)
            return _limit(subject, row.options, running_limits.overrides(connection).get(subject, {})), told

        limited = self._change("limit", name, user, work, organization)
        self._database.hint()  # there may be capacity now
        return limited

    def reset_limit(self, name: str, *, organization: str | None = None, user: str | None = None) -> bool:
        """Undo the changes of `limit`: the handler's limits hold again. Return False if nothing was set.

        Raises:
            JobTypeNotFound, OrganizationNotFound, PermissionDenied
        """
        subject = _limit_subject(name, organization)

        def work(connection: Connection) -> tuple[bool, Told | None]:
            before = running_limits.reset_limit(connection, subject)
            if before is None:
                self._require(connection, name)
                return False, None
            return True, Told(name, before)

        was_set = self._change("reset_limit", name, user, work, organization)
        if not was_set and organization is not None:
            self._tenants.require(organization)
        self._database.hint()
        return was_set

    def limits(self, *, name: str | None = None) -> tuple[JobTypeLimit, ...]:
        """Return the limits of each type, or of one: of all organizations together, then of each with its own limit.

        Raises:
            JobTypeNotFound
        """
        rows, overrides = self._database.read(_types_and_overrides, of=EVERYONE)
        found = [
            limit
            for row in rows
            if name in (None, row.name)
            for limit in _limits(
                row, overrides, sorted((one for one in overrides if one.job_type == row.name), key=str)
            )
        ]
        if name is not None and not found:
            raise job_type_not_found(name)
        return tuple(found)

    def _require(self, connection: Connection, name: str) -> AnyRow:
        row = statements.hold(connection, name)
        mine = self._catalogue.mine.get(name)
        if row is None and mine is not None:  # nobody has submitted it yet
            statements.register(connection, self._database.clock.now(connection), name, *mine.documents)
            row = statements.hold(connection, name)
        if row is None:
            raise job_type_not_found(name)
        return row

    def _set_enabled(self, name: str, user: str | None, *, enabled: bool) -> None:
        storable(name=name)

        def work(connection: Connection) -> tuple[None, Told]:
            row = self._require(connection, name)
            statements.set_enabled(connection, name, enabled=enabled)
            return None, Told(name, {"enabled": row.enabled}, {"enabled": enabled})

        self._change("enable" if enabled else "disable", name, user, work)


def _limit_subject(job_type: str, organization: str | None) -> Subject:
    storable(name=job_type)
    is_one = isinstance(organization, Platform) or ORGANIZATION_IDS.fits(organization)
    if organization is not None and not is_one:
        raise ConfigurationError(f"{organization!r:.160} is no organization's id; None means all organizations.")
    return Subject(organization, job_type)


def _refuse_window_alone(limited: JobTypeLimit, changes: Mapping[str, Any]) -> None:
    # A caller who removes the rate may give a window with it.
    if {"execution_rate", "execution_rate_window"} & {*changes} == {"execution_rate_window"} and (
        limited.execution_rate is None
    ):
        raise ConfigurationError("execution_rate_window is the time of execution_rate, which is not set; give it, too.")


def _types_and_overrides(connection: Connection) -> tuple[Sequence[AnyRow], Overrides]:
    return statements.everything(connection), running_limits.overrides(connection)


def _limits(row: AnyRow, overrides: Overrides, own: Iterable[Subject]) -> tuple[JobTypeLimit, ...]:
    """Return the limits of a type: of all together, then of the subjects for which a limit was set."""
    every = Subject(None, row.name)
    subjects = (every, *(one for one in own if one != every and one in overrides))
    return tuple(_limit(one, row.options, overrides.get(one, {})) for one in subjects)


def _limit(subject: Subject, options: str, changes: Mapping[str, Any]) -> JobTypeLimit:
    own = Options.from_json(options).limit if subject.organization is None else Limit()
    assert subject.job_type is not None
    effective = asdict(replace(own, **changes))
    return JobTypeLimit(subject.job_type, subject.organization, **effective, changed=tuple(sorted(changes)))
