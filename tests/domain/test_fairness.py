"""Promise 3, R4: no organization waits behind another, no limit is passed, no slot is wasted."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count, pairwise
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.simulation import Fleet, Tenant
from fairlane.domain.breaker import Pair
from fairlane.domain.fairness import (
    LEAST,
    Capacities,
    CapacityShare,
    Contender,
    FairShare,
    Lane,
    Quota,
    fill,
    lane_capacities,
)

NAMES = st.text("abcdef", min_size=1, max_size=2)
CONTENDERS = st.dictionaries(
    NAMES,
    st.builds(Contender, st.integers(1, 5), st.integers(0, 20), st.one_of(st.none(), st.integers(0, 30))),
    max_size=20,
)
SLOTS = st.integers(0, 200)
WEIGHTS = st.lists(st.integers(1, 10), min_size=2, max_size=5).map(
    lambda found: dict(zip("abcde", found, strict=False))
)
WORKERS = st.integers(1, 8)
# Seconds of a job: alike, of all lengths, and mostly short but now and then very long.
LENGTHS: dict[str, Callable[[random.Random], float]] = {
    "alike": lambda _: 2.0,
    "nearly alike": lambda numbers: numbers.uniform(1.8, 2.2),
    "any": lambda numbers: numbers.expovariate(0.2) + 1,
    "heavy tail": lambda numbers: min(numbers.paretovariate(1.2), 100.0),
}


def room_of(contenders):
    capacities = [one.capacity for one in contenders.values()]
    return float("inf") if None in capacities else sum(capacities)


def jobs_of(share: FairShare, contenders: Mapping[str, Contender], free: int) -> dict[str, int]:
    return {name: quota.jobs for name, quota in share.quotas(contenders, free=free).items()}


LEASES = (UUID(int=number) for number in count())


def start(share: FairShare, jobs: Mapping[str, int], now: float = 0.0) -> list[UUID]:
    """Start so many jobs of each."""
    leases = {next(LEASES): name for name, number in jobs.items() for _ in range(number)}
    share.started(leases, now)
    return list(leases)


@given(CONTENDERS, st.integers(-5, 200))
def test_no_slot_idles_while_anything_is_claimable(contenders, free):
    given_ = jobs_of(FairShare(), contenders, free)
    assert sum(given_.values()) == max(min(free, room_of(contenders)), 0)
    assert all(jobs > 0 for jobs in given_.values())


@given(CONTENDERS, SLOTS)
def test_nobody_gets_more_than_its_room(contenders, free):
    for name, quota in FairShare().quotas(contenders, free=free).items():
        assert contenders[name].capacity is None or quota.jobs <= contenders[name].capacity
        assert 0 <= quota.oldest <= quota.jobs


@given(CONTENDERS, SLOTS)
def test_nobody_could_be_given_one_of_anothers_slots_and_stand_lower(contenders, slots):
    shares = fill(contenders, slots, {}, {})
    for richer, jobs in shares.items():
        for poorer, one in contenders.items():
            if jobs and (one.capacity is None or shares.get(poorer, 0) < one.capacity):
                before = (contenders[richer].running + jobs - 1) / contenders[richer].weight
                assert (one.running + shares.get(poorer, 0)) / one.weight >= before


def busy(
    weights: Mapping[str, int],
    length: Callable[[str], float],
    *,
    slots: int,
    workers: int = 1,
    until: Callable[[Fleet], bool],
    at_once: bool = False,
) -> Fleet:
    """Organizations with endless backlogs, until something is so.

    Args:
        at_once: a worker claims when all its jobs have ended.
    """
    tenants = {name: Tenant(partial(length, name), weight) for name, weight in weights.items()}
    fleet = Fleet(tenants, slots=slots, workers=workers)
    fleet.claim()
    while not until(fleet):
        fleet.pass_time()
        fleet.claim(only_idle=at_once)
    return fleet


def started(number: int) -> Callable[[Fleet], bool]:
    return lambda fleet: len(fleet.starts) >= number


def starts_of(fleet: Fleet) -> Counter[str]:
    return Counter(one.organization for one in fleet.starts)


@pytest.mark.parametrize("seconds", [0.001, 1.0])
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "slots", [1, pytest.param(4, marks=pytest.mark.slow), pytest.param(16, marks=pytest.mark.slow), 64]
)
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("weights", [(3, 1), (5, 2, 1), (10, 1)])
def test_starts_of_jobs_that_are_alike_are_within_5_percent_of_the_weights_after_400(
    weights: tuple[int, ...], workers: int, slots: int, at_once: bool, seconds: float
):
    named = dict(zip("abc", weights, strict=False))
    fleet = busy(named, lambda _: seconds, slots=slots, workers=workers, until=started(400), at_once=at_once)
    for name, weight in named.items():
        share = weight / sum(weights) * len(fleet.starts)
        assert starts_of(fleet)[name] == pytest.approx(share, rel=0.05)


@pytest.mark.slow
@given(WEIGHTS, st.integers(1, 64), WORKERS, st.sampled_from([0.001, 0.05, 2.0]), st.booleans(), st.randoms())
def test_so_are_those_of_any_weights_up_to_a_job_of_each_worker(weights, slots, workers, seconds, at_once, numbers):
    fleet = busy(
        weights,
        lambda _: seconds * numbers.uniform(0.95, 1.05),
        slots=slots,
        workers=workers,
        until=started(400),
        at_once=at_once,
    )
    for name, weight in weights.items():
        share = weight / sum(weights.values()) * len(fleet.starts)
        assert abs(starts_of(fleet)[name] - share) <= 0.05 * share + workers + 1


@pytest.mark.slow
@given(
    WEIGHTS,
    st.integers(1, 64),
    WORKERS,
    st.lists(st.sampled_from(sorted(LENGTHS)), min_size=5, max_size=5),
    st.integers(0, 1000),
)
@settings(max_examples=50)
def test_the_time_of_slots_is_within_5_percent_of_the_weights_whatever_the_length_of_each_one_s_jobs(
    weights, slots, workers, kinds, seed
):
    numbers = random.Random(seed)
    kind = dict(zip(weights, kinds, strict=False))
    fleet = busy(
        weights,
        lambda name: LENGTHS[kind[name]](numbers),
        slots=slots,
        workers=workers,
        until=lambda fleet: fleet.now > 1000 or len(fleet.starts) > 2000,
    )
    used = dict.fromkeys(weights, 0.0)
    for one in fleet.starts:
        used[one.organization] += min(one.until, fleet.now) - one.at
    longest = max(one.until - one.at for one in fleet.starts)
    for name, weight in weights.items():
        share = weight / sum(weights.values()) * sum(used.values())
        # Nothing is interrupted: on each worker somebody may be ahead by the job that runs.
        assert abs(used[name] - share) <= 0.05 * share + 2 * workers * longest, kind


def test_long_jobs_and_short_ones_have_as_many_slots():
    """10 minutes beside 10 ms: what is shared is the time of slots, and not starts."""
    fleet = busy({"long": 1, "short": 1}, {"long": 600.0, "short": 0.5}.__getitem__, slots=10, until=started(5000))
    assert fleet.running() == {"long": 5, "short": 5}


def test_a_newcomer_gets_each_slot_that_long_jobs_free_until_both_have_as_many():
    share = FairShare()
    running = [("long", one) for one in start(share, {"long": 100})]
    for freed in range(1, 60):
        running.pop(0)
        share.ended([one for _, one in running], 600.0 + freed)
        at_work = Counter(name for name, _ in running)
        jobs = jobs_of(share, {name: Contender(1, at_work[name]) for name in ("long", "short")}, 1)
        assert set(jobs) == ({"short"} if freed <= 50 else {"long"}), freed
        ((name, _),), (lease,) = jobs.items(), start(share, jobs, 600.0 + freed)
        running.append((name, lease))
    assert Counter(name for name, _ in running) == {"long": 50, "short": 50}


@pytest.mark.slow
@example(weights={"a": 2, "b": 9}, slots=4, weight=1, kind="heavy tail", seed=1)
@given(WEIGHTS, st.integers(1, 64), st.integers(1, 10), st.sampled_from(sorted(LENGTHS)), st.integers(0, 1000))
def test_a_newcomer_waits_no_longer_than_its_share_says(weights, slots, weight, kind, seed):
    """Others start no more before it than their weights allow, beyond the whole slots of their shares."""
    numbers = random.Random(seed)
    tenants = {name: Tenant(lambda: LENGTHS[kind](numbers), one) for name, one in weights.items()}
    fleet = Fleet({**tenants, "new": Tenant(lambda: 1.0, weight, since=50.0)}, slots=slots)
    fleet.claim()
    while "new" not in starts_of(fleet):
        fleet.pass_time()
        fleet.claim()
    for name, one in weights.items():
        share = slots * one / (sum(weights.values()) + weight)
        mine = [start for start in fleet.starts if start.organization == name]
        beyond = [
            start
            for number, start in enumerate(mine)
            if start.at >= 50.0 and sum(other.until > start.at for other in mine[:number]) >= int(share)
        ]
        assert len(beyond) <= share + one / weight + 1


@given(st.integers(1, 200), st.integers(1, 20))
def test_a_newcomer_of_the_same_weight_gets_the_next_slot_however_many_others_there_are(others, slots):
    share = FairShare()
    contenders = {f"o{number}": Contender() for number in range(others)}
    for now in range(5):
        share.ended([], now)
        start(share, jobs_of(share, contenders, slots), now)
    share.ended([], 5)
    assert "new" in jobs_of(share, {**contenders, "new": Contender()}, 1)


@pytest.mark.slow
@given(
    st.lists(st.integers(1, 10), min_size=9, max_size=30),
    st.integers(1, 4),
    st.integers(1, 2),
    st.sampled_from(["alike", "nearly alike"]),
    st.integers(0, 1000),
)
def test_none_of_more_organizations_than_slots_starves(weights, slots, workers, kind, seed):
    numbers = random.Random(seed)
    named = {f"o{number}": weight for number, weight in enumerate(weights)}
    fleet = busy(named, lambda _: LENGTHS[kind](numbers), slots=slots, workers=workers, until=started(1000))
    places = {name: [place for place, one in enumerate(fleet.starts) if one.organization == name] for name in named}
    for name, weight in named.items():
        turn = sum(weights) / weight
        assert places[name][0] <= turn + len(named)
        assert max(after - before for before, after in pairwise(places[name])) <= workers * (
            2 * turn + slots + len(named)
        )


@given(st.integers(1, 30), st.integers(1, 10))
def test_organizations_beyond_the_slots_come_by_turns(organizations, slots):
    share, served = FairShare(), Counter[str]()
    contenders = {f"o{number}": Contender() for number in range(organizations)}
    for now in range(organizations):
        share.ended([], now)
        jobs = jobs_of(share, contenders, slots)
        start(share, jobs, now)
        served.update(jobs)
    assert max(served.values()) - min(served[name] for name in contenders) <= 1


def test_short_jobs_of_more_organizations_than_free_slots_start_four_at_a_time_by_turns() -> None:
    share, contenders = FairShare(), {f"o{number}": Contender() for number in range(100)}
    first = jobs_of(share, contenders, 50)
    assert [*first.values()] == [1] * 50, "nothing is known of their jobs"
    start(share, first)
    share.ended([], LEAST / 2)
    second = jobs_of(share, contenders, 50)
    assert [*second.values()] == [4] * 12 + [2]
    assert second.keys().isdisjoint(first)
    start(share, second, LEAST)
    share.ended([], 3 * LEAST)
    assert [*jobs_of(share, contenders, 25).values()] == [1] * 25, "they have become long"


def turns(share: FairShare, contenders: Mapping[str, Contender], number: int) -> Counter[str]:
    """Count by organization the starts in a single slot that becomes free so many times."""
    found = Counter[str]()
    for _ in range(number):
        share.ended([], 0.0)
        jobs = jobs_of(share, contenders, 1)
        start(share, jobs)
        found.update(jobs)
    return found


BOTH = {"a": Contender(), "b": Contender()}


def test_an_organization_that_was_away_is_owed_nothing():
    share = FairShare()
    turns(share, {"a": Contender()}, 100)
    assert turns(share, BOTH, 10) == {"a": 5, "b": 5}


def test_an_organization_that_is_away_for_a_moment_still_owes_what_it_had_more_than_the_others():
    share = FairShare()
    start(share, jobs_of(share, {"b": Contender()}, 1))
    share.ended([], 11 * LEAST)  # its job took as long as eleven short ones
    turns(share, {"a": Contender()}, 1)
    assert turns(share, BOTH, 20) == {"a": 15, "b": 5}


def test_an_organization_that_could_start_nothing_is_owed_nothing_but_keeps_the_share_of_its_oldest():
    share = FairShare()
    for _ in range(9):
        assert share.quotas(BOTH, free=2)["b"].oldest == 0
        start(share, {"a": 1, "b": 1})
        share.ended([], 0.0)
    assert turns(share, {"a": Contender(), "b": Contender(capacity=0)}, 100) == {"a": 100}
    assert share.quotas(BOTH, free=2)["b"] == Quota(1, 1)
    assert turns(share, BOTH, 10) == {"a": 5, "b": 5}


@given(CONTENDERS, st.integers(1, 50))
def test_who_is_in_turn_first_gets_the_first_slots(contenders, free):
    share = FairShare()
    able = list(share.in_turn(contenders, free=free))
    assert set(able) == {name for name, one in contenders.items() if one.capacity != 0}
    assert not able or able[0] in jobs_of(share, contenders, free)


@example([1])
@given(st.lists(st.integers(1, 40), min_size=1, max_size=50))
def test_a_tenth_of_the_starts_is_for_what_waited_longest(rounds):
    share, contenders, oldest = FairShare(), {"a": Contender()}, 0
    for free in rounds:
        oldest += share.quotas(contenders, free=free)["a"].oldest
    assert oldest == sum(rounds) // 10


INF = float("inf")
LANES = st.lists(
    st.builds(Lane, st.sampled_from(["q", "r"]), NAMES, st.sampled_from(["pdf", "mail"])), max_size=30, unique=True
)
PAIRS = st.builds(Pair, NAMES, st.sampled_from(["pdf", "mail"]))
ROOMS = st.builds(
    Capacities,
    st.dictionaries(st.sampled_from(["pdf", "mail"]), st.integers(0, 20)),
    st.dictionaries(PAIRS, st.integers(0, 20)),
    st.dictionaries(NAMES, st.integers(0, 20)),
)
RUNNING = st.dictionaries(PAIRS, st.integers(0, 5))


@given(LANES, ROOMS, RUNNING, st.integers(0, 1000), st.data())
def test_lanes_together_never_pass_a_limit_and_use_all_of_it(lanes, capacities, running, turn, data):
    passed = data.draw(st.sets(st.sampled_from(lanes))) if lanes else set()
    given_ = lane_capacities(lanes, capacities, running, {"pdf": turn, "mail": turn}, passed)
    pairs = {lane.pair for lane in lanes}
    for job_type, capacity in capacities.job_types.items():
        mine = [pair for pair in pairs if pair.job_type == job_type]
        # What an organization may not start for its own limit is no loss to the others.
        most = sum(
            min(capacities.pairs.get(pair, INF), capacities.organizations.get(pair.organization, INF)) for pair in mine
        )
        assert sum(jobs for lane, jobs in given_.items() if lane.job_type == job_type) == min(capacity, most)
    for lane, jobs in given_.items():
        assert jobs <= capacities.pairs.get(lane.pair, INF)
        if lane.job_type in capacities.job_types:
            assert jobs <= capacities.organizations.get(lane.organization, INF)
    for pair, capacity in capacities.pairs.items():
        assert sum(jobs for lane, jobs in given_.items() if lane.pair == pair) <= capacity
    assert set(given_) == {
        lane for lane in lanes if lane.job_type in capacities.job_types or lane.pair in capacities.pairs
    }


def test_room_that_a_lane_did_not_take_is_offered_to_the_others_first():
    a, b = Lane("q", "a", "pdf"), Lane("q", "b", "pdf")
    capacities = Capacities({"pdf": 1}, {}, {})
    assert lane_capacities([a, b], capacities, {}, {}) == {a: 1, b: 0}
    assert lane_capacities([a, b], capacities, {}, {}, {a}) == {a: 0, b: 1}
    assert lane_capacities([a, b], capacities, {}, {}, {a, b}) == {a: 1, b: 0}
    elsewhere = Lane("r", "a", "pdf")
    assert lane_capacities([a, elsewhere], capacities, {}, {}, {a}) == {a: 0, elsewhere: 1}


def test_a_limit_of_one_goes_round_among_organizations_and_queues():
    lanes = [Lane("q", name, "pdf") for name in "abc"] + [Lane("r", "a", "pdf")]
    capacities, served = Capacities({"pdf": 1}, {}, {}), Counter[str]()
    for turn in range(6):
        (lane,) = [lane for lane, jobs in lane_capacities(lanes, capacities, {}, {"pdf": turn}).items() if jobs]
        served[lane.organization] += 1
    assert served == {"a": 2, "b": 2, "c": 2}


@given(st.integers(1, 12), st.integers(1, 5), st.data())
def test_an_organization_that_can_use_a_type_s_capacity_gets_it_soon_however_many_others_can_not(
    organizations, capacity, data
):
    """A claim can't know that an organization has more urgent jobs of another type, or that its rows are held."""
    lanes = [Lane("q", f"o{number:02}", "pdf") for number in range(organizations)]
    able = data.draw(st.sampled_from(lanes))
    share, waited = CapacityShare(), 0
    for _ in range(50):
        capacities = share.capacities(lanes, Capacities({"pdf": capacity}, {}, {}), {})
        started = {able: 1} if capacities[able] else {}
        share.took(capacities, started)
        waited = 0 if started else waited + 1
        assert waited <= organizations


def test_an_organization_that_could_use_no_room_for_a_while_has_its_turn_again():
    lanes = [Lane("q", name, "pdf") for name in ("busy", "eager")]
    share, turns = CapacityShare(), Counter[str]()
    for number in range(12):
        capacities = share.capacities(lanes, Capacities({"pdf": 1}, {}, {}), {})
        started = {
            lane: 1 for lane, jobs in capacities.items() if jobs and (lane.organization == "eager" or number > 5)
        }
        share.took(capacities, started)
        turns.update(lane.organization for lane in started)
    assert turns["busy"] >= 3
    assert turns["eager"] >= 6
