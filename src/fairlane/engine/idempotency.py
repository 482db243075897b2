"""Submit under an idempotency key of the client, so that a repeated request submits nothing twice.

First the key is stored, with a hash of the request and the ids that its jobs will have; then the jobs are submitted
with these ids. A repeated request with the same key finds the jobs or, after a crash in between, submits them with the
same ids. If two equal requests race, one submits and the other finds the jobs. A request that submits for a stored key
locks the key meanwhile: a request that is refused gives the key up, and then another request may take it.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.arguments import text
from fairlane.domain.errors import ConfigurationError, IdempotencyConflict, SubmissionError
from fairlane.domain.jobs import Job
from fairlane.encryption.keyring import Keyring
from fairlane.engine.batch import Submission, parent_ids
from fairlane.engine.submission import Submitter
from fairlane.store.row_security import Administered
from fairlane.store.statements import idempotency
from fairlane.store.statements.admission import Live
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

KEPT: Final = timedelta(days=1)


class Key(NamedTuple):
    """An idempotency key, with its organization and user."""

    organization: str
    user: str
    key: str


class Idempotency:
    """Submit jobs of an organization, by a user, under idempotency keys."""

    def __init__(self, database: Database, submitter: Submitter, keyring: Keyring) -> None:
        self._database = database
        self._submitter = submitter
        self._keyring = keyring

    def submit(self, key: Key, request_hash: str, submissions: Sequence[Submission]) -> tuple[list[Job], bool]:
        """Submit all or none, once.

        Args:
            request_hash: equal for equal requests, in hex; stored hidden if the organization has an encryption key.

        Returns:
            The jobs, and whether they were there before.

        Raises:
            IdempotencyConflict: the key was used for another request within a day, or for this one, and its jobs were
                deleted since.
            SubmissionError, StorageUnavailable, ConfigurationError: as `Fairlane.submit_many`; the key may be used
                again.
        """
        text("Idempotency-Key", key.key)
        while True:
            kept, is_new = self._keep(key, request_hash, [one.id for one in submissions])
            ids = [UUID(one) for one in json.loads(kept.job_ids)]
            if not is_new:
                found = self._find(key.organization, ids)
                if found is not None:
                    return found, True
                if kept.is_answered:
                    raise IdempotencyConflict("The jobs of this idempotency key were deleted; take a new key.")
            try:
                given = _with_ids(submissions, ids)
                made = self._first(key, kept, given) if is_new else self._again(key, kept, given)
            except (SubmissionError, ConfigurationError):
                # An equal request may have been first; whatever error this one gets, the jobs are there then.
                twins = self._find(key.organization, ids)
                if twins is not None:
                    return twins, True
                if is_new:
                    with suppress(Exception):
                        self._database.write(lambda c: idempotency.give_up(c, *key), of=Administered(key.organization))
                raise
            if made is not None:  # else the request that stored the key was refused, or another repeat was first
                return made, False

    def _first(self, key: Key, kept: AnyRow, submissions: Sequence[Submission]) -> list[Job]:
        """Submit under a key that this request has stored: no other request gives it up."""
        made = self._submitter.submit_many(submissions)
        self._database.write(lambda connection: self._answer(connection, key, kept, made), of=key.organization)
        return made

    def _again(self, key: Key, kept: AnyRow, submissions: Sequence[Submission]) -> list[Job] | None:
        """Submit for a key that another request has stored; None if the key has changed or is answered by now."""
        self._submitter.register_types(frozenset(one.job_type for one in submissions))
        ready = self._submitter.prepare(submissions, self._database)

        def work(connection: Connection) -> tuple[list[Job], list[Live]] | None:
            # Locked until the answer is stored with the jobs: else the other request could give the key up.
            held = idempotency.hold(connection, *key)
            if held is None or held.is_answered or held.job_ids != kept.job_ids:
                return None
            made, live = self._submitter.submit_in_open_transaction(connection, submissions, ready)
            self._answer(connection, key, kept, made)
            return made, live

        done = self._database.write(work, of=key.organization)
        if done is None:
            return None
        made, live = done
        self._database.hint()
        self._submitter.warn(live)
        return made

    def _keep(self, key: Key, plain_hash: str, ids: Sequence[UUID]) -> tuple[AnyRow, bool]:
        def work(connection: Connection) -> tuple[AnyRow, bool, str]:
            now = self._database.clock.now(connection)
            # Read at each try: encryption keys grow old while the thread waits for a connection.
            ring = self._keyring.rings(connection, [key.organization]).get(key.organization)
            request_hash = ring.hidden(plain_hash) if ring is not None else plain_hash
            fresh = {
                "request_hash": request_hash,
                "job_ids": json.dumps(list(map(str, ids))),
                "is_answered": False,
                "created_at": now,
            }
            names = {"organization_id": key.organization, "user_id": key.user, "key": key.key}
            while True:
                is_new = idempotency.keep(connection, {**names, **fresh})
                # If two requests find an expired key, the first renews it: for the other it is not expired any more.
                is_new = is_new or idempotency.renew(connection, *key, before=now - KEPT, values=fresh)
                kept = idempotency.find(connection, *key)
                if kept is not None:  # else a request that was refused has just given it up
                    return kept, is_new, request_hash

        kept, is_new, request_hash = self._database.write(work, of=key.organization)
        # A plain hash is from before the organization had an encryption key.
        if kept.request_hash not in {request_hash, plain_hash}:
            raise IdempotencyConflict("This idempotency key was used for another request; take a new key for this one.")
        return kept, is_new

    def _answer(self, connection: Connection, key: Key, kept: AnyRow, made: Sequence[Job]) -> None:
        idempotency.answer(connection, *key, kept.job_ids, json.dumps([str(one.id) for one in made]))

    def _find(self, organization: str, ids: Sequence[UUID]) -> list[Job] | None:
        """Return the jobs of these ids, in their order; None if one is missing."""
        keys = {(organization, one) for one in ids}
        found = self._database.read(lambda connection: self._submitter.read_all(connection, keys), of=organization)
        return [found[organization, one] for one in ids] if len(found) == len(keys) else None


def _with_ids(submissions: Sequence[Submission], ids: Sequence[UUID]) -> list[Submission]:
    """Return the same submissions under other ids, also where they name each other as parents."""
    drawn: dict[UUID | str, UUID] = {one.id: given for one, given in zip(submissions, ids, strict=True)}
    return [
        replace(one, id=drawn[one.id], depends_on=[drawn.get(parent, parent) for parent in parent_ids(one)])
        for one in submissions
    ]
