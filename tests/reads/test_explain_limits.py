"""R20: limits, breakers and slots, from the database to the sentence."""

from uuid import UUID

import pytest
from sqlalchemy import Connection

from fairlane.domain.breaker import REST
from fairlane.domain.limits import Subject
from fairlane.domain.reasons import ReasonCode
from fairlane.domain.statuses import OrganizationStatus
from fairlane.jobtypes.options import Options
from fairlane.reads.service import Reads
from fairlane.store.statements import running_limits
from fairlane.tenancy.directory import Standing
from tests.reads.world import Host, World
from tests.store.races.scene import Claimed

TYPE, PAIR = Subject(None, "report.pdf"), Subject("acme", "report.pdf")


def remedy(subject: Subject, option: str) -> str:
    """Return the sentence that says who can raise a limit of report.pdf."""
    of = "" if subject.organization is None else f" -o {subject.organization}"
    return (
        "An operator can see what uses this limit, and raise it: `fairlane types limits report.pdf`, "
        f"`fairlane types limit report.pdf{of} {option} N`."
    )


def codes(reads: Reads, job: UUID) -> list[ReasonCode]:
    return [reason.code for reason in reads.explain(job, "acme").reasons]


@pytest.fixture
def told(world: World, reads: Reads) -> "Told":
    return Told(world, reads)


class Told:
    """The explanations of a job that waits behind others, while workers have free slots."""

    def __init__(self, world: World, reads: Reads) -> None:
        self.world = world
        self.reads = reads
        self.claimed: list[Claimed] = []
        self.worker = world.start_worker(job_types=("report.pdf", "mail.send"))

    def run(self, number: int = 1, organization: str = "acme", job_type: str = "report.pdf") -> None:
        for _ in range(number):
            self.world.submit(organization, job_type)
            self.claimed.append(self.world.claim(self.worker, organization, job_type))

    def now(self, job_type: str = "report.pdf", organization: str = "acme") -> list[tuple[ReasonCode, str]]:
        found = self.reads.explain(self.world.submit(organization, job_type), organization).reasons
        return [(reason.code, reason.advice) for reason in found]

    def nothing(self, **more: str) -> bool:
        return [code for code, _ in self.now(**more)] == [ReasonCode.NOTHING_BLOCKS]


def test_r20_names_the_organization_s_limit(told: Told) -> None:
    told.world.set_max_running("acme", 2)
    told.run()
    assert told.nothing()
    told.run(job_type="mail.send")
    sentence = (
        "Organization acme may run 2 jobs at once, and 2 of 2 run; it is number 2 of acme's report.pdf "
        "jobs in queue default, and the next starts "
        "when fewer do. An operator can raise this limit: `fairlane orgs update acme --max-running N`."
    )
    assert told.now() == [(ReasonCode.ORGANIZATION_MAX_RUNNING, sentence)]
    assert told.nothing(organization="rival")


@pytest.mark.parametrize("subject", [TYPE, PAIR])
def test_r20_says_that_another_transaction_holds_the_limit_s_row(world: World, reads: Reads, subject: Subject) -> None:
    world.start_worker()
    world.limit(subject, max_running=2)
    job = world.submit()

    world.write(lambda connection: running_limits.prepare(connection, world.clock, [subject]))

    def explained_beside(connection: Connection) -> list[ReasonCode]:
        assert running_limits.lock(connection, [subject])
        return codes(reads, job)

    # SQLite has no locks of rows.
    told = ReasonCode.NOTHING_BLOCKS if world.database.kind.writers_are_serial else ReasonCode.LIMIT_HELD
    assert world.write(explained_beside) == [told]
    assert codes(reads, job) == [ReasonCode.NOTHING_BLOCKS]


def test_r20_what_people_read_has_no_commands(told: Told) -> None:
    told.world.set_max_running("acme", 0)
    told.world.limit(TYPE, max_running=0)
    told.world.open_breaker()
    found = told.reads.explain(told.world.submit("acme", "report.pdf"), "acme")

    assert sum(len(one.commands) for one in found.reasons) == 4
    assert not any("fairlane" in one.sentence or "`" in one.sentence for one in found.reasons)


def test_r20_names_the_limit_of_the_job_type_and_not_who_uses_it(told: Told) -> None:
    told.world.register("report.pdf", Options(max_running=2))
    told.run(organization="rival")
    assert told.nothing()
    told.run(organization="rival")
    sentence = (
        "All organizations together may run 2 report.pdf jobs at once, and that many run; it is "
        "number 2 of acme's report.pdf jobs in queue default, "
        f"and the next starts when fewer do. {remedy(TYPE, '--max-running')}"
    )
    assert told.now() == [(ReasonCode.JOB_TYPE_MAX_RUNNING, sentence)]
    assert told.nothing(job_type="mail.send")


def test_r20_an_operator_s_limit_stands_for_the_job_type_s_own(told: Told) -> None:
    told.world.register("report.pdf", Options(max_running=1))
    told.world.limit(TYPE, max_running=2)
    told.run()
    assert told.nothing()


def test_r20_names_the_limit_of_the_job_type_in_the_organization(told: Told) -> None:
    told.world.limit(PAIR, max_running=1)
    told.run()
    sentence = (
        "Organization acme may run 1 report.pdf job at once, and 1 of 1 run; it is number 1 of acme's report.pdf "
        "jobs in queue default, "
        f"and the next starts when fewer do. {remedy(PAIR, '--max-running')}"
    )
    assert told.now() == [(ReasonCode.JOB_TYPE_MAX_RUNNING_IN_ORGANIZATION, sentence)]
    assert told.nothing(job_type="mail.send")
    assert told.nothing(organization="rival")


@pytest.mark.parametrize(
    ("subject", "code", "who"),
    [
        (TYPE, ReasonCode.JOB_TYPE_EXECUTION_RATE, "All organizations together"),
        (PAIR, ReasonCode.JOB_TYPE_EXECUTION_RATE_IN_ORGANIZATION, "Organization acme"),
    ],
)
def test_r20_an_execution_rate_says_when_the_next_may_start(
    told: Told, subject: Subject, code: ReasonCode, who: str
) -> None:
    told.world.limit(subject, execution_rate=3, execution_rate_window=30.0)
    told.world.note_starts(subject, 1)
    told.world.pass_time(5)
    told.world.note_starts(subject, 1)
    assert told.nothing()
    told.world.pass_time(1)
    told.world.note_starts(subject, 1)
    sentence = (
        f"{who} may start 3 report.pdf jobs in 30 s, and did; it is number 2 of acme's report.pdf "
        "jobs in queue default, "
        f"and the next may start at 2026-11-01 12:00:30 UTC. {remedy(subject, '--execution-rate')}"
    )
    assert told.now() == [(code, sentence)]
    told.world.pass_time(24)
    told.world.beat(told.worker)
    assert told.nothing()


@pytest.mark.parametrize(
    ("subject", "limit", "code", "sentence"),
    [
        (TYPE, "max_running", ReasonCode.JOB_TYPE_MAX_RUNNING, "All organizations together may run no report.pdf job"),
        (
            PAIR,
            "max_running",
            ReasonCode.JOB_TYPE_MAX_RUNNING_IN_ORGANIZATION,
            "Organization acme may run no report.pdf job",
        ),
        (
            TYPE,
            "execution_rate",
            ReasonCode.JOB_TYPE_EXECUTION_RATE,
            "All organizations together may start no report.pdf job",
        ),
        (
            PAIR,
            "execution_rate",
            ReasonCode.JOB_TYPE_EXECUTION_RATE_IN_ORGANIZATION,
            "Organization acme may start no report.pdf job",
        ),
    ],
)
def test_r20_a_limit_of_zero_allows_none(
    told: Told, subject: Subject, limit: str, code: ReasonCode, sentence: str
) -> None:
    told.world.limit(subject, **{limit: 0})
    option = f"--{limit.replace('_', '-')}"
    assert told.now() == [(code, f"{sentence}: none allowed. {remedy(subject, option)}")]


def test_r20_an_organization_s_limit_of_zero_allows_none_even_later(told: Told) -> None:
    told.world.set_max_running("acme", 0)
    scheduled = told.reads.explain(told.world.submit(delay=60.0), "acme")
    assert [one.code for one in scheduled.reasons] == [ReasonCode.SCHEDULED, ReasonCode.ORGANIZATION_MAX_RUNNING]
    assert "Organization acme may run no job: none allowed." in scheduled.reasons[1].sentence


def test_r20_a_limit_that_is_reached_now_is_nothing_to_a_job_of_later(told: Told) -> None:
    told.world.limit(PAIR, max_running=1)
    told.run()
    scheduled = told.reads.explain(told.world.submit(delay=60.0), "acme")
    assert [one.code for one in scheduled.reasons] == [ReasonCode.SCHEDULED]


def test_r20_a_breaker_says_until_when(told: Told) -> None:
    told.world.open_breaker()
    sentence = (
        "Too much of report.pdf failed in organization acme, so nothing of it starts until 2026-11-01 12:15:00 UTC; "
        "then one job is on trial, and the others start once one has completed. "
        "An operator can let all start now: `fairlane types close-breaker report.pdf -o acme`."
    )
    assert told.now() == [(ReasonCode.BREAKER_OPEN, sentence)]
    assert told.nothing(job_type="mail.send")
    assert told.nothing(organization="rival")


def test_r20_a_breaker_is_told_of_a_job_whose_retry_comes_before_it_closes(told: Told) -> None:
    job_id = told.world.submit()
    told.world.fail(told.world.claim(told.worker))

    def codes() -> list[ReasonCode]:
        return [one.code for one in told.reads.explain(job_id, "acme").reasons]

    assert codes() == [ReasonCode.WAITS_FOR_RETRY]
    told.world.open_breaker()
    assert codes() == [ReasonCode.WAITS_FOR_RETRY, ReasonCode.BREAKER_OPEN]


def test_r20_a_breaker_says_whose_trial_it_waits_for(told: Told) -> None:
    told.world.open_breaker()
    told.world.pass_time(REST.total_seconds())
    told.world.beat(told.worker)
    (due,) = told.now()
    assert due[0] is ReasonCode.BREAKER_TRIAL
    assert "the next one to start is on trial" in due[1]
    claimed = told.world.claim(told.worker)
    told.world.begin_trial(claimed)
    (tried,) = told.now()
    assert tried[0] is ReasonCode.BREAKER_TRIAL
    assert f"job {claimed.id} runs on trial, and the others start once one has completed." in tried[1]


def test_r20_says_that_all_slots_are_taken_and_the_place(world: World, reads: Reads) -> None:
    worker = world.start_worker(slots=1)
    world.start_worker("another", job_types=("mail.send",))
    world.submit()
    world.claim(worker)
    world.submit()

    (reason,) = reads.explain(world.submit(), "acme").reasons

    assert reason.code is ReasonCode.SLOTS_TAKEN
    assert reason.sentence == (
        "All slots of the workers that could run it are taken; it is number 2 of acme's report.pdf "
        "jobs in queue default and starts when its turn "
        "comes and one is free."
    )


def test_r20_says_nothing_of_slots_where_a_pause_holds_the_job(world: World, reads: Reads) -> None:
    worker = world.start_worker(slots=1)
    world.submit()
    world.claim(worker)
    world.pause("queue", "default")

    assert [one.code for one in reads.explain(world.submit(), "acme").reasons] == [ReasonCode.QUEUE_PAUSED]


def test_r20_says_where_a_limit_of_the_host_s_comes_from(world: World) -> None:
    world.start_worker()
    reads = Reads(world.database, Host(Standing(OrganizationStatus.ACTIVE, max_running=0)))

    (reason,) = reads.explain(world.submit("of-the-host"), "of-the-host").reasons

    assert reason.sentence.endswith("none allowed. The application's own directory sets this limit.")


def test_r20_a_suspension_by_the_host_is_ended_by_the_host(world: World) -> None:
    world.start_worker()
    host = Host(Standing(OrganizationStatus.SUSPENDED))

    (reason,) = Reads(world.database, host).explain(world.submit("of-the-host"), "of-the-host").reasons

    assert reason.sentence.endswith("its jobs wait until the application activates it again.")


def test_r20_one_free_slot_is_enough(world: World, reads: Reads) -> None:
    worker = world.start_worker(slots=1)
    world.start_worker("another", slots=1)
    world.submit()
    world.claim(worker)

    assert reads.explain(world.submit(), "acme").reasons[0].code is ReasonCode.NOTHING_BLOCKS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "code"),
    [
        (Host(Standing(OrganizationStatus.ACTIVE)), ReasonCode.NOTHING_BLOCKS),
        (Host(Standing(OrganizationStatus.SUSPENDED)), ReasonCode.ORGANIZATION_SUSPENDED),
        (Host(Standing(OrganizationStatus.ACTIVE, max_running=0)), ReasonCode.ORGANIZATION_MAX_RUNNING),
        (Host(None), ReasonCode.ORGANIZATION_DELETED),
        (Host(None, is_away=True), ReasonCode.DIRECTORY_AWAY),
    ],
)
def test_r20_the_host_s_directory_is_asked_where_it_keeps_the_organizations(
    world: World, host: Host, code: ReasonCode
) -> None:
    world.start_worker()

    explanation = Reads(world.database, host).explain(world.submit("of-the-host"), "of-the-host")

    assert [reason.code for reason in explanation.reasons] == [code]
