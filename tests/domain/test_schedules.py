"""Schedules have their ticks at the right moments, and the right ones of the due ticks become jobs."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.errors import ConfigurationError
from fairlane.domain.schedules import LATE, Due, Missed, Timetable, due, timetable

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
ZURICH = "Europe/Zurich"
ZONES = ["UTC", ZURICH, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Santiago"]
MOMENTS = st.timedeltas(timedelta(days=-700), timedelta(days=365)).map(lambda span: NEW_YEAR + span)
SPANS = st.timedeltas(timedelta(0), timedelta(hours=8))

minutes = st.sampled_from(["0", "30", "*/15", "5,50", "*", "59"])
hours = st.sampled_from(["0", "2", "1-3", "*/6", "*", "23"])
days = st.sampled_from(["*", "1", "28-31", "L", "LW"])
weekdays = st.sampled_from(["*", "MON-FRI", "0", "SUN#1", "5L"])
CRONS = st.tuples(minutes, hours, days, st.just("*"), weekdays).map(" ".join)
TIMETABLES = st.one_of(
    st.builds(Timetable, CRONS, st.none(), st.sampled_from(ZONES), MOMENTS),
    st.builds(Timetable, st.none(), st.floats(60.0, 86_400.0), st.just("UTC"), MOMENTS),
)


def local(times: Timetable, after: datetime, number: int) -> list[str]:
    zone = ZoneInfo(times.time_zone)
    return [f"{one.astimezone(zone):%d.%m. %H:%M %z}" for one in islice(times.after(after), number)]


def every(seconds: float, start: datetime = NEW_YEAR) -> Timetable:
    return timetable(every=seconds, start=start)


def test_a_cron_expression_is_of_its_time_zone():
    times = timetable(cron="30 6 * * MON-FRI", time_zone=ZURICH, start=NEW_YEAR)
    # The 1st is a Thursday.
    assert local(times, NEW_YEAR, 3) == ["01.01. 06:30 +0100", "02.01. 06:30 +0100", "05.01. 06:30 +0100"]


def test_a_tick_in_the_hour_that_the_clock_skips_comes_at_its_end_and_once():
    times = timetable(cron="30 2 * * *", time_zone=ZURICH, start=NEW_YEAR)
    around = local(times, datetime(2026, 3, 28, 12, tzinfo=UTC), 2)
    assert around == ["29.03. 03:00 +0200", "30.03. 02:30 +0200"]


def test_a_tick_in_the_hour_that_comes_twice_comes_once():
    times = timetable(cron="30 2 * * *", time_zone=ZURICH, start=NEW_YEAR)
    around = local(times, datetime(2026, 10, 24, 12, tzinfo=UTC), 2)
    assert around == ["25.10. 02:30 +0200", "26.10. 02:30 +0100"]


def test_who_asks_within_the_hour_that_comes_twice_is_not_given_what_went_by():
    times = timetable(cron="30 2 * * *", time_zone=ZURICH, start=NEW_YEAR)
    second_half_past_one = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15, for the second time
    assert local(times, second_half_past_one, 1) == ["26.10. 02:30 +0100"]


def test_what_runs_each_half_hour_runs_in_all_there_are():
    times = timetable(cron="*/30 * * * *", time_zone=ZURICH, start=NEW_YEAR)
    # Midnight to midnight of a day with 25 hours.
    day = list(islice(times.after(datetime(2026, 10, 24, 21, 59, tzinfo=UTC)), 51))
    assert {later - earlier for earlier, later in pairwise(day)} == {timedelta(minutes=30)}
    assert day[50] - day[0] == timedelta(hours=25)


def test_what_has_a_star_is_in_the_hours_that_there_are():
    times = timetable(cron="*/30 2 * * *", time_zone=ZURICH, start=NEW_YEAR)
    assert local(times, datetime(2026, 3, 28, 12, tzinfo=UTC), 1) == ["30.03. 02:00 +0200"]
    assert local(times, datetime(2026, 10, 24, 12, tzinfo=UTC), 4) == [
        *("25.10. 02:00 +0200", "25.10. 02:30 +0200"),
        *("25.10. 02:00 +0100", "25.10. 02:30 +0100"),
    ]


def test_an_interval_counts_from_its_start_and_has_no_tick_before():
    start = NEW_YEAR + timedelta(hours=1)
    times = every(90, start)
    assert times.next(NEW_YEAR) == start
    assert times.next(start) == start + timedelta(seconds=90)
    assert times.next(start + timedelta(seconds=100)) == start + timedelta(seconds=180)


@given(TIMETABLES, MOMENTS)
def test_ticks_come_one_after_the_other_and_after_what_was_asked(times: Timetable, moment: datetime):
    ticks = list(islice(times.after(moment), 20))
    assert all(earlier < later for earlier, later in pairwise([moment, *ticks]))
    assert all(tick >= times.start for tick in ticks)


@given(TIMETABLES, MOMENTS, st.integers(0, 9))
def test_the_ticks_are_the_same_whenever_one_asks(times: Timetable, moment: datetime, position: int):
    ticks = list(islice(times.after(moment), 15))
    assert list(islice(times.after(ticks[position]), 5)) == ticks[position + 1 : position + 6]
    between = ticks[position] + (ticks[position + 1] - ticks[position]) / 2
    assert times.next(between) == ticks[position + 1]


@given(TIMETABLES, MOMENTS, SPANS)
def test_the_latest_due_tick_is_the_last_of_them_all(times: Timetable, moment: datetime, later: timedelta):
    first = times.next(moment)
    assert first is not None
    now = first + later
    ticks = []
    for tick in times.after(moment):
        if tick > now:
            break
        ticks.append(tick)
    assert times.latest(first, now) == ticks[-1]


@given(TIMETABLES, MOMENTS, SPANS, st.sampled_from(Missed))
def test_a_round_makes_at_most_one_job_and_goes_on_after_it(
    times: Timetable, moment: datetime, later: timedelta, missed: Missed
):
    first = times.next(moment)
    assert first is not None
    now = first + later
    found = due(times, first, now, missed)
    assert found.next is not None
    assert found.next > first
    if missed is Missed.ALL:
        assert found.tick == first
        assert found.next == times.next(first)
    else:
        assert found.next == times.next(now)
        assert found.tick is None or first <= found.tick <= now


@pytest.mark.parametrize(
    ("missed", "late", "ticks"),
    [
        (Missed.SKIP, timedelta(0), [3]),  # the latest is not late
        (Missed.SKIP, LATE + timedelta(seconds=1), []),
        (Missed.ONE, LATE + timedelta(seconds=1), [3]),
        (Missed.ALL, LATE + timedelta(seconds=1), [1, 2, 3]),
    ],
)
def test_what_was_missed_is_skipped_made_up_for_once_or_wholly(missed: Missed, late: timedelta, ticks: list[int]):
    times = every(3600)
    now, tick, made = NEW_YEAR + timedelta(hours=3) + late, times.next(NEW_YEAR), []
    while tick is not None and tick <= now:
        found = due(times, tick, now, missed)
        made += [found.tick] if found.tick is not None else []
        tick = found.next
    assert made == [NEW_YEAR + timedelta(hours=hour) for hour in ticks]
    assert tick == NEW_YEAR + timedelta(hours=4)


def test_years_of_seconds_that_were_missed_are_counted_at_once():
    assert due(every(1), NEW_YEAR, NEW_YEAR + timedelta(days=3650), Missed.ONE) == Due(
        NEW_YEAR + timedelta(days=3650), NEW_YEAR + timedelta(days=3650, seconds=1)
    )


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("* * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("@reboot", "five fields.*or is one of @yearly, .*, not '@reboot'"),
        ("61 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 * * 8", "bad day-of-week"),
        ("0 0 30 2 MON#9", "bad day-of-week"),
        ("0,1 " * 60 + "* * *", "five fields"),
        (5, "five fields"),
    ],
)
def test_a_cron_expression_that_is_none_is_refused_in_a_sentence(cron: str, says: str):
    with pytest.raises(ConfigurationError, match=says):
        timetable(cron=cron, start=NEW_YEAR)


@pytest.mark.parametrize(
    ("nickname", "fields"),
    [
        ("@hourly", "0 * * * *"),
        (" @daily ", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
    ],
)
def test_a_nickname_of_cron_stands_for_its_fields(nickname: str, fields: str):
    assert timetable(cron=nickname, start=NEW_YEAR) == timetable(cron=fields, start=NEW_YEAR)


@given(st.lists(st.text("0123456789*/-,LW#MONJA", max_size=6), min_size=5, max_size=5).map(" ".join))
def test_whatever_is_written_is_a_cron_expression_or_refused(cron: str):
    try:
        times = timetable(cron=cron, start=NEW_YEAR)
    except ConfigurationError:
        return
    assert times.next(NEW_YEAR) is not None


@pytest.mark.parametrize("zone", ["Europe", "Mars/Olympus", "", "../../etc/passwd", "\0", None, "/etc/localtime"])
def test_a_time_zone_that_is_none_is_refused(zone: str):
    with pytest.raises(ConfigurationError, match="is no time zone"):
        timetable(cron="0 0 * * *", time_zone=zone, start=NEW_YEAR)


@pytest.mark.parametrize(("seconds", "said"), [(0.5, "0.5"), (400 * 86_400.0, "34,560,000")])
def test_an_interval_is_a_second_to_a_year_and_told_as_people_write_numbers(seconds: float, said: str):
    with pytest.raises(ConfigurationError) as error:
        every(seconds)
    assert str(error.value) == f"every must be 1 to 31,622,400 seconds, not {said}."


def test_it_is_cron_or_an_interval():
    for both in ({}, {"cron": "0 0 * * *", "every": 60.0}):
        with pytest.raises(ConfigurationError, match="cron or every"):
            timetable(start=NEW_YEAR, **both)  # type: ignore[arg-type]


@pytest.mark.parametrize("year", [1969, 2200, 9999])
def test_a_start_is_in_a_year_that_one_may_live_to_see(year: int):
    with pytest.raises(ConfigurationError, match="start must be"):
        timetable(cron="0 0 * * *", start=NEW_YEAR.replace(year=year))
