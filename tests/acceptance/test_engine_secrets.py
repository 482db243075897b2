"""R7, R19: secret parameters reach their handler and nobody else."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, SecretBytes, SecretStr

from fairlane import (
    Backoff,
    Fairlane,
    InvalidParameters,
    Job,
    JobContext,
    JobStatus,
    PermanentError,
    Snooze,
    TransientError,
)
from fairlane.domain.events import JobEnded
from tests.engine.sealed_engine import dump, sealed_engine
from tests.engine.worker_kit import Engine, engine, running

SECRET = "opensesame-4711"
GIVEN = {"key": SECRET, "login": {"name": "ana", "pin": SecretBytes(b"4711-0815")}, "db_password": "letmein!"}
SECRETS = (SECRET, "4711-0815", "NDcxMS0wODE1", "letmein!")
SHOWN = {"key": "[redacted]", "login": {"name": "ana", "pin": "[redacted]"}, "db_password": "[redacted]"}


class Login(BaseModel):
    name: str
    pin: SecretBytes


def leak(ctx: JobContext, key: SecretStr, login: Login, db_password: str, then: str = "fail") -> Any:
    """A handler that says all that it knows."""
    told = f"{key.get_secret_value()} {login.pin.get_secret_value().decode()} {db_password}"
    assert told == f"{SECRET} 4711-0815 letmein!"
    assert ctx.parameters["key"] == SECRET
    ctx.progress(10, told)
    ctx.log(told)
    match then:
        case "fail":
            raise PermanentError(f"could not log in with {told!r} of {ctx.parameters}")
        case "snooze":
            raise Snooze(3600, told)
        case "wrong":
            return object()
        case _:
            return "well"


def flood(ctx: JobContext, key: SecretStr, then: str) -> None:
    """Say a secret so often that each text is cut within one, whatever its limit is."""
    told = f"{key.get_secret_value()} " * 5_000
    ctx.progress(10, told)
    ctx.log(told)
    raise Snooze(3600, told) if then == "snooze" else PermanentError(told)


def register(fl: Fairlane, isolation: Any) -> None:
    fl.job_type("leak", isolation=isolation, dedup_window=0)(leak)


@pytest.fixture(params=["thread", "process"])
def fl(request: pytest.FixtureRequest, database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:
        register(fl, request.param)
        yield fl


def told(fl: Engine, job: Job) -> str:
    """Return everything that readers see of a job."""
    seen = (
        fl.look(job),
        fl.list(organization="acme"),
        fl.history(job.id, organization="acme"),
        fl.log_lines(job.id, organization="acme"),
        fl.explain(job.id, organization="acme"),
        fl.dead_letters.list(organization="acme"),
        fl.dead_letters.groups(organization="acme"),
        fl.audit.list(organization="acme"),
        fl.events.all,
    )
    return repr(seen)


def assert_hidden(text: str) -> None:
    assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("then", ["fail", "snooze", "wrong", "return"])
def test_whatever_a_handler_says_nobody_is_told_a_secret(fl: Engine, then: str, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    job = fl.give("leak", parameters={**GIVEN, "then": then})
    assert job.parameters == {**SHOWN, "then": then}
    with running(fl.worker()):
        fl.events.wait(JobEnded, job_id=job.id)
    text = told(fl, job)
    assert "[redacted] [redacted] [redacted]" in text
    assert_hidden(text)
    assert_hidden(caplog.text)
    assert fl.look(job).parameters == {**SHOWN, "then": then}


@pytest.mark.parametrize("then", ["fail", pytest.param("snooze", marks=pytest.mark.slow)])
def test_where_a_long_text_is_cut_no_part_of_a_secret_is_left(fl: Engine, then: str, request: Any) -> None:
    isolation = request.node.callspec.params["fl"]
    fl.job_type("flood", isolation=isolation, dedup_window=0)(flood)
    job = fl.give("flood", parameters={"key": "QXZ-WKV-QXZ-WKV-JQ", "then": then})
    with running(fl.worker()):
        fl.events.wait(JobEnded, job_id=job.id)
    text = told(fl, job)
    assert text.count("[redacted] [redacted]") >= 3
    assert [part for part in ("QX", "XZ", "WK", "KV", "JQ") if part in text] == []


@pytest.mark.slow
def test_an_edited_retry_keeps_the_secrets_that_are_left_as_they_were_shown(fl: Engine) -> None:
    job = fl.give("leak", parameters=GIVEN)
    fl.drain()
    again = fl.retry(job.id, organization="acme", parameters={**fl.look(job).parameters, "then": "return"})
    assert again.parameters == {**SHOWN, "then": "return"}
    assert "parameters edited: then" in fl.reasons(job)
    fl.drain()
    assert fl.look(job).status is JobStatus.COMPLETED
    with pytest.raises(InvalidParameters, match="give its value"):
        fl.give("leak", parameters=fl.look(job).parameters)


def test_a_refusal_does_not_quote_a_secret(fl: Engine) -> None:
    wrong = (
        {**GIVEN, "key": [SECRET]},
        {**GIVEN, "login": {"pin": "NDcxMS0wODE1"}},
        {**GIVEN, "login": ["4711-0815"]},
        {**GIVEN, "db_password": ["letmein!"]},
        {**GIVEN, "more": SECRET},
    )
    for parameters in wrong:
        with pytest.raises(InvalidParameters) as refused:
            fl.give("leak", parameters=parameters)
        assert_hidden(str(refused.value))


def test_a_stored_value_that_the_handler_refuses_is_not_quoted(database_url: str) -> None:
    with engine(database_url) as submitting, Engine(submitting.settings.url) as fl:

        @submitting.job_type("picky", max_retries=0)
        def lax(ctx: JobContext, key: SecretStr, api_key: str) -> None: ...

        @fl.job_type("picky")
        def strict(ctx: JobContext, key: int, api_key: int) -> None: ...

        job = submitting.give("picky", parameters={"key": SECRET, "api_key": "letmein!"})
        fl.drain()
        assert fl.look(job).status is JobStatus.DEAD_LETTER
        assert "parameter 'key'" in str(fl.look(job).error_message)
        assert_hidden(told(fl, job))


def test_a_secret_is_sealed_with_the_other_parameters(database_url: str) -> None:
    with sealed_engine(database_url) as fl:
        register(fl, "thread")
        job = fl.give("leak", parameters=GIVEN)
        fl.drain()
        assert_hidden(dump(fl))
        assert fl.look(job).parameters == SHOWN
        assert "[redacted] [redacted] [redacted]" in str(fl.look(job).error_message)


def test_a_submitter_without_the_handler_can_mark_a_secret_and_equal_secrets_are_duplicates(database_url: str) -> None:
    with engine(database_url) as fl:

        @fl.job_type("open")
        def take(ctx: JobContext, anything: Any, key: SecretStr) -> Any:
            return [anything, key.get_secret_value() == SECRET]

        first = fl.give("open", parameters={"anything": {"$secret": "shh!"}, "key": {"$secret": SECRET}})
        assert first.parameters == {"anything": "[redacted]", "key": "[redacted]"}
        again = {"anything": SecretStr("shh!"), "key": SECRET}
        assert fl.give("open", parameters=again, on_duplicate="return").id == first.id


def test_a_secret_result_and_a_secret_in_a_checkpoint_are_for_handlers_alone(database_url: str) -> None:
    with engine(database_url) as fl:

        @fl.job_type("make", backoff=Backoff(base=0.0))
        def make(ctx: JobContext) -> Any:
            if ctx.checkpointed is None:
                ctx.checkpoint({"key": SecretStr(SECRET)})
                raise TransientError
            return {"token": "page 2", "key": SecretStr(ctx.checkpointed["key"])}

        @fl.job_type("use")
        def use(ctx: JobContext) -> Any:
            return ctx.parents[0].result == {"token": "page 2", "key": SECRET}

        made = fl.give("make")
        used = fl.give("use", depends_on=made)
        fl.drain()
        assert fl.value(made) == {"token": "page 2", "key": "[redacted]"}
        assert fl.value(used) is True
