"""Gathers how many slots workers keep for organizations with nothing running."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.breaker import minute_of
from fairlane.domain.fairness import ACTIVE_SECONDS, reserve_here, reserve_of
from fairlane.store.statements import lanes, outcomes
from fairlane.store.statements.lanes import Running
from fairlane.store.tables import AnyRow

_ACTIVE = timedelta(seconds=ACTIVE_SECONDS)


def reserves(connection: Connection, now: datetime, workers: Iterable[AnyRow], running: Running) -> dict[UUID, int]:
    """How many slots each of the live workers keeps, as its next claim will see it.

    A worker remembers for a minute which organizations had something to do. Here those stand for it of which attempts
    ended in this minute or the one before.
    """
    fleets: defaultdict[tuple[str, str], dict[UUID, int]] = defaultdict(dict)
    for one in workers:
        if not one.stopping:
            fleets[one.queues, one.job_types][one.id] = one.slots
    active = lanes.active_lanes(connection)
    recent = outcomes.pairs_since(connection, minute_of(now - _ACTIVE))
    found: dict[UUID, int] = {}
    for (queues, job_types), fleet in fleets.items():
        served, able = json.loads(queues), set(json.loads(job_types))
        ready = [lane for lane in active if lane.job_type in able and (served is None or lane.queue in served)]
        mine = {lane.organization for lane in ready} | {one.organization for one in recent if one.job_type in able}
        found |= _kept(fleet, mine, running)
    return found


def _kept(fleet: Mapping[UUID, int], organizations: set[str], running: Running) -> dict[UUID, int]:
    """The reserve of workers that claim alike, by worker."""
    at_work = organizations.union(*(running.organizations.get(worker, set()) for worker in fleet))
    reserve = reserve_of(sum(fleet.values()), len(at_work))
    return {worker: reserve_here(reserve, fleet, running.by_worker, worker) for worker in fleet}
