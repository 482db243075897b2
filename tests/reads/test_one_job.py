"""R13: one job, its history, its log lines and its result."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, insert

from fairlane.domain.errors import InvalidParameters, JobNotFound
from fairlane.domain.outcomes import Completed, Snoozed
from fairlane.domain.statuses import JobStatus
from fairlane.reads.service import Reads
from fairlane.store.statements import attempts
from fairlane.store.tables import execution_log
from tests.reads.world import LEASE, World, key_of
from tests.store.races.scene import Claimed


def moves(reads: Reads, job_id: UUID) -> list[tuple[JobStatus | None, JobStatus]]:
    return [(entry.from_status, entry.to_status) for entry in reads.history(job_id, "acme")]


def add_line(world: World, claimed: Claimed, message: str) -> None:
    world.write(lambda connection: attempts.add_lines(connection, world.now, key_of(claimed), [("info", message)]))


def test_get_reads_a_job_by_its_id_or_its_text(world: World, reads: Reads) -> None:
    job_id = world.submit(parameters='{"month": "2026-11"}', labels={"doc": "42"})

    job = reads.get(job_id, "acme")

    assert reads.get(str(job_id), "acme") == job
    assert (job.id, job.status, job.parameters, job.labels) == (
        job_id,
        JobStatus.QUEUED,
        {"month": "2026-11"},
        {"doc": "42"},
    )


def test_get_names_the_parents(world: World, reads: Reads) -> None:
    parents = [world.submit(), world.submit()]

    child = world.submit(parents=tuple(parents))

    assert reads.get(child, "acme").depends_on == tuple(parents)


@pytest.mark.parametrize("read", ["get", "history", "log_lines", "explain", "result"])
def test_a_foreign_job_looks_like_an_unknown_one(world: World, reads: Reads, read: str) -> None:
    foreign, unknown = world.submit("rival"), uuid4()

    messages = []
    for job_id in (foreign, unknown):
        with pytest.raises(JobNotFound) as caught:
            getattr(reads, read)(job_id, "acme")
        messages.append(str(caught.value).replace(str(job_id), "…"))

    sentence = (
        "Organization acme has no job …; one submitted by connection= or connection_of is found after its commit."
    )
    assert messages == [sentence] * 2


@pytest.mark.parametrize("read", ["get", "history", "log_lines", "explain", "result"])
def test_text_that_is_no_id_is_a_job_that_is_not_there(world: World, reads: Reads, read: str) -> None:
    with pytest.raises(JobNotFound, match="has no job not-an-id"):
        getattr(reads, read)("not-an-id", "acme")


@pytest.mark.parametrize("read", ["get", "history", "log_lines", "explain", "result"])
def test_a_job_is_as_good_as_its_id_and_what_is_neither_is_refused(world: World, reads: Reads, read: str) -> None:
    job = reads.get(world.submit(), "acme")

    assert getattr(reads, read)(job, "acme") == getattr(reads, read)(job.id, "acme")
    with pytest.raises(InvalidParameters, match=r"^Name a job by itself or by its id, as in job\.id, not by a int\.$"):
        getattr(reads, read)(17, "acme")


@pytest.mark.parametrize("read", ["get", "history", "log_lines", "explain", "result"])
def test_a_part_of_an_id_is_not_enough_and_it_says_so(world: World, reads: Reads, read: str) -> None:
    part = str(world.submit())[:13]

    with pytest.raises(JobNotFound, match=f"has no job {part}; the whole id is needed here, as job.id has it"):
        getattr(reads, read)(part, "acme")


def test_r13_history_tells_every_transition_with_time_and_actor(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.pass_time(3)
    world.end(world.claim(world.start_worker("w1")))

    submitted, claimed, completed = reads.history(job_id, "acme")

    assert (submitted.actor, submitted.attempt, submitted.sequence) == ("ana", 0, 1)
    assert (claimed.actor, claimed.attempt, claimed.at) == ("w1", 1, world.now)
    assert completed.to_status is JobStatus.COMPLETED


def test_of_a_long_history_one_look_reads_the_newest_thousand_entries(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.fail(world.claim(world.start_worker()))
    moves = reads.history(job_id, "acme")
    status, first = moves[-1].to_status, moves[-1].sequence + 1
    change = {"organization_id": "acme", "job_id": job_id, "from_status": status, "to_status": status, "attempt": 1}
    change |= {"at": world.now, "actor": "ana", "message": "priority"}

    def change_often(connection: Connection, first: int, times: int) -> None:
        connection.execute(insert(execution_log), [change | {"sequence": first + one} for one in range(times)])

    world.write(lambda connection: change_often(connection, first, 999))
    assert [one.sequence for one in reads.history(job_id, "acme")] == list(range(first - 1, first + 999))
    assert "PrinterError" in reads.explain(job_id, "acme").summary

    world.write(lambda connection: change_often(connection, first + 999, 500))
    assert [one.sequence for one in reads.history(job_id, "acme")] == list(range(first + 499, first + 1499))
    assert reads.explain(job_id, "acme").summary.endswith("for its next attempt; its log does not say why.")


def test_r13_history_shows_the_error_on_the_entry_that_ended_the_attempt(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.fail(world.claim(world.start_worker()))

    entries = reads.history(job_id, "acme")

    errors = {(entry.from_status, entry.to_status): entry.error_type for entry in entries if entry.error_type}
    assert errors == {(JobStatus.RUNNING, JobStatus.FAILED): "PrinterError"}
    assert entries[2].traceback == "Traceback: printer.py, line 7"


def test_r13_history_shows_a_lost_worker_on_the_entry_that_took_the_job_back(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.claim(world.start_worker("w1"))
    world.pass_time(LEASE + 1)
    world.rescue()

    last = reads.history(job_id, "acme")[-1]

    assert (last.from_status, last.to_status, last.error_type) == (JobStatus.RUNNING, JobStatus.QUEUED, "WorkerLost")


def test_r13_history_gives_a_snoozed_attempt_no_error(world: World, reads: Reads) -> None:
    job_id = world.submit()
    world.end(world.claim(world.start_worker()), Snoozed(60, "not yet"))

    assert [entry.error_type for entry in reads.history(job_id, "acme")] == [None, None, None]


def test_r13_history_keeps_the_errors_of_attempts_apart(world: World, reads: Reads) -> None:
    job_id, worker = world.submit(), world.start_worker()
    for message in ("no paper", "no ink"):
        world.fail(world.claim(worker), message)
        world.pass_time(3600)
        world.beat(worker)
        world.stage_retries()

    ends = [entry for entry in reads.history(job_id, "acme") if entry.error_type]

    assert [(entry.attempt, entry.message) for entry in ends] == [
        (1, "PrinterError: no paper"),
        (2, "PrinterError: no ink"),
    ]


def test_log_lines_go_on_after_those_that_the_reader_has(world: World, reads: Reads) -> None:
    world.submit("rival")
    job_id, worker = world.submit(), world.start_worker()
    claimed, foreign = world.claim(worker), world.claim(worker, "rival")
    for number in range(3):
        add_line(world, foreign, "not theirs")
        add_line(world, claimed, f"page {number}")

    first = reads.log_lines(job_id, "acme", limit=2)
    rest = reads.log_lines(job_id, "acme", after=len(first))

    assert [line.message for line in (*first, *rest)] == ["page 0", "page 1", "page 2"]


def test_log_lines_refuse_a_limit_beyond_a_thousand(world: World, reads: Reads) -> None:
    with pytest.raises(InvalidParameters, match="1 to 1000"):
        reads.log_lines(world.submit(), "acme", limit=1001)


def test_r13_result_is_the_handlers_value_and_the_artifacts(world: World, reads: Reads) -> None:
    job_id = world.submit()
    claimed = world.claim(world.start_worker())

    file = {"name": "report.pdf", "path": "x/1", "size": 7, "content_type": "application/pdf", "sha256": "0" * 64}
    world.write(lambda connection: attempts.set_artifact(connection, world.now, key_of(claimed), file))
    world.end(claimed, Completed('{"pages": 11}'))

    result = reads.result(job_id, "acme")

    assert result.value == {"pages": 11}
    assert [(artifact.name, artifact.size, artifact.created_at) for artifact in result.artifacts] == [
        ("report.pdf", 7, world.now)
    ]


def test_result_of_a_job_that_has_not_ended_is_empty(world: World, reads: Reads) -> None:
    result = reads.result(world.submit(), "acme")

    assert (result.value, result.artifacts) == (None, ())
