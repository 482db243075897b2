"""R3: sixty-four submitters of one key at the same moment yield one job, however the key became free before."""

import pytest

from fairlane import DuplicateJob, Job
from tests.depth import far
from tests.store.races.race import answers_at_once
from tests.store.races.scene import Scene

SUBMITTERS = 64
WINDOW = 300
# Of each way to free the key. More connections than a pool has by default, so that many are in the database together.
ROUNDS = far(3, 8, 334)


@pytest.mark.parametrize("freed_by", ["expiry", "completion", "cancel"])
def test_one_of_all_submitters_of_a_key_gets_the_job(database_url: str, freed_by: str):
    with Scene(database_url, pool_size=20, lock_timeout=60.0) as scene:
        submitted = []
        for _ in range(ROUNDS):
            answers = answers_at_once([lambda: submit(scene)] * SUBMITTERS)
            (job,) = [answer for answer in answers if isinstance(answer, Job)]
            refusals = [answer for answer in answers if isinstance(answer, DuplicateJob)]
            assert [refusal.existing_id for refusal in refusals] == [job.id] * (SUBMITTERS - 1)
            submitted.append(job.id)
            free(scene, job, freed_by)
        assert scene.total() == len(set(submitted)) == ROUNDS


def submit(scene: Scene) -> Job:
    return scene.submit(dedup_key="one", dedup_window=WINDOW)


def free(scene: Scene, job: Job, by: str) -> None:
    if by == "expiry":
        scene.clock.advance(WINDOW + 1)
    elif by == "cancel":
        scene.fl.cancel(job.id, organization="acme")
    else:
        scene.end(*scene.worker().claim())
