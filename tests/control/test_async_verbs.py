"""`fl.aio`: every verb has an async twin, with the same arguments and the same effect (R1)."""

import asyncio
import threading

import pytest

from fairlane import Fairlane, JobNotFound, JobStatus
from tests.store.races.scene import Scene

# What an async application has no use for: it decorates, builds and closes as any other.
SYNC_ONLY = {"close", "job_type", "worker"}
GROUPS = ("organizations", "members", "queues", "job_types", "dead_letters")


def verbs(thing: object) -> set[str]:
    """The names of its class's public methods."""
    return {name for name in dir(type(thing)) if not name.startswith("_") and callable(getattr(type(thing), name))}


def test_every_verb_has_an_async_twin_with_its_documentation():
    with Fairlane("sqlite://") as fl:
        pairs = [(fl, fl.aio), *((getattr(fl, group), getattr(fl.aio, group)) for group in GROUPS)]
        for sync, twin in pairs:
            assert verbs(sync) - SYNC_ONLY == verbs(twin)
            for name in verbs(twin):
                assert getattr(twin, name).__doc__ == getattr(sync, name).__doc__


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
    (group,) = await letters.groups("acme")
    await letters.ignore(job.id, "acme", user="olga")
    assert (await letters.list("acme")).items == ()
    assert await letters.retry_group(group.fingerprint, "acme") == 0
    assert (await letters.retry(job.id, "acme", user="olga")).status == JobStatus.QUEUED


async def test_the_loop_turns_while_a_verb_waits_for_the_database(scene: Scene):
    """A verb that never came back would be one that waits on the loop's own thread."""
    asked, answer = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class SlowDirectory:
        def organizations(self, ids):
            return {}

        def members(self, pairs):
            loop.call_soon_threadsafe(asked.set)
            assert answer.wait(20)
            return {}

    fl = Fairlane(scene.fl.settings, directory=SlowDirectory(), clock=scene.clock)
    job = await asyncio.to_thread(scene.submit)
    verb = asyncio.ensure_future(fl.aio.cancel(job.id, organization="acme", user="ana"))
    await asyncio.wait_for(asked.wait(), 20)
    answer.set()
    with pytest.raises(JobNotFound):
        await verb
    fl.close()
