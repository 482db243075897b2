"""A worker has database connections of its own, whatever handlers and the application do with theirs."""

from contextlib import ExitStack

from sqlalchemy import func, select
from sqlalchemy.exc import TimeoutError as PoolTimeout

from fairlane import JobContext, PermanentError
from fairlane.domain.events import DeadLetterAlert, JobEnded, JobProgressed
from fairlane.store.tables import alerts
from tests.engine.worker_kit import Engine, Gate, another, engine, running, until


def holding_all(fl: Engine, gate: Gate) -> None:
    """The job type "hog", which holds as many of the application's connections as there are to be had."""
    fl.database.engine.pool._timeout = 0.01  # type: ignore[attr-defined]  # how soon it says that there are no more

    @fl.job_type("hog")
    def hog(ctx: JobContext) -> int:
        with ExitStack() as held:
            try:
                for _ in range(100):
                    held.enter_context(fl.database.engine.connect())
            except PoolTimeout:
                ctx.progress(50)
                gate.wait()
        return ctx.attempt


def test_handlers_that_hold_all_connections_stop_no_other_job(database_url: str) -> None:
    with engine(database_url, pool_size=1) as fl, another(fl) as elsewhere:
        gate = Gate()
        holding_all(fl, gate)

        @fl.job_type("work", dedup_window=0)
        def work(ctx: JobContext) -> None:
            ctx.checkpoint("half")

        hog = fl.give("hog")
        with running(fl.worker()):
            fl.events.wait(JobProgressed, job_id=hog.id)
            for user in (None, "ana"):
                job = elsewhere.give("work", user=user)
                fl.events.wait(JobEnded, job_id=job.id, status="completed")
                assert elsewhere.look(job).status == "completed"
            gate.open()
            assert elsewhere.ended(hog).status == "completed"


def test_handlers_that_hold_all_connections_keep_no_alert_from_being_written_down(database_url: str) -> None:
    """It is who writes the ends of attempts that would wait for one."""
    with engine(database_url, pool_size=1, dead_letter_alert=1) as fl, another(fl) as elsewhere:
        gate = Gate()
        holding_all(fl, gate)

        @fl.job_type("bad")
        def bad(ctx: JobContext) -> None:
            raise PermanentError("broken for good")

        hog = fl.give("hog")
        with running(fl.worker()):
            fl.events.wait(JobProgressed, job_id=hog.id)
            assert elsewhere.ended(elsewhere.give("bad")).status == "dead_letter"
            fl.events.wait(DeadLetterAlert)
            number = select(func.count()).select_from(alerts).where(alerts.c.organization_id == "acme")
            until(lambda: elsewhere.database.look(lambda c: c.execute(number).scalar_one(), of="acme") == 1)
            gate.open()


def test_a_database_in_memory_serves_the_worker_through_its_one_connection() -> None:
    with engine("sqlite://") as fl:

        @fl.job_type("work")
        def work(ctx: JobContext) -> str:
            return fl.get(ctx.job_id, organization=ctx.organization).status

        job = fl.give("work")
        for _ in range(2):
            fl.drain()
        assert fl.value(job) == "running"


def test_a_worker_that_has_ended_leaves_no_connection(postgres_url: str) -> None:
    with engine(postgres_url) as fl:

        @fl.job_type("work")
        async def work(ctx: JobContext) -> None: ...

        fl.give("work")
        fl.drain()
        fl.database.engine.dispose()
        # Each look in a transaction of its own: within one it would see the same again.
        with fl.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            others = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND application_name = 'fairlane'"
            )
            # The server's side of a connection ends a moment after the client's.
            until(lambda: connection.exec_driver_sql(others).scalar_one() == 0)
