"""R19: what the jobs of an organization with a key hold can't be read in database and storage, and works as ever."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, update

from fairlane import (
    Backoff,
    ConfigurationError,
    DuplicateJob,
    IdempotencyConflict,
    InvalidParameters,
    JobContext,
    JobStatus,
    PermanentError,
    StorageUnavailable,
    Submission,
    TransientError,
)
from fairlane.domain.events import WorkerStopped
from fairlane.domain.reasons import ReasonCode
from fairlane.domain.sealing import Field
from fairlane.domain.statuses import KeyState
from fairlane.encryption.sealing import Unreadable
from fairlane.engine.cleanup import delete_files
from fairlane.engine.idempotency import Key
from fairlane.store.statements import resealing
from fairlane.store.tables import audit, idempotency_keys, jobs, organization_keys
from tests.engine.sealed_engine import FIRST, IMPOSTOR, SECOND, dump, sealed_engine
from tests.engine.worker_kit import Engine, Gate, another, engine, running, started, until

CANARY = "canary-4711"
AT_ONCE = Backoff(base=0.0)


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with sealed_engine(database_url) as fl:
        register(fl)
        yield fl


def register(fl: Engine, gate: Gate | None = None) -> None:
    @fl.job_type("work", backoff=AT_ONCE, max_retries=1)
    def work(ctx: JobContext, text: str, fails: bool = False) -> Any:
        assert text == f"{CANARY}-parameter"
        assert ctx.checkpointed in {None, f"{CANARY}-checkpoint"}
        ctx.progress(50, f"{CANARY}-progress")
        ctx.log(f"{CANARY}-line")
        ctx.checkpoint(f"{CANARY}-checkpoint")
        ctx.artifact("file.txt", f"{CANARY}-file")
        if gate is not None:
            gate.wait()
        if ctx.attempt == 1:
            raise TransientError(f"{CANARY}-error")
        if fails:
            raise PermanentError(f"{CANARY}-error")
        return {"value": f"{CANARY}-result"}

    @fl.job_type("read")
    def read(ctx: JobContext) -> Any:
        (parent,) = ctx.parents
        return [parent.result["value"], parent.artifact("file.txt").decode()]


def give(fl: Engine, **more: Any) -> Any:
    return fl.give("work", parameters={"text": f"{CANARY}-parameter", **more}, dedup_window=0)


def test_no_canary_is_in_the_database_or_the_storage_and_all_of_them_are_shown(fl: Engine) -> None:
    good, bad = give(fl), give(fl, fails=True)
    child = fl.give("read", depends_on=good)
    assert good.parameters == {"text": f"{CANARY}-parameter"}
    fl.drain()
    assert CANARY not in dump(fl)
    assert "fl1:1:" in dump(fl)
    assert fl.value(child) == [f"{CANARY}-result", f"{CANARY}-file"]
    assert fl.look(good).parameters == {"text": f"{CANARY}-parameter"}
    assert fl.look(good).progress_message == f"{CANARY}-progress"
    assert fl.value(good) == {"value": f"{CANARY}-result"}
    assert fl.artifact(good.id, "file.txt", organization="acme") == f"{CANARY}-file".encode()
    assert fl.look(bad).error_message == f"{CANARY}-error"
    assert f"{CANARY}-error" in fl.reasons(bad)
    assert f"{CANARY}-error" in str(fl.explain(bad.id, organization="acme"))
    ends = [entry for entry in fl.history(bad.id, organization="acme") if entry.error_type is not None]
    assert all(f"{CANARY}-error" in str(entry.traceback) for entry in ends)
    lines = fl.log_lines(bad.id, organization="acme")
    assert {line.message for line in lines} == {f"{CANARY}-line"}
    (letter,) = fl.dead_letters.list(organization="acme").items
    (group,) = fl.dead_letters.groups(organization="acme")
    assert f"{CANARY}-error" in letter.reason
    assert group.reason == letter.reason
    # Chance finds anything in a sealed text, so nothing is searched for there.
    assert fl.list(organization="acme", text="fl1").items == ()


def test_the_sealed_reasons_of_all_groups_are_read_together(database_url: str) -> None:
    sent: list[str] = []
    with sealed_engine(database_url) as fl:
        for name in ("first", "second", "third"):

            @fl.job_type(name, max_retries=0)
            def fail(ctx: JobContext, name: str = name) -> None:
                raise ValueError(name)

            fl.give(name)
        fl.drain()
        event.listen(fl.database.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
        groups = fl.dead_letters.groups(organization="acme")
        assert {one.reason for one in groups} == {f"ValueError: {name}" for name in ("first", "second", "third")}
        assert len([one for one in sent if "FROM fairlane_dead_letters" in one]) == 2


def test_progress_and_checkpoints_are_sealed_while_a_job_runs(database_url: str) -> None:
    gate = Gate()
    with sealed_engine(database_url) as fl:
        register(fl, gate)
        job = give(fl)
        with running(fl.worker()):
            gate.reached()
            until(lambda: fl.look(job).progress_message == f"{CANARY}-progress")
            assert CANARY not in dump(fl)
            assert fl.reads.running("acme")[0].progress_message == f"{CANARY}-progress"
            gate.open()
            fl.ended(job)
        assert CANARY not in dump(fl)


def test_an_organization_without_a_key_is_stored_as_ever(fl: Engine) -> None:
    job = fl.give("work", organization="beta", parameters={"text": f"{CANARY}-parameter"})
    fl.drain()
    assert f"{CANARY}-result" in dump(fl)
    assert fl.value(job) == {"value": f"{CANARY}-result"}


def test_a_text_that_only_looks_sealed_is_shown_as_it_is_where_there_is_no_key(fl: Engine) -> None:
    @fl.job_type("odd")
    def odd(ctx: JobContext) -> str:
        ctx.log("fl1:1:abcd")
        return "fl1:1:abcd"

    mine, theirs = fl.give("odd"), fl.give("odd", organization="beta")
    fl.drain()
    for job in (mine, theirs):
        assert fl.log_lines(job.id, organization=job.organization)[0].message == "fl1:1:abcd"
        assert fl.value(job) == "fl1:1:abcd"


def test_a_plain_submission_of_one_statement_is_sealed_too(fl: Engine) -> None:
    give(fl)  # the catalogue knows the type now
    job = give(fl)
    assert CANARY not in dump(fl)
    assert fl.look(job).parameters == {"text": f"{CANARY}-parameter"}


def test_deduplication_goes_on_across_a_rotation(fl: Engine) -> None:
    parameters = {"text": f"{CANARY}-parameter"}
    first = fl.give("work", parameters=parameters)
    assert fl.keys.rotate(organization="acme").version == 2
    with pytest.raises(DuplicateJob) as refused:
        fl.give("work", parameters=parameters)
    assert refused.value.existing_id == first.id
    assert fl.give("work", parameters=parameters, on_duplicate="return").parameters == parameters
    fl.give("work", organization="beta", parameters=parameters)
    with fl.database.engine.connect() as connection:
        assert len(set(connection.exec_driver_sql("SELECT key FROM fairlane_dedup_keys").scalars())) == 2


@pytest.mark.slow
def test_a_rotation_while_a_job_runs_loses_nothing(database_url: str) -> None:
    gate = Gate()
    with sealed_engine(database_url) as fl, another(fl, encryption_keys=FIRST) as elsewhere:
        register(fl, gate)
        job = give(fl)
        with running(fl.worker()):
            gate.reached()
            elsewhere.keys.rotate(organization="acme")
            later = give(elsewhere)
            gate.open()
            assert fl.ended(job).status is JobStatus.COMPLETED
            assert fl.ended(later).status is JobStatus.COMPLETED
        for one in (job, later):
            assert elsewhere.value(one) == fl.value(one) == {"value": f"{CANARY}-result"}


@pytest.mark.slow
def test_reencrypting_leaves_nothing_under_older_keys_and_nothing_open(database_url: str, tmp_path: Path) -> None:
    files = tmp_path.as_uri()
    with sealed_engine(database_url, artifacts_url=files) as fl:
        register(fl)
        old = fl.give("work", organization="beta", parameters={"text": f"{CANARY}-parameter", "fails": True})
        new = give(fl)
        fl.drain()
        fl.keys.enable(organization="beta")
        fl.keys.rotate(organization="acme")
        before = [fl.history(one.id, organization=one.organization) for one in (old, new)]
        with another(fl, encryption_keys=f"{SECOND},{FIRST}", artifacts_url=files) as operator:
            assert operator.keys.reencrypt() > 8
            assert operator.keys.reencrypt() == 0
            assert {operator.keys.list(organization=one)[0].master_key for one in ("acme", "beta")} == {"second"}
        with another(fl, encryption_keys=SECOND) as later:
            assert [later.history(one.id, organization=one.organization) for one in (old, new)] == before
            assert later.look(old).error_message == f"{CANARY}-error"
            assert later.value(new) == {"value": f"{CANARY}-result"}
            with later.database.engine.connect() as connection:
                assert not [one for one in connection.scalars(select(jobs.c.parameters)) if "fl1:" not in one]
            assert ":first:" not in dump(later).replace("fl1:first", ":first:")


def test_nothing_from_before_the_key_is_left_open_once_it_is_reencrypted_and_destroyed(database_url: str) -> None:
    with engine(database_url, encryption_keys=FIRST) as fl:
        register(fl)
        ended = give(fl, fails=True)
        fl.drain()
        first = fl.give("work", parameters={"text": f"{CANARY}-parameter"})
        with fl.database.engine.connect() as connection:
            plain = connection.exec_driver_sql("SELECT key FROM fairlane_dedup_keys").scalar_one()
        fl.keys.enable(organization="acme")
        assert fl.keys.reencrypt(organization="acme") > 0
        assert fl.keys.reencrypt(organization="acme") == 0
        delete_files(fl.database, fl.artifacts)
        assert CANARY not in dump(fl)
        assert plain not in dump(fl)
        assert fl.artifact(ended.id, "file.txt", organization="acme") == f"{CANARY}-file".encode()
        # Hidden they do what they did.
        with pytest.raises(DuplicateJob) as refused:
            fl.give("work", parameters={"text": f"{CANARY}-parameter"})
        assert refused.value.existing_id == first.id
        assert f"TransientError: {CANARY}-error" in fl.reasons(ended)
        fl.keys.destroy(organization="acme")
        assert CANARY not in str([fl.reasons(ended), fl.look(ended), fl.explain(ended.id, organization="acme")])


def test_a_request_s_hash_is_hidden_where_there_is_a_key_and_gone_with_it(database_url: str) -> None:
    with engine(database_url, encryption_keys=FIRST) as fl:
        register(fl)
        key, plain = Key("acme", "ana", "k"), sha256(b"a request").hexdigest()
        mine = Submission(
            "work", organization="acme", user="ana", parameters={"text": f"{CANARY}-parameter"}, dedup_window=0
        )
        fl.members.add("acme", "ana")
        (job,), _ = fl.idempotency.submit(key, plain, [mine])
        fl.keys.enable(organization="acme")
        for _ in range(2):
            assert fl.idempotency.submit(key, plain, [mine])[0][0].id == job.id
            fl.keys.reencrypt(organization="acme")
            assert plain not in dump(fl)
        fl.idempotency.submit(key._replace(key="l"), plain, [mine])
        assert plain not in dump(fl)
        with pytest.raises(IdempotencyConflict):
            fl.idempotency.submit(key, sha256(b"another").hexdigest(), [mine])
        fl.keys.destroy(organization="acme")
        with fl.database.engine.connect() as connection:
            assert connection.execute(select(idempotency_keys)).all() == []


def test_a_destroyed_key_is_not_left_in_the_files_of_the_database(database_url: str) -> None:
    with sealed_engine(database_url) as fl:
        with fl.database.engine.connect() as connection:
            wrapped = connection.scalars(select(organization_keys.c.wrapped_key)).all()
        fl.keys.destroy(organization="acme")
        assert wrapped
        # What was open beside it, such as an ANALYZE of PostgreSQL's own, keeps them until the next time.
        until(lambda: forgotten(fl, wrapped))


def forgotten(fl: Engine, wrapped: Sequence[str]) -> bool:
    stored = files_of(fl)
    if not any(one.encode() in stored for one in wrapped):
        return True
    fl.database.scrub(organization_keys.name)
    return False


def files_of(fl: Engine) -> bytes:
    """Return the bytes of the table of keys in the database's files, without its log."""
    if fl.database.file is not None:
        found = fl.database.file.parent.glob(f"{fl.database.file.name}*")
        return b"".join(one.read_bytes() for one in found)
    with fl.database.engine.connect() as owner:
        owner.exec_driver_sql("CHECKPOINT")
        read = "SELECT pg_read_binary_file(pg_relation_filepath('fairlane_organization_keys'))"
        return bytes(owner.exec_driver_sql(read).scalar_one())


def test_destroying_the_key_erases_what_was_sealed_and_nothing_crashes(fl: Engine) -> None:
    ended, waiting = give(fl, fails=True), give(fl)
    fl.drain()
    waiting = give(fl)
    assert fl.keys.destroy(organization="acme") == 1
    assert fl.keys.destroy(organization="acme") == 0
    assert fl.look(ended).parameters == {"parameters": "[erased]"}
    assert fl.look(ended).error_message == "[erased]"
    assert "[erased]" in fl.reasons(ended)
    assert {line.message for line in fl.log_lines(ended.id, organization="acme")} == {"[erased]"}
    assert fl.dead_letters.list(organization="acme").items[0].reason == "[erased]"
    assert fl.dead_letters.groups(organization="acme")[0].reason == "[erased]"
    assert "[erased]" in str(fl.explain(ended.id, organization="acme"))
    with pytest.raises(FileNotFoundError, match="was destroyed"):
        fl.artifact(ended.id, "file.txt", organization="acme")
    fl.drain()
    lost = fl.look(waiting)
    assert lost.status is JobStatus.DEAD_LETTER
    assert fl.way(waiting).count(JobStatus.FAILED) == 2  # it backed off as any payload that can't be decoded
    assert str(lost.error_message).startswith("payload not decodable: ")
    with pytest.raises(ConfigurationError, match="fairlane keys enable -o acme"):
        give(fl)


def test_a_planted_text_with_the_number_of_no_key_fails_its_own_job_alone(fl: Engine) -> None:
    """More digits than Python reads at once ended the claims of all organizations, again and again."""
    planted, other = give(fl), fl.give("work", organization="beta", parameters={"text": f"{CANARY}-parameter"})
    with fl.database.engine.begin() as connection:
        text = f"fl1:{'9' * 5000}:AAAA"
        connection.execute(update(jobs).where(jobs.c.id == planted.id).values(parameters=text))
    with running(fl.worker()):
        assert fl.ended(other).status is JobStatus.COMPLETED
        assert fl.ended(planted).status is JobStatus.DEAD_LETTER
    assert fl.look(planted).parameters == {"parameters": "[unreadable]"}


@pytest.mark.slow
def test_after_a_destruction_a_new_key_seals_what_comes_and_a_person_can_give_parameters_anew(fl: Engine) -> None:
    old = give(fl)
    fl.keys.destroy(organization="acme")
    fl.drain()
    assert fl.keys.enable(organization="acme").version == 2
    assert [one.state for one in fl.keys.list(organization="acme")] == [KeyState.ACTIVE, KeyState.DESTROYED]
    new = give(fl)
    fl.retry(old.id, organization="acme", parameters={"text": f"{CANARY}-parameter"})
    fl.drain()
    for one in (old, new):
        assert fl.value(one) == {"value": f"{CANARY}-result"}
    assert "parameters edited: all" in fl.reasons(old)


@pytest.mark.parametrize(
    "keys", [None, pytest.param(SECOND, marks=pytest.mark.slow), pytest.param(IMPOSTOR, marks=pytest.mark.slow)]
)
def test_without_the_master_key_submissions_are_refused_and_jobs_wait(
    database_url: str, tmp_path: Path, keys: str | None
) -> None:
    artifacts_url = tmp_path.as_uri()
    with sealed_engine(database_url, artifacts_url=artifacts_url) as fl:
        register(fl)
        ended = give(fl)
        fl.drain()
        job = give(fl)
        with another(fl, encryption_keys=keys, artifacts_url=artifacts_url) as lacking:
            register(lacking)
            with pytest.raises(ConfigurationError, match="master key first"):
                give(lacking)
            with pytest.raises(ConfigurationError, match="master key first"):
                lacking.keys.reencrypt(organization="acme")
            lacking.drain()
            assert [one.released for one in lacking.events.of(WorkerStopped)] == [0]  # nothing had begun
            assert lacking.look(job).status is JobStatus.QUEUED
            assert lacking.look(job).parameters == {"parameters": "[encrypted]"}
            assert lacking.way(job) == [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.QUEUED]
            assert (
                "the worker that had the job can't use the organization's encryption key; "
                "`fairlane check` on the machine of that worker says why"
            ) in lacking.reasons(job)
            assert not lacking.keys.list(organization="acme")[0].usable
            with pytest.raises(FileNotFoundError, match=rf"^The file of artifact .* of job {ended.id} .*\w\.$"):
                lacking.artifact(ended.id, "file.txt", organization="acme")
            # Once is enough to know: further jobs of the organization are not touched, and those of others run.
            more = give(fl)
            mine = lacking.give("work", organization="beta", parameters={"text": f"{CANARY}-parameter"})
            worker = lacking.worker()
            with running(worker):
                lacking.ended(mine)
            assert len(lacking.way(more)) <= 3
        assert (fl.look(job).retry_count, fl.look(job).status) == (0, JobStatus.QUEUED)


@pytest.mark.slow
def test_r20_a_worker_that_lacks_the_master_key_says_so_and_explain_tells(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with sealed_engine(database_url) as fl:
        register(fl)
        job = give(fl)

        def codes() -> set[str]:
            return {one.code for one in fl.explain(job.id, organization="acme").reasons}

        with another(fl, encryption_keys=SECOND, lease=1.0) as lacking:
            register(lacking)
            with running(lacking.worker()):
                until(lambda: ReasonCode.NO_WORKER_WITH_KEY in codes())
                assert ReasonCode.NOTHING_BLOCKS not in codes()
                (warned,) = [one.message for one in caplog.records if "encryption key" in one.message]
                assert warned.startswith("Jobs of acme wait: this worker can't use its encryption key.")
                assert "FAIRLANE_ENCRYPTION_KEYS" in warned
                (alone,) = fl.reads.workers()
                assert (alone.lacks_keys, fl.reads.lacking_keys()) == (1, {"acme": (alone.name,)})
                fl.keys.destroy(organization="acme")
                until(lambda: ReasonCode.NO_WORKER_WITH_KEY not in codes())


def test_a_text_that_somebody_moved_to_another_job_is_not_run(fl: Engine) -> None:
    mine, theirs = give(fl), fl.give("work", parameters={"text": "what another job has"})
    with fl.database.engine.begin() as connection:
        moved = connection.scalar(select(jobs.c.parameters).where(jobs.c.id == theirs.id))
        connection.execute(
            update(jobs).where(jobs.c.organization_id == "acme", jobs.c.id == mine.id).values(parameters=moved)
        )
    assert fl.look(mine).parameters == {"parameters": "[unreadable]"}
    fl.drain()
    assert "was not sealed as the parameters of job" in str(fl.look(mine).error_message)


def test_no_text_opens_in_the_place_of_another(fl: Engine) -> None:
    """Every sealed text of three jobs, two of them of one organization, in the place of every other one."""
    fl.keys.enable(organization="beta")
    parameters = {"text": f"{CANARY}-parameter", "fails": True}
    for organization in ("acme", "acme", "beta"):
        fl.give("work", organization=organization, parameters=parameters, dedup_window=0)
    fl.drain()
    with fl.database.engine.connect() as connection:
        texts = [
            (organization, where.field, text)
            for organization in ("acme", "beta")
            for where in resealing.COLUMNS
            for text in resealing.page(connection, organization, where, 0, None, 1000)
        ]
        shown = fl.keyring.shown(connection)
        assert {field for _, field, _ in texts} == set(Field) - {Field.RESULT}
        for organization, field, text in texts:
            assert shown.opened(organization, text.job_id, field, text.text)
            for theirs, other, moved in texts:
                if (theirs, other, moved.job_id) != (organization, field, text.job_id):
                    with pytest.raises(Unreadable):
                        shown.opened(organization, text.job_id, field, moved.text)


def test_a_key_can_be_made_only_with_a_master_key_and_for_an_organization_that_is_there(database_url: str) -> None:
    with engine(database_url) as fl:
        with pytest.raises(ConfigurationError, match="FAIRLANE_ENCRYPTION_KEYS"):
            fl.keys.enable(organization="acme")
        for verb in (fl.keys.enable, fl.keys.rotate, fl.keys.list, fl.keys.destroy, fl.keys.reencrypt):
            with pytest.raises(Exception, match="There is no organization 'nobody'"):
                verb(organization="nobody")
        for verb in (fl.keys.rotate, fl.keys.reencrypt):
            with pytest.raises(ConfigurationError, match="has no encryption key"):
                verb(organization="acme")
        assert fl.keys.list(organization="acme") == ()


def test_what_was_done_with_keys_is_audited_and_a_second_enable_changes_nothing(fl: Engine) -> None:
    assert fl.keys.enable(organization="acme", user="olga").version == 1
    fl.keys.rotate(organization="acme", user="olga")
    fl.keys.destroy(organization="acme")
    with fl.database.engine.connect() as connection:
        told = connection.execute(
            select(audit.c.action, audit.c.actor).where(audit.c.action.startswith("keys.")).order_by(audit.c.id)
        ).all()
        wrapped = connection.scalars(select(organization_keys.c.wrapped_key)).all()
    assert [tuple(one) for one in told] == [
        ("keys.enable", "system"), ("keys.rotate", "olga"), ("keys.destroy", "system")
    ]  # fmt: skip
    assert set(wrapped) == {""}


def test_an_edited_retry_of_a_sealed_job_is_sealed_and_names_what_was_edited(fl: Engine) -> None:
    job = give(fl, fails=True)
    fl.drain()
    fl.retry(job.id, organization="acme", parameters={"text": f"{CANARY}-parameter", "fails": False})
    assert "parameters edited: fails" in fl.reasons(job)
    assert fl.audit.list(organization="acme")[0].after == {"parameters": "edited"}  # that they were, and not what
    fl.drain()
    assert fl.look(job).status is JobStatus.COMPLETED
    assert CANARY not in dump(fl)
    with pytest.raises(InvalidParameters):
        fl.give("work", parameters={"text": 5})


@pytest.mark.slow
def test_a_job_of_an_organization_that_has_just_got_its_key_runs_where_that_is_not_known_yet(database_url: str) -> None:
    with engine(database_url, encryption_keys=FIRST) as fl:
        register(fl)
        with another(fl, encryption_keys=FIRST) as elsewhere:
            give(fl)  # now it knows that there is no key
            elsewhere.keys.enable(organization="acme")
            job = give(elsewhere)
            assert fl.look(job).parameters == {"text": f"{CANARY}-parameter"}
            with running(fl.worker()):
                started(fl, job)
                assert fl.ended(job).status is JobStatus.COMPLETED


def test_what_seals_anew_stands_in_the_audit_also_where_it_is_cut_off(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> int:
        raise StorageUnavailable("cut off")

    with sealed_engine(database_url) as fl:
        fl.keys.rotate(organization="acme")
        with monkeypatch.context() as patch:
            patch.setattr(fl.keys, "_reencrypt_column", cut_off)
            with pytest.raises(StorageUnavailable):
                fl.keys.reencrypt(organization="acme", user="olga")
        fl.keys.reencrypt(organization="acme", user="olga")
        told = [
            (one.action, one.actor, one.after)
            for one in fl.audit.list(organization="acme")
            if "reencrypt" in one.action
        ]
        begun = ("keys.reencrypt", "olga", {"version": 2})
        counts = {"texts": 0, "files": 0, "files_not_found": 0}
        assert told == [("keys.reencrypted", "olga", {"version": 2, **counts}), begun, begun]
