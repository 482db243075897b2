"""A storm's plan is known beforehand, by its seed."""

from collections import Counter
from random import Random

import pytest

from tests.storm import profiles, work
from tests.storm.faults import DISTURBING, Fault, plan

COUNTS = {Fault.KILL: 30, Fault.RESTART: 5}


def test_a_seed_gives_the_same_faults_again() -> None:
    assert plan(Random(7), COUNTS, 60.0, 4) == plan(Random(7), COUNTS, 60.0, 4)
    assert plan(Random(7), COUNTS, 60.0, 4) != plan(Random(8), COUNTS, 60.0, 4)


def test_every_fault_is_planned_as_often_as_asked_within_the_time_and_in_its_order() -> None:
    planned = plan(Random(7), COUNTS, 60.0, 4)
    assert Counter(one.fault for one in planned) == COUNTS
    assert [one.at for one in planned] == sorted(one.at for one in planned)
    assert all(0 <= one.at <= 60.0 and one.slot in range(4) for one in planned)


def test_in_the_last_fifth_nothing_begins_that_is_in_the_way_of_a_kill() -> None:
    planned = plan(Random(7), {Fault.KILL: 100, **dict.fromkeys(DISTURBING, 100)}, 60.0, 4)
    assert max(one.at for one in planned if one.fault in DISTURBING) <= 48.0
    assert sum(one.at > 48.0 for one in planned if one.fault is Fault.KILL) > 10


def test_a_seed_gives_the_same_jobs_again() -> None:
    def shape(seed: int) -> list[object]:
        orders = work.batch(Random(seed), 500)
        parameters = [{**one.submission.parameters, "own": None} for one in orders]  # no two have the same id
        return [(one.submission.organization, told, one.expected) for one, told in zip(orders, parameters, strict=True)]

    assert shape(7) == shape(7)
    assert shape(7) != shape(8)


def test_so_little_fails_by_plan_that_no_breaker_opens() -> None:
    orders = work.batch(Random(7), 5000)
    attempts, failures = Counter[str](), Counter[str]()
    for one in (order.submission for order in orders):
        fails = one.parameters["way"] in {"fail once", "time out once", "break"}
        attempts[one.job_type] += 1 + fails
        failures[one.job_type] += fails
    assert all(failures[job_type] < attempts[job_type] / 4 for job_type in attempts)


@pytest.mark.parametrize("database", profiles.DATABASES)
def test_a_longer_storm_has_as_many_more_faults(database: str) -> None:
    once, twice = profiles.full(database), profiles.full(database, jobs=2 * profiles.full(database).jobs)
    assert twice.seconds == 2 * once.seconds
    assert twice.faults == {fault: 2 * count for fault, count in once.faults.items()}


@pytest.mark.parametrize("database", profiles.DATABASES)
def test_a_long_storm_spares_a_worker(database: str) -> None:
    profile = profiles.long(database)
    assert (profile.jobs, profile.spared) == (1_000_000, 1)
    planned = plan(Random(7), profile.faults, profile.seconds, profile.workers)
    assert {one.slot for one in planned} == set(range(profile.workers))
