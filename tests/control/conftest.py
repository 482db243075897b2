"""A `Scene` on each kind of database."""

from collections.abc import Iterator

import pytest

from tests.store.races.race import Race
from tests.store.races.scene import Scene


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """An application and its people; at the end every job's log must agree with its row."""
    with Scene(database_url) as scene:
        yield scene


@pytest.fixture
def race(scene: Scene, database_url: str) -> Iterator[Race]:
    """Transactions of the scene's database, side by side."""
    race = Race(scene.fl.database, database_url)
    yield race
    race.close()
