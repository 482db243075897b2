"""R19: files are sealed anew beside jobs that run, and whatever comes between, each job has a whole file."""

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import obstore
import pytest
from sqlalchemy import func, select, update

from fairlane import ConfigurationError, JobContext, StorageUnavailable
from fairlane.encryption import resealing
from fairlane.encryption.sealed_files import CHUNK
from fairlane.engine.cleanup import delete_files
from fairlane.store.tables import artifacts, doomed_files
from tests.engine.sealed_engine import FIRST, SECOND, sealed_engine
from tests.engine.worker_kit import Engine, Gate, another, engine, running, started

SIZES = {"empty": 0, "small": 5, "chunk": CHUNK, "large": 3 * CHUNK + 1}
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
LARGE = bytes(range(256)) * (3 * CHUNK // 256) + b"!"


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    """Yield an engine with an organization that has no key yet."""
    with engine(database_url, encryption_keys=FIRST) as fl:
        register(fl)
        yield fl


def register(fl: Engine, gate: Gate | None = None) -> None:
    @fl.job_type("work")
    def work(ctx: JobContext, text: str = "old") -> None:
        ctx.artifact("report", text)
        for name, size in SIZES.items():
            ctx.artifact(name, LARGE[:size])
        if gate is not None:
            gate.wait()
            ctx.artifact("report", "new")


def content(fl: Engine, job: Any, name: str) -> bytes:
    return fl.artifact(job.id, name, organization="acme")


def stored(fl: Engine) -> dict[str, bytes]:
    """Return all files of the storage, by path."""
    paths = [str(file["path"]) for page in obstore.list(fl.artifacts._store) for file in page]
    return {path: fl.artifacts.get(path) for path in paths}


def sweep(fl: Engine) -> None:
    while delete_files(fl.database, fl.artifacts):
        pass


def is_sealed(fl: Engine, version: int) -> bool:
    """Return True if all files that are not empty are sealed under this version."""
    return all(one.startswith(f"fl2:{version}\n".encode()) for one in stored(fl).values() if one)


@pytest.mark.slow
def test_files_from_before_the_key_and_of_older_versions_are_sealed_anew(fl: Engine) -> None:
    job = fl.give("work")
    fl.drain()
    fl.keys.enable(organization="acme")
    for version in (1, 2):
        fl.keys.reencrypt(organization="acme")
        sweep(fl)
        assert is_sealed(fl, version)
        assert len(stored(fl)) == len(SIZES) + 1
        assert content(fl, job, "report") == b"old"
        assert all(content(fl, job, name) == LARGE[:size] for name, size in SIZES.items())
        fl.keys.rotate(organization="acme")
    told = [one.after for one in fl.audit.list(organization="acme") if one.action == "keys.reencrypted"]
    assert [(one["files"], one["files_not_found"]) for one in told if one] == [(4, 0), (4, 0)]


def test_the_sha256_of_a_file_tells_nothing_any_more(fl: Engine) -> None:
    fl.give("work")
    fl.drain()
    plain = sha256(b"old").hexdigest()
    hashes = select(artifacts.c.sha256).where(artifacts.c.size > 0)
    with fl.database.engine.connect() as connection:
        assert plain in connection.scalars(hashes).all()
    fl.keys.enable(organization="acme")
    fl.keys.reencrypt(organization="acme")
    with fl.database.engine.connect() as connection:
        assert plain not in connection.scalars(hashes).all()
    given = fl.give("work")
    fl.drain()
    same = select(func.count(artifacts.c.sha256.distinct())).where(artifacts.c.name == "report")
    with fl.database.engine.connect() as connection:
        assert connection.scalar(same) == 1  # it still says that both are alike
    assert content(fl, given, "report") == b"old"


def test_a_file_that_a_running_job_replaces_meanwhile_is_not_brought_back(database_url: str) -> None:
    with engine(database_url, encryption_keys=FIRST) as fl:
        gate = Gate()
        register(fl, gate)
        job = fl.give("work")
        with running(fl.worker()):
            started(fl, job)
            gate.reached()
            fl.keys.enable(organization="acme")
            fl.keys.reencrypt(organization="acme")
            gate.open()
            fl.ended(job)
        fl.keys.reencrypt(organization="acme")
        sweep(fl)
        assert content(fl, job, "report") == b"new"
        assert is_sealed(fl, 1)
        assert len(stored(fl)) == len(SIZES) + 1


@pytest.mark.slow
@pytest.mark.parametrize("where", ["before it is stored", "after it is stored"])
def test_what_is_cut_off_leaves_each_job_its_file_and_clean_up_the_rest(
    fl: Engine, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = fl.give("work")
    fl.drain()
    fl.keys.enable(organization="acme")

    def cut_off(*_: object) -> None:
        raise StorageUnavailable("cut off")

    with monkeypatch.context() as patch:
        if where == "before it is stored":
            patch.setattr(fl.artifacts, "put", cut_off)
        else:
            patch.setattr(resealing, "lock_job", cut_off)
        with pytest.raises(StorageUnavailable):
            fl.keys.reencrypt(organization="acme")
    assert content(fl, job, "report") == b"old"
    sweep(fl)  # it may still be on its way
    with fl.database.engine.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(doomed_files)) == 1
        connection.execute(update(doomed_files).values(due_at=LONG_AGO))
    sweep(fl)
    assert len(stored(fl)) == len(SIZES) + 1
    fl.keys.reencrypt(organization="acme")
    sweep(fl)
    assert is_sealed(fl, 1)
    assert content(fl, job, "report") == b"old"


def test_a_file_that_clean_up_took_meanwhile_is_given_to_no_job(fl: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    job = fl.give("work")
    fl.drain()
    fl.keys.enable(organization="acme")
    put = fl.artifacts.put

    def slow(path: str, data: Any) -> None:
        put(path, data)
        with fl.database.engine.begin() as connection:
            connection.execute(update(doomed_files).values(due_at=LONG_AGO))
        sweep(fl)

    with monkeypatch.context() as patch:
        patch.setattr(fl.artifacts, "put", slow)
        fl.keys.reencrypt(organization="acme")
    assert content(fl, job, "report") == b"old"
    assert all(content(fl, job, name) == LARGE[:size] for name, size in SIZES.items())


def test_a_file_of_another_content_than_the_job_s_is_not_taken_for_it(fl: Engine) -> None:
    fl.give("work")
    fl.drain()
    with fl.database.engine.connect() as connection:
        path = connection.scalars(select(artifacts.c.path).where(artifacts.c.name == "report")).one()
    fl.artifacts.put(path, b"odd")
    fl.keys.enable(organization="acme")
    fl.keys.reencrypt(organization="acme")
    assert stored(fl)[path] == b"odd"


def test_files_that_are_not_in_this_storage_are_told_once_all_else_is_done(fl: Engine) -> None:
    job = fl.give("work")
    fl.drain()
    with fl.database.engine.connect() as connection:
        path = connection.scalars(select(artifacts.c.path).where(artifacts.c.name == "small")).one()
    fl.artifacts.delete(path)
    fl.keys.enable(organization="acme")
    with pytest.raises(
        ConfigurationError, match=r"of this process: 1; all else .* the artifacts_url that the workers have"
    ):
        fl.keys.reencrypt(organization="acme")
    sweep(fl)
    assert is_sealed(fl, 1)
    assert content(fl, job, "report") == b"old"


def test_where_an_older_key_is_lacking_it_says_so(database_url: str) -> None:
    with sealed_engine(database_url) as fl:
        register(fl)
        fl.give("work")
        fl.drain()
        with another(fl, encryption_keys=f"{SECOND},{FIRST}") as operator:
            operator.keys.rotate(organization="acme")
        with another(fl, encryption_keys=SECOND) as lacking, pytest.raises(ConfigurationError, match="master key"):
            lacking.keys.reencrypt(organization="acme")
