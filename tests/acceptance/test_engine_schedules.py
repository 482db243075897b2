"""R18: one job for each tick, however many schedulers run and whatever happens to them and to the clock."""

import asyncio
import threading
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import AfterValidator, SecretStr
from sqlalchemy import select, update

from fairlane import (
    ConfigurationError,
    InvalidParameters,
    Job,
    JobContext,
    JobTypeNotFound,
    Membership,
    OrganizationNotFound,
    OrganizationStatus,
    PermissionDenied,
    Role,
    ScheduleNotFound,
    Standing,
    StorageUnavailable,
)
from fairlane.domain.events import QueueLimitWarning, TickRefused
from fairlane.domain.origin import acting_from
from fairlane.jobtypes.parameters import ParameterSchema, PreparedParameters
from fairlane.schedules.scheduler import Scheduler
from fairlane.store.statements import organizations
from fairlane.store.statements import schedules as statements
from fairlane.store.tables import schedules
from fairlane.testing import ManualClock
from tests.engine.sealed_engine import dump, sealed_engine
from tests.engine.worker_kit import Engine, another, engine, running, until
from tests.store.races.race import Race

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
HOUR, MINUTE = 3600.0, 60.0
CANARY = "canary-4711"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NEW_YEAR)


@pytest.fixture
def fl(database_url: str, clock: ManualClock) -> Iterator[Engine]:
    with engine(database_url, clock=clock) as fl:
        register(fl)
        yield fl


def register(fl: Engine) -> None:
    @fl.job_type("report")
    async def report(ctx: JobContext, page: int = 1, password: SecretStr | None = None) -> Any:
        return [page, password.get_secret_value() if password is not None else None]


def hourly(fl: Engine, name: str = "hourly", **options: Any) -> None:
    fl.schedules.put(name, "report", **{"organization": "acme", "every": HOUR, "start": NEW_YEAR, **options})


def made(fl: Engine, name: str = "hourly", organization: str = "acme") -> list[Job]:
    """The jobs of the schedule, the oldest tick first."""
    found = fl.list(organization=organization, label=("schedule", name), limit=100).items
    return sorted(found, key=tick)


def tick(job: Job) -> datetime:
    """Return the tick of a job. The job may have been submitted later, and then its `run_at` says when."""
    return datetime.fromisoformat(job.labels["tick"])


def ticks(fl: Engine, name: str = "hourly", organization: str = "acme") -> list[datetime]:
    return list(map(tick, made(fl, name, organization)))


def problem(fl: Engine) -> str | None:
    return fl.schedules.get("hourly", organization="acme").problem


def at(hours: float) -> datetime:
    return NEW_YEAR + timedelta(hours=hours)


def scheduler(fl: Engine, *, work: float = 0.0) -> Scheduler:
    """Return a scheduler for which each tick takes so many seconds of a processor."""
    return Scheduler(fl.schedules.ticks, fl.database, fl.emit, lambda: None, partial(next, count(0.0, work)))


def test_each_tick_has_a_job_of_its_own_that_runs_as_the_schedule_says(fl: Engine, clock: ManualClock) -> None:
    hourly(fl, as_user="ana", parameters={"page": 7}, priority="high", queue="late", labels={"kind": "monthly"})
    fl.drain(queues=None)
    assert ticks(fl) == []
    for _ in range(2):
        clock.advance(HOUR)
        fl.drain(queues=None)
    assert ticks(fl) == [at(1), at(2)]
    job = made(fl)[-1]
    labels = {"kind": "monthly", "schedule": "hourly", "tick": "2026-01-01T02:00:00+00:00"}
    assert (job.user, job.priority, job.queue, job.labels) == ("ana", "high", "late", labels)
    assert fl.value(job) == [7, None]
    schedule = fl.schedules.get("hourly", organization="acme")
    assert (schedule.last_tick, schedule.last_job) == (at(2), job.id)
    assert schedule.next_ticks == tuple(map(at, range(3, 8)))


def test_a_running_worker_submits_what_is_due(fl: Engine, clock: ManualClock) -> None:
    hourly(fl)
    with running(fl.worker()):
        clock.advance(HOUR)
        until(lambda: [job.status for job in made(fl)] == ["completed"])


def test_a_tick_is_no_duplicate_of_the_one_before_that_still_waits(fl: Engine, clock: ManualClock) -> None:
    hourly(fl, every=MINUTE, queue="nobody's")
    for _ in range(3):
        clock.advance(MINUTE)
        fl.drain()
    assert [job.status for job in made(fl)] == ["queued"] * 3


def test_many_schedulers_make_one_job_of_a_tick(fl: Engine, clock: ManualClock) -> None:
    names = [f"s{number}" for number in range(8)]
    for name in names:
        hourly(fl, name)
    clock.advance(HOUR)
    together = threading.Barrier(6)

    def run() -> None:
        with another(fl) as other:
            register(other)
            together.wait()
            while scheduler(other).run_once():
                pass

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while scheduler(fl).run_once():
        pass
    assert [len(made(fl, name)) for name in names] == [1] * len(names)


def test_a_scheduler_that_dies_before_its_commit_has_made_no_job_and_lost_no_tick(
    fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly(fl)
    clock.advance(HOUR)
    submit = fl.schedules.ticks.submit

    def submit_and_die(*args: Any) -> UUID:
        submit(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fl.schedules.ticks, "submit", submit_and_die)
        with pytest.raises(KeyboardInterrupt):
            scheduler(fl).run_once()
    assert made(fl) == []
    fl.drain()
    assert ticks(fl) == [at(1)]


def test_a_clock_that_is_set_back_makes_no_job_a_second_time(fl: Engine, clock: ManualClock) -> None:
    hourly(fl)
    for hours in (2, -2, 1, 1, 1):
        clock.advance(hours * HOUR)
        fl.drain()
    assert ticks(fl) == [at(2), at(3)]


@pytest.mark.parametrize(("missed", "expected"), [("skip", []), ("one", [3]), ("all", [1, 2, 3])])
def test_ticks_that_nobody_was_there_for(fl: Engine, clock: ManualClock, missed: str, expected: list[int]) -> None:
    hourly(fl, missed=missed)
    clock.advance(3 * HOUR + 2 * MINUTE)
    coming = fl.schedules.get("hourly", organization="acme").next_ticks
    assert coming == tuple(map(at, [*expected, 4, 5, 6, 7, 8]))[:5]
    fl.drain()
    assert ticks(fl) == [at(hour) for hour in expected]
    clock.advance(HOUR - 2 * MINUTE)
    fl.drain()
    assert ticks(fl)[-1] == at(4)


@pytest.mark.slow
def test_a_tick_waits_behind_none_of_another_organization(fl: Engine, clock: ManualClock) -> None:
    fl.organizations.create("rival")
    for number in range(60):  # more than a round sees to, all due for years
        hourly(fl, f"s{number}", every=1.0, start=at(-90_000), missed="all")
    hourly(fl, organization="rival")
    clock.advance(HOUR)
    assert 1 < scheduler(fl).run_once() <= 60
    assert ticks(fl, organization="rival") == [at(1)]


@pytest.mark.slow
def test_one_organization_that_catches_up_costs_no_other_a_tick(
    fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each tick takes a while, by the test's own clock.
    monkeypatch.setattr(fl.schedules.ticks, "tell", lambda _: clock.advance(0.05))
    fl.organizations.create("rival")
    for number in range(150):
        hourly(fl, f"s{number}", every=1.0, missed="all")
    clock.advance(HOUR)
    for missed in ("one", "all"):
        hourly(fl, missed, organization="rival", every=1.0, start=at(1), missed=missed)
    service = scheduler(fl)
    while fl.database.look(clock.now) < at(1) + timedelta(seconds=11):
        assert service.run_once()
    for missed in ("one", "all"):
        assert ticks(fl, missed, "rival")[:10] == [at(1) + timedelta(seconds=n) for n in range(1, 11)]


@pytest.mark.slow
def test_organizations_take_turns_where_a_round_has_too_few_ticks_for_all(fl: Engine, clock: ManualClock) -> None:
    names = [f"org{number}" for number in range(120)]
    for name in names:
        fl.organizations.create(name)
        for schedule in ("s1", "s2"):
            hourly(fl, schedule, organization=name, every=1.0, start=at(-90_000), missed="all")
    clock.advance(MINUTE)
    service, seen_to = scheduler(fl), 0
    while seen_to < len(names):
        seen_to += service.run_once()
    assert {len(fl.list(organization=name).items) for name in names} <= {1, 2}


def test_a_round_ends_after_half_a_second_of_work_and_the_next_goes_on_with_the_next_organization(
    fl: Engine, clock: ManualClock
) -> None:
    """Fifty ticks with 250 kB of parameters took a worker nine seconds of a processor."""
    names = ["acme", "bolt", "cord", "dune"]
    for name in names[1:]:
        fl.organizations.create(name)
    for name in names:
        for schedule in ("s1", "s2"):
            hourly(fl, schedule, organization=name, every=1.0, missed="all")
    clock.advance(MINUTE)
    service, jobs = scheduler(fl, work=0.2), []
    for _ in range(4):
        assert service.run_once() == 3
        jobs.append([len(fl.list(organization=name).items) for name in names])
    assert jobs == [[1, 1, 1, 0], [2, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]


def test_a_paused_schedule_lets_ticks_go_by_for_good(fl: Engine, clock: ManualClock) -> None:
    hourly(fl, missed="all")
    paused = fl.schedules.pause("hourly", organization="acme", user="ana")
    assert (paused.paused_by, paused.next_ticks) == ("ana", ())
    clock.advance(3 * HOUR)
    fl.drain()
    assert made(fl) == []
    assert fl.schedules.resume("hourly", organization="acme").next_ticks[0] == at(4)
    clock.advance(HOUR)
    fl.drain()
    assert ticks(fl) == [at(4)]


def test_a_member_who_is_gone_submits_nothing_and_the_tick_is_tried_again_each_minute(
    fl: Engine, clock: ManualClock
) -> None:
    hourly(fl, as_user="ana")
    fl.members.remove("acme", "ana")
    clock.advance(HOUR)
    fl.drain()
    fl.drain()
    assert "PermissionDenied: ana is not a member" in str(problem(fl))
    assert made(fl) == []
    clock.advance(MINUTE)
    fl.drain()
    assert len(fl.events.of(TickRefused, organization="acme", schedule="hourly")) == 1, "told each time"
    fl.members.add("acme", "ana")
    clock.advance(MINUTE)
    fl.drain()
    assert ticks(fl) == [at(1)]
    assert problem(fl) is None


def test_one_schedule_that_is_refused_does_not_hold_up_others(fl: Engine, clock: ManualClock) -> None:
    hourly(fl, as_user="ana")
    hourly(fl, "other")
    fl.members.remove("acme", "ana")
    clock.advance(HOUR)
    fl.drain()
    assert (made(fl), ticks(fl, "other")) == ([], [at(1)])


def test_a_schedule_that_is_broken_does_not_hold_up_others(fl: Engine, clock: ManualClock) -> None:
    hourly(fl)
    hourly(fl, "other")
    with fl.database.engine.begin() as connection:
        broken = update(schedules).where(schedules.c.name == "hourly")
        connection.execute(broken.values(every_seconds=None, cron="no cron at all"))
    clock.advance(HOUR)
    fl.drain()
    assert ticks(fl, "other") == [at(1)]
    with fl.database.engine.connect() as connection:
        problems = connection.scalars(select(schedules.c.problem).order_by(schedules.c.name)).all()
    assert problems == ["CronSimError: a mistake of Fairlane's; the log of its worker says which", None]


def test_a_validator_is_asked_by_the_job_of_a_tick_and_by_no_scheduler(fl: Engine, clock: ManualClock) -> None:
    """A validator that never returned, or that ended its thread, kept the ticks of all organizations waiting."""
    schedulers: list[str] = []

    def never(page: int) -> int:
        schedulers.append(threading.current_thread().name)
        raise SystemExit

    @fl.job_type("checked", max_retries=0)
    async def checked(ctx: JobContext, page: Annotated[int, AfterValidator(never)] = 1) -> None: ...

    fl.schedules.put("checked", "checked", organization="acme", every=HOUR, start=NEW_YEAR)
    with fl.database.engine.begin() as connection:
        connection.execute(update(schedules).values(parameters='{"page": 2}'))
    hourly(fl)
    clock.advance(HOUR)
    scheduler(fl).run_once()
    assert schedulers == []
    assert [ticks(fl), ticks(fl, "checked")] == [[at(1)], [at(1)]]


def test_a_directory_that_gives_no_answer_for_one_holds_up_no_other(database_url: str, clock: ManualClock) -> None:
    class Broken:
        fails = False

        def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
            if self.fails and "acme" in ids:
                raise TimeoutError
            return {one: Standing(OrganizationStatus.ACTIVE) for one in ids}

        def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
            return {}

    directory = Broken()
    with engine(database_url, clock=clock, directory=directory) as fl:
        register(fl)
        hourly(fl)
        fl.schedules.put("hourly", "report", organization="other", every=HOUR, start=NEW_YEAR)
        directory.fails = True
        clock.advance(HOUR)
        scheduler(fl).run_once()
        assert len(fl.list(organization="other").items) == 1
        assert "StorageUnavailable" in str(problem(fl))
        directory.fails = False
        clock.advance(6)  # not as soon as after a busy database: a question may take long
        scheduler(fl).run_once()
        assert ticks(fl) == []
        clock.advance(MINUTE)
        scheduler(fl).run_once()
        assert ticks(fl) == [at(1)]


@pytest.mark.slow
def test_one_that_catches_up_does_not_hold_up_others(fl: Engine, clock: ManualClock) -> None:
    for number in range(50):
        hourly(fl, f"s{number}", every=1, missed="all")
    clock.advance(HOUR)
    hourly(fl, "late", start=at(1.4))
    clock.advance(HOUR / 2)
    one = scheduler(fl)
    assert (one.run_once(), one.run_once()) == (50, 50)
    assert ticks(fl, "late") == [at(1.4)]


def test_a_tick_that_is_refused_at_first_is_not_skipped(fl: Engine, clock: ManualClock) -> None:
    hourly(fl, missed="skip")
    fl.organizations.update("acme", max_live_jobs=0)
    clock.advance(HOUR)
    fl.drain()
    fl.organizations.update("acme", max_live_jobs=None)
    clock.advance(20)
    fl.drain()
    assert ticks(fl) == [at(1)]


def test_a_tick_that_the_busy_database_kept_waiting_is_tried_again_within_seconds(
    fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storm on SQLite found a schedule that met somebody else's lock each minute, and made no job for three."""

    def busy(*_: object) -> None:
        raise StorageUnavailable("The database was locked for too long.")

    hourly(fl, missed="all", every=MINUTE)
    clock.advance(3 * MINUTE)
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(fl.schedules.ticks, "submit", busy)
            fl.drain()
        assert "StorageUnavailable" in str(problem(fl))
        clock.advance(5)
        fl.drain()
        assert problem(fl) is None
        clock.advance(MINUTE)
    assert len(ticks(fl)) == 5


def test_a_row_that_somebody_holds_is_waited_for_once_in_a_round(postgres_url: str, clock: ManualClock) -> None:
    names = [f"s{number}" for number in range(5)]
    with engine(postgres_url, clock=clock) as fl:
        register(fl)
        fl.organizations.create("rival")
        fl.organizations.update("acme", max_live_jobs=10)
        for name in names:
            hourly(fl, name)
        for organization in ("acme", "rival"):
            hourly(fl, organization=organization)
        clock.advance(HOUR)
        with fl.database.engine.begin() as host:  # that submits in a transaction of its own
            fl.submit("report", organization="acme", connection=host)
            assert scheduler(fl).run_once() == 2
        problems = [fl.schedules.get(name, organization="acme").problem for name in (*names, "hourly")]
        assert sum(one is not None for one in problems) == 1
        assert ticks(fl, organization="rival") == [at(1)]


def test_a_schedule_that_somebody_holds_is_passed_over_and_no_other_of_its_organization(
    postgres_url: str, clock: ManualClock
) -> None:
    with engine(postgres_url, clock=clock) as fl:
        register(fl)
        for name in ("first", "second", "third"):
            hourly(fl, name)
        with fl.database.engine.begin() as host:
            host.execute(select(schedules.c.id).where(schedules.c.name == "first").with_for_update())
            for _ in range(2):
                clock.advance(HOUR)
                scheduler(fl).run_once()
        assert ticks(fl, "first") == []
        assert ticks(fl, "second") == ticks(fl, "third") == [at(1), at(2)]
        scheduler(fl).run_once()
        assert ticks(fl, "first") == [at(2)]


def test_a_schedule_that_is_broken_and_held_by_somebody_is_passed_over_alone(
    postgres_url: str, clock: ManualClock
) -> None:
    """To note what is wrong with it waited for its row, and took the round with it."""
    with engine(postgres_url, clock=clock) as fl:
        register(fl)
        fl.organizations.create("rival")
        hourly(fl)
        for name in ("second", "third"):
            hourly(fl, name)
        hourly(fl, organization="rival")
        with fl.database.engine.begin() as owner:
            owner.execute(update(schedules).where(schedules.c.name == "second").values(options="{}"))
        with fl.database.engine.begin() as host:
            host.execute(select(schedules.c.id).where(schedules.c.name == "second").with_for_update())
            clock.advance(HOUR)
            assert scheduler(fl).run_once() == 3
        assert ticks(fl) == ticks(fl, "third") == ticks(fl, organization="rival") == [at(1)]
        scheduler(fl).run_once()
        with fl.database.engine.begin() as owner:
            assert owner.scalar(select(schedules.c.problem).where(schedules.c.name == "second"))


@pytest.mark.slow
def test_a_tick_that_was_refused_for_too_long_is_skipped_and_says_why(fl: Engine, clock: ManualClock) -> None:
    hourly(fl, missed="skip")
    fl.organizations.update("acme", max_live_jobs=0)
    for _ in range(3):
        clock.advance(HOUR)
        fl.drain()
        clock.advance(2 * MINUTE)
        fl.drain()
    assert made(fl) == []
    assert "QueueFull" in str(problem(fl))
    # The next one has its first try again before it is late, all the same.
    clock.advance(HOUR - 6 * MINUTE)
    fl.drain()
    fl.organizations.update("acme", max_live_jobs=None)
    clock.advance(20)
    fl.drain()
    assert ticks(fl) == [at(4)]


@pytest.mark.slow
def test_many_that_are_refused_hold_up_no_other(fl: Engine, clock: ManualClock) -> None:
    for number in range(60):
        hourly(fl, f"s{number}", as_user="ana")
    hourly(fl, "z", start=NEW_YEAR + timedelta(seconds=1))
    fl.members.remove("acme", "ana")
    clock.advance(HOUR + 1)
    fl.drain()
    assert len(ticks(fl, "z")) == 1
    assert len(fl.events.of(TickRefused)) < 5, "told of each"


@pytest.mark.slow
def test_a_queue_that_is_nearly_full_is_told_of(fl: Engine, clock: ManualClock) -> None:
    fl.organizations.update("acme", max_live_jobs=5)
    hourly(fl, every=MINUTE, queue="nobody's")
    for _ in range(5):
        clock.advance(MINUTE)
        fl.drain()
    assert len(fl.events.of(QueueLimitWarning, organization="acme")) == 1


def test_a_clock_that_is_set_back_before_a_resume_makes_no_job_a_second_time(fl: Engine, clock: ManualClock) -> None:
    hourly(fl)
    clock.advance(HOUR)
    fl.drain()
    clock.advance(-HOUR / 2)
    fl.schedules.pause("hourly", organization="acme")
    assert fl.schedules.resume("hourly", organization="acme").next_ticks[0] == at(2)
    assert fl.schedules.put("hourly", "report", organization="acme", cron="0 * * * *").next_ticks[0] == at(2)


def test_the_audit_says_what_was_new_and_what_was_changed(fl: Engine) -> None:
    hourly(fl)
    hourly(fl, queue="late")
    changed, created = fl.audit.list(organization="acme", subject="hourly")
    assert created.before is None
    assert changed.before is not None
    assert changed.after is not None
    assert (changed.before["queue"], changed.after["queue"]) == (None, "late")


def test_none_is_put_beside_the_deletion_of_its_organization(fl: Engine, database_url: str) -> None:
    race = Race(fl.database, database_url)
    with race.open() as connection:
        organizations.change(connection, "acme", {"status": OrganizationStatus.DELETED})
        putting = race.waits(lambda: hourly(fl))
        statements.remove_all(connection, "acme")
    with pytest.raises(OrganizationNotFound):
        putting.result()
    race.close()
    assert fl.schedules.list(organization="acme") == ()


def test_a_deleted_organization_has_no_schedule_put(fl: Engine) -> None:
    fl.organizations.delete("acme")
    with pytest.raises(OrganizationNotFound):
        hourly(fl)


def test_another_types_handler_is_given_nothing_of_what_was_there(fl: Engine) -> None:
    @fl.job_type("other")
    async def other(ctx: JobContext, password: SecretStr | None = None) -> None: ...

    hourly(fl, parameters={"password": CANARY})
    assert fl.schedules.put("hourly", "other", organization="acme", every=HOUR).parameters == {}
    hourly(fl, parameters={"password": CANARY})
    with pytest.raises(InvalidParameters):
        fl.schedules.put("hourly", "other", organization="acme", every=HOUR, parameters={"password": "[redacted]"})


def test_a_full_queue_is_waited_for(fl: Engine, clock: ManualClock) -> None:
    hourly(fl)
    fl.organizations.update("acme", max_live_jobs=0)
    clock.advance(HOUR)
    fl.drain()
    assert "QueueFull" in str(problem(fl))
    fl.organizations.update("acme", max_live_jobs=None)
    clock.advance(MINUTE)
    fl.drain()
    assert ticks(fl) == [at(1)]


def test_parameters_that_no_longer_fit_are_told_without_them(fl: Engine, clock: ManualClock) -> None:
    hourly(fl, parameters={"page": 4711})
    with another(fl) as other:

        @other.job_type("report")
        async def report(ctx: JobContext, page: bool) -> None: ...

        clock.advance(HOUR)
        other.drain()
    assert str(problem(fl)).startswith("InvalidParameters (page): parameters of the schedule no longer fit")
    assert "4711" not in str(problem(fl))


def test_parameters_that_will_not_fit_are_told_before_a_tick(fl: Engine) -> None:
    hourly(fl, parameters={"page": 4711})
    hourly(fl, "paused", parameters={"page": 4711})
    fl.schedules.pause("paused", organization="acme")
    hourly(fl, "fits", parameters={})
    with another(fl) as other:

        @other.job_type("report")
        async def report(ctx: JobContext, page: bool = True) -> None: ...

        other.drain()
        listed = {one.name: one.problem for one in fl.schedules.list(organization="acme")}
    assert str(listed.pop("hourly")).startswith("InvalidParameters (page): parameters of the schedule no longer fit")
    assert listed == {"paused": None, "fits": None}
    assert str(problem(fl)).startswith("InvalidParameters (page)")
    assert "4711" not in str(problem(fl))


def test_whether_parameters_fit_is_asked_outside_of_transactions_and_of_long_ones_by_no_list(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fl.job_type("any", dedup_window=0)(lambda ctx, rows: None)
    for name, rows in (("short", [1]), ("long", [1] * 5_000)):
        fl.schedules.put(name, "any", organization="acme", every=HOUR, parameters={"rows": rows})
    with another(fl) as other:

        @other.job_type("any")
        async def report(ctx: JobContext, rows: bool) -> None: ...

        other.drain()
    lent, prepare = [], ParameterSchema.prepare

    def looked_at(schema: ParameterSchema, parameters: Mapping[str, object], **options: Any) -> PreparedParameters:
        lent.append(fl.database.engine.pool.status())  # ends with how many connections are in use
        return prepare(schema, parameters, **options)

    monkeypatch.setattr(ParameterSchema, "prepare", looked_at)
    listed = {one.name: one.problem for one in fl.schedules.list(organization="acme")}
    assert listed == {"short": fl.schedules.get("short", organization="acme").problem, "long": None}
    fl.schedules.pause("long", organization="acme")
    found = fl.schedules.resume("long", organization="acme"), fl.schedules.get("long", organization="acme")
    assert all(str(one.problem).startswith("InvalidParameters (rows)") for one in found)
    assert [one.rpartition(" ")[2] for one in lent] == ["0"] * 4


def test_planted_parameters_break_no_list(fl: Engine) -> None:
    hourly(fl)
    for planted in ("no json", "[" * 9_000, "[1]", '"\\ud800"'):
        with fl.database.engine.begin() as connection:
            connection.execute(update(schedules).values(parameters=planted))
        found = fl.schedules.list(organization=None), (fl.schedules.get("hourly", organization="acme"),)
        assert [str(one.problem)[:17] for (one,) in found] == ["InvalidParameters"] * 2, planted[:9]


def test_an_organization_that_is_deleted_takes_its_schedules_with_it(fl: Engine, clock: ManualClock) -> None:
    hourly(fl)
    fl.organizations.delete("acme")
    clock.advance(HOUR)
    fl.drain()
    assert fl.schedules.list(organization="acme") == ()
    assert made(fl) == []


def test_to_put_the_same_again_changes_nothing(fl: Engine, clock: ManualClock) -> None:
    fl.schedules.put("hourly", "report", organization="acme", every=HOUR, parameters={"page": 2})
    before = fl.schedules.get("hourly", organization="acme")
    clock.advance(90 * MINUTE)
    fl.schedules.put("hourly", "report", organization="acme", every=HOUR, parameters={"page": 2})
    assert fl.schedules.get("hourly", organization="acme") == before
    fl.drain()
    assert ticks(fl) == [at(1)], "the tick that was due is lost"


def test_another_timetable_begins_now(fl: Engine, clock: ManualClock) -> None:
    hourly(fl)
    clock.advance(10 * MINUTE)
    changed = fl.schedules.put("hourly", "report", organization="acme", cron="30 * * * *")
    assert changed.next_ticks[0] == at(0.5)
    changed = fl.schedules.put("hourly", "report", organization="acme", every=600)
    assert changed.next_ticks[0] == NEW_YEAR + timedelta(minutes=20)


def test_a_pause_outlives_a_put(fl: Engine, clock: ManualClock) -> None:
    hourly(fl)
    fl.schedules.pause("hourly", organization="acme")
    hourly(fl, every=MINUTE)
    clock.advance(HOUR)
    fl.drain()
    assert made(fl) == []


def test_one_of_its_jobs_can_be_submitted_now_also_while_it_is_paused(fl: Engine, clock: ManualClock) -> None:
    hourly(fl, parameters={"page": 3}, as_user="ana")
    fl.schedules.pause("hourly", organization="acme")
    job = fl.schedules.submit("hourly", organization="acme", user="boss")
    fl.drain()
    assert (fl.value(job), job.user) == ([3, None], "ana")
    assert [(entry.actor, entry.action) for entry in fl.audit.list(organization="acme", subject="hourly")] == [
        ("boss", "schedules.submit"),
        ("system", "schedules.pause"),
        ("system", "schedules.put"),
    ]


def test_secrets_are_given_to_the_handler_and_shown_to_nobody(fl: Engine, clock: ManualClock) -> None:
    hourly(fl, parameters={"page": 1, "password": CANARY})
    shown = fl.schedules.get("hourly", organization="acme").parameters
    assert CANARY not in str(shown)
    # Who edits what they were shown keeps it.
    hourly(fl, parameters={**shown, "page": 2})
    hourly(fl)
    clock.advance(HOUR)
    fl.drain()
    assert [fl.value(job) for job in made(fl)] == [[2, CANARY]]
    assert CANARY not in str(fl.audit.list(organization="acme"))


def test_parameters_are_sealed_where_the_organization_has_a_key(database_url: str, clock: ManualClock) -> None:
    with sealed_engine(database_url, clock=clock) as fl:

        @fl.job_type("report")
        async def report(ctx: JobContext, text: str) -> str:
            return text

        hourly(fl, parameters={"text": CANARY})
        assert CANARY not in dump(fl)
        assert fl.schedules.get("hourly", organization="acme").parameters == {"text": CANARY}
        fl.keys.rotate(organization="acme")
        fl.keys.reencrypt(organization="acme")
        clock.advance(HOUR)
        fl.drain()
        assert [fl.value(job) for job in made(fl)] == [CANARY]
        fl.keys.destroy(organization="acme")
        assert CANARY not in str(fl.schedules.get("hourly", organization="acme").parameters)
        clock.advance(HOUR)
        fl.drain()
        assert len(made(fl)) == 1
        assert problem(fl) is not None


def test_what_is_wrong_with_a_schedule_is_said_when_it_is_put(fl: Engine) -> None:
    wrong: dict[type[Exception], list[dict[str, Any]]] = {
        ConfigurationError: [
            {"cron": "61 * * * *", "every": None},
            {"cron": "0 0 * * *"},
            {"every": 0.1},
            {"every": None},
            {"every": None, "cron": "0 0 * * *", "time_zone": "Mars/Olympus"},
            {"missed": "twice"},
            {"start": datetime(2026, 1, 1)},  # noqa: DTZ001 - what is refused
            {"name": "a/b"},
            {"name": ".."},
            {"name": ""},
            {"queue": ""},
        ],
        InvalidParameters: [
            {"parameters": {"page": "many"}},
            {"labels": {"a": 5}},
            {"labels": {"schedule": "mine"}},
            {"labels": {"tick": "z"}},
            {"labels": {str(n): "x" for n in range(49)}},
            {"user": "\0"},
        ],
        PermissionDenied: [{"user": "nobody"}],
    }
    for kind, cases in wrong.items():
        for case in cases:
            with pytest.raises(kind):
                hourly(fl, **case)
    with pytest.raises(JobTypeNotFound):
        fl.schedules.put("x", "nothing", organization="acme", every=HOUR)
    with pytest.raises(OrganizationNotFound):
        fl.schedules.put("x", "report", organization="nowhere", every=HOUR)
    assert fl.schedules.list(organization="acme") == ()


def test_a_schedule_of_another_organization_is_none(fl: Engine) -> None:
    fl.organizations.create("other")
    hourly(fl)
    assert fl.schedules.list(organization="other") == ()
    for verb in (fl.schedules.get, fl.schedules.pause, fl.schedules.resume, fl.schedules.submit, fl.schedules.delete):
        with pytest.raises(ScheduleNotFound):
            verb("hourly", organization="other")
    assert [one.name for one in fl.schedules.list(organization="acme")] == ["hourly"]


def test_who_lost_the_right_meanwhile_changes_nothing(fl: Engine) -> None:
    fl.members.add("acme", "eve", role=Role.MEMBER)
    hourly(fl)
    before = fl.schedules.list(organization="acme")
    with acting_from("a request"):
        for verb in (fl.schedules.pause, fl.schedules.resume, fl.schedules.submit, fl.schedules.delete):
            with pytest.raises(PermissionDenied):
                verb("hourly", organization="acme", user="eve")
        with pytest.raises(PermissionDenied):
            hourly(fl, every=MINUTE, user="eve")
    assert fl.schedules.list(organization="acme") == before


def test_a_deleted_schedule_leaves_its_jobs(fl: Engine, clock: ManualClock) -> None:
    hourly(fl, queue="nobody's")
    clock.advance(HOUR)
    fl.drain()
    fl.schedules.delete("hourly", organization="acme", user="boss")
    clock.advance(HOUR)
    fl.drain()
    assert ticks(fl) == [at(1)]


def test_a_type_that_a_schedule_names_is_not_deleted(fl: Engine) -> None:
    hourly(fl)
    with pytest.raises(ConfigurationError):
        fl.job_types.delete("report")
    fl.schedules.delete("hourly", organization="acme")
    fl.job_types.delete("report")


def test_an_organization_has_a_thousand_schedules_at_most(fl: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlane.schedules.verbs.MOST", 2)
    hourly(fl, "a")
    hourly(fl, "b")
    with pytest.raises(ConfigurationError, match="has 2 schedules"):
        hourly(fl, "c")
    hourly(fl, "b", every=MINUTE)


def test_twins_that_put_the_same_name_at_once_make_one_schedule(fl: Engine) -> None:
    together = threading.Barrier(4)

    def run() -> None:
        with another(fl) as other:
            register(other)
            together.wait()
            hourly(other)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with fl.database.engine.connect() as connection:
        assert len(connection.execute(select(schedules)).all()) == 1


def test_the_async_verbs_are_the_same(fl: Engine) -> None:
    async def run() -> None:
        await fl.aio.schedules.put("hourly", "report", organization="acme", every=HOUR)
        assert [one.name for one in await fl.aio.schedules.list(organization="acme")] == ["hourly"]
        await fl.aio.schedules.delete("hourly", organization="acme")

    asyncio.run(run())
