"""The feed on real databases: nothing skipped and nothing twice, whatever is open, rolled back or deleted beside it."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, create_engine, make_url, text

from fairlane import Fairlane, JobContext, Settings, StorageUnavailable, Submission
from fairlane.domain.events import AlertKind, DeadLetterAlert
from fairlane.domain.log_cursor import Position
from fairlane.engine.cleanup import Cleanup
from fairlane.realtime.dispatch import MOST_MESSAGES, Dispatch, catch_up
from fairlane.realtime.feed import MOST_ENTRIES, Feed, Look
from fairlane.realtime.hub import EVERYTHING, Client, Hub, Room, RoomKind
from fairlane.store.row_security import EVERYONE, DatabaseRole
from fairlane.store.statements import feed as statements
from fairlane.store.statements.feed import Audience
from tests.realtime.watching import forge
from tests.store.as_owner import in_role

pytestmark = [
    pytest.mark.both_databases,
    # Tests submit beside a transaction that they hold open, to see what is told when it ends.
    pytest.mark.filterwarnings("ignore::fairlane.TransactionNotUsed"),
]

ACME = Audience(frozenset({"acme"}))
ROOM = Room(RoomKind.ORGANIZATION, "acme")
Told = tuple[UUID, int]
NOW = datetime(2026, 11, 26, tzinfo=UTC)


def report(ctx: JobContext) -> None: ...


@pytest.fixture
def fl(database_url: str) -> Iterator[Fairlane]:
    with Fairlane(Settings(url=database_url, artifacts_url="memory:///")) as fl:
        fl.job_type("report", dedup_window=0)(report)
        for organization in ("acme", "other"):
            fl.organizations.create(organization)
        yield fl


@pytest.fixture
def feed(fl: Fairlane) -> Iterator[Feed]:
    """Run the feed as in production, under the role of the application."""
    feed = Feed(fl.database, fl.keyring)
    with in_role():
        feed.start()
        yield feed


@pytest.fixture
def others(fl: Fairlane) -> Iterator[Any]:
    """Connections of a host on the same database."""
    url = make_url(fl.database.url)
    url = url.set(drivername="postgresql+psycopg") if url.get_backend_name() == "postgresql" else url
    engine = create_engine(url)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        yield lambda: stack.enter_context(engine.connect())


def keys(look: Look) -> list[Told]:
    return [(row.job_id, row.sequence) for row in look.entries]


def until_settled(feed: Feed) -> list[Told]:
    """Looks, until nothing is missing."""
    told: list[Told] = []
    for _ in range(100):
        told += keys(feed.look(ACME))
        if not feed.position.gaps:
            return told
        feed._settled = 0.0
    raise AssertionError(f"these gaps stay: {feed.position.gaps}")


def test_a_row_is_told_as_soon_as_it_is_there(fl: Fairlane, feed: Feed):
    assert keys(feed.look(ACME)) == []
    mine, _ = fl.submit("report", organization="acme"), fl.submit("report", organization="other")
    assert keys(feed.look(ACME)) == [(mine.id, 1)]
    assert keys(feed.look(ACME)) == []
    everything = feed.look(Audience(everyone=True))
    assert everything.position == feed.position
    assert everything.position.gaps == ()


def test_a_job_that_is_changed_while_it_waits_is_told(fl: Fairlane, feed: Feed):
    job = fl.submit("report", organization="acme", delay=3600)
    feed.look(ACME)
    fl.prioritize(job, "high", organization="acme")
    fl.reschedule(job, NOW.replace(year=2199), organization="acme")
    fl.run_now(job, organization="acme")
    told = [(row.sequence, row.from_status, row.to_status) for row in feed.look(ACME).entries]
    assert told == [(2, "pending", "pending"), (3, "pending", "pending"), (4, "pending", "queued")]


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["entries", "running_progress", "watched_progress", "progress_of", "alerts_after"])
def test_a_look_that_fails_on_its_way_loses_nothing(
    fl: Fairlane, feed: Feed, monkeypatch: pytest.MonkeyPatch, failing: str
):
    def counting(ctx: JobContext) -> None:
        ctx.progress(50, "row 5")

    fl.job_type("counting", dedup_window=0)(counting)
    fl.migrate()
    feed.look(ACME)
    job = fl.submit("counting", organization="acme")
    fl.worker().drain()
    fl.emit(DeadLetterAlert("acme", 51))
    feed._known = replace(feed._known, asked=0.0)  # it is time for alerts
    with monkeypatch.context() as patch:
        patch.setattr(statements, failing, fail)
        with pytest.raises(StorageUnavailable):
            feed.look(ACME)
    look = feed.look(ACME)
    assert keys(look) == [(job.id, 1), (job.id, 2), (job.id, 3)]
    assert [one.data["percent"] for one in look.progress] == [50]
    assert [row.size for row in look.alerts] == [51]


@pytest.mark.slow
def test_more_jobs_are_watched_than_a_statement_has_parameters(fl: Fairlane, feed: Feed):
    told: list[float] = []

    def counting(ctx: JobContext) -> None:
        ctx.progress(40)
        told.extend(one.data["percent"] for _ in range(2) for one in feed.look(audience).progress)

    fl.job_type("counting", dedup_window=0)(counting)
    fl.migrate()
    job = fl.submit("counting", organization="acme")
    ids = [job.id, *(UUID(int=number) for number in range(70_000))]
    audience = Audience(jobs=frozenset(("acme", one) for one in ids))
    assert keys(feed.look(audience)) == [(job.id, 1)]
    fl.worker().drain()
    assert told == [40]
    assert keys(feed.look(audience)) == [(job.id, 3)]


def fail(*_: object) -> Any:
    raise StorageUnavailable("The connection broke.")


def test_who_ended_that_was_writing_at_the_start_is_not_forgotten_where_the_look_fails(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    with Fairlane(Settings(url=postgres_url, artifacts_url="memory:///")) as fl:
        fl.job_type("report", dedup_window=0)(report)
        fl.migrate()
        fl.organizations.create("acme")
        engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
        feed = Feed(fl.database, fl.keyring)
        with engine.connect() as stranger:
            fl.submit("report", organization="acme", connection=stranger)
            feed.start()
            assert not feed.is_warm
            stranger.commit()
        with monkeypatch.context() as patch:
            patch.setattr(statements, "running_progress", fail)
            with pytest.raises(StorageUnavailable):
                feed.look(ACME)
        assert feed.look(ACME).is_lost
        assert not feed.look(ACME).is_lost
        engine.dispose()


def test_a_transaction_held_open_holds_up_nobody_and_is_told_when_it_commits(
    postgres_url: str,
):
    with Fairlane(Settings(url=postgres_url, artifacts_url="memory:///")) as fl:
        fl.job_type("report", dedup_window=0)(report)
        fl.migrate()
        fl.organizations.create("acme")
        engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
        feed = Feed(fl.database, fl.keyring)
        feed.start()
        with engine.connect() as held, engine.connect() as elsewhere:
            late = [fl.submit("report", organization="acme", connection=held) for _ in range(3)]
            soon = fl.submit("report", organization="acme")
            assert keys(feed.look(ACME)) == [(soon.id, 1)]
            assert len(feed.position.gaps) == 1
            # A transaction that has not written to the log is none to wait for.
            elsewhere.execute(text("SELECT count(*) FROM fairlane_jobs"))
            for _ in range(3):
                feed._settled = 0.0
                assert keys(feed.look(ACME)) == []
            assert len(feed.position.gaps) == 1
            held.commit()
            assert keys(feed.look(ACME)) == [(one.id, 1) for one in late]
            fl.submit("report", organization="acme", connection=held)
            after = fl.submit("report", organization="acme")
            assert keys(feed.look(ACME)) == [(after.id, 1)]
            held.rollback()
            assert until_settled(feed) == []
        engine.dispose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_more_than_a_look_takes_of_what_comes_late_is_left_to_the_next(
    fl: Fairlane, feed: Feed, others: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fairlane.realtime.feed._MOST_NUMBERS", 3)
    held = others()
    late = [fl.submit("report", organization="acme", connection=held) for _ in range(7)]
    soon = fl.submit("report", organization="acme")
    assert keys(feed.look(ACME)) == [(soon.id, 1)]
    held.commit()
    new = fl.submit("report", organization="acme")
    looks = []
    for _ in range(4):
        feed._settled = 0.0  # the gap is closed before each
        looks.append(feed.look(ACME))
    told = [late[:3], late[3:6], [late[6], new], []]
    assert [keys(one) for one in looks] == [[(one.id, 1) for one in those] for those in told]
    assert [one.has_more for one in looks] == [True, True, False, False]
    assert feed.position.gaps == ()


def test_numbers_of_other_databases_transactions_are_not_waited_for(postgres_url: str, postgres_server: str):
    with Fairlane(Settings(url=postgres_url, artifacts_url="memory:///")) as fl:
        fl.job_type("report", dedup_window=0)(report)
        fl.migrate()
        fl.organizations.create("acme")
        feed = Feed(fl.database, fl.keyring)
        feed.start()
        elsewhere = create_engine(make_url(postgres_server).set(drivername="postgresql+psycopg"))
        mine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
        with elsewhere.connect() as foreign, mine.connect() as host:
            foreign.execute(text("SELECT pg_current_xact_id()"))
            fl.submit("report", organization="acme", connection=host)
            host.rollback()
            soon = fl.submit("report", organization="acme")
            assert until_settled(feed) == [(soon.id, 1)]
        elsewhere.dispose()
        mine.dispose()


@pytest.mark.slow
def test_what_is_written_by_many_at_once_is_told_once_each(fl: Fairlane, feed: Feed, others: Any):
    """Commits, rollbacks, batches and savepoints side by side, with looks in between."""
    committed: list[UUID] = []
    lock = threading.Lock()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(12):
            if not fl.database.kind.is_server or chance.random() < 0.5:
                made = [fl.submit("report", organization=chance.choice(["acme", "other"]))]
            else:
                with connections[seed].begin() as transaction:
                    made = [
                        fl.submit("report", organization=chance.choice(["acme", "other"]), connection=connections[seed])
                        for _ in range(chance.randint(1, 5))
                    ]
                    if chance.random() < 0.4:
                        transaction.rollback()
                        continue
            with lock:
                committed.extend(one.id for one in made if one.organization == "acme")

    connections = [others() for _ in range(4)] if fl.database.kind.is_server else []
    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    told: list[Told] = []
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        told += keys(feed.look(ACME))
    told += until_settled(feed)
    assert Counter(job_id for job_id, _ in told) == Counter(committed)


def test_a_client_that_returns_is_told_what_was_missed_whatever_node_and_whatever_gaps(fl: Fairlane, feed: Feed):
    first = fl.submit("report", organization="acme")
    cursor = feed.cursors.seal(feed.look(ACME).position)
    missed = [fl.submit("report", organization="acme") for _ in range(3)]
    fl.submit("report", organization="other")
    other_node = Feed(fl.database, fl.keyring)
    other_node.start()
    found = catch_up(fl.database, other_node.cursors, ROOM, cursor, other_node.position)
    assert found is not None
    assert [one.data["job_id"] for one in found.messages] == [str(one.id) for one in missed]
    assert found.cursor == cursor, "until all of it was told"
    assert found.messages[-1].data["cursor"] != cursor
    again = catch_up(fl.database, other_node.cursors, ROOM, found.messages[-1].data["cursor"], other_node.position)
    assert again is not None
    assert again.messages == []
    job = Room(RoomKind.JOB, "acme", first.id)
    of_job = catch_up(fl.database, feed.cursors, job, cursor, feed.position)
    assert of_job is not None
    assert of_job.messages == []


def test_what_comes_behind_where_the_room_is_the_room_is_told_and_not_who_catches_up(fl: Fairlane, feed: Feed):
    cursor = feed.cursors.seal(feed.position)
    missed = fl.submit("report", organization="acme")
    feed.look(ACME)
    soon = fl.submit("report", organization="acme")
    found = catch_up(fl.database, feed.cursors, ROOM, cursor, feed.position)
    assert found is not None
    assert [one.data["job_id"] for one in found.messages] == [str(missed.id)]
    assert keys(feed.look(ACME)) == [(soon.id, 1)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_of_what_comes_late_either_the_room_is_told_or_who_catches_up(fl: Fairlane, feed: Feed, others: Any):
    cursor = feed.cursors.seal(feed.position)
    held = others()
    late = fl.submit("report", organization="acme", connection=held)
    missed = fl.submit("report", organization="acme")
    feed.look(ACME)
    assert len(feed.position.gaps) == 1
    held.commit()
    for those in ([missed], [late, missed]):
        found = catch_up(fl.database, feed.cursors, ROOM, cursor, feed.position)
        assert found is not None
        assert [one.data["job_id"] for one in found.messages] == [str(one.id) for one in those]
        assert keys(feed.look(ACME)) == ([(late.id, 1)] if those == [missed] else [])


def test_what_others_have_filled_a_gap_with_hides_nothing_that_was_missed(fl: Fairlane, feed: Feed):
    before = feed.position.high
    for _ in range(6):
        fl.submit_many([Submission("report", organization="other") for _ in range(100)])
    missed = fl.submit("report", organization="acme")
    here = feed.look(ACME).position
    cursor = feed.cursors.seal(Position(here.high, ((before + 1, here.high),)))
    for room in (ROOM, Room(RoomKind.JOB, "acme", missed.id)):
        found = catch_up(fl.database, feed.cursors, room, cursor, here)
        assert found is not None
        assert [one.data["job_id"] for one in found.messages] == [str(missed.id)]


def test_a_cursor_whose_rows_were_deleted_is_too_old(fl: Fairlane, feed: Feed):
    cursor = feed.cursors.seal(feed.position)
    jobs = {one: fl.submit("report", organization=one) for one in ("acme", "other")}
    fl.worker().drain()
    fl.organizations.update("acme", retention=0.000001)
    workers = fl.database.sibling(pool_size=1, role=DatabaseRole.WORKER)
    Cleanup(workers, fl.artifacts, 10_000.0).run_once()
    workers.close()
    assert fl.list(organization="acme").total == 0
    assert catch_up(fl.database, feed.cursors, ROOM, cursor, feed.position) is None
    assert catch_up(fl.database, feed.cursors, EVERYTHING, cursor, feed.position) is None
    feed.look(ACME)
    theirs = catch_up(fl.database, feed.cursors, Room(RoomKind.ORGANIZATION, "other"), cursor, feed.position)
    assert theirs is not None
    assert {one.data["job_id"] for one in theirs.messages} == {str(jobs["other"].id)}
    # What is written afterwards has numbers of its own, also where the newest were deleted.
    feed.look(ACME)
    new = fl.submit("report", organization="acme")
    assert keys(feed.look(ACME)) == [(new.id, 1)]


def test_a_cursor_before_the_oldest_of_a_log_that_is_being_deleted_is_too_old(
    fl: Fairlane, feed: Feed, monkeypatch: pytest.MonkeyPatch
):
    cursor = feed.cursors.seal(feed.position)
    fl.submit("report", organization="acme")
    fl.worker().drain()
    later = feed.cursors.seal(feed.look(ACME).position)
    fl.organizations.update("acme", retention=0.000001)
    monkeypatch.setattr("fairlane.store.statements.cleanup._MOST", 2)
    monkeypatch.setattr("fairlane.store.statements.cleanup._PIECE", 1)
    monkeypatch.setattr("fairlane.engine.cleanup._PAGES", 1)
    workers = fl.database.sibling(pool_size=1, role=DatabaseRole.WORKER)
    Cleanup(workers, fl.artifacts, 10_000.0).run_once()
    workers.close()
    assert fl.list(organization="acme").total == 1
    assert catch_up(fl.database, feed.cursors, ROOM, cursor, feed.position) is None
    assert catch_up(fl.database, feed.cursors, ROOM, later, feed.position) is not None


@pytest.mark.parametrize("cursor", ["", "x", "A" * 100])
def test_a_cursor_of_nobody_is_unknown(fl: Fairlane, feed: Feed, cursor: str):
    assert catch_up(fl.database, feed.cursors, ROOM, cursor, feed.position) is None
    future = feed.cursors.seal(Position(10**9))
    assert catch_up(fl.database, feed.cursors, ROOM, future, feed.position) is None


async def test_a_row_of_a_job_that_the_organization_does_not_have_is_told_to_nobody_and_counted(
    fl: Fairlane, feed: Feed
):
    hub = Hub()
    client = Client(Any, lambda: None)  # type: ignore[arg-type]
    hub.add(client)
    for room in (ROOM, EVERYTHING):
        hub.enter(client, room)
    foreign = fl.submit("report", organization="other")
    feed.look(hub.audience())
    forge(fl, "acme", foreign.id)
    await Dispatch(hub, feed.cursors, feed.look(hub.audience())).tell()
    assert hub.strays == 1
    assert len(client) == 0


async def test_an_organization_with_too_many_events_begins_anew_and_others_go_on(fl: Fairlane, feed: Feed):
    hub = Hub()
    clients = {room: Client(Any, lambda: None) for room in (ROOM, Room(RoomKind.ORGANIZATION, "other"))}  # type: ignore[arg-type]
    for room, client in clients.items():
        hub.enter(client, room)
    fl.submit_many([Submission("report", organization="acme") for _ in range(MOST_ENTRIES + 1)])
    quiet = fl.submit("report", organization="other")
    await Dispatch(hub, feed.cursors, feed.look(hub.audience())).tell()
    crowded, calm = clients.values()
    assert [one.name for one in crowded.take(10)] == ["reset"]
    assert [one.data["job_id"] for one in calm.take(10)] == [str(quiet.id)]


async def test_rooms_that_hear_too_much_in_a_second_begin_anew_once_and_others_go_on(
    fl: Fairlane, feed: Feed, monkeypatch: pytest.MonkeyPatch
):
    hub, many = Hub(), 100
    crowd = [Client(Any, lambda: None) for _ in range(many)]  # type: ignore[arg-type]
    calm, operator = Client(Any, lambda: None), Client(Any, lambda: None)  # type: ignore[arg-type]
    for client in crowd:
        hub.enter(client, ROOM)
    hub.enter(calm, Room(RoomKind.ORGANIZATION, "other"))
    hub.enter(operator, EVERYTHING)

    async def told(jobs: int) -> tuple[set[tuple[str, int]], int, int]:
        """Submit jobs; return what each of the crowd is told, and how many messages the others get."""
        fl.submit_many([Submission("report", organization="acme") for _ in range(jobs)])
        fl.submit("report", organization="other")
        await Dispatch(hub, feed.cursors, feed.look(hub.audience())).tell()
        heard = {name for one in crowd for name in Counter(each.name for each in one.take(1_000)).items()}
        return heard, len(calm.take(1_000)), len(operator.take(1_000))

    monkeypatch.setattr("fairlane.realtime.dispatch._SECOND", 1_000.0)
    within = MOST_MESSAGES // many
    assert await told(within) == ({("job_status_changed", within)}, 1, within + 1)
    assert await told(1) == ({("reset", 1)}, 1, 2)
    assert await told(1) == (set(), 1, 2)
    fl.emit(DeadLetterAlert("acme", 51))
    feed._known = replace(feed._known, asked=0.0)  # it is time for alerts
    assert await told(1) == ({("reset", 1), ("dead_letter_alert", 1)}, 1, 3)
    assert await told(1) == (set(), 1, 2)
    monkeypatch.setattr("fairlane.realtime.dispatch._SECOND", 0.0)
    assert await told(0) == ({("reset", 1)}, 1, 1)
    assert await told(1) == ({("job_status_changed", 1)}, 1, 2)


async def test_alerts_are_told_behind_the_reset_of_a_look_that_lost_something(fl: Fairlane, feed: Feed):
    hub, client = Hub(), Client(Any, lambda: None)  # type: ignore[arg-type]
    hub.enter(client, ROOM)
    fl.emit(DeadLetterAlert("acme", 51))
    look = replace(feed.look(hub.audience()), is_lost=True)
    await Dispatch(hub, feed.cursors, look).tell()
    assert [one.name for one in client.take(10)] == ["reset", "dead_letter_alert"]


def read_alerts(feed: Feed) -> list[str]:
    """Return the organizations whose alerts a look finds."""
    feed._known, feed._settled = replace(feed._known, asked=0.0), 0.0  # it is time for them
    return [row.organization_id for row in feed.look(ACME).alerts]


def add_alerts(connection: Connection, organization: str, times: int = 1) -> None:
    row = {"organization_id": organization, "kind": AlertKind.DEAD_LETTERS, "size": 51, "bound": 50, "at": NOW}
    for _ in range(times):
        statements.add_alert(connection, row)


def test_of_more_alerts_than_a_look_reads_the_others_are_left_to_the_next(
    fl: Fairlane, feed: Feed, monkeypatch: pytest.MonkeyPatch
):
    fl.emit(DeadLetterAlert("acme", 51))
    fl.database.write(lambda connection: add_alerts(connection, "other", 150), of="other")
    assert read_alerts(feed) == ["acme", *["other"] * 150]
    monkeypatch.setattr("fairlane.realtime.feed._MOST_ALERTS", 3)
    fl.database.write(lambda connection: add_alerts(connection, "other", 4), of="other")
    fl.emit(DeadLetterAlert("acme", 51))
    assert [read_alerts(feed) for _ in range(3)] == [["other"] * 3, ["other", "acme"], []]


def test_alerts_go_on_where_all_old_ones_were_forgotten(fl: Fairlane, feed: Feed):
    fl.emit(DeadLetterAlert("other", 51))
    assert read_alerts(feed) == ["other"]
    fl.database.write(lambda c: statements.forget_alerts(c, NOW + timedelta(days=36_500), 10), of=EVERYONE)
    fl.emit(DeadLetterAlert("acme", 51))
    assert read_alerts(feed) == ["acme"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_alert_that_is_committed_late_is_told_and_one_that_never_is_waited_for_no_longer(
    fl: Fairlane, feed: Feed, others: Any
):
    held, broken = others(), others()
    for connection in (held, broken):
        add_alerts(connection, "acme")
    fl.emit(DeadLetterAlert("other", 51))
    assert [read_alerts(feed) for _ in range(3)] == [["other"], [], []]
    held.commit()
    broken.rollback()
    assert [read_alerts(feed) for _ in range(3)] == [["acme"], [], []]
    assert feed._known.alerts.gaps == ()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_alert_that_is_being_written_as_a_feed_begins_is_told_and_those_from_before_are_not(
    fl: Fairlane, feed: Feed, others: Any
):
    fl.database.write(lambda connection: add_alerts(connection, "other", 150), of="other")
    held = others()
    add_alerts(held, "acme")
    fl.emit(DeadLetterAlert("other", 51))
    feed.start()
    assert read_alerts(feed) == []
    held.commit()
    assert [read_alerts(feed) for _ in range(3)] == [["acme"], [], []]
    assert feed._known.alerts.gaps == ()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_more_alerts_that_are_missing_than_may_be_are_waited_for_no_longer(
    fl: Fairlane, feed: Feed, others: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fairlane.realtime.feed._MOST_GAPS", 1)
    held = others()
    for number in range(2):
        add_alerts(held, "acme")
        fl.emit(DeadLetterAlert("other", 51))
        assert read_alerts(feed) == ["other"]
        assert len(feed._known.alerts.gaps) == (1, 0)[number]
