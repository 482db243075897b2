"""Rules: workers claim, run, crash and leave."""

from collections.abc import Sequence
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import MultipleResults, consumes, multiple, rule

from fairlane.domain.outcomes import (
    Completed,
    ErrorReport,
    Lost,
    Outcome,
    Refused,
    Released,
    Snoozed,
    Stopped,
    TimedOut,
)
from tests.model.machine.base import SLOTS, leases, spent
from tests.model.machine.timing import Timing
from tests.model.model import attempts as model
from tests.model.model.limits import is_restricted, startable
from tests.model.model.organizations import refusal_at_start
from tests.model.model.world import End
from tests.store.races.scene import BROKEN, JAMMED, LEASE, Claimed, Finished, Hand, Ready

# What is more frequent in life is so here.
OUTCOMES: Sequence[Outcome] = (
    *[Completed()] * 2,
    *[Completed('"done"')] * 2,
    *[BROKEN] * 3,
    *[JAMMED] * 3,
    TimedOut(ErrorReport("TimedOut", "too slow")),
    Snoozed(0.0),
    Snoozed(120.0),
    Released("released at shutdown"),
    Released("the directory could not be asked", 10.0),
    Stopped(),
)
outcomes = st.sampled_from(OUTCOMES)
hands = st.integers(0, 1)
# Slots that both workers together keep for organizations with nothing running: a tenth.
RESERVE = 2


class Running(Timing):
    """Two workers."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.refused: dict[UUID, Outcome] = {}  # what the check at start said, by the lease

    @rule(target=leases, hand=hands, slots=st.sampled_from([1, 3, SLOTS, None]))
    def claim(self, hand: int, slots: int | None) -> MultipleResults[Claimed]:
        return multiple(*(self.start(hand, slots) if slots is not None else self.start_all(hand)))

    def start(self, hand: int, slots: int) -> list[Claimed]:
        mine = self.hands[hand]
        free = startable(self.world) if self.lives(mine) else set()
        are_shared = is_restricted(self.world) or len({self.owners[one] for one in free}) > 1
        ready = mine.ready(slots)
        assert len(ready) <= slots
        for one in ready:
            self.see_start(mine, one)
        if slots == SLOTS:
            assert ready or not free, "something could start, and nothing did"
            # Of two, one may be given a share that it can't fill; the next round gives it to the other.
            assert are_shared or len(ready) >= min(len(free), SLOTS - RESERVE), "slots were left free"
        return [one.claimed for one in ready]

    def lives(self, hand: Hand) -> bool:
        return self.world.workers.get(hand.id, self.world.now) > self.world.now

    def see_start(self, hand: Hand, ready: Ready) -> None:
        """A job was claimed: it was allowed, after all that was claimed before it, and is refused if it has to be."""
        job_id, lease = ready.claimed.id, ready.claimed.lease_token
        assert self.lives(hand)
        assert job_id in startable(self.world)
        refusal = refusal_at_start(self.world, self.world.jobs[job_id])
        assert (ready.decision is None) is (refusal is None)
        if refusal is not None:
            assert isinstance(ready.decision, Refused)
            assert ready.decision.reason == refusal
            self.refused[lease] = ready.decision
        model.claim(self.world, job_id, hand.id, lease)

    def start_all(self, hand: int) -> list[Claimed]:
        """Round by round, until nothing more can start: limits are used to the last slot, and no further."""
        self.beat(hand)
        claimed: list[Claimed] = []
        while more := self.start(hand, SLOTS):
            claimed += more
        assert not startable(self.world)
        return claimed

    @rule(target=spent, hand=hands, ends=st.lists(outcomes, min_size=1, max_size=SLOTS))
    def run(self, hand: int, ends: list[Outcome]) -> MultipleResults[Claimed]:
        """A worker that is well claims some jobs and runs them to their ends."""
        self.beat(hand)
        claimed = self.start(hand, len(ends))
        for lease, outcome in zip(claimed, ends, strict=False):
            self.finish(lease, outcome)
        return multiple(*claimed)

    @rule(target=spent, lease=consumes(leases), outcome=outcomes)
    def finish(self, lease: Claimed, outcome: Outcome) -> Claimed:
        """The end of an attempt, unless its lease was lost meanwhile."""
        outcome = self.refused.get(lease.lease_token, outcome)
        model.finish(self.world, End(lease.id, lease.lease_token, outcome))
        finished = self.end(lease, outcome)
        if finished.transition is not None:
            self.tally.add([(lease.organization, lease.job_type, finished.transition.steps[0].target, 1.0)])
        return lease

    def end(self, lease: Claimed, outcome: Outcome) -> Finished:
        """Completions with a value go the short way, together with others; those without one go with all other ends."""
        (finished,) = self.scene.end(lease, outcome=outcome, has_checkpoint=outcome == Completed())
        return finished

    @rule(lease=spent, outcome=outcomes)
    def a_late_writer_changes_nothing(self, lease: Claimed, outcome: Outcome) -> None:
        finished = self.end(lease, outcome)
        assert finished.transition is None
        assert not finished.is_locked

    @rule(target=spent, hand=hands, fate=st.sampled_from(["beats", "leaves", "crashes", "is found"]))
    def what_becomes_of_a_worker(self, hand: int, fate: str) -> MultipleResults[Claimed]:
        match fate:
            case "beats":
                self.beat(hand)
            case "leaves":
                self.leave(hand)
            case "crashes":
                return multiple(*self.crash(hand))
            case _:
                self.rescue()
        return multiple()

    def beat(self, hand: int) -> None:
        mine = self.hands[hand].id
        assert self.hands[hand].beat() is (mine in self.world.workers)
        if mine in self.world.workers:
            self.world.workers[mine] = self.lease_end()
        else:
            self.hands[hand] = self.new_hand()

    def leave(self, hand: int) -> None:
        mine = self.hands[hand]
        mine.leave()
        if mine.id in self.world.workers:
            model.release_all(self.world, mine.id)
        self.hands[hand] = self.new_hand()

    def crash(self, hand: int) -> list[Claimed]:
        """A worker claims, beats no more, and is found to be lost; what it had claimed just before."""
        self.beat(hand)
        claimed = self.start(hand, 2)
        self.pass_time(LEASE - 1, "none")
        self.beat(1 - hand)
        self.pass_time(2, "none")
        self.rescue()
        return claimed

    def rescue(self) -> None:
        rescued = self.scene.rescue()
        lost = {worker for worker, until in self.world.workers.items() if until < self.world.now}
        if rescued is None:
            assert lost == set()
            return
        worker, finished = rescued
        assert worker in lost
        decisions = {
            one.finish.job_id: one.finish.outcome.decision for one in finished if isinstance(one.finish.outcome, Lost)
        }
        model.rescue(self.world, worker, decisions)
