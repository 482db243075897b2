"""R19: who has a snapshot from before a change of keys, or has waited for a connection, goes by the keys of now."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, event, func, select
from sqlalchemy.pool import QueuePool

from fairlane import JobContext, Submission
from fairlane.domain.errors import StorageUnavailable
from fairlane.encryption import resealing
from fairlane.engine.idempotency import Key
from fairlane.store.row_security import DatabaseRole
from fairlane.store.statements import keys as statements
from fairlane.store.statements import rows
from fairlane.store.tables import organization_keys
from tests.engine.sealed_engine import FIRST, dump, left_by_a_handler
from tests.engine.worker_kit import Engine, another, engine
from tests.store.logins import bound_logins, plain

CANARY = "canary-4711"


@contextmanager
def once_connected(work: Callable[[], object]) -> Iterator[None]:
    """Once, when this thread has a connection, something is done, as if it had waited so long for that."""
    mine, left = threading.get_ident(), [work]

    def on_checkout(*_: object) -> None:
        if left and threading.get_ident() == mine:
            left.pop()()

    event.listen(QueuePool, "checkout", on_checkout)
    try:
        yield
    finally:
        event.remove(QueuePool, "checkout", on_checkout)
    assert not left


def age_keys(url: str) -> None:
    """Have all keys be an hour older: long before whatever begins now, however busy the machine is."""
    with psycopg.connect(plain(url)) as owner:
        owner.execute("UPDATE fairlane_organization_keys SET created_at = created_at - interval '1 hour'")


def seal_all(fl: Engine, elsewhere: Engine) -> None:
    """Give the organization a key and seal all; to `fl` as if what it knew of it had grown old meanwhile."""
    elsewhere.keys.enable(organization="acme")
    elsewhere.keys.reencrypt(organization="acme")
    fl.keyring.forget("acme")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_is_submitted_in_a_transaction_with_a_snapshot_from_before_the_key_is_sealed(database_url: str) -> None:
    with engine(database_url, encryption_keys=FIRST) as fl, another(fl, encryption_keys=FIRST) as elsewhere:

        @fl.job_type("work")
        def work(ctx: JobContext, text: str) -> None: ...

        fl.give("work", parameters={"text": "registers the type"})
        with fl.database.engine.connect() as theirs:
            theirs.execution_options(isolation_level="REPEATABLE READ")
            assert statements.of(theirs, ["acme"]) == []
            elsewhere.keys.enable(organization="acme")
            elsewhere.keys.reencrypt(organization="acme")
            fl.keyring.forget("acme")  # as if it had grown old
            jobs = [fl.give("work", parameters={"text": CANARY}, connection=theirs)]
            theirs.commit()
        jobs.append(fl.give("work", parameters={"text": CANARY}, dedup_window=0))
        assert CANARY not in dump(fl)
        assert [fl.look(one).parameters for one in jobs] == [{"text": CANARY}] * 2


def test_nobody_goes_by_the_keys_that_an_old_snapshot_has_shown(database_url: str) -> None:
    with engine(database_url, encryption_keys=FIRST) as fl, another(fl, encryption_keys=FIRST) as elsewhere:

        @fl.job_type("work")
        def work(ctx: JobContext, text: str) -> None: ...

        def read(snapshot: Connection) -> None:
            assert statements.of(snapshot, ["acme"]) == []
            elsewhere.keys.enable(organization="acme")
            assert fl.keyring.rings(snapshot, ["acme"]) == {}

        fl.database.read(read, of="acme")
        fl.give("work", parameters={"text": CANARY})
        assert CANARY not in dump(fl)


def test_keys_are_looked_at_once_for_all_that_a_snapshot_shows(database_url: str) -> None:
    seen: list[str] = []
    with engine(database_url, encryption_keys=FIRST) as fl:
        fl.keys.enable(organization="acme")
        fl.job_type("work")(lambda ctx, text: None)
        texts = ["one", "two", "three"]
        for text in texts:
            fl.give("work", parameters={"text": text})

        def read(snapshot: Connection) -> list[str]:
            found = rows.jobs_of(snapshot, "acme", rows.select_jobs(), fl.keyring.shown(snapshot))
            return [job.parameters["text"] for job in found]

        fl.keyring.forget("acme")  # as if it had grown old
        event.listen(fl.database.engine, "before_cursor_execute", lambda *of: seen.append(of[2]))
        assert sorted(fl.database.read(read, of="acme")) == sorted(texts)
    assert len([one for one in seen if organization_keys.name in one]) == 1


def test_what_is_submitted_by_a_connection_that_was_waited_for_is_sealed(database_url: str) -> None:
    with engine(database_url, encryption_keys=FIRST) as fl, another(fl, encryption_keys=FIRST) as elsewhere:

        @fl.job_type("work")
        def work(ctx: JobContext, text: str) -> None: ...

        fl.give("work", parameters={"text": "registers the type, and keeps that there is no key"})
        with once_connected(lambda: seal_all(fl, elsewhere)):
            job = fl.give("work", parameters={"text": CANARY})
        assert CANARY not in dump(fl)
        assert fl.look(job).parameters == {"text": CANARY}


def test_what_is_kept_of_a_request_by_a_connection_that_was_waited_for_is_hidden(database_url: str) -> None:
    with engine(database_url, encryption_keys=FIRST) as fl, another(fl, encryption_keys=FIRST) as elsewhere:
        fl.job_type("work")(lambda ctx: None)
        fl.give("work", dedup_window=0)
        key, request = Key("acme", "ana", "key"), [Submission("work", organization="acme", user="ana")]
        with once_connected(lambda: seal_all(fl, elsewhere)):
            first, _ = fl.idempotency.submit(key, CANARY, request)
        assert CANARY not in dump(fl)
        assert fl.idempotency.submit(key, CANARY, request) == (first, True)


def test_a_file_whose_connection_was_waited_for_when_the_key_came_is_stored_sealed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        engine(database_url, encryption_keys=FIRST) as fl,
        another(fl, encryption_keys=FIRST) as elsewhere,
        ExitStack() as armed,
    ):
        put = fl.artifacts.put

        def stored(path: str, data: Any) -> None:
            put(path, data)
            armed.enter_context(once_connected(lambda: seal_all(fl, elsewhere)))
            monkeypatch.setattr(fl.artifacts, "put", put)

        monkeypatch.setattr(fl.artifacts, "put", stored)
        job, kept = left_by_a_handler(fl, f"{CANARY}-file")
        assert CANARY.encode() not in kept
        assert fl.artifact(job.id, "file.txt", organization="acme") == f"{CANARY}-file".encode()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_sealing_is_refused_where_a_transaction_is_open_for_too_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "WRITERS_TIMEOUT", 0.2)
    with engine(database_url, encryption_keys=FIRST) as fl:
        fl.organizations.create("beta")
        fl.job_type("work")(lambda ctx: None)
        with fl.database.engine.connect() as holder, holder.begin():
            fl.give("work", connection=holder)
            pid = holder.scalar(select(func.pg_backend_pid()))
            for organization in ("beta", "acme"):
                fl.keys.enable(organization=organization)
            with pytest.raises(
                StorageUnavailable, match=f"acme was sealed anew: 1 transaction has .*: pid {pid} in pg_"
            ):
                fl.keys.reencrypt(organization="acme")
            with pytest.raises(StorageUnavailable, match="Nothing of beta and 1 more with newer keys was sealed anew"):
                fl.keys.reencrypt()
        fl.keys.reencrypt(organization="acme")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_sealing_waits_for_nobody_whose_transaction_is_younger_than_the_key(database_url: str) -> None:
    waits: list[float] = []
    with engine(database_url, encryption_keys=FIRST) as fl:
        fl.organizations.create("beta")
        fl.job_type("work")(lambda ctx, text: None)
        fl.give("work", parameters={"text": CANARY})
        fl.keys.enable(organization="acme")
        age_keys(database_url)
        with fl.database.engine.connect() as holder, holder.begin():
            fl.give("work", parameters={"text": "other"}, connection=holder)
            fl.keys.reencrypt(organization="acme", on_wait=waits.append)
            assert waits == []
            assert CANARY not in dump(fl)


@pytest.mark.parametrize("login", ["jobs", "workers"])
def test_of_another_login_s_transaction_nobody_knows_how_young_it_is(
    postgres_url: str, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "WRITERS_TIMEOUT", 0.2)
    with bound_logins(postgres_url) as urls, engine(urls["jobs"], encryption_keys=FIRST) as fl:
        fl.keys.enable(organization="acme")
        age_keys(postgres_url)
        with psycopg.connect(plain(urls[login])) as holder:
            holder.execute(f"SET ROLE {DatabaseRole.WORKER}")
            holder.execute("LOCK TABLE fairlane_jobs IN ROW EXCLUSIVE MODE")
            refused = nullcontext() if login == "jobs" else pytest.raises(StorageUnavailable, match="1 transaction has")
            with refused:
                fl.keys.reencrypt(organization="acme")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_sealing_of_all_begins_with_the_oldest_key_so_that_less_is_held_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "WRITERS_TIMEOUT", 0.2)
    with engine(database_url, encryption_keys=FIRST) as fl:
        fl.organizations.create("beta")
        fl.job_type("work")(lambda ctx, text: None)
        for organization in ("acme", "beta"):
            fl.give("work", organization=organization, parameters={"text": f"{CANARY}-{organization}"})
        fl.keys.enable(organization="beta")
        age_keys(database_url)
        with fl.database.engine.connect() as holder, holder.begin():
            fl.give("work", parameters={"text": "other"}, connection=holder)
            fl.keys.enable(organization="acme")
            with pytest.raises(StorageUnavailable, match="Nothing of acme was"):
                fl.keys.reencrypt()
            assert f"{CANARY}-beta" not in dump(fl)
            assert f"{CANARY}-acme" in dump(fl)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_nothing_is_said_of_a_wait_for_who_writes_for_a_moment(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    with engine(database_url, encryption_keys=FIRST) as fl:
        fl.job_type("work")(lambda ctx: None)
        with fl.database.engine.connect() as holder:
            fl.give("work", connection=holder)
            fl.keys.enable(organization="acme")
            monkeypatch.setattr(time, "sleep", lambda _: holder.rollback())
            fl.keys.reencrypt(organization="acme", on_wait=waits.append)
    assert waits == []
