"""A verb about an organization that is not there says so: a slip in its id must not look like one without jobs."""

from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import uuid4

import pytest

from fairlane import (
    Fairlane,
    FairlaneError,
    JobNotFound,
    Membership,
    OrganizationNotFound,
    OrganizationStatus,
    Standing,
)
from tests.store.races.scene import Scene

Verb = Callable[[Fairlane, Any], object]
JOB = uuid4()
LISTS: dict[str, Verb] = {
    "list": lambda fl, name: fl.list(organization=name),
    "metrics": lambda fl, name: fl.metrics(organization=name),
    "reads.by_status": lambda fl, name: fl.reads.by_status(name),
    "reads.running": lambda fl, name: fl.reads.running(name),
    "reads.queues": lambda fl, name: fl.reads.queues(name),
    "reads.charts.timeline": lambda fl, name: fl.reads.charts.timeline(name),
    "reads.matching.counts": lambda fl, name: fl.reads.matching.counts(name),
    "reads.matching.counts undecided": lambda fl, name: fl.reads.matching.counts(name, undecided=True),
    "reads.matching.known": lambda fl, name: fl.reads.matching.known(name, [JOB]),
    "dead_letters.list": lambda fl, name: fl.dead_letters.list(organization=name),
    "dead_letters.groups": lambda fl, name: fl.dead_letters.groups(organization=name),
    "schedules.list": lambda fl, name: fl.schedules.list(organization=name),
    "bulk.list": lambda fl, name: fl.bulk.list(organization=name),
    "audit.list": lambda fl, name: fl.audit.list(organization=name),
    "tokens.list": lambda fl, name: fl.tokens.list(organization=name),
    "tokens.get": lambda fl, name: fl.tokens.get(uuid4(), organization=name),
    "keys.list": lambda fl, name: fl.keys.list(organization=name),
    "job_types.list": lambda fl, name: fl.job_types.list(organization=name),
    "job_types.breakers": lambda fl, name: fl.job_types.breakers(organization=name),
}
ONES: dict[str, Verb] = {
    "get": lambda fl, name: fl.get(JOB, organization=name),
    "history": lambda fl, name: fl.history(JOB, organization=name),
    "log_lines": lambda fl, name: fl.log_lines(JOB, organization=name),
    "explain": lambda fl, name: fl.explain(JOB, organization=name),
    "result": lambda fl, name: fl.result(JOB, organization=name),
    "wait": lambda fl, name: fl.wait(JOB, organization=name),
    "artifact": lambda fl, name: fl.artifact(JOB, "report.pdf", organization=name),
    "list_artifacts": lambda fl, name: fl.list_artifacts(JOB, organization=name),
    "find_artifact": lambda fl, name: fl.find_artifact(JOB, "report.pdf", organization=name),
    "schedules.get": lambda fl, name: fl.schedules.get("nightly", organization=name),
    "bulk.get": lambda fl, name: fl.bulk.get(JOB, organization=name),
}
OF_MEMBERS: dict[str, Verb] = {"members.list": lambda fl, name: fl.members.list(name)}
# What changes one thing of an organization, which has to be there.
CHANGES_OF_ONE: dict[str, Verb] = {
    "cancel": lambda fl, name: fl.cancel(JOB, organization=name),
    "retry": lambda fl, name: fl.retry(JOB, organization=name),
    "delete": lambda fl, name: fl.delete(JOB, organization=name),
    "dead_letters.retry": lambda fl, name: fl.dead_letters.retry(JOB, organization=name),
    "dead_letters.resolve": lambda fl, name: fl.dead_letters.resolve(JOB, organization=name),
    "dead_letters.ignore": lambda fl, name: fl.dead_letters.ignore(JOB, organization=name),
    "dead_letters.delete": lambda fl, name: fl.dead_letters.delete(JOB, organization=name),
    "schedules.pause": lambda fl, name: fl.schedules.pause("nightly", organization=name),
    "schedules.resume": lambda fl, name: fl.schedules.resume("nightly", organization=name),
    "schedules.submit": lambda fl, name: fl.schedules.submit("nightly", organization=name),
    "schedules.delete": lambda fl, name: fl.schedules.delete("nightly", organization=name),
    "bulk.stop": lambda fl, name: fl.bulk.stop(JOB, organization=name),
}
CHANGES: dict[str, Verb] = {
    "organizations.pause": lambda fl, name: fl.organizations.pause(name),
    "organizations.resume": lambda fl, name: fl.organizations.resume(name),
    "job_types.limit": lambda fl, name: fl.job_types.limit("report", organization=name, max_running=1),
    "job_types.reset_limit": lambda fl, name: fl.job_types.reset_limit("report", organization=name),
    "job_types.close_breaker": lambda fl, name: fl.job_types.close_breaker("report", organization=name),
    "bulk.start": lambda fl, name: fl.bulk.start("cancel", {}, organization=name),
    "dead_letters.retry_group": lambda fl, name: fl.dead_letters.retry_group("E", organization=name),
    "tokens.revoke": lambda fl, name: fl.tokens.revoke(uuid4(), organization=name),
}
CHANGES_OF_MEMBERS: dict[str, Verb] = {
    "members.add": lambda fl, name: fl.members.add(name, "ana"),
    "members.remove": lambda fl, name: fl.members.remove(name, "ana"),
}
VERBS = CHANGES | CHANGES_OF_ONE
READS = LISTS | ONES | OF_MEMBERS


class Host:
    """Know one organization at most, and answer while the test lets it."""

    is_away, known = False, "hosted"

    def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        if self.is_away:
            raise TimeoutError
        return {one: Standing(OrganizationStatus.ACTIVE) for one in ids if one == self.known}

    def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
        return {}


def test_an_unknown_organization_is_said_to_be_unknown(scene: Scene, subtests: pytest.Subtests):
    for name, read in READS.items():
        with subtests.test(name), pytest.raises(OrganizationNotFound, match=r"^There is no organization 'nowhere'"):
            read(scene.fl, "nowhere")


def test_nothing_is_changed_of_an_organization_that_is_unknown(scene: Scene, subtests: pytest.Subtests):
    scene.submit()
    for name, change in (VERBS | CHANGES_OF_MEMBERS).items():
        with subtests.test(name):
            with pytest.raises(OrganizationNotFound, match=r"^There is no organization 'nowhere'; create it\."):
                change(scene.fl, "nowhere")
            assert [one for one in scene.fl.audit.list(organization=None) if one.subject == "nowhere"] == []
            assert [limit.organization for limit in scene.fl.job_types.limits(name="report")] == [None]
    assert not scene.fl.organizations.create("nowhere").paused
    assert scene.fl.bulk.list(organization="nowhere") == ()


def test_where_there_is_nothing_to_change_nothing_is_refused(scene: Scene, subtests: pytest.Subtests):
    scene.submit()
    scene.fl.organizations.create("new")
    for name, change in (CHANGES | CHANGES_OF_MEMBERS).items():
        with subtests.test(name):
            change(scene.fl, "new")


def test_a_host_s_directory_is_asked_before_a_change(database_url: str, subtests: pytest.Subtests):
    with Fairlane(database_url, directory=Host()) as fl:
        fl.job_type("report")(lambda ctx: None)
        fl.submit("report", organization="hosted")
        for name, change in VERBS.items():
            with subtests.test(name):
                with pytest.raises(OrganizationNotFound, match="the application's own directory says so"):
                    change(fl, "nowhere")
                assert [limit.organization for limit in fl.job_types.limits(name="report")] == [None]
                assert [one.id for one in fl.organizations.list() if one.paused] == []


def test_an_organization_can_be_paused_while_its_host_s_directory_is_away(database_url: str):
    host = Host()
    with Fairlane(database_url, directory=host) as fl:
        host.is_away = True
        fl.organizations.pause("hosted")
        host.is_away = False
        assert fl.organizations.get("hosted").paused


DELETED = r"^There is no organization 'acme' any more: it was deleted, and its id stays taken; take another one\.$"


def test_no_job_of_a_deleted_organization_is_submitted_or_retried(scene: Scene):
    job = scene.dead_letter()
    waiting = scene.submit()
    scene.fl.organizations.delete("acme")
    (letter, *_) = scene.fl.dead_letters.list(organization="acme").items
    verbs: list[Callable[[], object]] = [
        lambda: scene.fl.retry(job, organization="acme"),
        lambda: scene.fl.retry(waiting, organization="acme", user="olga"),
        lambda: scene.fl.dead_letters.retry_group(letter.fingerprint, organization="acme"),
        lambda: scene.fl.bulk.start("retry", {}, organization="acme"),
        lambda: scene.fl.organizations.get("acme"),
        lambda: scene.fl.organizations.activate("acme"),
        lambda: scene.fl.members.add("acme", "bo"),
        lambda: scene.fl.submit("report", organization="acme"),
    ]
    for verb in verbs:
        with pytest.raises(OrganizationNotFound, match=DELETED):
            verb()
    assert {one.status for one in scene.fl.list(organization="acme").items} == {"dead_letter"}


def test_what_a_deleted_organization_has_left_can_be_decided_about_and_deleted(scene: Scene):
    job, other = scene.dead_letter(), scene.submit()
    scene.fl.organizations.delete("acme")
    scene.fl.dead_letters.ignore(job, organization="acme")
    assert scene.fl.bulk.start("delete", {"status": "dead_letter"}, organization="acme").changed == 2
    with pytest.raises(JobNotFound):
        scene.fl.get(other, organization="acme")


def test_an_organization_without_anything_is_read_as_such(scene: Scene, subtests: pytest.Subtests):
    scene.fl.organizations.create("new")
    for name, read in (LISTS | OF_MEMBERS).items():
        with subtests.test(name):
            read(scene.fl, "new")


def test_what_an_organization_does_not_have_is_what_is_unknown(scene: Scene, subtests: pytest.Subtests):
    for name, read in ONES.items():
        with subtests.test(name):
            with pytest.raises(FairlaneError) as caught:
                read(scene.fl, "acme")
            assert not isinstance(caught.value, OrganizationNotFound)


def test_a_host_s_directory_is_believed(database_url: str, subtests: pytest.Subtests):
    with Fairlane(database_url, directory=Host()) as fl:
        for name, read in (LISTS | ONES).items():
            with subtests.test(name), pytest.raises(OrganizationNotFound):
                read(fl, "nowhere")


def test_while_a_host_s_directory_is_away_reads_go_on(database_url: str):
    host = Host()
    host.is_away = True
    with Fairlane(database_url, directory=host) as fl:
        assert fl.list(organization="hosted").items == ()


def test_the_audit_is_exported_of_an_organization_that_its_host_has_forgotten(database_url: str):
    host = Host()
    with Fairlane(database_url, directory=host) as fl:
        fl.organizations.pause("hosted", user="olga")
        host.known = ""
        assert [one.action for one in fl.audit.export(organization="hosted")] == ["organizations.pause"]


def test_of_a_deleted_organization_is_read_what_is_left(scene: Scene):
    job = scene.submit()
    scene.fl.organizations.delete("acme")
    assert [one.id for one in scene.fl.list(organization="acme").items] == [job.id]
    assert scene.fl.list(organization="acme", status="running").items == ()


def test_none_is_everybody_for_operators(scene: Scene):
    job = scene.submit()
    assert sum(scene.fl.metrics(organization=None).jobs_by_status.values()) == 1
    assert job.organization == "acme"
    assert scene.fl.job_types.breakers(organization=None) == ()
    assert scene.fl.tokens.list(organization=None) == ()
