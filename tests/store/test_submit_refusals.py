"""Refusals of a submission: each reason has an error of its own, the same on every way in (R1)."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from fairlane import (
    ConfigurationError,
    Fairlane,
    FairlaneError,
    InvalidParameters,
    Job,
    JobContext,
    JobTypeDisabled,
    JobTypeNotFound,
    OrganizationNotFound,
    OrganizationSuspended,
    ParentNotFound,
    PayloadTooLarge,
    PermissionDenied,
    Settings,
    Submission,
    SubmissionError,
)
from fairlane.domain.statuses import Role
from tests.store.races.scene import Scene

NOBODY = UUID("01900000-0000-7000-8000-000000000000")


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with Scene(database_url) as scene:
        fl = scene.fl

        @fl.job_type("letter", dedup_window=0)
        def letter(ctx: JobContext, to: str, copies: int = 1) -> None: ...

        @fl.job_type("secret", dedup_window=0, requires_permission="secrets")
        def secret(ctx: JobContext) -> None: ...

        scene.add_type("retired")
        fl._submitter.register_types()  # as `migrate` does, which would look at a schema that is there
        fl.job_types.disable("retired")
        fl.organizations.create("idle")
        fl.organizations.suspend("idle")
        fl.organizations.create("gone")
        fl.organizations.delete("gone")
        yield scene


def good() -> Submission:
    return Submission("letter", organization="acme", user="ana", parameters={"to": "bob"}, dedup_window=0)


def one(fl: Fairlane, **fields: Any) -> list[Job]:
    return [fl.submit(fields.pop("job_type"), **fields)]


def bulk(fl: Fairlane, **fields: Any) -> list[Job]:
    return fl.submit_many([good(), Submission(**fields)])


def one_async(fl: Fairlane, **fields: Any) -> list[Job]:
    async def submit() -> Job:
        return await fl.aio.submit(fields.pop("job_type"), **fields)

    return [asyncio.run(submit())]


def bulk_async(fl: Fairlane, **fields: Any) -> list[Job]:
    async def submit() -> list[Job]:
        return await fl.aio.submit_many([good(), Submission(**fields)])

    return asyncio.run(submit())


WAYS: dict[Callable[..., list[Job]], int | None] = {one: None, bulk: 1, one_async: None, bulk_async: 1}


def refused(scene: Scene, kind: type[FairlaneError], match: str, **fields: Any) -> None:
    """Every way refuses it with the same error, which names its place in a batch, and leaves nothing behind."""
    wanted = {"job_type": "letter", "organization": "acme", "user": "ana", "parameters": {"to": "bob"}} | fields
    for way, index in WAYS.items():
        with pytest.raises(kind, match=match) as error:
            way(scene.fl, **wanted)
        assert isinstance(error.value, SubmissionError)
        assert type(error.value).__name__ == kind.__name__
        assert error.value.index == index
    assert scene.total() == scene.total("rival") == 0


def test_every_way_accepts_what_is_right(scene: Scene):
    for way in WAYS:
        way(scene.fl, job_type="letter", organization="acme", user="ana", parameters={"to": "bob"})
    assert scene.total() == 6


class TestOrganization:
    def test_an_unknown_one(self, scene: Scene):
        refused(scene, OrganizationNotFound, "There is no organization 'nobody'", organization="nobody")

    def test_a_deleted_one_looks_like_an_unknown_one(self, scene: Scene):
        refused(scene, OrganizationNotFound, "There is no organization 'gone'", organization="gone")

    def test_a_suspended_one(self, scene: Scene):
        refused(scene, OrganizationSuspended, "Organization idle is suspended", organization="idle")

    @pytest.mark.parametrize("odd", ["", "a,b", "a/b", "a\0b", "a\nb", "x" * 141, "\ud800", ".", "..", "-a"], ids=ascii)
    def test_an_id_that_none_can_have(self, scene: Scene, odd: str):
        with pytest.raises(ConfigurationError, match="1 to 140 printable characters"):
            scene.fl.organizations.create(odd)
        refused(scene, OrganizationNotFound, "There is no organization", organization=odd)

    @pytest.mark.parametrize("odd", [["acme"], 7, None], ids=ascii)
    def test_what_is_no_text(self, scene: Scene, odd: Any):
        refused(scene, InvalidParameters, "organization must be", organization=odd)

    @pytest.mark.parametrize("odd", ["x" * 140, "Grüße & 日本", "a b", "';--", "%_\\", "None"], ids=ascii)
    def test_an_odd_id_that_is_allowed(self, scene: Scene, odd: str):
        scene.fl.organizations.create(odd)
        job = scene.submit(organization=odd, user=None)
        assert scene.get(job, odd).organization == odd
        assert scene.total() == 0


class TestJobType:
    def test_an_unknown_one(self, scene: Scene):
        refused(scene, JobTypeNotFound, "Job type fax is not registered", job_type="fax")

    def test_a_name_that_none_can_have(self, scene: Scene):
        refused(scene, JobTypeNotFound, "is not registered", job_type="a\0b")

    def test_a_disabled_one(self, scene: Scene):
        refused(scene, JobTypeDisabled, "Job type retired is disabled", job_type="retired", parameters={})


class TestUser:
    @pytest.mark.parametrize("user", ["nemo", "rita", "", "a\0b", "x" * 201], ids=ascii)
    def test_one_who_is_no_member(self, scene: Scene, user: str):
        refused(scene, PermissionDenied, "is not a member of organization acme", user=user)

    def test_a_viewer(self, scene: Scene):
        refused(scene, PermissionDenied, "vic may not submit letter in acme: it needs the role member", user="vic")

    def test_a_member_without_the_right(self, scene: Scene):
        refused(scene, PermissionDenied, "it needs permission secrets", job_type="secret", parameters={})

    def test_a_viewer_with_the_right_is_still_a_viewer(self, scene: Scene):
        scene.fl.members.add("acme", "vic", role=Role.VIEWER, permissions=["secrets"])
        refused(scene, PermissionDenied, "vic may not submit", job_type="secret", user="vic", parameters={})

    @pytest.mark.parametrize("user", ["ana", "olga", None], ids=["member with the right", "admin", "system"])
    def test_those_who_may(self, scene: Scene, user: str | None):
        scene.fl.members.add("acme", "ana", permissions=["secrets"])
        assert scene.submit("secret", user=user).user == user


class TestParameters:
    @pytest.mark.parametrize(
        ("parameters", "match"),
        [
            ({}, "parameter 'to' is missing"),
            ({"to": "bob", "copy": 2}, "unknown parameter 'copy', did you mean 'copies'"),
            ({"to": "bob", "copies": "two"}, "parameter 'copies' must be"),
            ({"to": 7}, "parameter 'to' must be"),
            ({"to": object()}, "letter:"),
            ({"to": "a\0b"}, "letter:"),
            ({"to": "\ud800"}, "letter:"),
            ({"to": "bob", "copies": float("nan")}, "letter:"),
        ],
        ids=["missing", "unknown", "wrong type", "number for text", "no JSON", "NUL", "surrogate", "NaN"],
    )
    def test_they_must_fit_the_handler(self, scene: Scene, parameters: dict[str, Any], match: str):
        refused(scene, InvalidParameters, match, parameters=parameters)

    def test_their_size_is_limited_to_the_byte(self, scene: Scene):
        limit = scene.fl.settings.payload_limit
        assert limit == 256 * 1024
        fits = "x" * (limit - len('{"to":""}'))
        match = f"have more than {limit} bytes as JSON"
        refused(scene, PayloadTooLarge, match, parameters={"to": fits + "x"})
        assert len(scene.submit("letter", parameters={"to": fits}).parameters["to"]) == len(fits)

    def test_their_size_counts_bytes_and_not_characters(self, scene: Scene):
        refused(scene, PayloadTooLarge, "bytes as JSON", parameters={"to": "ü" * 140_000})

    def test_the_limit_can_be_set_up_to_a_mebibyte(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("FAIRLANE_PAYLOAD_LIMIT", str(1024 * 1024))
        assert Settings.load().payload_limit == 1024 * 1024
        monkeypatch.setenv("FAIRLANE_PAYLOAD_LIMIT", str(1024 * 1024 + 1))
        with pytest.raises(ConfigurationError, match="payload_limit"):
            Settings.load()


class TestParents:
    def test_a_foreign_one_looks_like_an_unknown_one(self, scene: Scene):
        foreign = scene.submit(organization="rival", user="rita")
        texts = set()
        for parent in (foreign.id, NOBODY):
            with pytest.raises(ParentNotFound) as error:
                scene.submit(depends_on=[parent])
            texts.add(str(error.value).replace(str(parent), "…"))
        assert texts == {"Parent … is not a job of organization acme."}
        assert scene.total() == 0

    @pytest.mark.parametrize("parent", [NOBODY, str(NOBODY), "no-id", ""], ids=repr)
    def test_an_unknown_one(self, scene: Scene, parent: UUID | str):
        refused(scene, ParentNotFound, "is not a job of organization acme", depends_on=[parent])

    @pytest.mark.parametrize("odd", [None, 7, [7], [None], [["x"]]], ids=repr)
    def test_what_names_no_job_at_all(self, scene: Scene, odd: Any):
        refused(scene, ParentNotFound, r"depends_on names jobs or their ids, for example \[job\.id\]", depends_on=odd)

    def test_ids_that_were_chosen_to_have_one_hash(self, scene: Scene):
        """To order 10,000 of them took more than four seconds of the node's processor."""
        chosen = [UUID(int=NOBODY.int + number * sys.hash_info.modulus) for number in range(100)]
        refused(scene, ParentNotFound, "chosen to have the same hash", depends_on=chosen)
        refused(scene, ParentNotFound, "is not a job of", depends_on=[UUID(int=NOBODY.int + n) for n in range(100)])

    def test_one_parent_needs_no_list(self, scene: Scene):
        parent = scene.submit()
        for named in (parent, parent.id, str(parent.id), [parent]):
            for way in WAYS:
                fields = {"job_type": "letter", "organization": "acme", "parameters": {"to": "eve"}, "dedup_window": 0}
                assert way(scene.fl, depends_on=named, **fields)[-1].depends_on == (parent.id,)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"run_at": datetime(2026, 12, 1)}, "run_at must be a datetime with a time zone"),  # noqa: DTZ001 - that is the mistake
        ({"run_at": "aware", "delay": 5}, "Give run_at or delay, not both"),
        ({"delay": -1}, "delay must be seconds"),
        ({"delay": float("inf")}, "delay must be seconds"),
        ({"timeout": 10**400}, "timeout must be seconds"),
        pytest.param({"timeout": 10**5000}, "not a number of thousands of digits", id="timeout of 5000 digits"),
        pytest.param({"max_retries": 10**5000}, "not a number of thousands of digits", id="max_retries of 5000 digits"),
        ({"delay": timedelta(days=40_000)}, "delay must be at most 100 years"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"timeout": timedelta(0)}, "timeout must be above 0"),
        ({"timeout": -1}, "timeout must be seconds"),
        ({"max_retries": -1}, "max_retries must be a whole number"),
        ({"max_retries": 1.5}, "max_retries must be a whole number"),
        ({"priority": "urgent"}, "priority must be one of low, normal, high, critical"),
        ({"queue": ""}, "queue must be text of 1 to 200"),
        ({"queue": "a\nb"}, "queue must be text of 1 to 200"),
        ({"dedup_key": ""}, "dedup_key must be text of 1 to 200"),
        ({"dedup_window": -1}, "dedup_window must be seconds"),
        ({"on_duplicate": "merge"}, "on_duplicate must be one of reject, return, replace"),
        ({"on_parent_failure": "ignore"}, "on_parent_failure must be one of dead_letter, cancel, run_anyway"),
        ({"labels": {"": "x"}}, "A label's name must be text"),
        ({"labels": {"month": "x" * 201}}, "Label 'month' must be text"),
        ({"labels": {"month": 11}}, "Label 'month' must be text"),
        ({"labels": {str(n): "x" for n in range(51)}}, "at most 50 labels, not 51"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_options_that_make_no_sense(scene: Scene, fields: dict[str, Any], match: str):
    if fields.get("run_at") == "aware":
        fields = fields | {"run_at": scene.now}
    refused(scene, InvalidParameters, match, **({"dedup_window": 60} | fields))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rate_limit_window": 86_400.5}, "rate_limit_window must be above 0 and at most 86400 s"),
        ({"rate_limit_window": 0}, "rate_limit_window must be above 0"),
        ({"rate_limit": -1}, "rate_limit must be a whole number"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"max_retries": -1}, "max_retries must be a whole number"),
        ({"dedup_window": -1}, "dedup_window must be seconds"),
        ({"max_running": 0.5}, "max_running must be a whole number"),
        ({"priority": "urgent"}, "priority must be one of"),
        ({"backoff": []}, "backoff needs at least one wait"),
    ],
    ids=str,
)
def test_a_type_with_options_that_make_no_sense_is_a_configuration_error(options: dict[str, Any], match: str):
    with Fairlane("sqlite://") as fl, pytest.raises(ConfigurationError, match=f"letter: {match}"):
        fl.job_type("letter", **options)


def test_a_rate_window_of_a_whole_day_is_allowed():
    with Fairlane("sqlite://") as fl:
        fl.job_type("letter", rate_limit=1, rate_limit_window=timedelta(days=1))
