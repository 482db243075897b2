"""Parameters are checked and hashed before the transaction that stores them: on SQLite all others wait for that."""

from collections import UserDict
from collections.abc import Callable, ItemsView, Iterator
from typing import Any

import pytest

from fairlane import Fairlane, JobContext, PayloadTooLarge, Settings, Submission, SubmissionError
from fairlane.domain.origin import acting_from
from fairlane.engine.idempotency import Key
from tests.store.races.scene import BROKEN, Scene

LIMIT = 10_000  # bytes


class Watched(UserDict[str, Any]):
    """A mapping that tells when somebody looks at what is in it."""

    def __init__(self, tell: Callable[[], object]) -> None:
        super().__init__(to="bob")
        self._tell = tell

    def items(self) -> ItemsView[str, Any]:
        self._tell()
        return super().items()


class Counted(list[int]):
    """A list that counts how many of its items were looked at."""

    looks = 0

    def __iter__(self) -> Iterator[int]:
        for item in super().__iter__():
            Counted.looks += 1
            yield item


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """An application that waits for nobody's transaction for long."""
    with Scene(database_url, lock_timeout=0.1, payload_limit=LIMIT) as scene:
        add_letter(scene.fl)
        yield scene


def add_letter(fl: Fairlane) -> None:
    @fl.job_type("letter", max_retries=0)
    def letter(ctx: JobContext, body: Any = None) -> None: ...


@pytest.fixture
def others(scene: Scene) -> list[object]:
    """The jobs that another organization submitted while somebody looked at `watched` parameters."""
    return []


@pytest.fixture
def watched(scene: Scene, others: list[object]) -> dict[str, Any]:
    return {"body": Watched(lambda: others.append(scene.submit(organization="rival", user="rita")))}


def submission(watched: dict[str, Any]) -> Submission:
    return Submission("letter", organization="acme", user="ana", parameters=watched)


def test_others_submit_while_the_parameters_of_a_job_are_checked(scene: Scene, watched, others):
    scene.submit("letter", parameters=watched)
    assert others


def test_others_submit_while_those_of_a_batch_are_checked(scene: Scene, watched, others):
    scene.fl.submit_many([Submission("report", organization="acme"), submission(watched)])
    assert others


def test_others_submit_while_those_under_an_idempotency_key_are_checked(scene: Scene, watched, others):
    scene.fl.idempotency.submit(Key("acme", "ana", "key"), "hash", [submission(watched)])
    assert others


def test_others_submit_while_those_of_a_type_that_was_registered_elsewhere_are_checked(scene: Scene, watched, others):
    scene.submit("letter")
    settings = Settings(url=scene.fl.settings.url, artifacts_url="memory:///", lock_timeout=0.1)
    with Fairlane(settings, clock=scene.clock) as web:
        web.submit("letter", organization="acme", parameters=watched)
    assert others


def test_others_submit_while_those_of_a_retry_are_checked(scene: Scene, watched, others):
    job = scene.submit("letter", parameters={"body": 1})
    scene.end(*scene.worker(job_types=["letter"]).claim(), outcome=BROKEN)
    again = scene.fl.retry(job.id, organization="acme", parameters=watched)
    assert others
    assert again.parameters == {"body": {"to": "bob"}}


@pytest.mark.parametrize("sees_payload", [False, True])
def test_others_submit_while_those_of_a_schedule_are_checked(scene: Scene, watched, others, sees_payload: bool):
    for cron in ("0 6 * * *", "0 7 * * *"):
        with acting_from("a request"):
            put = scene.fl.schedules.put(
                "daily",
                "letter",
                organization="acme",
                cron=cron,
                parameters=watched,
                as_user="olga",
                user="olga",
                sees_payload=sees_payload,
            )
        assert others.pop()
        others.clear()
        assert put.parameters == {"body": {"to": "bob"}}


def test_of_what_is_too_large_no_more_is_looked_at_than_the_limit_has_bytes(scene: Scene):
    for body in (Counted([0] * 1_000_000), [Counted([0] * 10) for _ in range(1_000)], {"x": Counted([0] * LIMIT)}):
        Counted.looks = 0
        with pytest.raises(PayloadTooLarge, match=f"letter have more than {LIMIT} bytes as JSON; store the data"):
            scene.submit("letter", parameters={"body": body})
        assert Counted.looks <= LIMIT
    with pytest.raises(SubmissionError) as refused:
        scene.fl.submit_many(
            [
                Submission("report", organization="acme"),
                Submission("letter", organization="acme", parameters={"body": body}),
            ]
        )
    assert (type(refused.value).__name__, refused.value.index) == ("PayloadTooLarge", 1)


@pytest.mark.parametrize(
    "body", [[0] * 4_995, [[]] * 3_330, "x" * 9_989, ["xy"] * 1_998, [10**100] * 97, [{}] * 3_330, [True] * 1_998]
)
def test_what_is_just_below_the_limit_is_taken(scene: Scene, body: object):
    assert scene.submit("letter", parameters={"body": body}).parameters == {"body": body}
