"""`fl.aio`: every verb has an async twin, with the same arguments and the same effect (R1)."""

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from fairlane import Fairlane, Job, JobNotFound, JobStatus, Membership, OrganizationStatus, Role, Standing
from tests.patience import PATIENCE
from tests.store.races.scene import Scene

# What an async application has no use for: it decorates, builds and closes as any other. An export is an iterator, of
# pages that `list` gives.
SYNC_ONLY = {"close", "job_type", "middleware", "on_submit", "worker", "export"}
# Its sync twin would hold a thread for as long as a job runs; `wait` does that, with a timeout.
ASYNC_ONLY = {"watch"}
_MANY = 60  # more than there are threads
GROUPS = (
    *("organizations", "members", "queues", "maintenance", "job_types", "dead_letters", "bulk", "schedules"),
    *("users", "tokens", "keys", "audit", "workers"),
)


def verbs(thing: object) -> set[str]:
    """The names of its class's public methods."""
    return {name for name in dir(type(thing)) if not name.startswith("_") and callable(getattr(type(thing), name))}


def test_every_verb_has_an_async_twin_with_its_documentation():
    with Fairlane("sqlite://") as fl:
        pairs = [(fl, fl.aio), *((getattr(fl, group), getattr(fl.aio, group)) for group in GROUPS)]
        for sync, twin in pairs:
            assert verbs(sync) - SYNC_ONLY == verbs(twin) - ASYNC_ONLY
            for name in verbs(twin) - ASYNC_ONLY:
                assert getattr(twin, name).__doc__ == getattr(sync, name).__doc__


def test_a_verb_that_nobody_awaits_is_named():
    with Fairlane("sqlite://") as fl, pytest.warns(RuntimeWarning, match=r"'Fairlane\.submit' was never awaited"):
        fl.aio.submit("report", organization="acme")


@pytest.mark.slow
async def test_who_waits_for_jobs_takes_no_thread_from_another_organization(scene: Scene):
    fl = scene.fl.aio
    jobs = [scene.submit() for _ in range(_MANY)]
    waits = [asyncio.create_task(fl.wait(job, organization="acme", timeout=None)) for job in jobs]
    for _ in range(3):
        await asyncio.wait_for(fl.list(organization="rival"), PATIENCE)
    assert not any(one.done() for one in waits)
    for job in jobs:
        await fl.cancel(job, organization="acme", user="olga")
    assert {one.status for one in await asyncio.gather(*waits)} == {JobStatus.CANCELED}


async def test_a_job_s_life_through_async_verbs(scene: Scene):
    fl = scene.fl.aio
    await fl.organizations.create("new", max_live_jobs=1)
    await fl.members.add("new", "ana", role="admin")
    job = await fl.submit("report", organization="new", user="ana", parameters={"n": 7})
    assert await fl.get(job.id, organization="new") == job
    assert (await fl.list(organization="new")).items == (job,)
    canceled = await fl.cancel(job.id, organization="new", user="ana")
    assert canceled.status == JobStatus.CANCELED
    assert [entry.to_status for entry in await fl.history(job.id, organization="new")] == ["queued", "canceled"]
    with pytest.raises(JobNotFound):
        await fl.cancel(job.id, organization="acme", user="ana")


async def test_dead_letters_through_async_verbs(scene: Scene):
    letters = scene.fl.aio.dead_letters
    job = await asyncio.to_thread(scene.dead_letter)
    (group,) = await letters.groups(organization="acme")
    await letters.ignore(job.id, organization="acme", user="olga")
    assert (await letters.list(organization="acme")).items == ()
    assert (await letters.retry_group(group.fingerprint, organization="acme")).retried == 0
    assert (await letters.retry(job.id, organization="acme", user="olga")).status == JobStatus.QUEUED


class SlowDirectory:
    """It answers a question about members when the test lets it. Knows nobody, or ana."""

    def __init__(self, *, known: bool) -> None:
        self.known = known
        self.loop, self.asked, self.answer = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def organizations(self, ids: Collection[str]) -> Mapping[str, Standing]:
        return {one: Standing(OrganizationStatus.ACTIVE) for one in ids}

    def members(self, pairs: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Membership]:
        self.loop.call_soon_threadsafe(self.asked.set)
        assert self.answer.wait(20)
        return {pair: Membership(Role.MEMBER) for pair in pairs if self.known}


async def test_the_loop_turns_while_a_verb_waits_for_the_directory(scene: Scene):
    """A verb that never came back would be one that waits on the loop's own thread."""
    directory = SlowDirectory(known=False)
    fl = Fairlane(scene.fl.settings, directory=directory, clock=scene.clock)
    job = await asyncio.to_thread(scene.submit)
    verb = asyncio.ensure_future(fl.aio.cancel(job.id, organization="acme", user="ana"))
    await asyncio.wait_for(directory.asked.wait(), 20)
    directory.answer.set()
    with pytest.raises(JobNotFound):
        await verb
    fl.close()


async def test_a_verb_takes_the_turn_of_its_organization_however_that_is_given(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    taken = list[Collection[str]]()
    run = scene.fl._threads.run

    async def note(organizations: Collection[str], work: Callable[[], Any]) -> Any:
        taken.append(organizations)
        return await run(organizations, work)

    monkeypatch.setattr(scene.fl._threads, "run", note)
    fl = scene.fl.aio
    await fl.organizations.get("acme")
    await fl.organizations.get(organization="rival")
    await fl.members.list("acme")
    await fl.list(organization="rival")
    await fl.metrics()
    assert taken == [["acme"], ["rival"], ["acme"], ["rival"], [""]]


async def test_an_organization_whose_submissions_wait_leaves_threads_to_the_others(scene: Scene):
    directory = SlowDirectory(known=True)
    fl = Fairlane(scene.fl.settings, directory=directory, clock=scene.clock)
    await asyncio.to_thread(scene.submit)  # registers the type

    def submit(organization: str, user: str | None) -> asyncio.Task[Job]:
        more: dict[str, Any] = {"organization": organization, "user": user, "labels": {"a": "b"}}
        return asyncio.ensure_future(fl.aio.submit("report", **more))

    crowd = [submit("acme", "ana") for _ in range(_MANY)]
    await asyncio.wait_for(directory.asked.wait(), PATIENCE)
    assert (await asyncio.wait_for(submit("rival", None), PATIENCE)).organization == "rival"
    assert not any(one.done() for one in crowd)
    directory.answer.set()
    await asyncio.gather(*crowd)
    fl.close()


async def test_the_loop_turns_while_a_submission_in_the_caller_s_transaction_waits_for_the_directory(scene: Scene):
    directory = SlowDirectory(known=True)
    fl = Fairlane(scene.fl.settings, directory=directory, clock=scene.clock)
    await asyncio.to_thread(scene.submit)  # registers the type
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}[fl.database.engine.dialect.name]
    theirs = create_async_engine(make_url(fl.settings.url).set(drivername=driver))
    async with theirs.begin() as connection:
        verb = asyncio.ensure_future(fl.aio.submit("report", organization="acme", user="ana", connection=connection))
        await asyncio.wait_for(directory.asked.wait(), 20)
        directory.answer.set()
        job = await verb
    await theirs.dispose()
    fl.close()
    assert (await scene.fl.aio.get(job.id, organization="acme")).user == "ana"
