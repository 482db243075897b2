"""Turn a submission into a draft, with every check of R1 that needs no other job."""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter, is_
from typing import Any, Final, NamedTuple, Self, get_args
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.arguments import INHERIT, choice, count, moment_of, queue_name, seconds, text
from fairlane.domain.canonical import digest, digest_of_key
from fairlane.domain.errors import (
    ConfigurationError,
    FairlaneError,
    InvalidParameters,
    OrganizationSuspended,
    ParentNotFound,
    PermissionDenied,
)
from fairlane.domain.permissions import Access
from fairlane.domain.sealing import Field
from fairlane.domain.statuses import PRIORITY_RANK, OrganizationStatus, ParentPolicy, Priority, Role
from fairlane.domain.texts import ORGANIZATION_IDS, USER_IDS, is_storable
from fairlane.domain.timing import CENTURY
from fairlane.encryption.sealing import Ring
from fairlane.engine.batch import Sent, Submission, parent_ids
from fairlane.jobtypes.catalogue import RegisteredType
from fairlane.jobtypes.options import OnDuplicate, timeout_seconds
from fairlane.jobtypes.parameters import ParameterSchema, PreparedParameters
from fairlane.store.statements.drafts import Dedup, Draft, Kind, RateLimit
from fairlane.tenancy.directory import Membership, Standing, memberships, roles_for, standings
from fairlane.tenancy.tenants import no_member, unknown

_MOST_LABELS: Final = 50
_LONGEST_HEADERS: Final = 8_192  # characters of a job's headers as JSON
_MOST_KINDS: Final = 1_000  # that are cached
# Submissions of a type with the same values here are of one kind: these are all fields but those that each job has of
# its own.
_shared_by: Final = attrgetter(
    *("organization", "user", "queue", "priority", "on_parent_failure", "run_at", "delay"),
    *("max_retries", "timeout", "dedup_window", "on_duplicate"),
)


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of the directory about a batch's organizations and members.

    `of_host`: the directory is the application's own.
    """

    organizations: Mapping[str, Standing]
    members: Mapping[tuple[str, str], Membership]
    of_host: bool = False

    @classmethod
    def asked(cls, connection: Connection, organizations: Collection[str], pairs: Collection[tuple[str, str]]) -> Self:
        """Ask Fairlane's own directory."""
        return cls(standings(connection, organizations), memberships(connection, pairs))

    def check_organization(self, organization: str) -> Standing:
        """Return how the organization stands.

        Raises:
            OrganizationNotFound, OrganizationSuspended
        """
        standing = self.organizations.get(organization)
        if standing is None or standing.status is OrganizationStatus.DELETED:
            raise unknown(organization, is_stored=not self.of_host, was_deleted=standing is not None)
        if standing.status is OrganizationStatus.SUSPENDED:
            remedy = "submit again once the application activates it again" if self.of_host else "activate it first"
            raise OrganizationSuspended(f"Organization {organization} is suspended; {remedy}.")
        return standing

    def check_user(self, organization: str, user: str | None, job_type: str, permission: str | None) -> None:
        """Check that the user may submit; None is the system, which may.

        Raises:
            PermissionDenied
        """
        if user is None:
            return
        membership = self.members.get((organization, user))
        if membership is None:
            raise no_member(user, organization, is_stored=not self.of_host)
        if not membership.may_submit(permission):
            needed = f"permission {permission}" if permission else "the role member or admin"
            raise PermissionDenied(f"{user} may not submit {job_type} in {organization}: it needs {needed}.")

    def may_cancel_all(self, organization: str, user: str | None) -> bool:
        """Return True if the user may cancel jobs of others, and so replace them; the system may."""
        membership = self.members.get((organization, user)) if user is not None else None
        return user is None or (membership is not None and membership.role is Role.ADMIN)


class Hopes(Answers):
    """The answers that Fairlane's own directory gives to most submissions. Names that it can't know are refused."""

    def check_organization(self, organization: str) -> Standing:
        """Return the standing of an active organization without a limit."""
        if not ORGANIZATION_IDS.fits(organization):
            raise unknown(organization, is_stored=True, was_deleted=False)
        return Standing(OrganizationStatus.ACTIVE)

    def check_user(self, organization: str, user: str | None, job_type: str, permission: str | None) -> None:
        """Check the name only."""
        del job_type, permission
        if user is not None and not USER_IDS.fits(user):
            raise no_member(user, organization, is_stored=True)

    def may_cancel_all(self, organization: str, user: str | None) -> bool:
        """Return True: such submissions replace nothing."""
        del organization, user
        return True


class Payload:
    """The parameters of a job, checked and hashed before the transaction that stores them, since others wait for that.

    The transaction takes the outcome. It checks them again only if the type was registered again since.

    Args:
        by_handler: also by the handler's own types and validators, if this process has them.
    """

    __slots__ = ("_by_handler", "_hash", "_limit", "_organization", "_outcome", "_schema", "given")

    def __init__(self, organization: str, given: Mapping[str, Any], limit: float, *, by_handler: bool = True) -> None:
        self.given = given
        self._by_handler = by_handler
        self._organization = organization
        self._limit = limit
        self._schema: ParameterSchema | None = None
        self._outcome: PreparedParameters | FairlaneError
        self._hash: str | None = None

    def check(self, job_type: RegisteredType) -> bool:
        """Check the parameters, unless that was done; return whether they fit."""
        if self._schema is not job_type.schema:
            self._schema, self._hash = job_type.schema, None
            try:
                self._outcome = job_type.schema.prepare(self.given, limit=self._limit)
                if self._by_handler and job_type.judge is not None:
                    job_type.judge(self._outcome.text)
            except FairlaneError as error:
                self._outcome = error
        return not isinstance(self._outcome, FairlaneError)

    def by(self, job_type: RegisteredType) -> PreparedParameters:
        """Return the parameters as the type's schema prepares them.

        Raises:
            InvalidParameters, PayloadTooLarge
        """
        self.check(job_type)
        if isinstance(self._outcome, FairlaneError):
            raise self._outcome
        return self._outcome

    def hash_by(self, job_type: RegisteredType) -> str:
        """Return the hash, which is equal for equal parameters; it is made once.

        Raises:
            InvalidParameters, PayloadTooLarge
        """
        if self._hash is None or self._schema is not job_type.schema:
            plain = self.by(job_type).plain
            self._hash = digest(self._organization, job_type.name, job_type.schema.canonical(plain))
        return self._hash


class Ready(NamedTuple):
    """Submissions that were checked before their transaction.

    `answers`: None = Fairlane's own directory is asked in the transaction. `types`: those that were known.
    """

    answers: Answers | None
    payloads: Sequence[Payload]
    types: Mapping[str, RegisteredType]


class Drafting:
    """Turn submissions into drafts. Values that many of them have in common are checked once.

    Args:
        answers: the directory's answers about their organizations and users. The instance may be kept as long as they
            hold.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._kinds: dict[object, Kind] = {}
        self._latest: tuple[Sequence[object], Kind | None] = (), None

    def draft(self, submission: Submission, job_type: RegisteredType, payload: Payload) -> Draft:
        """Return the checked form of a submission.

        Raises:
            SubmissionError: the submission is wrong; the message says what to do.
        """
        access = submission.access if isinstance(submission, Sent) else None
        values = (job_type, access, *_shared_by(submission))
        latest, kind = self._latest
        if not (latest and all(map(is_, values, latest))):
            kind = self._kinds.get(_of_kind(values))
        if kind is None:
            self._answers.check_organization(submission.organization)
            self._answers.check_user(
                submission.organization, submission.user, job_type.name, job_type.options.requires_permission
            )
        prepared = payload.by(job_type)
        labels = _labels(submission.labels)
        try:
            if kind is None:
                if len(self._kinds) >= _MOST_KINDS:
                    self._kinds.clear()
                kind = self._kinds[_of_kind(values)] = self._new_kind(submission, job_type, access)
            self._latest = values, kind
            key = _key(submission, job_type, payload) if kind.window else None
            return Draft(
                submission.id,
                kind,
                prepared.text,
                prepared.shown,
                json.dumps(labels, sort_keys=True, ensure_ascii=False) if labels else "{}",
                tuple(sorted(labels.items())) if labels else (),
                _parents(submission) if submission.depends_on != () else (),
                Dedup(key, kind.window, submission.dedup_key) if key is not None else None,
                _headers(submission.headers) if submission.headers != {} else "",
            )
        except ConfigurationError as error:
            raise InvalidParameters(f"{job_type.name}: {error}") from error

    def _new_kind(self, submission: Submission, job_type: RegisteredType, access: Access | None) -> Kind:
        organization, options = submission.organization, job_type.options
        return Kind(
            organization=organization,
            job_type=job_type.name,
            user=submission.user,
            queue=queue_name(submission.queue if submission.queue is not None else options.queue),
            priority=PRIORITY_RANK[choice(Priority, "priority", submission.priority or options.priority)],
            on_parent_failure=choice(ParentPolicy, "on_parent_failure", submission.on_parent_failure),
            run_at=_run_at(submission),
            delay=_delay(submission),
            max_retries=_inherit(options.max_retries, submission.max_retries, "max_retries"),
            timeout=_timeout(submission, options.timeout),
            required_permission=options.requires_permission,
            window=min(_window(submission, job_type), CENTURY),
            on_duplicate=_on_duplicate(submission),
            rate=RateLimit(options.rate_limit, options.rate_limit_window) if options.rate_limit is not None else None,
            max_live_jobs=self._answers.check_organization(organization).max_live_jobs,
            may_replace_all=self._answers.may_cancel_all(organization, submission.user),
            access=access,
            documents=job_type.documents,
            roles=roles_for(options.requires_permission),
            is_of_host=self._answers.of_host,
        )


def _of_kind(values: Sequence[object]) -> object:
    """Return a key that is equal for submissions of one kind. The types count: a check may refuse True and take 1."""
    try:
        hash(tuple(values))
    except TypeError:
        return object()  # a value that can't be hashed will be refused
    return tuple(values), tuple(map(type, values))


def sealed(plain: Draft, ring: Ring | None) -> Draft:
    """Return the draft as it is stored: sealed if the organization has a key.

    Raises:
        ConfigurationError: the key can't be used here, or was destroyed.
    """
    if ring is None:
        return plain
    ring.check()
    parameters = ring.seal(plain.id, Field.PARAMETERS, plain.parameters)
    dedup = plain.dedup._replace(key=ring.hidden(plain.dedup.key)) if plain.dedup is not None else None
    return plain._replace(parameters=parameters, dedup=dedup)


def _inherit(inherited: int | None, given: object, name: str) -> int | None:
    return inherited if given is INHERIT else count(name, given)


def _timeout(submission: Submission, inherited: float | None) -> float | None:
    given = inherited if submission.timeout is INHERIT else timeout_seconds(submission.timeout)
    # A job that runs for longer than its handler's author meant holds its slot against other organizations.
    if isinstance(submission, Sent) and inherited is not None and (given is None or given > inherited):
        raise ConfigurationError(
            f"a timeout is at most the job type's, {inherited:g} s; give that or less, or leave it out."
        )
    return given


def _parents(submission: Submission) -> tuple[UUID, ...]:
    parents = parent_ids(submission)
    for parent in parents:
        if not isinstance(parent, UUID):
            raise ParentNotFound(f"Parent {parent!r} is not a job of organization {submission.organization}.")
    return tuple(dict.fromkeys(parent for parent in parents if isinstance(parent, UUID)))


def is_hashed(submission: Submission, job_type: RegisteredType) -> bool:
    """Return True if the job is deduplicated by its parameters."""
    if submission.dedup_key is not None:
        return False
    if submission.dedup_window is INHERIT:
        return job_type.options.dedup_window > 0
    with suppress(ConfigurationError):
        return seconds("dedup_window", submission.dedup_window) > 0
    return False


def _window(submission: Submission, job_type: RegisteredType) -> float:
    if submission.dedup_window is INHERIT:
        return job_type.options.dedup_window
    return seconds("dedup_window", submission.dedup_window)


def _key(submission: Submission, job_type: RegisteredType, payload: Payload) -> str:
    if submission.dedup_key is None:
        return payload.hash_by(job_type)
    return digest_of_key(submission.organization, job_type.name, text("dedup_key", submission.dedup_key))


def _on_duplicate(submission: Submission) -> str:
    ways = get_args(OnDuplicate)
    if submission.on_duplicate not in ways:
        raise ConfigurationError(f"on_duplicate must be one of {', '.join(ways)}, not {submission.on_duplicate!r}.")
    return submission.on_duplicate


def _delay(submission: Submission) -> float:
    delay = seconds("delay", submission.delay) if submission.delay is not None else 0.0
    if delay > CENTURY:
        raise ConfigurationError(f"delay must be at most 100 years, not {delay:g} s.")
    return delay


def _run_at(submission: Submission) -> datetime | None:
    run_at: object = submission.run_at
    if run_at is None:
        return None
    if submission.delay is not None:
        raise ConfigurationError("Give run_at or delay, not both.")
    return moment_of("run_at", run_at)


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    if labels == {}:
        return {}
    if not isinstance(labels, Mapping):
        raise InvalidParameters(f"labels must be a mapping, for example {{'sample': '42'}}, not {labels!r:.80}.")
    if len(labels) > _MOST_LABELS:
        raise InvalidParameters(f"A job has at most {_MOST_LABELS} labels, not {len(labels)}.")
    try:
        return {text("A label's name", name): text(f"Label {name!r}", value) for name, value in labels.items()}
    except ConfigurationError as error:
        raise InvalidParameters(str(error)) from error


def _headers(headers: Mapping[Any, Any]) -> str:
    if not isinstance(headers, Mapping):
        raise InvalidParameters(f"headers must be a mapping, for example {{'request-id': '42'}}, not {headers!r:.80}.")
    for name, value in headers.items():
        if not (isinstance(name, str) and isinstance(value, str)) or not is_storable(name + value):
            raise InvalidParameters(
                f"Header {name!r:.80} must be text with text as its value, without NUL and halves of pairs; put other "
                "values into the parameters."
            )
    found = json.dumps(dict(headers))
    if len(found) > _LONGEST_HEADERS:
        raise InvalidParameters(
            f"The headers of a job have at most {_LONGEST_HEADERS:,} characters as JSON, not {len(found):,}; put what "
            "is long into the parameters."
        )
    return found
