"""A plain submission is a prepared statement of its connection, and needs nobody who keeps it."""

import asyncio
from collections.abc import Iterator

import pytest

from fairlane import InvalidParameters, Job
from tests.store.races.scene import Scene

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with Scene(database_url) as scene:
        scene.submit()
        yield scene


def test_it_is_prepared_again_where_the_server_has_forgotten_it(scene: Scene) -> None:
    for _ in range(3):
        scene.fl.database.write(lambda connection: connection.exec_driver_sql("DEALLOCATE ALL"))
        scene.submit()
    assert scene.total() == 4


async def test_on_a_loop_each_connection_prepares_its_own(scene: Scene) -> None:
    async def submit() -> Job:
        return await scene.fl.aio.submit("report", organization="acme", user="ana")

    async def some() -> list[Job]:
        return [await submit() for _ in range(4)]

    jobs = [*await some(), *await asyncio.to_thread(asyncio.run, some())]
    assert len({job.id for job in jobs}) == 8
    assert scene.total() == 9


def test_a_text_that_would_be_cut_off_is_refused(scene: Scene) -> None:
    with pytest.raises(InvalidParameters):
        scene.fl.database.write_one("SELECT %(name)s::text", lambda: [{"name": "acme\0rival"}])
