"""What claimed jobs need to begin, opened where it is sealed.

What can't be opened is a payload that can't be decoded: the attempt fails, backs off and ends in dead letter. Where
only this process lacks the key no attempt is spent, since another worker has it, or this one will after a restart.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.outcomes import ErrorReport, Failed, Outcome, Released
from fairlane.domain.sealing import BROKEN, Field, is_sealed
from fairlane.domain.secrets import bare
from fairlane.domain.statuses import JobStatus
from fairlane.engine.reports import AttemptFacts, ParentFacts
from fairlane.registry.keyring import Keyring
from fairlane.registry.sealing import KeyNotHere, Ring, Unreadable
from fairlane.store.statements import attempts
from fairlane.store.statements.claim import Claimed

_NO_LABELS: Final = "{}"
_UNDECODABLE: Final = "InvalidParameters"
KEY_NOT_HERE: Final = "this worker can't use the organization's encryption key; `fairlane check` says there why"


class Extras(NamedTuple):
    """What a job has beside its row. `trouble`: some of it can't be opened."""

    checkpoint: str | None = None
    parents: tuple[ParentFacts, ...] = ()
    trouble: Unreadable | None = None


NO_EXTRAS: Final = Extras()


class Ready(NamedTuple):
    """A claimed job with all that its attempt needs, or with the outcome that it already has."""

    claimed: Claimed
    facts: AttemptFacts
    verdict: Outcome | None = None


def extras(connection: Connection, keyring: Keyring, claimed: Sequence[Claimed]) -> dict[UUID, Extras]:
    """Checkpoint and parents of each job, where it has any, by its lease."""
    return {one.lease_token: _extras_of(connection, keyring, one) for one in claimed}


def ready(one: Claimed, more: Extras, verdict: Outcome | None, ring: Ring | None, deferred: float) -> Ready:
    """The job as its attempt begins.

    Args:
        verdict: of the checks at start, which goes before everything else.
        ring: the keys of its organization, if it has any; what the attempt writes goes by those of its time.
        deferred: seconds that a job waits whose key is not here.
    """
    try:
        return _ready(one, more, verdict, ring, deferred)
    except (ValueError, RecursionError):
        # Somebody changed them by hand. One job of that kind must not keep the others of its round from beginning.
        bare_one = one._replace(labels=_NO_LABELS)
        failed = _undecodable(one, Unreadable("its labels are no JSON.", BROKEN))
        return Ready(bare_one, _facts(bare_one, NO_EXTRAS), verdict or failed)


def _ready(one: Claimed, more: Extras, verdict: Outcome | None, ring: Ring | None, deferred: float) -> Ready:
    if verdict is not None or (ring is None and more.trouble is None):
        return Ready(one, _facts(one, more), verdict)
    try:
        _check(ring, more)
        if ring is not None and is_sealed(one.parameters):
            one = one._replace(parameters=ring.open(one.id, Field.PARAMETERS, one.parameters))
    except KeyNotHere:
        # The organization's people read this; what the operator has to do, `fairlane check` tells the operator.
        return Ready(one, _facts(one, more), Released(KEY_NOT_HERE, deferred))
    except Unreadable as error:
        return Ready(one, _facts(one, more), _undecodable(one, error))
    return Ready(one, _facts(one, more))


def _check(ring: Ring | None, more: Extras) -> None:
    """Raises Unreadable where the job can't begin, whatever its parameters are."""
    if ring is not None:
        ring.check_usable()
    if more.trouble is not None:
        raise more.trouble


def _undecodable(one: Claimed, error: Unreadable) -> Failed:
    message = f"payload not decodable: {error}"
    report = ErrorReport(_UNDECODABLE, message, fingerprint=f"{_UNDECODABLE} sealed {one.job_type}")
    return Failed(report, is_of_handler=False)


def _extras_of(connection: Connection, keyring: Keyring, one: Claimed) -> Extras:
    try:
        state = attempts.checkpoint_of(connection, one.organization, one.id) if one.attempt > 1 else None
        if state is not None:
            state = keyring.shown(connection).opened(one.organization, one.id, Field.CHECKPOINT, state)
        return Extras(state, _parents(connection, keyring, one) if one.has_parents else ())
    except Unreadable as error:
        return Extras(trouble=error)
    except (ValueError, RecursionError):
        return Extras(trouble=Unreadable("what a parent left is no JSON.", BROKEN))


def _parents(connection: Connection, keyring: Keyring, claimed: Claimed) -> tuple[ParentFacts, ...]:
    rows = attempts.parents_of(connection, claimed.organization, claimed.id)
    shown = keyring.shown(connection)
    files: dict[UUID, dict[str, tuple[str, int]]] = defaultdict(dict)
    for file in attempts.artifacts_of(connection, claimed.organization, [row.id for row in rows]):
        files[file.job_id][file.name] = (file.path, file.size)
    return tuple(
        ParentFacts(
            id=row.id,
            job_type=row.job_type,
            status=JobStatus(row.status),
            result=bare(json.loads(shown.opened(claimed.organization, row.id, Field.RESULT, row.value)))
            if row.value is not None
            else None,
            labels=json.loads(row.labels),
            artifacts=files[row.id],
        )
        for row in rows
    )


def _facts(claimed: Claimed, more: Extras) -> AttemptFacts:
    return AttemptFacts(
        claimed.organization,
        claimed.id,
        claimed.job_type,
        claimed.user,
        claimed.attempt,
        claimed.lease_token,
        claimed.parameters,
        json.loads(claimed.labels) if claimed.labels != _NO_LABELS else {},
        claimed.timeout,
        more.checkpoint,
        more.parents,
    )
