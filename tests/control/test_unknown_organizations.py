"""A read of an organization that is not there says so: a slip in its id must not look like one without jobs."""

from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import uuid4

import pytest

from fairlane import Fairlane, FairlaneError, Membership, OrganizationNotFound, OrganizationStatus, Standing
from tests.store.races.scene import Scene

Read = Callable[[Fairlane, Any], object]
JOB = uuid4()
LISTS: dict[str, Read] = {
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
ONES: dict[str, Read] = {
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
OF_MEMBERS: dict[str, Read] = {"members.list": lambda fl, name: fl.members.list(name)}
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


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_an_unknown_organization_is_said_to_be_unknown(scene: Scene, read: Read):
    with pytest.raises(OrganizationNotFound, match=r"^There is no organization 'nowhere'"):
        read(scene.fl, "nowhere")


@pytest.mark.parametrize("read", (LISTS | OF_MEMBERS).values(), ids=LISTS | OF_MEMBERS)
def test_an_organization_without_anything_is_read_as_such(scene: Scene, read: Read):
    scene.fl.organizations.create("new")
    read(scene.fl, "new")


@pytest.mark.parametrize("read", ONES.values(), ids=ONES)
def test_what_an_organization_does_not_have_is_what_is_unknown(scene: Scene, read: Read):
    with pytest.raises(FairlaneError) as caught:
        read(scene.fl, "acme")
    assert not isinstance(caught.value, OrganizationNotFound)


@pytest.mark.parametrize("read", (LISTS | ONES).values(), ids=LISTS | ONES)
def test_a_host_s_directory_is_believed(database_url: str, read: Read):
    with Fairlane(database_url, directory=Host()) as fl, pytest.raises(OrganizationNotFound):
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
