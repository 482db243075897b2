"""Validators in the handler's own code refuse at submission in the handler's application, and else in a worker."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Annotated, Any

import pytest
from annotated_types import Predicate
from pydantic import AfterValidator, BaseModel, FutureDate, HttpUrl, SecretStr, field_validator, model_validator

from fairlane import Fairlane, InvalidParameters, Job, JobContext, JobStatus, Submission
from tests.engine.worker_kit import Engine


def even(number: int) -> int:
    if number % 2:
        raise ValueError("odd")
    return number


class Account(BaseModel):
    iban: str

    @field_validator("iban")
    @classmethod
    def check_country(cls, iban: str) -> str:
        if not iban.startswith("CH"):
            raise ValueError("no Swiss account")
        return iban


class Span(BaseModel):
    first: date
    last: date

    @model_validator(mode="after")
    def check_order(self) -> "Span":
        if self.last < self.first:
            raise ValueError("it ends before it begins")
        return self


class Meter(BaseModel):
    value: int

    def model_post_init(self, context: Any) -> None:
        even(self.value)


@dataclass
class Pair:
    left: int
    right: int

    def __post_init__(self) -> None:
        even(self.left + self.right)


class Login(BaseModel):
    pin: SecretStr

    @field_validator("pin")
    @classmethod
    def check_length(cls, pin: SecretStr) -> SecretStr:
        if len(pin.get_secret_value()) != 4:
            raise ValueError("not four digits")
        return pin


# An annotation, what it takes, what it refuses, and what the refusal says.
CASES: tuple[tuple[Any, Any, Any, str], ...] = (
    (Annotated[int, AfterValidator(even)], 4, 3, "parameter 'value': odd (got 3)"),
    (list[Annotated[int, Predicate(lambda one: one > 0)]], [1], [0], "parameter 'value[0]'"),
    (Account, {"iban": "CH93"}, {"iban": "DE89"}, "parameter 'value.iban': no Swiss account (got 'DE89')"),
    (
        Span | None,
        {"first": "2026-11-01", "last": "2026-11-02"},
        {"first": "2026-11-02", "last": "2026-11-01"},
        "parameter 'value': it ends before it begins",
    ),
    (Meter, {"value": 2}, {"value": 1}, "parameter 'value': odd"),
    (Pair, Pair(1, 3), {"left": 1, "right": 2}, "parameter 'value': odd"),
    (HttpUrl, "https://example.org/a", "no address", "parameter 'value' must be a valid URL"),
    (FutureDate, "2999-01-01", "1999-01-01", "parameter 'value': Date should be in the future"),
    (Login, {"pin": "1234"}, {"pin": "12345"}, "parameter 'value.pin': not four digits (got [redacted])"),
)


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with Engine(database_url) as fl:
        fl.migrate()
        fl.organizations.create("acme")
        yield fl


def refusal(submit: Callable[[], object]) -> str:
    with pytest.raises(InvalidParameters) as refused:
        submit()
    return str(refused.value)


def test_a_process_that_has_the_handler_refuses_what_its_validators_refuse(fl: Engine) -> None:
    wrong = {}
    for number, (annotation, fits, misfit, sentence) in enumerate(CASES):
        name = f"case{number}"

        def handler(ctx: JobContext, value: Any) -> None: ...

        handler.__annotations__["value"] = annotation
        fl.job_type(name, dedup_window=0)(handler)
        told = refusal(partial(fl.give, name, parameters={"value": misfit}))
        if sentence not in told:
            wrong[annotation] = told
        fl.give(name, parameters={"value": fits})
    assert wrong == {}
    assert fl.list(organization="acme").total == len(CASES)


def add_import(fl: Fairlane) -> None:
    @fl.job_type("import", max_retries=1, backoff=[0])
    async def import_account(ctx: JobContext, account: Account) -> str:
        return account.iban


def test_so_are_those_of_one_in_a_batch_and_of_a_schedule(fl: Engine) -> None:
    add_import(fl)
    good, bad = {"account": {"iban": "CH93"}}, {"account": {"iban": "DE89"}}
    batch = [Submission("import", organization="acme", parameters=one) for one in (good, bad)]
    assert "no Swiss account" in refusal(lambda: fl.submit_many(batch))
    put = partial(fl.schedules.put, "hourly", "import", organization="acme", every=3600)
    assert "no Swiss account" in refusal(lambda: put(parameters=bad))
    put(parameters=good)
    assert fl.list(organization="acme").total == 0


SECRET = "zq-4711-wv"


def refuse(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) > 4:
        raise ValueError(f"bad key {key.get_secret_value()!r}")
    return key


def refuse_as_fairlane_does(key: SecretStr) -> SecretStr:
    raise InvalidParameters(f"{'x' * 1_990} bad key {key.get_secret_value()}")


@pytest.mark.parametrize("validator", [refuse, refuse_as_fairlane_does])
def test_no_refusal_quotes_a_secret_that_the_validator_quotes(fl: Engine, validator: Callable[..., Any]) -> None:
    fl.members.add("acme", "ana")
    fl.members.add("acme", "boss", role="admin")

    @fl.job_type("log-in", max_retries=0)
    async def take(ctx: JobContext, key: SecretStr, n: int = 0) -> None: ...

    put = partial(fl.schedules.put, "hourly", "log-in", organization="acme", every=3600)
    job = fl.give("log-in", user="ana", parameters={"key": SECRET})
    put(parameters={"key": SECRET})
    with Engine(fl.settings.url) as later:

        @later.job_type("log-in", max_retries=0)
        async def strict(ctx: JobContext, key: Annotated[SecretStr, AfterValidator(validator)], n: int = 0) -> None: ...

        later.drain()
        kept = {"key": "[redacted]", "n": 1}
        batch = [Submission("log-in", organization="acme", parameters={"key": SECRET})]
        told = [
            str(later.look(job).error_message),
            refusal(partial(later.retry, job.id, organization="acme", user="boss", parameters=kept)),
            refusal(lambda: later.submit_many(batch)),
            refusal(partial(later.schedules.put, "hourly", "log-in", organization="acme", every=60, parameters=kept)),
            refusal(partial(later.schedules.submit, "hourly", organization="acme", user="boss")),
        ]
    assert [one for one in told if "bad key" not in one and "x" * 80 not in one] == []
    assert [one for one in told if "zq" in one or "4711" in one] == []


def test_an_address_is_stored_and_compared_as_it_was_given(fl: Engine) -> None:
    @fl.job_type("fetch", dedup_window=300)
    async def fetch(ctx: JobContext, url: HttpUrl) -> str:
        return str(url)

    job = fl.give("fetch", parameters={"url": "https://example.org"})
    again = fl.give("fetch", parameters={"url": "https://example.org"}, on_duplicate="return")
    fl.drain()
    assert (again.id, fl.look(job).parameters) == (job.id, {"url": "https://example.org"})
    assert fl.result(job.id, organization="acme").value == "https://example.org/"


def test_a_validator_that_is_broken_leaves_it_to_the_worker_to_tell(fl: Engine) -> None:
    def look_up(number: int) -> int:
        raise ConnectionError("no such host")

    @fl.job_type("look", max_retries=0)
    async def look(ctx: JobContext, number: Annotated[int, AfterValidator(look_up)]) -> None: ...

    job = fl.give("look", parameters={"number": 1})
    fl.drain()
    assert fl.look(job).error_type == "ConnectionError"


def submitted_elsewhere(fl: Engine, iban: str) -> Job:
    """Submit as a process that has not imported the handler."""
    with Fairlane(fl.settings) as other:
        parameters = {"account": {"iban": iban}}
        return other.submit("import", organization="acme", parameters=parameters, dedup_window=0)


def test_for_a_process_without_the_handler_a_worker_refuses_them_and_counts_nothing_for_the_breaker(fl: Engine) -> None:
    add_import(fl)
    fl.migrate()  # registers it
    jobs = [submitted_elsewhere(fl, "DE89") for _ in range(10)]
    fl.drain()
    ended = [fl.look(job) for job in jobs]
    assert {one.status for one in ended} == {JobStatus.DEAD_LETTER}
    assert {(one.error_type, one.attempt) for one in ended} == {("InvalidParameters", 2)}
    assert fl.job_types.breakers() == ()
    retry = partial(fl.retry, jobs[0].id, organization="acme")
    assert "no Swiss account" in refusal(lambda: retry(parameters={"account": {"iban": "FR76"}}))
    retry(parameters={"account": {"iban": "CH93"}})
    fl.drain()
    assert fl.result(jobs[0].id, organization="acme").value == "CH93"
