"""Two cleaners beside each other, and beside an attempt that stores a file."""

from functools import partial
from uuid import UUID, uuid4

import pytest

from fairlane.encryption.artifacts import ObjectStorage
from fairlane.engine.cleanup import delete_files
from fairlane.store.statements import attempts, doomed_files
from fairlane.store.statements.attempts import AttemptKey
from tests.store.races.race import Race, at_once
from tests.store.races.scene import Scene, Work, key_of
from tests.store.races.test_cleanup import grow_old, refer

GRACE = doomed_files.GRACE.total_seconds()


@pytest.fixture
def storage() -> ObjectStorage:
    return ObjectStorage("memory:///")


def doom(scene: Scene, storage: ObjectStorage, count: int) -> list[str]:
    """Files in the storage that no job has any more."""
    paths = [f"acme/{number}" for number in range(count)]
    for path in paths:
        storage.put(path, b"data")
    scene.write(lambda connection: doomed_files.doom(connection, scene.now, "acme", paths))
    return paths


def taking(scene: Scene) -> Work[list[str]]:
    return lambda connection: [file.path for file in doomed_files.take_due(connection, scene.now, 1000)]


def announced(scene: Scene, attempt: AttemptKey) -> UUID:
    file_id = uuid4()
    scene.write(lambda c: doomed_files.announce(c, scene.now, attempt, file_id, f"acme/{file_id}"))
    return file_id


def test_the_second_cleaner_passes_by_what_the_first_has_taken(scene: Scene, race: Race, storage: ObjectStorage):
    paths = doom(scene, storage, 3)
    with race.open() as first:
        assert sorted(taking(scene)(first)) == paths
        second = race.passes(partial(delete_files, scene.fl.database, storage))
    assert second.result() == 0


@pytest.mark.slow
def test_each_file_is_deleted_once_however_many_cleaners_there_are(
    scene: Scene, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
):
    paths, deleted = doom(scene, storage, 50), list[str]()
    monkeypatch.setattr(storage, "delete", deleted.append)
    sweeps = [partial(delete_files, scene.fl.database, storage)] * 6
    assert sum(at_once(sweeps)) + sweeps[0]() == 50
    assert sorted(deleted) == sorted(paths)


def test_a_cleaner_passes_by_a_file_that_is_becoming_a_job_s(scene: Scene, race: Race):
    scene.submit()
    (claimed,) = scene.worker().claim()
    lease = key_of(claimed)
    file_id = announced(scene, lease)
    scene.clock.advance(GRACE + 1)
    file = {"name": "a", "path": f"acme/{file_id}", "size": 1, "content_type": "text/plain", "sha256": "0"}
    with race.open() as storing:
        assert attempts.set_artifact(storing, scene.now, lease, file)
        doomed_files.keep(storing, "acme", [file_id])
        cleaner = race.passes(lambda: scene.write(taking(scene)))
    assert cleaner.result() == []
    scene.end(claimed)
    assert scene.write(taking(scene)) == []


def test_a_file_whose_job_can_not_be_deleted_is_not_doomed(scene: Scene):
    job = scene.submit()
    (claimed,) = scene.worker().claim()
    file = {"name": "a", "path": "acme/a", "size": 1, "content_type": "text/plain", "sha256": "0"}
    scene.write(lambda c: attempts.set_artifact(c, scene.now, key_of(claimed), file))
    scene.end(claimed)
    grow_old(scene)
    scene.write(lambda connection: refer(connection, job, "DEFERRED"))
    assert scene.cleaner().run_once() == 0
    assert scene.write(taking(scene)) == []
