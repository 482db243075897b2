"""Submitting from a process that has not imported the handler, and to several databases from one process (R1)."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fairlane import (
    DuplicateJob,
    Fairlane,
    InvalidParameters,
    Job,
    JobContext,
    JobNotFound,
    JobStatus,
    JobTypeDisabled,
    JobTypeNotFound,
    OrganizationNotFound,
    PermissionDenied,
    RateLimited,
    Settings,
)
from tests.store.races.race import answers_at_once
from tests.store.races.scene import Scene


def define(fl: Fairlane, **options: Any) -> None:
    @fl.job_type("invoice", **options)
    def invoice(ctx: JobContext, due: datetime, amount: Decimal, lines: list[str] | None = None) -> None: ...


NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
INVOICE = {"due": NOON, "amount": Decimal("9.90")}


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with Scene(database_url) as scene:
        define(scene.fl, timeout=7, priority="high", rate_limit=3, rate_limit_window=60)
        scene.fl.migrate()
        yield scene


@pytest.fixture
def web(scene: Scene) -> Iterator[Fairlane]:
    """Another process, which submits and has no handlers."""
    settings = Settings(url=scene.fl.settings.url, artifacts_url="memory:///")
    with Fairlane(settings, clock=scene.clock) as web:
        yield web


def invoice(fl: Fairlane, **more: Any) -> Job:
    values: dict[str, Any] = {"organization": "acme", "user": "ana", "parameters": INVOICE} | more
    return fl.submit("invoice", **values)


class TestWithoutTheHandler:
    def test_a_job_inherits_what_its_type_registered(self, web: Fairlane):
        job = invoice(web)
        assert (job.timeout, job.priority, job.max_retries) == (7.0, "high", 5)

    def test_a_registered_type_is_changed_by_a_deployment_and_not_by_who_submits(self, scene: Scene, web: Fairlane):
        with Fairlane(scene.fl.settings, clock=scene.clock) as deployed:
            define(deployed, timeout=9, dedup_window=0)
            assert invoice(deployed).timeout == 9.0  # a process goes by its own definition
            assert invoice(web, dedup_key="before").timeout == 7.0
            deployed.migrate()
            assert invoice(web, dedup_key="after").timeout == 9.0

    def test_the_worker_that_has_it_runs_the_job(self, scene: Scene, web: Fairlane):
        job = invoice(web)
        (claimed,) = scene.worker(job_types=["invoice"]).claim()
        signature = scene.fl.catalogue.mine["invoice"].signature
        assert (claimed.id, signature.decode(claimed.parameters)) == (job.id, INVOICE)
        scene.end(claimed)

    @pytest.mark.parametrize(
        "parameters",
        [
            {"due": NOON, "amount": Decimal("9.90"), "line": []},
            {"due": NOON},
            {"due": "tomorrow", "amount": 1},
            {"due": NOON, "amount": "much"},
            {"due": NOON, "amount": 1, "lines": ["a", 7]},
        ],
        ids=["unknown", "missing", "no datetime", "no number", "wrong item"],
    )
    def test_parameters_are_refused_in_the_same_words(self, scene: Scene, web: Fairlane, parameters: dict[str, Any]):
        words = set()
        for fl in (scene.fl, web):
            with pytest.raises(InvalidParameters) as error:
                invoice(fl, parameters=parameters)
            words.add(str(error.value))
        assert len(words) == 1

    @pytest.mark.parametrize(
        "parameters",
        [
            {"amount": Decimal("9.9"), "due": NOON},
            {"due": NOON.astimezone(timezone(timedelta(hours=8))), "amount": "9.900"},
            {"due": "2026-11-01T13:00:00+01:00", "amount": 9.9},
        ],
        ids=["order", "zone", "text"],
    )
    def test_duplicates_are_found_across_processes(self, scene: Scene, web: Fairlane, parameters: dict[str, Any]):
        job = invoice(scene.fl)
        for fl in (web, scene.fl):
            with pytest.raises(DuplicateJob) as error:
                invoice(fl, parameters=parameters)
            assert error.value.existing_id == job.id

    def test_processes_that_race_yield_one_job(self, scene: Scene, web: Fairlane):
        answers = answers_at_once([lambda: invoice(web), lambda: invoice(scene.fl)] * 10)
        assert sum(isinstance(answer, Job) for answer in answers) == 1
        assert scene.total() == 1

    def test_limits_and_rights_are_the_same(self, scene: Scene, web: Fairlane):
        with pytest.raises(PermissionDenied):
            invoice(web, user="vic")
        for fl in (web, scene.fl, web):
            invoice(fl, dedup_window=0)
        with pytest.raises(RateLimited):
            invoice(web, dedup_window=0)

    def test_a_disabled_type_is_disabled_everywhere(self, scene: Scene, web: Fairlane):
        web.job_types.disable("invoice")
        for fl in (web, scene.fl):
            with pytest.raises(JobTypeDisabled):
                invoice(fl)
        scene.fl.job_types.enable("invoice")
        invoice(web)

    def test_what_a_newer_process_registers_is_followed(self, scene: Scene, web: Fairlane):
        assert invoice(web).timeout == 7.0
        with Fairlane(scene.fl.settings, clock=scene.clock) as newer:
            define(newer, timeout=9)
            newer.migrate()
        assert invoice(web, dedup_window=0).timeout == 9.0

    def test_a_type_is_unknown_until_somebody_has_registered_it(self, scene: Scene, web: Fairlane):
        scene.add_type("receipt")
        with pytest.raises(JobTypeNotFound):
            web.submit("receipt", organization="acme")
        scene.submit("receipt")
        web.submit("receipt", organization="acme", dedup_window=0)


class TestTwoDatabases:
    @pytest.fixture
    def other(self, scene: Scene, tmp_path: Path) -> Iterator[Fairlane]:
        """A second engine in this process, with a type of the same name that takes something else."""
        url = f"sqlite:///{tmp_path / 'other.db'}"
        with Fairlane(Settings(url=url, artifacts_url="memory:///"), clock=scene.clock) as other:

            @other.job_type("invoice", timeout=1)
            def invoice(ctx: JobContext, number: int) -> None: ...

            other.migrate()
            yield other

    def test_jobs_types_people_and_keys_do_not_mix(self, scene: Scene, other: Fairlane):
        with pytest.raises(OrganizationNotFound):
            other.submit("invoice", organization="acme", parameters={"number": 1})
        other.organizations.create("acme")
        with pytest.raises(PermissionDenied):
            other.submit("invoice", organization="acme", user="ana", parameters={"number": 1})
        there = other.submit("invoice", organization="acme", parameters={"number": 1}, dedup_key="november")
        here = invoice(scene.fl, dedup_key="november")
        assert (here.timeout, there.timeout) == (7.0, 1.0)
        for fl, job in ((scene.fl, there), (other, here)):
            with pytest.raises(JobNotFound):
                fl.get(job.id, organization="acme")
        assert [view.name for view in other.job_types.list()] == ["invoice"]

    def test_a_borrowed_connection_decides_where_a_job_goes(self, scene: Scene, other: Fairlane):
        other.organizations.create("acme")
        with scene.fl.database.engine.begin() as here, other.database.engine.begin() as there:
            mine = invoice(scene.fl, connection=here)
            theirs = other.submit("invoice", organization="acme", parameters={"number": 1}, connection=there)
        assert [job.id for job in scene.fl.list(organization="acme").items] == [mine.id]
        assert [job.id for job in other.list(organization="acme").items] == [theirs.id]

    def test_pauses_are_of_one_database(self, scene: Scene, other: Fairlane):
        other.queues.pause("default")
        assert scene.fl.queues.names() == frozenset()
        job = invoice(scene.fl)
        assert scene.worker(job_types=["invoice"]).claim_round() == [job.id]
        assert scene.get(job).status == JobStatus.RUNNING
