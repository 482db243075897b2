"""Promise 3, R4: no organization waits behind another, no limit is passed, no slot is wasted."""

import heapq
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.fairness import Contender, FairShare, Lane, Quota, Rooms, RoomShare, fill, lane_rooms, reserve_here

NAMES = st.text("abcdef", min_size=1, max_size=2)
CONTENDERS = st.dictionaries(
    NAMES,
    st.builds(Contender, st.integers(1, 5), st.integers(0, 20), st.one_of(st.none(), st.integers(0, 30))),
    max_size=20,
)
SLOTS = st.integers(0, 200)
RESERVES = st.integers(0, 20)
FULL = {"a": Contender(3), "b": Contender(1)}


def room_of(contenders, among=lambda _: True):
    rooms = [one.room for one in contenders.values() if among(one)]
    return float("inf") if None in rooms else sum(rooms)


@given(CONTENDERS, st.integers(-5, 200), RESERVES)
def test_only_the_reserve_idles_while_anything_is_claimable(contenders, free, reserve):
    given_ = {name: quota.jobs for name, quota in FairShare().quotas(contenders, free=free, reserve=reserve).items()}
    first_jobs = min(sum(not one.running and one.room != 0 for one in contenders.values()), max(free, 0))
    expected = max(first_jobs, min(free - reserve, room_of(contenders)), 0)
    assert sum(given_.values()) == expected
    assert all(jobs > 0 for jobs in given_.values())


@given(CONTENDERS, SLOTS, RESERVES)
def test_nobody_gets_more_than_its_room(contenders, free, reserve):
    for name, quota in FairShare().quotas(contenders, free=free, reserve=reserve).items():
        assert contenders[name].room is None or quota.jobs <= contenders[name].room
        assert 0 <= quota.oldest <= quota.jobs


@given(CONTENDERS, SLOTS)
def test_nobody_could_be_given_one_of_anothers_slots_and_stand_lower(contenders, slots):
    shares = fill(contenders, slots, {}, {})
    for richer, jobs in shares.items():
        for poorer, one in contenders.items():
            if jobs and (one.room is None or shares.get(poorer, 0) < one.room):
                before = (contenders[richer].running + jobs - 1) / contenders[richer].weight
                assert (one.running + shares.get(poorer, 0)) / one.weight >= before


@given(CONTENDERS, st.integers(1, 200), RESERVES)
def test_an_organization_with_nothing_running_starts_in_the_next_round_whatever_the_reserve(contenders, free, reserve):
    contenders = {name: one for name, one in contenders.items() if one.running} | {"new": Contender()}
    assert FairShare().quotas(contenders, free=free, reserve=reserve)["new"].jobs >= 1


def simulate(weights, *, slots, seconds, length, rounds=None):
    """Jobs of given lengths on one worker with endless backlogs: slot-seconds used by each, and when each began."""
    share, running, now = FairShare(), Counter[str](), 0.0
    ends: list[tuple[float, str]] = []
    used, starts, first = Counter[str](), Counter[str](), dict[str, float]()
    while now < seconds:
        contenders = {name: Contender(weight, running[name]) for name, weight in weights.items()}
        reserve = share.reserve(slots, weights, now)
        quotas = share.quotas(contenders, free=slots - sum(running.values()), reserve=reserve)
        share.started({name: quota.jobs for name, quota in quotas.items()})
        for name, quota in quotas.items():
            first.setdefault(name, now)
            for _ in range(quota.jobs):
                heapq.heappush(ends, (now + length(name, starts[name]), name))
                starts[name] += 1
            running[name] += quota.jobs
        now, name = heapq.heappop(ends)
        running[name] -= 1
        used[name] += length(name, 0)
        while ends and ends[0][0] == now:
            running[heapq.heappop(ends)[1]] -= 1
    return used, first, starts


@pytest.mark.parametrize("slots", [1, 7, 50])  # of two slots the reserve would be half
def test_shares_of_short_jobs_converge_to_the_weights(slots):
    _, _, starts = simulate({"a": 3, "b": 1, "c": 1}, slots=slots, seconds=2000, length=lambda *_: 1.0)
    total = sum(starts.values())
    assert starts["a"] / total == pytest.approx(3 / 5, abs=0.05)
    assert starts["b"] / total == pytest.approx(1 / 5, abs=0.05)


def test_shares_of_slots_hold_whatever_the_length_of_the_jobs():
    """10 ms beside 10 min: what is shared is slots, not starts."""
    lengths = {"short": 0.01, "long": 600.0}
    share, running = FairShare(), {"short": 0, "long": 100}
    # All slots were taken by long jobs; ten of them end. The short ones get every freed slot until both have half.
    for freed in range(50):
        contenders = {name: Contender(1, running[name]) for name in lengths}
        running["long"] -= 1
        quotas = share.quotas(contenders, free=1, reserve=0)
        assert set(quotas) == {"short"}, freed
        running["short"] += 1
    assert running == {"short": 50, "long": 50}


def test_long_jobs_leave_the_reserve_to_whoever_comes():
    share = FairShare()
    reserve = share.reserve(100, ["long", "late"], 0.0)
    taken = share.quotas({"long": Contender()}, free=100, reserve=reserve)["long"].jobs
    assert (reserve, taken) == (10, 90 - 1 + 1)
    late = share.quotas({"long": Contender(1, taken), "late": Contender()}, free=10, reserve=reserve)
    assert late == {"late": Quota(1, 0)}


def test_the_reserve_is_a_tenth_while_two_organizations_are_active():
    share = FairShare()
    assert share.reserve(100, ["a"], 0.0) == 0
    assert share.reserve(100, ["b"], 59.0) == 10
    assert share.reserve(100, ["b"], 61.0) == 0
    assert share.reserve(5, ["a"], 62.0) == 1
    assert share.reserve(1, ["a"], 63.0) == 0


FLEETS = st.lists(st.integers(1, 60), min_size=1, max_size=20).map(
    lambda slots: {UUID(int=number): each for number, each in enumerate(slots)}
)


@given(FLEETS, st.booleans())
def test_workers_that_claim_at_once_keep_the_reserve_together_and_no_more(fleet, at_once):
    share = FairShare()
    reserve = share.reserve(sum(fleet.values()), ["a", "b"], 0.0)
    running = dict.fromkeys(fleet, 0)
    for worker, slots in fleet.items():
        kept = reserve_here(reserve, fleet, {} if at_once else running, worker)
        running[worker] = slots - min(kept, slots)
    assert sum(fleet.values()) - sum(running.values()) == reserve


@given(st.integers(1, 30), st.integers(1, 10))
def test_organizations_beyond_the_slots_come_by_turns(organizations, slots):
    share, served = FairShare(), Counter[str]()
    contenders = {f"o{number}": Contender() for number in range(organizations)}
    for _ in range(organizations):
        jobs = {name: quota.jobs for name, quota in share.quotas(contenders, free=slots, reserve=0).items()}
        share.started(jobs)
        served.update(jobs)
    assert max(served.values()) - min(served[name] for name in contenders) <= 1


def test_whoever_was_away_is_owed_nothing():
    share = FairShare()
    both = {"here": Contender(), "away": Contender()}
    for _ in range(100):
        share.quotas({"here": both["here"]}, free=1, reserve=0)
        share.started({"here": 1})
    turns = []
    for _ in range(10):
        (name,) = share.quotas(both, free=1, reserve=0)
        share.started({name: 1})
        turns.append(name)
    assert Counter(turns) == {"here": 5, "away": 5}


def test_whoever_could_start_nothing_is_owed_nothing_but_keeps_the_share_of_its_oldest():
    share, turns = FairShare(), []
    for _ in range(9):
        assert share.quotas({"a": Contender(), "held": Contender()}, free=2, reserve=0)["held"].oldest == 0
        share.started({"a": 1, "held": 1})
    for _ in range(100):
        assert set(share.quotas({"a": Contender(), "held": Contender(room=0)}, free=1, reserve=0)) == {"a"}
        share.started({"a": 1})
    assert share.quotas({"a": Contender(), "held": Contender()}, free=2, reserve=0)["held"] == Quota(1, 1)
    for _ in range(10):
        (name,) = share.quotas({"a": Contender(), "held": Contender()}, free=1, reserve=0)
        share.started({name: 1})
        turns.append(name)
    assert Counter(turns) == {"a": 5, "held": 5}


@given(st.lists(st.integers(1, 40), min_size=1, max_size=50))
def test_a_tenth_of_the_starts_is_for_what_waited_longest(rounds):
    share, contenders, oldest = FairShare(), {"a": Contender()}, 0
    for free in rounds:
        oldest += share.quotas(contenders, free=free, reserve=0)["a"].oldest
    assert oldest == sum(rounds) // 10


INF = float("inf")
LANES = st.lists(
    st.builds(Lane, st.sampled_from(["q", "r"]), NAMES, st.sampled_from(["pdf", "mail"])), max_size=30, unique=True
)
ROOMS = st.builds(
    Rooms,
    st.dictionaries(st.sampled_from(["pdf", "mail"]), st.integers(0, 20)),
    st.dictionaries(st.tuples(st.sampled_from(["pdf", "mail"]), NAMES), st.integers(0, 20)),
    st.dictionaries(NAMES, st.integers(0, 20)),
)
RUNNING = st.dictionaries(st.tuples(st.sampled_from(["pdf", "mail"]), NAMES), st.integers(0, 5))


@given(LANES, ROOMS, RUNNING, st.integers(0, 1000), st.data())
def test_lanes_together_never_pass_a_limit_and_use_all_of_it(lanes, rooms, running, turn, data):
    passed = data.draw(st.sets(st.sampled_from(lanes))) if lanes else set()
    given_ = lane_rooms(lanes, rooms, running, {"pdf": turn, "mail": turn}, passed)
    pairs = {(lane.job_type, lane.organization) for lane in lanes}
    for job_type, room in rooms.job_types.items():
        mine = [pair for pair in pairs if pair[0] == job_type]
        # What an organization may not start for its own limit is no loss to the others.
        most = sum(min(rooms.pairs.get(pair, INF), rooms.organizations.get(pair[1], INF)) for pair in mine)
        assert sum(jobs for lane, jobs in given_.items() if lane.job_type == job_type) == min(room, most)
    for lane, jobs in given_.items():
        assert jobs <= rooms.pairs.get((lane.job_type, lane.organization), INF)
        if lane.job_type in rooms.job_types:
            assert jobs <= rooms.organizations.get(lane.organization, INF)
    for pair, room in rooms.pairs.items():
        assert sum(jobs for lane, jobs in given_.items() if (lane.job_type, lane.organization) == pair) <= room
    assert set(given_) == {
        lane for lane in lanes if lane.job_type in rooms.job_types or (lane.job_type, lane.organization) in rooms.pairs
    }


def test_room_that_a_lane_did_not_take_is_offered_to_the_others_first():
    a, b = Lane("q", "a", "pdf"), Lane("q", "b", "pdf")
    rooms = Rooms({"pdf": 1}, {}, {})
    assert lane_rooms([a, b], rooms, {}, {}) == {a: 1, b: 0}
    assert lane_rooms([a, b], rooms, {}, {}, {a}) == {a: 0, b: 1}
    assert lane_rooms([a, b], rooms, {}, {}, {a, b}) == {a: 1, b: 0}
    elsewhere = Lane("r", "a", "pdf")
    assert lane_rooms([a, elsewhere], rooms, {}, {}, {a}) == {a: 0, elsewhere: 1}


def test_a_limit_of_one_goes_round_among_organizations_and_queues():
    lanes = [Lane("q", name, "pdf") for name in "abc"] + [Lane("r", "a", "pdf")]
    rooms, served = Rooms({"pdf": 1}, {}, {}), Counter[str]()
    for turn in range(6):
        (lane,) = [lane for lane, jobs in lane_rooms(lanes, rooms, {}, {"pdf": turn}).items() if jobs]
        served[lane.organization] += 1
    assert served == {"a": 2, "b": 2, "c": 2}


@given(st.integers(1, 12), st.integers(1, 5), st.data())
def test_whoever_can_use_a_type_s_room_gets_it_soon_however_many_others_can_not(organizations, room, data):
    """What a claim can't know: that an organization has more urgent jobs of another type, or that its rows are held."""
    lanes = [Lane("q", f"o{number:02}", "pdf") for number in range(organizations)]
    able = data.draw(st.sampled_from(lanes))
    share, waited = RoomShare(), 0
    for _ in range(50):
        rooms = share.rooms(lanes, Rooms({"pdf": room}, {}, {}), {})
        started = {able: 1} if rooms[able] else {}
        share.took(rooms, started)
        waited = 0 if started else waited + 1
        assert waited <= organizations


def test_an_organization_that_could_use_no_room_for_a_while_has_its_turn_again():
    lanes = [Lane("q", name, "pdf") for name in ("busy", "eager")]
    share, turns = RoomShare(), Counter[str]()
    for number in range(12):
        rooms = share.rooms(lanes, Rooms({"pdf": 1}, {}, {}), {})
        started = {lane: 1 for lane, jobs in rooms.items() if jobs and (lane.organization == "eager" or number > 5)}
        share.took(rooms, started)
        turns.update(lane.organization for lane in started)
    assert turns["busy"] >= 3
    assert turns["eager"] >= 6
