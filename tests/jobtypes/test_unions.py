"""R1, R2: unions in each other take no longer than what they hold, in every process."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from fairlane.domain.errors import InvalidParameters
from fairlane.jobtypes.parameters import Signature


class Both(BaseModel):
    op: Literal["and", "or"]
    of: "Filter"


class Not(BaseModel):
    op: Literal["not"]
    of: "Filter"
    strict: bool = False


class Is(BaseModel):
    op: Literal["is"]
    name: str


Filter = Annotated[Both | Not | Is, Field(discriminator="op")]


class Left(BaseModel):
    kind: Literal["left"] = "left"
    of: "Side"
    more: int = 0


class Right(BaseModel):
    kind: Literal["right"] = "right"
    of: "Side"


Side = Left | Right | int


class Apple(BaseModel):
    of: "Fruit"
    weight: int = 0


class Pear(BaseModel):
    of: "Fruit"
    colour: str = ""


Fruit = Apple | Pear | int

for _model in (Both, Not, Left, Right, Apple, Pear):
    _model.model_rebuild()


class Plus(BaseModel):
    op: Literal["plus"] = "plus"
    of: "Term"
    more: list["Term"] = []


class Minus(BaseModel):
    op: Literal["minus"] = "minus"
    of: "Term"


class Number(BaseModel):
    op: Literal["number"] = "number"


Term = Annotated[Plus | Minus | Number, Field(discriminator="op")]
Plus.model_rebuild()
Minus.model_rebuild()


class Search(BaseModel):
    where: Both | Not | Is | None = Field(None, discriminator="op")


def export(
    ctx: object,
    where: Filter | None = None,
    side: Side = 0,
    fruit: Fruit = 0,
    search: Search | None = None,
    term: Term | None = None,
) -> None: ...


signature = Signature.of("export", export)


def nested(depth: int, leaf: object, **more: object) -> Any:
    value = leaf
    for _ in range(depth):
        value = {**more, "of": value}
    return value


@pytest.mark.parametrize(
    "given",
    [
        {"where": nested(28, {"op": "is", "name": "a"}, op="not")},
        {"search": {"where": nested(28, {"op": "is", "name": "a"}, op="or")}},
        {"term": nested(28, {"op": "number"}, op="minus")},
        {"side": nested(5, 1, kind="right")},
        {"side": nested(5, 1)},
        {"fruit": nested(5, 1)},
        {"fruit": 3, "side": 4},
    ],
    ids=["told apart", "in a model", "with defaults", "by a default", "default omitted", "alike", "numbers"],
)
def test_what_nests_in_unions_is_read_back_as_it_was_given(given: dict[str, Any]) -> None:
    """Every level took three times as long as the level in it: ten were seconds, thirty would be years."""
    prepared = signature.schema.prepare(given)
    assert signature.schema.canonical(prepared.plain)
    arguments = signature.decode(prepared.text)
    assert {
        name: value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
        for name, value in arguments.items()
    } == given


def test_what_fits_several_members_too_often_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(InvalidParameters, match="discriminator"):
        signature.schema.prepare({"fruit": nested(28, 1)})
    with pytest.raises(InvalidParameters, match="discriminator"):
        signature.schema.prepare({"side": nested(28, 1, kind="left")})


@pytest.mark.parametrize(
    "where", [{"op": "xor", "name": "a"}, {"op": "is"}, {"name": "a"}, {"op": ["is"], "name": "a"}, 7], ids=repr
)
def test_what_fits_no_member_is_refused_alike(where: object) -> None:
    with pytest.raises(InvalidParameters, match=r"parameter 'where' must be an object \(got"):
        signature.schema.prepare({"where": where})


def test_many_values_of_a_union_are_all_read() -> None:
    def many(ctx: object, fruits: list[Fruit]) -> None: ...

    schema = Signature.of("many", many).schema
    given = {"fruits": [*range(20_000)]}
    assert schema.prepare(given).plain == given
