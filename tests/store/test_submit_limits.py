"""Submission limits: exact under concurrency, with the seconds to wait, and only what is limited pays (R4)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Literal

import pytest
from sqlalchemy import select

from fairlane import DuplicateJob, Job, JobStatus, QueueFull, RateLimited, StorageUnavailable, Submission, new_id
from fairlane.domain.events import QueueLimitWarning
from fairlane.engine import cleanup
from fairlane.engine.submission import Submitter
from fairlane.store.statements import limits
from fairlane.store.tables import quotas as quota_table
from fairlane.store.tables import submissions
from tests.store.races.race import Race, answers_at_once, at_once
from tests.store.races.scene import BROKEN, DAY, Scene

# Tests submit beside a transaction that they hold open, to see who waits for it.
pytestmark = pytest.mark.filterwarnings("ignore::fairlane.TransactionNotUsed")

LIMIT = 7


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with Scene(database_url) as scene:
        scene.add_type("letter", dedup_window=0, rate_limit=3, rate_limit_window=60)
        scene.add_type("parcel", dedup_window=0, rate_limit=LIMIT)
        yield scene


def wait_of(submit: Callable[[], object]) -> float:
    """The seconds that a rate-limited user is told to wait."""
    with pytest.raises(RateLimited) as error:
        submit()
    assert error.value.retry_after is not None
    return error.value.retry_after


class TestRate:
    def test_of_twenty_racing_submitters_exactly_as_many_as_the_limit_get_through(self, scene: Scene):
        answers = answers_at_once([lambda: scene.submit("parcel")] * 20)
        assert sum(isinstance(answer, Job) for answer in answers) == LIMIT
        assert sum(isinstance(answer, RateLimited) for answer in answers) == 20 - LIMIT
        assert scene.total() == LIMIT

    def test_the_refusal_names_the_seconds_until_the_oldest_leaves_the_window(self, scene: Scene):
        for _ in range(3):
            scene.submit("letter")
            scene.clock.advance(10)
        assert wait_of(lambda: scene.submit("letter")) == 30
        scene.clock.advance(29.5)
        assert wait_of(lambda: scene.submit("letter")) == 0.5
        scene.clock.advance(0.5)
        scene.submit("letter")
        assert wait_of(lambda: scene.submit("letter")) == 10

    def test_the_sentence_says_whole_seconds_after_which_it_fits(self, scene: Scene):
        for _ in range(3):
            scene.submit("letter")
        scene.clock.advance(30.4)
        with pytest.raises(RateLimited, match=r"try again in 30 s\."):
            scene.submit("letter")
        scene.clock.advance(29.3)
        with pytest.raises(RateLimited, match=r"try again in 1 s\."):
            scene.submit("letter")

    def test_a_refused_submission_does_not_count(self, scene: Scene):
        for _ in range(3):
            scene.submit("letter")
        for _ in range(5):
            scene.clock.advance(10)
            wait_of(lambda: scene.submit("letter"))
        scene.clock.advance(10)
        scene.submit("letter")

    def test_it_is_of_one_user_one_type_and_one_organization(self, scene: Scene):
        scene.fl.members.add("rival", "ana")
        for _ in range(3):
            scene.submit("letter")
        wait_of(lambda: scene.submit("letter"))
        scene.submit("parcel")
        scene.submit("letter", user="bea")
        scene.submit("letter", user=None)
        scene.submit("letter", organization="rival")

    def test_the_system_has_a_rate_of_its_own(self, scene: Scene):
        for _ in range(3):
            scene.submit("letter", user=None)
        wait_of(lambda: scene.submit("letter", user=None))

    def test_a_batch_above_it_is_refused_whole_at_the_first_one_too_many(self, scene: Scene):
        scene.submit("letter")
        batch = [
            Submission(job_type, organization="acme", user="ana")
            for job_type in ("letter", "parcel", "letter", "letter")
        ]
        with pytest.raises(RateLimited) as error:
            scene.fl.submit_many(batch)
        assert (error.value.index, error.value.retry_after) == (3, 60)
        assert scene.total() == 1

    def test_a_batch_that_will_never_fit_is_told_to_be_split_and_no_time_to_wait(self, scene: Scene):
        with pytest.raises(RateLimited, match="this batch has more; split it") as error:
            scene.fl.submit_many([Submission("letter", organization="acme", user="ana") for _ in range(4)])
        assert (error.value.index, error.value.retry_after) == (3, None)
        assert scene.total() == 0

    def test_it_counts_jobs_that_have_ended(self, scene: Scene):
        for _ in range(3):
            job = scene.submit("letter")
            scene.fl.cancel(job.id, organization="acme")
        wait_of(lambda: scene.submit("letter"))

    def test_a_submission_of_its_own_id_that_is_sent_again_is_not_refused(self, scene: Scene):
        mine = Submission("letter", organization="acme", user="ana", on_duplicate="return", id=new_id())
        (first,) = scene.fl.submit_many([mine])
        for _ in range(2):
            scene.submit("letter")
        wait_of(lambda: scene.submit("letter"))
        assert scene.fl.submit_many([mine]) == [first]
        with pytest.raises(DuplicateJob) as error:
            scene.fl.submit_many([replace(mine, on_duplicate="reject")])
        assert error.value.existing_id == first.id

    def test_an_identical_submission_is_named_as_a_duplicate_or_returned(self, scene: Scene):
        scene.add_type("stamp", rate_limit=1)
        first = scene.submit("stamp")
        assert scene.submit("stamp", on_duplicate="return") == first
        with pytest.raises(DuplicateJob) as error:
            scene.submit("stamp")
        assert error.value.existing_id == first.id
        # A replacement is one job more.
        with pytest.raises(RateLimited, match="ana may submit stamp once in 60 s; try again in 60 s"):
            scene.submit("stamp", on_duplicate="replace")
        assert scene.fl.get(first, organization="acme").status == "queued"

    def test_twenty_racing_submitters_of_one_key_all_get_the_one_job(self, scene: Scene):
        scene.add_type("stamp", rate_limit=1)
        answers = answers_at_once([partial(scene.submit, "stamp", on_duplicate="return")] * 20)
        there = scene.submit("stamp", on_duplicate="return")
        assert answers == [there] * 20

    def test_what_a_batch_has_twice_counts_once(self, scene: Scene):
        scene.add_type("stamp", rate_limit=1)
        twin = Submission("stamp", organization="acme", user="ana", on_duplicate="return")
        first, second = scene.fl.submit_many([twin, replace(twin, id=new_id())])
        assert first == second


class TestLiveJobs:
    @pytest.fixture(autouse=True)
    def _limited(self, scene: Scene) -> None:
        scene.fl.organizations.update("acme", max_live_jobs=LIMIT)

    def test_of_twenty_racing_submitters_exactly_as_many_as_the_limit_get_through(self, scene: Scene):
        answers = answers_at_once([partial(scene.submit, user=user) for user in ("ana", "bea") * 10])
        assert sum(isinstance(answer, Job) for answer in answers) == LIMIT
        assert sum(isinstance(answer, QueueFull) for answer in answers) == 20 - LIMIT
        assert scene.total() == LIMIT

    def test_pending_queued_and_running_jobs_count_and_ended_ones_do_not(self, scene: Scene):
        running, ended = scene.submit(), scene.submit()
        claimed = scene.worker().claim(2)
        assert {one.id for one in claimed} == {running.id, ended.id}
        scene.submit(delay=60)
        while scene.total() < LIMIT:
            scene.submit()
        with pytest.raises(QueueFull, match=f"has {LIMIT} live jobs") as error:
            scene.submit()
        assert error.value.retry_after
        scene.end(claimed[1], outcome=BROKEN)
        scene.submit()
        with pytest.raises(QueueFull):
            scene.submit()

    def test_a_limit_below_what_is_there_refuses_until_enough_has_ended(self, scene: Scene):
        submitted = [scene.submit() for _ in range(3)]
        scene.fl.organizations.update("acme", max_live_jobs=2)
        for job in submitted[:2]:
            with pytest.raises(QueueFull):
                scene.submit()
            scene.fl.cancel(job.id, organization="acme")
        scene.submit()

    def test_a_batch_above_it_is_refused_whole_at_the_first_one_too_many(self, scene: Scene):
        with pytest.raises(QueueFull) as error:
            scene.fl.submit_many(reports(LIMIT + 2))
        assert (error.value.index, scene.total()) == (LIMIT, 0)

    def test_a_batch_that_will_never_fit_is_not_told_to_wait(self, scene: Scene):
        error = full(scene, reports(LIMIT + 2))
        assert error.retry_after is None
        assert str(error) == (
            f"Organization acme has 0 live jobs of at most {LIMIT}; this batch of {LIMIT + 2} does not fit: "
            "split it or raise max_live_jobs."
        )

    def test_a_batch_that_does_not_fit_now_is_told_how_many_there_are(self, scene: Scene):
        scene.fl.submit_many(reports(2))
        error = full(scene, [Submission("report", organization="rival", user="rita"), *reports(LIMIT - 1)])
        assert error.retry_after is not None
        assert str(error) == (
            f"Organization acme has 2 live jobs of at most {LIMIT}; this batch of {LIMIT - 1} does not fit; "
            "try again when some have ended, or split it."
        )

    def test_who_may_have_no_jobs_is_not_told_to_wait(self, scene: Scene):
        scene.fl.organizations.update("acme", max_live_jobs=0)
        assert full(scene, reports(1)).retry_after is None

    def test_another_organization_has_its_own(self, scene: Scene):
        for _ in range(LIMIT):
            scene.submit()
        for _ in range(LIMIT + 1):
            scene.submit(organization="rival", user="rita")

    def test_a_warning_comes_once_at_eighty_percent(self, scene: Scene):
        for _ in range(LIMIT):
            scene.submit()
        assert warnings(scene) == [QueueLimitWarning("acme", 6, LIMIT)]

    def test_a_warning_comes_also_where_a_batch_jumps_over_the_mark(self, scene: Scene):
        scene.fl.submit_many([Submission("report", organization="acme", user="ana") for _ in range(LIMIT)])
        assert warnings(scene) == [QueueLimitWarning("acme", LIMIT, LIMIT)]

    def test_a_batch_fills_a_queue_with_new_jobs_only(self, scene: Scene):
        scene.add_type("crate")
        there = scene.submit("crate")
        batch = [Submission("crate", organization="acme", user="ana", on_duplicate="return"), *reports(LIMIT - 1)]
        assert scene.fl.submit_many(batch)[0] == there
        assert scene.total() == LIMIT

    @pytest.mark.parametrize("wish", ["return", "replace"])
    def test_a_full_queue_refuses_no_submission_that_adds_no_job(
        self, scene: Scene, wish: Literal["return", "replace"]
    ):
        scene.add_type("crate")
        there = scene.submit("crate")
        for _ in range(LIMIT - 1):
            scene.submit()
        # More than full: the limit is lowered.
        scene.fl.organizations.update("acme", max_live_jobs=LIMIT - 2)
        job = scene.submit("crate", on_duplicate=wish)
        assert (job == there) is (wish == "return")
        assert len(scene.fl.list(organization="acme", status=[JobStatus.QUEUED]).items) == LIMIT

    def test_what_a_batch_replaces_makes_no_room_for_another_job(self, scene: Scene):
        scene.add_type("crate")
        scene.submit("crate")
        scene.fl.submit_many(reports(LIMIT - 1))
        batch = [*reports(1), Submission("crate", organization="acme", user="ana", on_duplicate="replace")]
        with pytest.raises(QueueFull) as error:
            scene.fl.submit_many(batch)
        assert (error.value.index, scene.total()) == (0, LIMIT)

    def test_a_duplicate_in_a_full_queue_is_named_as_a_duplicate(self, scene: Scene):
        scene.add_type("crate")
        there = scene.submit("crate")
        scene.fl.submit_many(reports(LIMIT - 1))
        with pytest.raises(DuplicateJob) as error:
            scene.submit("crate")
        assert error.value.existing_id == there.id

    def test_jobs_that_were_there_already_bring_no_warning(self, scene: Scene):
        scene.add_type("crate")
        scene.submit("crate")
        scene.fl.submit_many(reports(4))
        scene.fl.submit_many([Submission("crate", organization="acme", user="ana", on_duplicate="return")])
        scene.submit("crate", on_duplicate="replace")
        assert warnings(scene) == []

    def test_a_warning_is_of_jobs_that_are_committed(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        scene.fl.submit_many(reports(5))
        with monkeypatch.context() as patch:
            patch.setattr(Submitter, "_jobs_of", unreadable)
            with pytest.raises(StorageUnavailable):
                scene.submit()
        assert warnings(scene) == []
        scene.submit()
        assert warnings(scene) == [QueueLimitWarning("acme", 6, LIMIT)]

    def test_a_caller_s_transaction_brings_no_warning(self, scene: Scene, race: Race):
        with race.open(commit=False) as host:
            for _ in range(LIMIT):
                scene.submit(connection=host)
        assert warnings(scene) == []


def reports(number: int) -> list[Submission]:
    return [Submission("report", organization="acme", user="ana") for _ in range(number)]


def full(scene: Scene, batch: list[Submission]) -> QueueFull:
    """The error with which a batch is refused."""
    with pytest.raises(QueueFull) as error:
        scene.fl.submit_many(batch)
    return error.value


def warnings(scene: Scene) -> list[QueueLimitWarning]:
    return [event for event in scene.events if isinstance(event, QueueLimitWarning)]


def unreadable(*_: object) -> None:
    raise StorageUnavailable("The database did not answer.")


class TestQuotaRows:
    def test_a_limited_submitter_waits_for_the_commit_of_another_and_then_counts_it(self, scene: Scene, race: Race):
        scene.submit("letter")
        scene.submit("letter")
        with race.open() as host:
            scene.submit("letter", connection=host)
            late = race.waits(lambda: scene.submit("letter"))
        assert isinstance(late.exception(), RateLimited)

    def test_what_another_rolls_back_does_not_count(self, scene: Scene, race: Race):
        scene.submit("letter")
        scene.submit("letter")
        with race.open(commit=False) as host:
            scene.submit("letter", connection=host)
            late = race.waits(lambda: scene.submit("letter"))
        assert late.result().job_type == "letter"

    def test_what_is_not_limited_waits_for_nobody(self, scene: Scene, race: Race):
        with race.open() as host:
            scene.submit("letter", connection=host)
            others = [
                race.passes(lambda: scene.submit("report")),
                race.passes(lambda: scene.submit("letter", user="bea")),
                race.passes(lambda: scene.submit("letter", organization="rival", user="rita")),
            ]
        assert all(isinstance(other.result(), Job) for other in others)

    def test_waiting_for_a_limit_is_bounded(self, database_url: str):
        with Scene(database_url, lock_timeout=0.05) as scene:
            scene.add_type("letter", rate_limit=3)
            race = Race(scene.fl.database, database_url)
            with race.open() as endless:
                scene.submit("letter", connection=endless)
                with pytest.raises(StorageUnavailable):
                    scene.submit("letter")
            race.close()

    def test_batches_that_lock_the_same_rows_in_opposite_order_both_pass(self, scene: Scene):
        def batch(*job_types: str) -> Callable[[], list[Job]]:
            return lambda: scene.fl.submit_many([Submission(one, organization="acme", user="ana") for one in job_types])

        at_once([batch("letter", "parcel"), batch("parcel", "letter")])
        assert scene.total() == 4


class TestSubmissions:
    def test_they_are_forgotten_when_no_rate_can_count_them_any_more(self, scene: Scene):
        scene.submit("letter")
        scene.clock.advance(DAY)
        scene.submit("letter")
        scene.clock.advance(1)
        scene.cleaner(retention=9 * DAY).run_once()
        assert scene.fl.database.read(lambda connection: connection.scalars(select(submissions.c.at)).all()) == [
            scene.now - timedelta(seconds=1)
        ]


class TestQuotas:
    def test_those_that_nobody_has_needed_for_a_day_are_cleaned_up(self, scene: Scene):
        scene.fl.organizations.update("acme", max_running=5, max_live_jobs=50)
        scene.submit("letter")
        assert scene.worker(job_types=["letter"]).claim_round()
        scene.clock.advance(DAY / 2)
        scene.submit("letter", user="bea")
        scene.clock.advance(DAY / 2 + 1)
        scene.cleaner(retention=9 * DAY).run_once()
        kept = {"live", "rate/letter/bea"}
        assert quotas(scene) == kept
        scene.clock.advance(DAY)
        scene.cleaner(retention=9 * DAY).run_once()
        assert quotas(scene) == set()

    def test_all_are_looked_at_page_by_page(self, scene: Scene, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(cleanup, "_QUOTAS", 2)
        for user in ("ana", "bea", "olga"):
            scene.submit("letter", user=user)
        scene.submit("parcel")
        scene.clock.advance(DAY + 1)
        cleaner = scene.cleaner(retention=9 * DAY)
        left = [cleaner.run_once() or len(quotas(scene)) for _ in range(2)]
        assert left == [2, 0]

    def test_one_that_a_submission_holds_stays_and_clean_up_does_not_wait(self, scene: Scene, race: Race):
        scene.submit("letter")
        scene.clock.advance(DAY + 1)
        with race.open() as submitting:
            limits.lock(submitting, scene.clock, [("acme", "rate/letter/ana")])
            cleaning = race.passes(scene.cleaner(retention=9 * DAY).run_once)
        assert cleaning.result() == 0
        assert quotas(scene) == {"rate/letter/ana"}

    def test_a_submission_beside_clean_up_counts_as_ever(self, scene: Scene, race: Race):
        for _ in range(2):
            scene.submit("letter")
        later = scene.now + timedelta(days=2)
        with race.open() as cleaning:
            assert limits.forget_unused(cleaning, later, ("", ""), 10) is None
            waiting = race.waits(lambda: scene.submit("letter"))
        waiting.result()
        wait_of(lambda: scene.submit("letter"))


def quotas(scene: Scene) -> set[str]:
    """The subjects of the quota rows that are there."""
    return set(scene.fl.database.read(lambda connection: connection.scalars(select(quota_table.c.subject)).all()))
