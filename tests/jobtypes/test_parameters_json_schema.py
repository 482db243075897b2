"""The JSON Schema of a job type takes whatever a submission takes, and refuses what it has words for."""

import json
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from hypothesis import given
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from fairlane.domain.errors import InvalidParameters
from fairlane.jobtypes.parameters import Signature
from fairlane.jobtypes.parameters_json_schema import json_schema
from tests.jobtypes.test_parameters import ARGUMENTS, EVERYTHING, Renamed


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid")
    n: int
    note: str | None = None


def order(
    ctx: object,
    lines: Annotated[list[Line], Field(min_length=1)],
    day: date,
    code: Annotated[str, Field(pattern="^[A-Z]+$", max_length=3)] = "A",
    kind: Literal["new", "old", 1] = "new",
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    by_number: dict[int, str] = {},  # noqa: B006 - read only
    pair: tuple[int, str] = (1, "a"),
    password: SecretStr | None = None,
    renamed: Renamed | None = None,
) -> None: ...


def of(handler: Callable[..., object]) -> dict[str, Any]:
    return json_schema(Signature.of("order", handler).schema.describe())


ORDER = of(order)
IS_ORDER = jsonschema_rs.validator_for(ORDER)
IS_EVERYTHING = jsonschema_rs.validator_for(json_schema(EVERYTHING.schema.describe()))
GOOD: dict[str, Any] = {"lines": [{"n": 1}], "day": "2026-11-01"}


@given(ARGUMENTS)
def test_what_a_submission_takes_the_schema_takes(arguments: dict[str, Any]) -> None:
    IS_EVERYTHING.validate(json.loads(EVERYTHING.schema.prepare(arguments).text))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"lines": [{"n": 2, "note": None}], "renamed": {"number": 1}},
        {"code": "ABC", "kind": 1, "share": 0, "by_number": {"7": "x"}, "pair": [2, "b"], "password": "x"},
    ],
)
def test_values_that_fit_both_take(more: dict[str, Any]) -> None:
    Signature.of("order", order).schema.prepare(GOOD | more)
    assert IS_ORDER.is_valid(GOOD | more)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lines": []},
        {"lines": [{}]},
        {"lines": [{"n": 1, "x": 1}]},
        {"lines": [{"n": "1"}]},
        {"code": "a"},
        {"code": "ABCD"},
        {"kind": "other"},
        {"kind": True},
        {"share": 1},
        {"pair": [1]},
        {"pair": [1, "a", 2]},
        {"day": 5},
        {"renamed": {"other": 1}},
        {"more": 1},
    ],
)
def test_values_that_do_not_fit_neither_takes(wrong: dict[str, Any]) -> None:
    assert not IS_ORDER.is_valid(GOOD | wrong)
    with pytest.raises(InvalidParameters, match="order: "):
        Signature.of("order", order).schema.prepare(GOOD | wrong)


def test_what_is_missing_is_required_and_what_has_a_default_is_not() -> None:
    assert ORDER["required"] == ["lines", "day"]


def test_a_secret_is_a_password_that_is_never_shown() -> None:
    password, nothing = ORDER["properties"]["password"]["anyOf"]
    assert password == {"type": "string", "format": "password", "writeOnly": True}
    assert nothing == {"type": "null"}


def test_extra_parameters_and_the_context_s_name() -> None:
    def loose(ctx: object, **more: int) -> None: ...

    schema = of(loose)
    assert schema["additionalProperties"] == {"type": "integer"}
    assert schema["properties"] == {"ctx": False}


def test_lengths_of_what_is_stripped_are_not_those_of_what_is_sent() -> None:
    def strips(
        ctx: object, name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1)] = "a"
    ) -> None: ...

    assert of(strips)["properties"]["name"] == {"type": "string", "minLength": 1}
    Signature.of("order", strips).schema.prepare({"name": " a "})


def test_of_what_only_a_newer_version_knows_nothing_is_said() -> None:
    document = Signature.of("order", order).schema.describe()
    newer = json.loads(json.dumps(document))
    newer["parameters"]["fields"]["day"]["schema"] = {"kind": "week"}
    assert json_schema(newer)["properties"]["day"] == {}
