"""Prometheus gets a bounded set of numbers, however many objects they count, and no data of any job."""

from collections import defaultdict
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fairlane.api import exposition
from fairlane.domain.metrics import OTHERS
from tests.api.served import Api

PATH = "/operator/metrics/prometheus"
CANARY = "canary-0815"


def numbers(api: Api) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples by metric and by the values of their labels."""
    answer = api.operator().get(PATH)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == exposition.MEDIA_TYPE
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = tuple(sample.labels.values())
            assert labels not in found[sample.name], "a series that is there twice"
            found[sample.name][labels] = sample.value
    return found


def test_it_says_what_the_numbers_for_operators_say(api: Api):
    for _ in range(2):
        api.fl.submit("report", organization="acme", priority="high")
    api.fl.submit("failing", organization="other")
    api.run()
    api.fl.submit("report", organization="acme")
    api.fl.submit("report", organization="other", delay=3600, queue="slow")
    found, metrics = numbers(api), api.operator().get("/operator/metrics").json()
    assert found["fairlane_jobs"] == {(status,): size for status, size in metrics["jobs_by_status"].items()}
    assert found["fairlane_ready_jobs"] == {(one,): size for one, size in metrics["queue_depth_by_priority"].items()}
    assert found["fairlane_unresolved_dead_letters"] == {(): 1}
    assert found["fairlane_oldest_ready_job_seconds"][()] >= 0
    assert found["fairlane_live_jobs_by_organization"] == {("acme", "queued"): 1, ("other", "pending"): 1}
    assert found["fairlane_live_jobs_by_queue"] == {("default", "queued"): 1, ("slow", "pending"): 1}
    assert found["fairlane_live_jobs_by_job_type"] == {("report", "queued"): 1, ("report", "pending"): 1}
    assert found["fairlane_workers"] == {(): 0}
    assert found["fairlane_attempts_by_job_type"] == {(one,): size for one, size in metrics["attempts_by_type"].items()}
    assert found["fairlane_failure_rate_by_job_type"] == {("report",): 0, ("failing",): 1}
    for name in ("wait", "processing"):
        assert found[f"fairlane_{name}_seconds"].keys() == {("average",), ("p95",)}


def test_it_tells_a_scaler_what_each_queue_needs(api: Api):
    api.fl.submit("report", organization="acme", priority="low")
    api.fl.submit("report", organization="other", priority="high")
    api.fl.submit("report", organization="acme", queue="later", delay=3600)
    found, queues = numbers(api), {one.queue: one for one in api.fl.reads.queues()}
    assert found["fairlane_ready_jobs_by_queue"] == {("default",): 2, ("later",): 0}
    assert found["fairlane_stranded_jobs_by_queue"] == {("default",): 2, ("later",): 1}
    assert found["fairlane_oldest_ready_job_seconds_by_queue"].keys() == {("default",), ("later",)}
    oldest = queues["default"].oldest_seconds
    assert oldest is not None
    assert 0 < found["fairlane_oldest_ready_job_seconds_by_queue"][("default",)] <= oldest
    assert queues["later"].oldest_seconds is None


def test_it_counts_open_circuit_breakers(api: Api):
    assert numbers(api)["fairlane_open_breakers"] == {}
    for _ in range(10):
        api.fl.submit("failing", organization="acme")
    api.run()
    assert numbers(api)["fairlane_open_breakers"] == {("failing",): 1}


def test_it_says_whether_maintenance_mode_is_on(api: Api):
    assert numbers(api)["fairlane_maintenance"] == {(): 0}
    api.fl.maintenance.on()
    assert numbers(api)["fairlane_maintenance"] == {(): 1}


def test_the_largest_have_names_and_the_others_are_counted_together(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exposition, "LARGEST", 2)
    for size, name in enumerate(("one", "two", "three", "four"), start=1):
        api.fl.organizations.create(name)
        for number in range(size):
            api.fl.submit("report", organization=name, delay=3600 if number == 0 else None, queue=f"{name} {number}")
    found = numbers(api)
    assert found["fairlane_live_jobs_by_organization"] == {
        ("four", "queued"): 3,
        ("four", "pending"): 1,
        ("three", "queued"): 2,
        ("three", "pending"): 1,
        (OTHERS, "queued"): 1,
        (OTHERS, "pending"): 2,
    }
    assert len({name for name, _ in found["fairlane_live_jobs_by_queue"]}) == 3
    assert sum(found["fairlane_live_jobs_by_queue"].values()) == 10


def test_job_types_with_most_attempts_have_series_by_name(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exposition, "LARGEST", 1)
    for job_type in ("report", "report", "failing"):
        api.fl.submit(job_type, organization="acme")
    api.run()
    found = numbers(api)
    assert found["fairlane_attempts_by_job_type"] == {("report",): 2}
    assert found["fairlane_processing_seconds_by_job_type"].keys() == {("average", "report"), ("p95", "report")}
    assert found["fairlane_failure_rate_by_job_type"] == {("report",): 0}
    assert found["fairlane_attempts_per_minute"][()] > 0


def test_where_nothing_ended_no_figure_is_made_up(api: Api):
    found = numbers(api)
    assert found["fairlane_wait_seconds"] == found["fairlane_failure_rate_by_job_type"] == {}
    assert found["fairlane_attempts_per_minute"] == {(): 0}


def test_an_organization_named_like_the_others_makes_no_series_twice(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exposition, "LARGEST", 1)
    for queue, size in ((OTHERS, 3), ("second", 2), ("third", 1)):
        for _ in range(size):
            api.fl.submit("report", organization="acme", queue=queue)
    assert numbers(api)["fairlane_live_jobs_by_queue"] == {(OTHERS, "queued"): 6}


@pytest.mark.parametrize("odd", ['a"b', "a\\b", "größe", "a{b}"])
def test_a_name_with_odd_characters_is_read_as_it_is(api: Api, odd: str):
    api.fl.submit("report", organization="acme", queue=odd)
    assert numbers(api)["fairlane_live_jobs_by_queue"] == {(odd, "queued"): 1}


def test_nothing_of_a_job_is_in_it(api: Api):
    user = f"user-{CANARY}"
    api.fl.members.add("acme", user, role="admin")
    given: dict[str, Any] = {"user": user, "labels": {"case": f"label-{CANARY}"}, "dedup_key": f"key-{CANARY}"}
    job = api.fl.submit("report", organization="acme", parameters={"month": f"month-{CANARY}"}, **given)
    api.fl.submit("failing", organization="acme", parameters={"text": f"text-{CANARY}"}, user=user)
    api.run()
    waiting = api.fl.submit("report", organization="acme", parameters={"month": f"again-{CANARY}"}, **given)
    text = api.operator().get(PATH).text
    for secret in (CANARY, str(job.id), job.id.hex, str(waiting.id), "ValueError"):
        assert secret not in text


@pytest.mark.parametrize("user", ["viewer", "member", "admin"])
def test_it_is_for_operators(api: Api, user: str):
    assert api.as_(user).get(PATH).status_code == 403


def test_a_token_that_may_only_look_at_numbers_is_enough_and_opens_no_jobs(api: Api):
    narrow = api.operator(scopes=["metrics:read"])
    assert narrow.get(PATH).status_code == 200
    refused = (
        "/organizations/acme/jobs",
        "/operator/running-jobs",
        "/operator/dead-letter-groups",
        "/operator/workers",
    )
    assert {narrow.get(path).status_code for path in refused} == {403}
    assert api.operator(scopes=["audit:read"]).get(PATH).status_code == 403
