"""What each lane and each organization may start in a claim round: what its limits leave, and what is shared of it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from fairlane.domain.breaker import Pair
from fairlane.domain.fairness import Contender, FairShare, Lane, Rooms, RoomShare
from fairlane.domain.limits import Limit, Subject, running_by_subject, subjects_of
from fairlane.engine.outlook import Outlook
from fairlane.store.statements import running_limits
from fairlane.store.statements.claim import Claimed, Wanted
from fairlane.store.statements.claim_round import Beginning

# Each lane may have all of the most urgent, so that a claim locks as many jobs in each as its organization may start:
# 1,000 of each of 100 lanes took 3 s. It starts fewer a round instead, and the next round follows at once.
_MOST_LOOKED_AT: Final = 4_000


@dataclass(frozen=True, slots=True)
class View:
    """How a claim round sees it: how many jobs each lane that is limited may start, and who contends for the slots.

    `now`: when all that was counted.
    """

    now: datetime
    rooms: Mapping[Lane, int]
    contenders: Mapping[str, Contender]


@dataclass(slots=True)
class Turns:
    """Whose turn it is, over the claim rounds of one worker."""

    share: FairShare = field(default_factory=FairShare, init=False)
    _rooms: RoomShare = field(default_factory=RoomShare, init=False)

    def view(
        self,
        began: Beginning,
        outlook: Outlook,
        open_lanes: Sequence[Lane],
        *,
        started: Mapping[Subject, int],
        subjects: Iterable[Subject],
        trials: Iterable[Pair],
    ) -> View:
        """Share what these subjects' limits leave; exact where they are locked.

        Args:
            began: the time, and what runs; counted under the locks, where there are some.
            started: how many jobs of the subjects have started within their windows, where they have any.
            trials: of each of these pairs one job may start.
        """
        running, now = began.running, began.now
        limits = {subject: outlook.limits[subject] for subject in subjects}
        by_subject = running_by_subject(running) if limits else Counter[Subject]()
        left = {one: limit.room(by_subject[one], started.get(one, 0)) for one, limit in limits.items()}
        able = [lane for lane in open_lanes if all(left.get(one, 1) for one in outlook.limited[lane])]
        at_work = Counter[str]()
        for (_, organization), number in running.items():
            at_work[organization] += number
        rooms = self._rooms.rooms(able, _by_kind(left, trials), running)
        # Whoever is held back stays known, so that it loses neither its turn nor what its oldest jobs are owed.
        rooms |= dict.fromkeys(set(outlook.lanes).difference(able), 0)
        return View(now, rooms, _contenders(outlook, at_work, left, rooms))

    def took(self, wanted: Wanted, by_lane: Mapping[Lane, int]) -> None:
        """Count what was really claimed of what is limited."""
        self._rooms.took(wanted.rooms, by_lane)


def started(
    connection: Connection, began: Beginning, outlook: Outlook, subjects: Iterable[Subject]
) -> Mapping[Subject, int]:
    """Count the starts of these subjects for `Turns.view`."""
    return running_limits.started(connection, began.now, _windows({one: outlook.limits[one] for one in subjects}))


def note_starts(connection: Connection, now: datetime, claimed: Iterable[Claimed], outlook: Outlook) -> None:
    """Write down the starts that count for an execution rate."""
    windows = _windows(outlook.limits)
    subjects = (one for each in claimed for one in subjects_of(each.organization, each.job_type))
    if numbers := Counter(one for one in subjects if one in windows):
        running_limits.note_starts(connection, now, numbers)
        running_limits.forget_starts(connection, now, {one: windows[one] for one in numbers})


def _windows(limits: Mapping[Subject, Limit]) -> dict[Subject, float]:
    """The window of each that has an execution rate, in seconds."""
    return {one: limit.execution_rate_window for one, limit in limits.items() if limit.execution_rate is not None}


def _by_kind(left: Mapping[Subject, int], trials: Iterable[Pair]) -> Rooms:
    types = {one.job_type: room for one, room in left.items() if one.job_type and one.organization is None}
    pairs = {(one.job_type, one.organization): room for one, room in left.items() if one.job_type and one.organization}
    for organization, job_type in trials:
        pairs[job_type, organization] = min(pairs.get((job_type, organization), 1), 1)
    organizations = {one.organization: room for one, room in left.items() if one.organization and not one.job_type}
    return Rooms(types, pairs, organizations)


def _contenders(
    outlook: Outlook, at_work: Mapping[str, int], left: Mapping[Subject, int], rooms: Mapping[Lane, int]
) -> dict[str, Contender]:
    in_lanes: dict[str, int | None] = {}
    lanes = Counter(lane.organization for lane in outlook.lanes if rooms.get(lane) != 0)
    for lane in outlook.lanes:
        so_far, room = in_lanes.get(lane.organization, 0), rooms.get(lane)
        in_lanes[lane.organization] = None if so_far is None or room is None else so_far + room
    found = {}
    for organization, room in in_lanes.items():
        own = left.get(Subject(organization, None))
        in_a_round = max(_MOST_LOOKED_AT // lanes[organization], 1) if lanes[organization] > 1 else None
        bounds = [bound for bound in (own, room, in_a_round) if bound is not None]
        standing = outlook.standings.get(organization)
        weight = standing.weight if standing is not None else 1
        found[organization] = Contender(weight, at_work.get(organization, 0), min(bounds, default=None))
    return found
