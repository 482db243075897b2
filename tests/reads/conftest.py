"""A `World` on each kind of database."""

from collections.abc import Iterator

import pytest

from fairlane.reads.service import Reads
from tests.reads.world import World


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """Two organizations, acme and rival, and a clock that stands still until the test moves it."""
    world = World(database_url)
    yield world
    world.database.close()


@pytest.fixture
def reads(world: World) -> Reads:
    """The service under test."""
    return Reads(world.database)
