"""A newcomer's mistakes are refused with a sentence that says what to write."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fairlane import (
    ConfigurationError,
    DuplicateJob,
    Fairlane,
    InvalidParameters,
    JobContext,
    JobTypeNotFound,
    RateLimited,
    Settings,
    Submission,
    SubmissionError,
)

GOOD = Submission("label.print", organization="acme", parameters={"sample": "a"})


def job_type_named(name: str) -> object:
    with Fairlane("sqlite:///:memory:") as other:
        return other.job_type(name)(lambda ctx: None)


@pytest.fixture
def fl(sqlite_url: str) -> Iterator[Fairlane]:
    with Fairlane(sqlite_url) as made:
        made.organizations.create("acme")

        @made.job_type("label.print")
        def print_label(ctx: JobContext, sample: str, copies: int = 1) -> None: ...

        yield made


@pytest.mark.parametrize("backoff", [5, "60", {60}])
def test_a_backoff_that_is_no_list(fl: Fairlane, backoff: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^a: backoff must be a Backoff or a list of waits, for example \[60, 300\]"
    ):
        fl.job_type("a", backoff=backoff)


@pytest.mark.parametrize("errors", [ValueError, [ValueError()], ["ValueError"], "ValueError"], ids=repr)
def test_exceptions_that_are_no_list_of_classes(fl: Fairlane, errors: Any) -> None:
    sentence = r"^a: transient must be a list of exception classes, for example \[TimeoutError\], not "
    with pytest.raises(ConfigurationError, match=sentence):
        fl.job_type("a", transient=errors)


def test_a_job_type_in_place_of_its_name(fl: Fairlane) -> None:
    job_type: Any = fl.catalogue.mine["label.print"]

    sentence = r"^job_type must be a name: write 'label\.print', or print_label\.submit\(…\)\(…\)\.$"
    with pytest.raises(InvalidParameters, match=sentence) as refused:
        fl.submit(job_type, organization="acme", parameters={"sample": "a"})
    assert isinstance(refused.value, SubmissionError)
    with pytest.raises(InvalidParameters, match=r"^job_type must be a name, not 5\.$"):
        fl.submit(5, organization="acme")  # type: ignore[arg-type]


def test_a_slip_in_a_parameter_s_name_is_told_alike_by_the_typed_submit(fl: Fairlane) -> None:
    job_type: Any = fl.catalogue.mine["label.print"]
    sentence = r"^label\.print: parameter 'sample' is missing .*; unknown parameter 'smple', did you mean 'sample'\?$"

    with pytest.raises(InvalidParameters, match=sentence):
        job_type.submit(organization="acme")(smple="a")
    with pytest.raises(InvalidParameters, match=sentence):
        fl.submit("label.print", organization="acme", parameters={"smple": "a"})


def test_a_duplicate_by_its_key_names_the_key_and_not_the_parameters(fl: Fairlane) -> None:
    fl.submit("label.print", organization="acme", parameters={"sample": "a"}, dedup_key="batch 7")

    with pytest.raises(DuplicateJob, match=r"^A label\.print job with dedup_key 'batch 7' is queued: "):
        fl.submit("label.print", organization="acme", parameters={"sample": "b"}, dedup_key="batch 7")
    fl.submit("label.print", organization="acme", parameters={"sample": "a"})
    with pytest.raises(DuplicateJob, match=r"^An identical label\.print job is queued: "):
        fl.submit("label.print", organization="acme", parameters={"sample": "a"})


@pytest.mark.parametrize("label", ["a", "ab", ("a", "b", "c"), ("a", 5), {"a": 5}, 5])
def test_a_label_that_is_no_pair(fl: Fairlane, label: Any) -> None:
    with pytest.raises(InvalidParameters, match=r"^label must be a name and its value, like \('sample', '42'\)"):
        fl.list(organization="acme", label=label)


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        ({"limit": "5"}, "A page has 1 to 1000 items, not '5'."),
        ({"status": 5}, "A status is one of pending, queued,"),
        ({"job_type": 5}, "job_type must be text, not 5."),
        ({"text": 5}, "text must be text, not 5."),
        ({"created_after": "2026"}, "created_after must be a datetime with a time zone, for example datetime("),
        ({"created_before": 5}, "created_before must be a datetime with a time zone, for example datetime("),
        ({"job_type": job_type_named("mail.send")}, "job_type must be text, not <JobType 'mail.send'>."),
    ],
)
def test_a_filter_of_another_type(fl: Fairlane, filters: Any, sentence: str) -> None:
    with pytest.raises(InvalidParameters) as refused:
        fl.list(organization="acme", **filters)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("filters", [{"text": 5}, {"created_before": "x"}])
def test_a_filter_of_another_type_in_a_bulk_action(fl: Fairlane, filters: Any) -> None:
    with pytest.raises(InvalidParameters, match=r"^(text must be text|created_before must be a datetime)"):
        fl.bulk.start("cancel", filters, organization="acme")
    assert fl.bulk.list(organization="acme") == ()


def test_a_rate_of_none_is_not_told_to_be_split(fl: Fairlane) -> None:
    fl.job_type("zero", rate_limit=0)(lambda ctx: None)

    with pytest.raises(RateLimited, match=r"^Nobody may submit zero: its rate_limit is 0; raise it\.$") as refused:
        fl.submit("zero", organization="acme")
    assert refused.value.retry_after is None


@pytest.mark.parametrize("weight", [0, 10**12, "2"])
def test_a_weight_outside_of_its_bounds(fl: Fairlane, weight: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"^weight must be a whole number from 1 to 2147483647, not {weight!r}\.$"
    ):
        fl.organizations.create("beta", weight=weight)
    with pytest.raises(ConfigurationError, match=r"^weight must be a whole number from 1 to "):
        fl.organizations.update("acme", weight=weight)


@pytest.mark.parametrize("concurrency", ["4", 4.5, 0, None])
def test_a_worker_s_concurrency_that_is_no_number(fl: Fairlane, concurrency: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"concurrency must be a whole number from 1 on, not "):
        fl.worker(concurrency=concurrency)


def test_a_batch_that_holds_something_else(fl: Fairlane) -> None:
    with pytest.raises(InvalidParameters, match=r"write Submission\(…\) in place of \{'job_type': 'x'\}") as refused:
        fl.submit_many([GOOD, {"job_type": "x"}])  # type: ignore[list-item]
    assert isinstance(refused.value, SubmissionError)
    assert refused.value.index == 1
    for batch in (GOOD, (one for one in [GOOD])):
        with pytest.raises(
            InvalidParameters, match=r"^submit_many takes a list of submissions, .* write submit_many\("
        ):
            fl.submit_many(batch)  # type: ignore[arg-type]
    assert fl.list(organization="acme").items == ()


@pytest.mark.parametrize("batch", [["x"], [GOOD, 7], 7, None, GOOD, {1: GOOD}], ids=range(6))
async def test_a_batch_that_holds_something_else_is_told_alike_by_the_async_verb(fl: Fairlane, batch: Any) -> None:
    with pytest.raises(InvalidParameters) as wanted:
        fl.submit_many(batch)
    with pytest.raises(InvalidParameters) as refused:
        await fl.aio.submit_many(batch)
    assert isinstance(wanted.value, SubmissionError)
    assert isinstance(refused.value, SubmissionError)
    assert (str(refused.value), refused.value.index) == (str(wanted.value), wanted.value.index)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"labels": "x"}, "labels must be a mapping, for example {'sample': '42'}, not 'x'."),
        (
            {"run_at": "2026-11-01"},
            "run_at must be a datetime with a time zone, for example datetime(…, tzinfo=UTC), not '2026-11-01'.",
        ),
    ],
)
def test_an_option_of_another_type(fl: Fairlane, fields: Any, sentence: str) -> None:
    with pytest.raises(InvalidParameters) as refused:
        fl.submit("label.print", organization="acme", parameters={"sample": "a"}, **fields)
    assert sentence in str(refused.value)


def test_settings_that_there_are_not() -> None:
    with pytest.raises(ConfigurationError, match=r"wrong: there is no setting urll \(did you mean url\?\)\.$"):
        Settings(urll="x")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"wrong: lease: input should be a valid number"):
        Settings(lease="x")  # type: ignore[arg-type]
    assert Settings(lease=5).lease == 5


@pytest.mark.parametrize(
    "ask",
    [
        lambda fl: fl.submit("label.print", organization=None, parameters={"sample": "a"}),
        lambda fl: fl.submit_many([Submission("label.print", organization=None)]),  # type: ignore[arg-type]
        lambda fl: fl.list(organization=None),
        lambda fl: fl.get("x", organization=None),
        lambda fl: fl.cancel("x", organization=None),
        lambda fl: fl.dead_letters.list(organization=None),
        lambda fl: fl.dead_letters.groups(organization=None),
    ],
    ids=["submit", "submit_many", "list", "get", "cancel", "dead letters", "groups"],
)
def test_no_organization(fl: Fairlane, ask: Callable[[Fairlane], object]) -> None:
    with pytest.raises(
        InvalidParameters, match=r"^organization must be the id of the organization that .*, not None\.$"
    ):
        ask(fl)


@pytest.mark.parametrize(
    "change",
    [
        lambda types: types.pause("label.prnt"),
        lambda types: types.resume("label.prnt"),
        lambda types: types.disable("label.prnt"),
        lambda types: types.limit("label.prnt", max_running=1),
        lambda types: types.reset_limit("label.prnt"),
        lambda types: types.close_breaker("label.prnt", organization="acme"),
        lambda types: types.delete("label.prnt"),
    ],
    ids=["pause", "resume", "disable", "limit", "reset_limit", "close_breaker", "delete"],
)
def test_a_slip_in_the_name_of_a_job_type(fl: Fairlane, change: Callable[[Any], object]) -> None:
    with pytest.raises(JobTypeNotFound, match=r"^Job type label\.prnt is not registered; correct its name, or start "):
        change(fl.job_types)
    assert fl.job_types.names() == frozenset()


def test_a_slip_in_the_job_type_of_a_bulk_action(fl: Fairlane) -> None:
    with pytest.raises(JobTypeNotFound, match=r"^Job type label\.prnt is not registered"):
        fl.bulk.start("retry", {"job_type": "label.prnt"}, organization="acme")
    assert fl.bulk.list(organization="acme") == ()


@pytest.mark.parametrize("name", ["", ".", "a\nb", "q" * 300], ids=["empty", "dot", "newline", "long"])
def test_a_name_that_no_queue_can_have(fl: Fairlane, name: str) -> None:
    for verb in (fl.queues.pause, fl.queues.resume):
        with pytest.raises(ConfigurationError, match=r"^(queue must be text|A queue is called neither)"):
            verb(name)
    assert fl.queues.names() == frozenset()


def test_an_organization_that_nobody_sees(fl: Fairlane) -> None:
    with pytest.raises(ConfigurationError, match=r"not spaces alone"):
        fl.organizations.create("  ")


def test_a_flag_that_is_empty_in_the_environment_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLANE_PRODUCTION", "")
    with pytest.raises(ConfigurationError, match="true or false; for its default leave FAIRLANE_PRODUCTION unset"):
        Fairlane("sqlite://")


async def test_a_slip_in_an_option_names_the_verb(fl: Fairlane) -> None:
    slip: dict[str, Any] = {"organisation": "acme"}
    for options in (slip, {**slip, "organization": "acme"}):
        with pytest.raises(TypeError, match=r"^Fairlane\.submit\(\) got an unexpected .* 'organisation'$"):
            fl.submit("label.print", **options)
        with pytest.raises(TypeError, match=r"^submit\(\) got an unexpected .* 'organisation'$"):
            await fl.aio.submit("label.print", **options)


async def test_a_job_that_is_submitted_by_itself_has_no_place_in_a_batch(fl: Fairlane) -> None:
    with pytest.raises(SubmissionError) as refused:
        fl.submit("label.print", organization="acme")
    assert refused.value.index is None
    with pytest.raises(SubmissionError) as refused:
        await fl.aio.submit("label.print", organization="acme")
    assert refused.value.index is None
    with pytest.raises(SubmissionError) as refused:
        fl.submit_many([Submission("label.print", organization="acme")])
    assert refused.value.index == 0
