"""Members may change, retry, decide about and delete their own jobs, admins all jobs, viewers none (R19)."""

import pickle
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from fairlane import (
    ArtifactNotFound,
    ConfigurationError,
    Fairlane,
    FairlaneError,
    IllegalTransition,
    InvalidParameters,
    Job,
    JobContext,
    JobNotFound,
    JobStatus,
    Membership,
    OrganizationNotFound,
    PayloadTooLarge,
    PermissionDenied,
    Resolution,
    Role,
    Settings,
    Standing,
    StorageUnavailable,
    Submission,
    SubmissionError,
)
from fairlane.domain.statuses import OrganizationStatus
from fairlane.store.statements.locks import lock_job
from tests.store.races.race import Race
from tests.store.races.scene import BROKEN, Scene

FIRST_OF_MARCH = datetime(2027, 3, 1, tzinfo=UTC)
NOBODY = UUID("01900000-0000-7000-8000-000000000000")
Verb = Callable[[Fairlane, UUID | str, str, str | None], Any]


def cancel(fl: Fairlane, job_id: UUID | str, organization: str, user: str | None) -> Any:
    return fl.cancel(job_id, organization=organization, user=user)


def run_now(fl: Fairlane, job_id: UUID | str, organization: str, user: str | None) -> Any:
    return fl.run_now(job_id, organization=organization, user=user)


def reschedule(fl: Fairlane, job_id: UUID | str, organization: str, user: str | None) -> Any:
    return fl.reschedule(job_id, FIRST_OF_MARCH, organization=organization, user=user)


def prioritize(fl: Fairlane, job_id: UUID | str, organization: str, user: str | None) -> Any:
    return fl.prioritize(job_id, "high", organization=organization, user=user)


def retry(fl: Fairlane, job_id: UUID | str, organization: str, user: str | None) -> Any:
    return fl.retry(job_id, organization=organization, user=user)


def retry_letter(fl: Fairlane, job_id: UUID | str, organization: str, user: str | None) -> Any:
    return fl.dead_letters.retry(job_id, organization=organization, user=user)


def resolve(fl: Fairlane, job_id: UUID | str, organization: str, user: str | None) -> Any:
    return fl.dead_letters.resolve(job_id, organization=organization, user=user)


def ignore(fl: Fairlane, job_id: UUID | str, organization: str, user: str | None) -> Any:
    return fl.dead_letters.ignore(job_id, organization=organization, user=user)


def delete(fl: Fairlane, job_id: UUID | str, organization: str, user: str | None) -> Any:
    return fl.dead_letters.delete(job_id, organization=organization, user=user)


OF_MEMBERS = (cancel, run_now, reschedule, prioritize, retry, retry_letter, resolve, ignore)
VERBS = pytest.mark.parametrize("verb", [*OF_MEMBERS, delete], ids=lambda verb: verb.__name__)
VERBS_OF_MEMBERS = pytest.mark.parametrize("verb", OF_MEMBERS, ids=lambda verb: verb.__name__)


def job_for(scene: Scene, verb: Verb) -> Job:
    """A job of ana's to which the verb applies."""
    if verb in {cancel, run_now, reschedule, prioritize}:
        return scene.submit(delay=3600)
    return scene.dead_letter()


@VERBS
@pytest.mark.parametrize("user", ["olga", None], ids=["an admin", "the system"])
def test_those_who_may_with_all_jobs(scene: Scene, verb: Verb, user: str | None):
    verb(scene.fl, job_for(scene, verb).id, "acme", user)


@VERBS_OF_MEMBERS
def test_its_submitter_may(scene: Scene, verb: Verb):
    verb(scene.fl, job_for(scene, verb).id, "acme", "ana")


def test_its_submitter_may_not_delete_it(scene: Scene):
    job = scene.dead_letter()
    with pytest.raises(PermissionDenied, match="only admins may; ask an admin of acme"):
        delete(scene.fl, job.id, "acme", "ana")
    assert scene.get(job) == job


@VERBS
@pytest.mark.parametrize("user", ["bea", "vic"], ids=["another member", "a viewer"])
def test_those_who_may_not_are_told_whom_to_ask(scene: Scene, verb: Verb, user: str):
    job = job_for(scene, verb)
    with pytest.raises(PermissionDenied, match=rf"{user} may not \w+ job {job.id}: .* ask an admin of acme"):
        verb(scene.fl, job.id, "acme", user)
    assert scene.get(job) == job


@VERBS
def test_a_submitter_who_became_a_viewer_may_not(scene: Scene, verb: Verb):
    job = job_for(scene, verb)
    scene.fl.members.update("acme", "ana", role=Role.VIEWER)
    with pytest.raises(PermissionDenied):
        verb(scene.fl, job.id, "acme", "ana")


@pytest.mark.slow
@VERBS
def test_to_a_stranger_a_job_does_not_exist(scene: Scene, verb: Verb):
    job = job_for(scene, verb)
    texts = set()
    for key, organization, user in (
        (job.id, "acme", "rita"),  # no member
        (job.id, "acme", "nemo"),  # nobody
        (NOBODY, "acme", "olga"),  # no such job
        (job.id, "rival", "rita"),  # a foreign job
        (job.id, "rival", None),
    ):
        with pytest.raises(JobNotFound) as error:
            verb(scene.fl, key, organization, user)
        words = str(error.value).replace("dead letter", "job")
        texts.add(words.replace(str(key), "…").replace(organization, "…"))
    assert texts == {"Organization … has no job …."}
    assert scene.get(job) == job


@VERBS
def test_a_job_stands_for_its_id_but_not_in_another_organization(scene: Scene, verb: Verb):
    job: Any = job_for(scene, verb)
    with pytest.raises(JobNotFound, match=f"Organization rival has no (job|dead letter) {job.id}"):
        verb(scene.fl, job, "rival", None)
    verb(scene.fl, job, "acme", None)


@VERBS
def test_what_is_neither_a_job_nor_an_id_is_refused_with_what_to_pass(scene: Scene, verb: Verb):
    wrong: Any = 5
    with pytest.raises(InvalidParameters, match=r"^Name a job by itself or by its id, as in job\.id, not by a int\.$"):
        verb(scene.fl, wrong, "acme", None)


def test_reading_verbs_take_a_job_for_its_id(scene: Scene):
    fl, job = scene.fl, scene.submit()
    fl.cancel(job, organization="acme")
    for read in (fl.get, fl.history, fl.log_lines, fl.explain, fl.result, fl.list_artifacts, fl.wait):
        assert read(job, organization="acme") == read(job.id, organization="acme")
    for read_file in (fl.artifact, fl.find_artifact):
        with pytest.raises(ArtifactNotFound, match=f"^Job {job.id} has no artifact 'report.pdf'; it has none.$"):
            read_file(job, "report.pdf", organization="acme")


@VERBS
def test_text_that_is_no_id_is_an_unknown_job(scene: Scene, verb: Verb):
    for text in ("no-id", "", "' OR 1=1 --", "x" * 1000):
        with pytest.raises(JobNotFound):
            verb(scene.fl, text, "acme", None)


def test_an_admin_s_name_stands_in_the_log(scene: Scene):
    job = scene.submit()
    canceled = scene.fl.cancel(job.id, organization="acme", user="olga", reason="wrong month")
    assert (canceled.canceled_by, canceled.canceled_at) == ("olga", scene.now)
    last = scene.fl.history(job.id, organization="acme")[-1]
    assert (last.actor, last.message) == ("olga", "wrong month")


def test_a_running_job_is_asked_to_stop_and_asking_again_changes_nothing(scene: Scene):
    job = scene.submit()
    scene.worker().claim()
    first = scene.fl.cancel(job.id, organization="acme", user="ana")
    assert (first.status, first.cancel_requested_at) == (JobStatus.RUNNING, scene.now)
    scene.clock.advance(5)
    assert scene.fl.cancel(job.id, organization="acme", user="olga") == first


def test_what_has_ended_can_t_be_canceled_and_what_lives_not_retried(scene: Scene):
    job = scene.submit()
    with pytest.raises(IllegalTransition, match="is queued; only a dead letter can be retried"):
        retry(scene.fl, job.id, "acme", "ana")
    cancel(scene.fl, job.id, "acme", "ana")
    with pytest.raises(IllegalTransition, match="has ended as canceled"):
        cancel(scene.fl, job.id, "acme", "ana")


@pytest.mark.parametrize(
    "verb",
    [
        lambda fl, job: fl.cancel(job.id, organization="acme", user="bea"),
        lambda fl, job: fl.list(organization="acme", limit=0),
        lambda fl, job: fl.organizations.get("nobody"),
        lambda fl, job: fl.job_types.disable("fax"),
    ],
    ids=["cancel", "list", "organizations.get", "job_types.disable"],
)
def test_only_submissions_raise_submission_errors(scene: Scene, verb: Callable[[Fairlane, Job], object]):
    with pytest.raises(FairlaneError) as error:
        verb(scene.fl, scene.submit())
    assert not isinstance(error.value, SubmissionError)


def test_what_refuses_a_submission_is_both_of_its_kind_and_a_submission_error(scene: Scene):
    with pytest.raises(SubmissionError) as error:
        scene.fl.submit_many([Submission("report", organization="acme", user="stranger")])
    for refused in (error.value, pickle.loads(pickle.dumps(error.value))):
        assert isinstance(refused, PermissionDenied)
        assert isinstance(refused, SubmissionError)
        assert (str(refused), refused.index) == (
            "stranger is not a member of organization acme; add them.",
            0,
        )
    assert error.value.__notes__ == ["fl.members.add('acme', 'stranger')"]


class TestEditAndRetry:
    def test_the_job_runs_with_the_new_parameters(self, scene: Scene):
        job = scene.dead_letter(parameters={"n": 1})
        edited = scene.fl.retry(job.id, organization="acme", user="ana", parameters={"n": 2})
        assert (edited.status, edited.parameters, edited.retry_count) == (JobStatus.QUEUED, {"n": 2}, 0)
        (claimed,) = scene.worker().claim()
        assert claimed.parameters == '{"n":2}'
        entries = scene.fl.history(job.id, organization="acme")
        assert "retried by ana, parameters edited: n" in [entry.message for entry in entries]

    def test_they_must_fit_the_handler(self, scene: Scene):
        job = scene.dead_letter(parameters={"n": 1})
        with pytest.raises(InvalidParameters, match="parameter 'n' must be"):
            scene.fl.retry(job.id, organization="acme", parameters={"n": "two"})
        assert scene.get(job) == job

    def test_their_size_is_limited(self, scene: Scene):
        @scene.fl.job_type("note")
        def note(ctx: JobContext, text: str) -> None: ...

        job = scene.submit("note", parameters={"text": "x"})
        scene.end(*scene.worker(job_types=["note"]).claim(), outcome=BROKEN)
        with pytest.raises(PayloadTooLarge, match="bytes as JSON; store"):
            scene.fl.retry(job.id, organization="acme", parameters={"text": "x" * 1024 * 1024})
        assert scene.get(job).parameters == {"text": "x"}


class HostDirectory:
    """A host application's own people, which can be away."""

    def __init__(self) -> None:
        self.is_away = False
        self.on_question: Callable[[], object] = lambda: None

    def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        return {one: Standing(OrganizationStatus.ACTIVE) for one in ids}

    def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
        if self.is_away:
            raise ConnectionError("no route to the directory")
        self.on_question()
        return {pair: Membership(Role.MEMBER) for pair in pairs if pair == ("acme", "ana")}


class TestAHostsDirectory:
    @pytest.fixture
    def directory(self) -> HostDirectory:
        return HostDirectory()

    @pytest.fixture
    def fl(self, scene: Scene, directory: HostDirectory) -> Iterator[Fairlane]:
        settings = Settings(url=scene.fl.settings.url, artifacts_url="memory:///", lock_timeout=0.05)
        with Fairlane(settings, directory=directory, clock=scene.clock) as fl:
            yield fl

    @VERBS_OF_MEMBERS
    def test_it_decides_who_may(self, scene: Scene, fl: Fairlane, verb: Verb):
        job = job_for(scene, verb)
        with pytest.raises(JobNotFound):
            verb(fl, job.id, "acme", "olga")
        verb(fl, job.id, "acme", "ana")

    @VERBS
    def test_its_outage_changes_nothing_and_can_be_tried_again(
        self, scene: Scene, fl: Fairlane, directory: HostDirectory, verb: Verb
    ):
        job = job_for(scene, verb)
        directory.is_away = True
        with pytest.raises(StorageUnavailable, match=r"The directory's `.*` raised"):
            verb(fl, job.id, "acme", "ana")
        assert scene.get(job) == job
        verb(fl, job.id, "acme", None)

    @VERBS_OF_MEMBERS
    def test_it_is_asked_while_no_row_is_locked(self, scene: Scene, fl: Fairlane, directory: HostDirectory, verb: Verb):
        # A directory in the same database, that writes: under our locks it would wait for itself.
        job = job_for(scene, verb)
        directory.on_question = lambda: scene.fl.members.add("acme", "new")
        verb(fl, job.id, "acme", "ana")

    def test_an_organization_that_it_calls_deleted_submits_nothing(
        self, scene: Scene, fl: Fairlane, directory: HostDirectory, monkeypatch: pytest.MonkeyPatch
    ):
        scene.submit()
        gone = {"acme": Standing(OrganizationStatus.DELETED)}
        monkeypatch.setattr(directory, "organizations", lambda ids: gone)
        with pytest.raises(OrganizationNotFound):
            fl.submit("report", organization="acme")

    def test_a_wrong_answer_refuses_submissions_and_says_what_is_wrong(
        self, scene: Scene, fl: Fairlane, directory: HostDirectory, monkeypatch: pytest.MonkeyPatch
    ):
        scene.submit()
        monkeypatch.setattr(directory, "members", list)
        with pytest.raises(ConfigurationError, match="`members` answered a list instead of a mapping"):
            fl.submit("report", organization="acme", user="ana")

    def test_its_outage_refuses_submissions(self, scene: Scene, fl: Fairlane, directory: HostDirectory):
        directory.is_away = True
        scene.submit()
        with pytest.raises(StorageUnavailable, match=r"The directory's `.*` raised"):
            fl.submit("report", organization="acme", user="ana")
        assert scene.total() == 1


def test_waiting_for_somebody_else_s_transaction_is_bounded(database_url: str):
    with Scene(database_url, lock_timeout=0.05) as scene:
        job = scene.submit()
        race = Race(scene.fl.database, database_url)
        with race.open() as endless:
            lock_job(endless, "acme", job.id)
            with pytest.raises(StorageUnavailable, match="locked for too long; nothing was changed"):
                cancel(scene.fl, job.id, "acme", "ana")
        race.close()
        assert scene.get(job).status == JobStatus.QUEUED


def test_a_decision_about_a_dead_letter_names_who_made_it(scene: Scene):
    job = scene.dead_letter()
    scene.fl.dead_letters.resolve(job.id, organization="acme", user="olga", note="printed by hand")
    (letter,) = scene.fl.dead_letters.list(organization="acme", resolution=Resolution.RESOLVED).items
    assert (letter.resolved_by, letter.note, letter.resolved_at) == ("olga", "printed by hand", scene.now)
    scene.fl.dead_letters.ignore(job.id, organization="acme", user="olga")
    told = scene.fl.audit.list(organization="acme", subject=str(job.id))
    assert [(one.action, one.before, one.after) for one in told] == [
        ("jobs.ignore", {"resolution": "resolved"}, {"resolution": "ignored"}),
        ("jobs.resolve", {"resolution": "pending"}, {"resolution": "resolved", "note": "printed by hand"}),
    ]
