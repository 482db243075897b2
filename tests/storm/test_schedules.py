"""Findings about ticks after a storm: a tick is one job; none is too few, and two are one too many."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fairlane.domain.schedules import timetable
from tests.storm.schedules import Ended, duplicates, lost, unasked

START = datetime(2026, 11, 27, tzinfo=UTC)
UNTIL, LAST = START + timedelta(seconds=2.5), START + timedelta(seconds=4.5)
ENDED = [Ended("acme", timetable(every=1, start=START), START, UNTIL, LAST)]


def made(*seconds: int) -> dict[tuple[str, datetime], list[str]]:
    return {("acme", START + timedelta(seconds=one)): [f"job {one}"] for one in seconds}


def test_a_job_for_each_tick_is_in_order() -> None:
    assert lost(ENDED, made(0, 1, 2)) == []
    assert duplicates(made(0, 1, 2)) == []


def test_ticks_after_the_last_that_was_waited_for_may_have_become_jobs() -> None:
    assert lost(ENDED, made(0, 1, 2, 3, 4)) == unasked(ENDED, made(0, 1, 2, 3, 4)) == []


def test_a_job_of_a_tick_that_had_not_come_or_of_none_is_told() -> None:
    early, between = START + timedelta(seconds=5), START + timedelta(seconds=0.5)
    jobs = made(0, 1, 2) | {("acme", early): ["early"], ("acme", between): ["between"], ("brook", START): ["brook's"]}
    assert [one.job for one in unasked(ENDED, jobs)] == ["early", "between", "brook's"]


def test_a_schedule_that_came_after_its_start_has_no_tick_then() -> None:
    late = [replace(one, first=START + timedelta(seconds=1)) for one in ENDED]
    assert lost(late, made(1, 2)) == []
    assert len(lost(late, made(2))) == 1


def test_a_tick_without_a_job_is_lost_and_so_is_that_of_another_organization() -> None:
    assert [one.job for one in lost(ENDED, made(1, 2))] == ["of acme"]
    elsewhere = {("brook", at): jobs for (_, at), jobs in made(0, 1, 2).items()}
    assert len(lost(ENDED, elsewhere)) == 3


def test_a_second_job_of_a_tick_is_a_duplicate() -> None:
    jobs = made(0, 1) | {("acme", START): ["job 0", "job 0 again"]}
    assert [one.job for one in duplicates(jobs)] == ["job 0 again"]
