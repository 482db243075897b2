"""Cleanup: delete ended jobs past their retention, and prove that no child was forgotten."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from fairlane.registry.artifacts import ArtifactStorage
from fairlane.registry.options import Options
from fairlane.store.statements import cleanup as statements
from fairlane.store.statements import dependencies, job_types
from fairlane.store.statements.dependencies import Edge
from fairlane.store.transaction import Database

_BATCH = 200
_SWEEP = 5_000  # edges a round


class Cleanup:
    """A service. Each batch commits on its own and locks only its own rows, so it holds up no worker."""

    def __init__(self, database: Database, artifacts: ArtifactStorage, retention: float, interval: float) -> None:
        self.name = "cleanup"
        self.interval = interval
        self._database = database
        self._artifacts = artifacts
        self._retention = retention
        self._swept: Edge | None = None
        self._kept: set[UUID] = set()

    def run_once(self) -> int:
        """Delete one batch of jobs, then their artifacts; repair orphans. How many.

        Raises what the storage raised, after all that it did delete.
        """
        deleted, paths = self._database.write(self._delete_batch)
        refused: Exception | None = None
        for path in paths:
            try:
                self._artifacts.delete(path)
            except Exception as error:  # noqa: BLE001 - the storage's; nobody will ask for the other files again
                refused = error
        repaired = self._database.write(self._repair)
        if refused is not None:
            raise refused
        return deleted + repaired

    def _delete_batch(self, connection: Connection) -> tuple[int, list[str]]:
        now = self._database.clock.now(connection)
        own = self._own_retention(connection)
        moments: list[tuple[str | None, datetime]] = [
            (name, now - timedelta(seconds=seconds)) for name, seconds in own.items()
        ]
        moments.append((None, now - timedelta(seconds=self._retention)))
        rows = statements.expired(connection, moments, _BATCH, leaving=self._kept)
        paths: list[str] = []
        keyed = sorted((row.organization_id, row.id) for row in rows)
        for organization, keys in groupby(keyed, key=lambda key: key[0]):
            paths += self._delete(connection, organization, [job_id for _, job_id in keys])
        return sum(row.id not in self._kept for row in rows), paths

    def _delete(self, connection: Connection, organization: str, job_ids: Sequence[UUID]) -> list[str]:
        """Delete jobs, but for those that a host's table refers to: they stay, and are passed over from now on."""
        try:
            with connection.begin_nested():
                return statements.delete_jobs(connection, organization, job_ids)
        except IntegrityError:
            if len(job_ids) == 1:
                self._kept.update(job_ids)
                return []
        middle = len(job_ids) // 2
        halves = (job_ids[:middle], job_ids[middle:])
        return [path for half in halves for path in self._delete(connection, organization, half)]

    def _own_retention(self, connection: Connection) -> Mapping[str, float]:
        """The retention of job types that have one of their own, in seconds."""
        options = {row.name: Options.from_json(row.options) for row in job_types.everything(connection)}
        return {name: one.retention for name, one in options.items() if one.retention is not None}

    def _repair(self, connection: Connection) -> int:
        """Look at the next page of watched edges; how many parents had ended without their children being told."""
        edges = dependencies.watched_edges(connection, self._swept, _SWEEP)
        self._swept = edges[-1] if len(edges) == _SWEEP else None
        forgotten = dependencies.ended_parents(connection, edges)
        dependencies.settle(connection, self._database.clock.now(connection), forgotten)
        return len(forgotten)
