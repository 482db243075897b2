"""Mistakes that lost connections have brought to light, each by itself."""

from collections.abc import Callable

from sqlalchemy import select

from fairlane import JobContext, PermanentError
from fairlane.domain.events import DeadLetterAlert, WorkerStarted
from fairlane.store.tables import workers
from tests.engine.worker_kit import engine, running
from tests.faults.fault import Fault
from tests.faults.injection import Faults, Spares, injecting


def only_once(hits: Callable[[Fault], bool]) -> Spares:
    """Spare all but the first fault of this kind."""
    left = [True]

    def spares(fault: Fault) -> bool:
        return not (hits(fault) and left and left.pop())

    return spares


def test_a_worker_whose_connection_breaks_while_it_leaves_tries_again(database_url: str) -> None:
    with engine(database_url) as fl:

        @fl.job_type("work")
        async def work(ctx: object) -> None: ...

        faults = Faults(1.0, 1, "leaving", only_once(lambda fault: "Claims.leave" in fault.calls))
        with injecting(faults), running(fl.worker()):
            fl.events.wait(WorkerStarted)
        assert len(faults.injected) == 1
        assert fl.database.read(lambda connection: list(connection.scalars(select(workers.c.id)))) == []


def test_an_alert_whose_look_loses_its_connection_is_rung_all_the_same(database_url: str) -> None:
    with engine(database_url, dead_letter_alert=1) as fl:

        @fl.job_type("work", max_retries=0)
        async def work(ctx: object) -> None:
            raise PermanentError("as planned")

        # The first count of the depth is from before the job's end.
        hits = only_once(lambda fault: "AS depth" in fault.statement and fault.number == 2)
        faults = Faults(1.0, 1, "alarm", hits)
        with injecting(faults), running(fl.worker()):
            fl.give("work")
            assert fl.events.wait(DeadLetterAlert).depth == 1
        assert len(faults.injected) == 1


def test_a_file_whose_commit_nobody_answered_is_kept(database_url: str) -> None:
    """The same file is written once more, and must not make room for itself."""
    names = [f"{number}.txt" for number in range(20)]  # one of them meets it

    def hits(fault: Fault) -> bool:
        is_of_a_file = (
            "AttemptChannel._store_and_insert" in fault.calls and "AttemptChannel._announce" not in fault.calls
        )
        return is_of_a_file and fault.is_commit and fault.has_effect

    with engine(database_url, cleanup_interval=0.01) as fl:

        @fl.job_type("work", max_retries=0)
        def work(ctx: JobContext) -> None:
            for name in names:
                ctx.artifact(name, name)

        job = fl.give("work")
        faults = Faults(1.0, 1, "file", only_once(hits))
        with injecting(faults):
            fl.drain()
        assert len(faults.injected) == 1
        fl.drain()  # what is to be deleted is deleted by now
        assert [fl.artifact(job, name, organization="acme").decode() for name in names] == names
