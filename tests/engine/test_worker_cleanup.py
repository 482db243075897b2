"""R14: ended jobs go when their time is over, with all that is kept of them, and nothing goes that is still needed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import DBAPIError

from fairlane import Job, JobContext, JobNotFound, PermanentError, Snooze, StorageUnavailable
from fairlane.engine import cleanup as module
from fairlane.engine.cleanup import Cleanup
from fairlane.store.statements import cleanup as statements
from fairlane.store.statements import doomed_files
from fairlane.store.statements.cleanup import _OF_JOB
from fairlane.store.tables import alerts, execution_log, idempotency_keys, submissions
from fairlane.testing import ManualClock
from tests.engine.worker_kit import Engine, engine

pytestmark = pytest.mark.both_databases

DAY = 86_400.0


@pytest.fixture
def fl(database_url: str, clock: ManualClock, tmp_path: Path) -> Iterator[Engine]:
    with engine(database_url, clock=clock, artifacts_url=(tmp_path / "artifacts").as_uri()) as fl:

        @fl.job_type("keep a month", backoff=[0])
        async def month(ctx: JobContext) -> str:
            """Leaves something in every table."""
            ctx.log("a line")
            ctx.progress(50)
            await ctx.checkpoint("state")
            await ctx.artifact("report.txt", "a file")
            if ctx.attempt == 1:
                raise ConnectionError
            return "a result"

        @fl.job_type("keep a day", retention=DAY)
        async def day(ctx: JobContext) -> None: ...

        @fl.job_type("break")
        async def broken(ctx: JobContext) -> None:
            raise PermanentError("for good")

        yield fl


def clean(fl: Engine) -> int:
    return Cleanup(fl.database, fl.artifacts, 30 * DAY).run_once()


def exists(fl: Engine, job: Job) -> bool:
    try:
        fl.look(job)
    except JobNotFound:
        return False
    return True


def ended(fl: Engine, job_type: str, **options: Any) -> Job:
    job = fl.give(job_type, **options)
    fl.drain()
    return job


@pytest.mark.slow
def test_a_type_may_be_kept_for_a_time_of_its_own(fl: Engine, clock: ManualClock) -> None:
    long, short = ended(fl, "keep a month"), ended(fl, "keep a day")
    clock.advance(DAY - 1)
    assert clean(fl) == 0
    clock.advance(2)
    assert clean(fl) == 1
    assert (exists(fl, long), exists(fl, short)) == (True, False)
    clock.advance(29 * DAY)
    assert clean(fl) == 1 + 1, "the job and its file"
    assert not exists(fl, long)


@pytest.mark.slow
def test_what_an_organization_says_goes_before_what_its_types_say(fl: Engine, clock: ManualClock) -> None:
    fl.organizations.create("rival")
    fl.organizations.update("acme", retention=10 * DAY)
    mine = [ended(fl, "keep a month"), ended(fl, "keep a day")]
    theirs = [ended(fl, "keep a month", organization="rival"), ended(fl, "keep a day", organization="rival")]
    clock.advance(9 * DAY)
    clean(fl)
    assert [exists(fl, job) for job in mine + theirs] == [True, True, True, False]
    clock.advance(2 * DAY)
    clean(fl)
    assert [exists(fl, job) for job in mine + theirs] == [False, False, True, False]


@pytest.mark.slow
def test_a_job_goes_with_all_that_is_kept_of_it(fl: Engine, clock: ManualClock, tmp_path: Path) -> None:
    ended(fl, "keep a month", labels={"doc": "42"})
    assert rows_of_jobs(fl) > 5
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    clock.advance(31 * DAY)
    clean(fl)
    assert rows_of_jobs(fl) == 0
    assert not [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]


def rows_of_jobs(fl: Engine) -> int:
    """Rows of acme in all tables that hang on jobs."""
    counts = [select(func.count()).select_from(table).where(table.c.organization_id == "acme") for table in _OF_JOB]
    return fl.database.read(lambda connection: sum(connection.execute(one).scalar_one() for one in counts))


def test_a_deduplication_key_goes_with_its_job(fl: Engine, clock: ManualClock) -> None:
    ended(fl, "keep a day", dedup_key="once", dedup_window=365 * DAY)
    clock.advance(2 * DAY)
    clean(fl)
    assert fl.give("keep a day", dedup_key="once").status == "queued"


@pytest.mark.slow
@pytest.mark.parametrize("decision", ["resolve", "ignore"])
def test_a_dead_letter_stays_until_somebody_has_decided(fl: Engine, clock: ManualClock, decision: str) -> None:
    letter = ended(fl, "break")
    clock.advance(365 * DAY)
    assert clean(fl) == 0
    getattr(fl.dead_letters, decision)(letter.id, organization="acme")
    assert clean(fl) == 1
    assert not exists(fl, letter)


def test_a_parent_stays_as_long_as_a_job_that_depends_on_it_lives(fl: Engine, clock: ManualClock) -> None:
    parent = ended(fl, "keep a day")
    child = fl.give("keep a day", depends_on=[parent], delay=10 * DAY, dedup_window=0)
    clock.advance(5 * DAY)
    assert clean(fl) == 0
    fl.cancel(child.id, organization="acme")
    clock.advance(2 * DAY)
    assert clean(fl) == 2
    assert (exists(fl, parent), exists(fl, child)) == (False, False)


@pytest.mark.slow
def test_a_parent_of_a_dead_letter_that_may_be_retried_stays(fl: Engine, clock: ManualClock) -> None:
    parent = ended(fl, "keep a day")
    letter = ended(fl, "break", depends_on=[parent])
    clock.advance(365 * DAY)
    assert clean(fl) == 0
    fl.dead_letters.resolve(letter.id, organization="acme")
    assert clean(fl) == 2


@pytest.mark.parametrize("status", ["pending", "queued", "running"])
def test_a_job_that_has_not_ended_is_never_cleaned_up(fl: Engine, clock: ManualClock, status: str) -> None:
    from tests.engine.worker_store import member

    job = fl.give("keep a day", delay=DAY if status == "pending" else None)
    if status == "running":
        member(fl).claim()
    clock.advance(365 * DAY)
    assert clean(fl) == 0
    assert fl.look(job).status == status


def batches_of(size: int, fl: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the batch size of this database, and a large one for the other database."""
    name, other = ("_BATCH", "_BATCH_ALONE")[:: 1 if fl.database.kind.is_server else -1]
    monkeypatch.setattr(module, name, size)
    monkeypatch.setattr(module, other, 1_000)


def test_it_goes_on_where_a_batch_ended(fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    batches_of(3, fl, monkeypatch)
    monkeypatch.setattr(module, "_ENOUGH", 3)
    for _ in range(7):
        fl.give("keep a day", dedup_window=0)
    fl.drain()
    clock.advance(2 * DAY)
    assert [clean(fl) for _ in range(4)] == [3, 3, 1, 0]


def few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "_MOST", 10)
    monkeypatch.setattr(statements, "_PIECE", 5)
    monkeypatch.setattr(module, "_PAGES", 1)


def test_the_oldest_of_a_long_log_goes_before_its_job(
    fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole log was deleted in one transaction, which held up all other writes on SQLite."""

    @fl.job_type("chatty", retention=DAY)
    async def chatty(ctx: JobContext) -> None:
        ctx.log(str(ctx.attempt))
        if ctx.attempt < 17:
            raise Snooze(0)

    few_rows_at_once(monkeypatch)
    job, short = ended(fl, "chatty"), ended(fl, "keep a day")
    clock.advance(2 * DAY)
    cleanup = Cleanup(fl.database, fl.artifacts, 30 * DAY)
    left = []
    while exists(fl, job):
        lines = [int(line.message) for line in fl.log_lines(job, organization="acme")]
        entries = [entry.sequence for entry in fl.history(job, organization="acme")]
        assert (lines[-1], entries[-1]) == (17, 35)
        left.append((len(lines), len(entries)))
        assert cleanup.run_once() == 1
    assert left == [(17, 35), (12, 30), (7, 25), (7, 20), (7, 15), (7, 10)]
    clean(fl)
    assert not exists(fl, short)


def test_planted_entries_of_one_sequence_go_by_pieces(
    fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_rows_at_once(monkeypatch)
    job = ended(fl, "keep a day")
    with fl.database.engine.begin() as connection:
        entry = dict(connection.execute(select(execution_log).limit(1)).mappings().one())
        del entry["id"]
        connection.execute(insert(execution_log), [{**entry, "job_id": job.id, "sequence": 1} for _ in range(20)])
    clock.advance(2 * DAY)
    cleanup = Cleanup(fl.database, fl.artifacts, 30 * DAY)
    left = []
    while exists(fl, job):
        left.append(len(fl.history(job, organization="acme")))
        cleanup.run_once()
    assert left == [23, 18, 13, 8]


def test_jobs_of_many_parents_go_by_their_edges(
    fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    @fl.job_type("parent")
    async def parent(ctx: JobContext) -> None: ...

    few_rows_at_once(monkeypatch)
    parents = [fl.give("parent", dedup_window=0) for _ in range(6)]
    children = [fl.give("keep a day", depends_on=parents, dedup_window=0) for _ in range(5)]
    fl.drain()
    clock.advance(2 * DAY)
    cleanup = Cleanup(fl.database, fl.artifacts, 30 * DAY)
    assert [cleanup.run_once() for _ in range(6)] == [1, 1, 1, 1, 1, 0]
    assert [exists(fl, job) for job in parents + children] == [True] * 6 + [False] * 5


@pytest.mark.slow
def test_what_has_to_stay_is_passed_once_a_turn(
    fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches_of(2, fl, monkeypatch)
    monkeypatch.setattr(module, "_PAGES", 2)
    letters = [ended(fl, "break", dedup_window=0) for _ in range(9)]
    clock.advance(60)
    last = ended(fl, "keep a day")
    clock.advance(31 * DAY)
    fl.dead_letters.ignore(letters[5].id, organization="acme")
    cleanup = Cleanup(fl.database, fl.artifacts, 30 * DAY)
    # Four looked at; four more, one of which goes; the one that is left and the next shelf; all over again.
    assert [cleanup.run_once() for _ in range(3)] == [0, 1, 1]
    assert not exists(fl, last)
    fl.dead_letters.ignore(letters[0].id, organization="acme")
    assert [cleanup.run_once() for _ in range(2)] == [1, 0]
    assert [exists(fl, letter) for letter in letters] == [False, *[True] * 4, False, *[True] * 3]


@pytest.mark.slow
def test_shelves_beyond_those_looked_at_at_once_come_next(
    fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SHELVES", 1)
    old = [ended(fl, "keep a day"), ended(fl, "break")]
    fl.dead_letters.ignore(old[1].id, organization="acme")
    clock.advance(31 * DAY)
    cleanup = Cleanup(fl.database, fl.artifacts, 30 * DAY)
    assert [cleanup.run_once() for _ in range(3)] == [1, 1, 0]
    assert not any(exists(fl, job) for job in old)


@pytest.mark.slow
def test_a_worker_cleans_up(fl: Engine, clock: ManualClock) -> None:
    job = ended(fl, "keep a day")
    clock.advance(2 * DAY)
    fl.drain()
    assert not exists(fl, job)


def plant(fl: Engine, number: int) -> None:
    """Insert rows of now: idempotency keys, alerts and submissions, one alert more."""
    now = fl.database.look(fl.database.clock.now)
    answered = {"request_hash": "x", "job_ids": "[]", "created_at": now}
    told = {"kind": "dead_letters", "size": 51, "bound": 50, "at": now}
    submitted = {"job_type": "break", "submitted_by": "ana", "at": now}
    rows = [
        (idempotency_keys, [{"user_id": "ana", "key": f"{now} {n}", **answered} for n in range(number)]),
        (alerts, [told] * (number + 1)),
        (submissions, [submitted] * number),
    ]
    with fl.database.engine.begin() as connection:
        for table, some in rows:
            connection.execute(insert(table), [{"organization_id": "acme", **row} for row in some])


def planted(fl: Engine) -> list[int]:
    with fl.database.engine.begin() as connection:
        tables = (idempotency_keys, alerts, submissions)
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]


def test_old_rows_go_by_batches_and_the_next_round_follows_at_once(
    fl: Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DELETE of all old keys at once kept the files of all organizations from being deleted."""
    monkeypatch.setattr(module, "_OLD", 3)
    plant(fl, 7)
    clock.advance(DAY + 1)
    plant(fl, 1)
    cleanup = Cleanup(fl.database, fl.artifacts, 30 * DAY)
    found = [(cleanup.run_once() > 0, planted(fl)) for _ in range(3)]
    assert found == [(True, [5, 7, 5]), (True, [2, 4, 2]), (False, [1, 2, 1])]


REFUSE = {
    "sqlite": "CREATE TRIGGER refuse BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END",
    "postgresql": """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
CREATE TRIGGER refuse BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()
""",
}


@pytest.mark.parametrize("table", ["fairlane_doomed_files", "fairlane_idempotency_keys", "fairlane_submissions"])
def test_a_part_that_fails_holds_up_no_other(fl: Engine, clock: ManualClock, tmp_path: Path, table: str) -> None:
    job = ended(fl, "keep a day")
    plant(fl, 1)

    def doom(connection: Connection) -> None:
        doomed_files.doom(connection, fl.database.clock.now(connection), "acme", ["acme/old.txt"])

    fl.artifacts.put("acme/old.txt", b"data")
    fl.database.write(doom, of="acme")
    clock.advance(2 * DAY)
    with fl.database.engine.begin() as connection:
        connection.exec_driver_sql(REFUSE[connection.dialect.name].format(table=table))
    with pytest.raises(DBAPIError, match="refused"):
        clean(fl)
    assert not (tmp_path / "artifacts" / "acme" / "old.txt").exists()
    assert not exists(fl, job)
    assert planted(fl) == [table == "fairlane_idempotency_keys", 1, table == "fairlane_submissions"]


def test_a_database_that_is_away_is_not_asked_by_each_part(fl: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[object]()

    def away(*work: object, **_: object) -> None:
        asked.append(work)
        raise StorageUnavailable("The database is away.")

    for verb in ("read", "look", "write"):
        monkeypatch.setattr(fl.database, verb, away)
    with pytest.raises(StorageUnavailable):
        clean(fl)
    assert len(asked) == 3
