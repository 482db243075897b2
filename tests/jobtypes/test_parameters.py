"""R1, R2: parameters are checked, stored, hashed and handed over alike in every process."""

import json
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal, NewType, NotRequired
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NaiveDatetime,
    RootModel,
    SecretStr,
    field_validator,
)
from pydantic_core import core_schema
from typing_extensions import TypedDict, is_typeddict

from fairlane.domain.canonical import digest
from fairlane.domain.errors import ConfigurationError, InvalidParameters, PayloadTooLarge, PermanentError
from fairlane.domain.numbers import long_numbers, read_json
from fairlane.jobtypes.parameters import ParameterSchema, PreparedParameters, Signature
from fairlane.jobtypes.parameters_json_schema import json_schema
from fairlane.jobtypes.parameters_values import encode_result


class Colour(Enum):
    RED = "red"
    TWO = 2


class Tone(StrEnum):
    DARK = "dark"


class Rights(Flag):
    READ = 1
    WRITE = 2


class Corner(Enum):
    ORIGIN = (0, 0)


@dataclass(frozen=True)
class Point:
    x: int
    y: Decimal = Decimal(0)


class Folder(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    name: str = Field(min_length=1, alias="title", default="new")
    tone: Tone | None = None
    data: bytes = b""
    children: list["Folder"] = []


class Renamed(BaseModel):
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)
    count: int = Field(validation_alias=AliasChoices("n", "number"))


class Tags(RootModel[set[str]]):
    pass


class Options(TypedDict):
    copies: int
    seal: NotRequired[bytes]


Title = NewType("Title", str)


async def everything(
    ctx,
    flag: bool,
    count: int,
    ratio: float,
    title: Title,
    blob: bytes,
    at: datetime,
    day: date,
    clock: time,
    span: timedelta,
    price: Decimal,
    key: UUID,
    colour: Colour,
    choice: Literal["a", 1, True, None],
    days: list[date],
    prices: set[Decimal],
    points: frozenset[Point],
    pair: tuple[int, bytes],
    spans: tuple[timedelta, ...],
    by_day: dict[date, UUID],
    maybe: date | None,
    either: datetime | date | int | str,
    point: Point,
    folder: Folder,
    tags: Tags,
    options: Options,
    rights: Rights,
    *,
    plain=None,
): ...


def small(ctx, month: date, template: str = "monthly", copies: Annotated[int, Field(ge=1, le=9)] = 1): ...


EVERYTHING = Signature.of("test.everything", everything)
SMALL = Signature.of("report.pdf", small).schema

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
OFFSETS = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
DATETIMES = st.datetimes() | st.datetimes(timezones=OFFSETS)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)
POINTS = st.builds(Point, st.integers(), DECIMALS)
FOLDERS = st.recursive(
    st.builds(Folder, title=TEXTS.filter(bool), tone=st.sampled_from([None, Tone.DARK]), data=st.binary()),
    lambda inner: st.builds(Folder, children=st.lists(inner, max_size=2)),
    max_leaves=4,
)
OPTIONS = st.fixed_dictionaries({"copies": st.integers()}, optional={"seal": st.binary()})
ARGUMENTS = st.fixed_dictionaries(
    {
        "flag": st.booleans(),
        "count": st.integers(),
        "ratio": st.floats(allow_nan=False, allow_infinity=False),
        "title": TEXTS,
        "blob": st.binary(),
        "at": DATETIMES,
        "day": st.dates(),
        "clock": st.times() | st.times(timezones=OFFSETS),
        "span": st.timedeltas(),
        "price": DECIMALS,
        "key": st.uuids(),
        "colour": st.sampled_from(Colour),
        "choice": st.sampled_from(["a", 1, True, None]),
        "days": st.lists(st.dates(), max_size=3),
        "prices": st.sets(DECIMALS, max_size=3),
        "points": st.frozensets(POINTS, max_size=3),
        "pair": st.tuples(st.integers(), st.binary()),
        "spans": st.lists(st.timedeltas(), max_size=3).map(tuple),
        "by_day": st.dictionaries(st.dates(), st.uuids(), max_size=3),
        "maybe": st.none() | st.dates(),
        "either": DATETIMES | st.dates() | st.integers(),
        "point": POINTS,
        "folder": FOLDERS,
        "tags": st.builds(Tags, st.sets(TEXTS, max_size=3)),
        "options": OPTIONS,
        "rights": st.sampled_from([Rights.READ, Rights.READ | Rights.WRITE]),
    },
    optional={"plain": JSON},
)


def elsewhere(schema: ParameterSchema) -> ParameterSchema:
    """The schema as a process has it that read it from the database."""
    return ParameterSchema.from_document(json.loads(json.dumps(schema.describe())))


def schema_of(annotation: Any) -> ParameterSchema:
    def handler(ctx, value): ...

    handler.__annotations__["value"] = annotation
    return elsewhere(Signature.of("test", handler).schema)


def prepared_by(annotation: Any, value: object) -> PreparedParameters:
    return schema_of(annotation).prepare({"value": value})


def hashed_by(annotation: Any, value: object) -> str:
    return canonical_of(schema_of(annotation), {"value": value})


def canonical_of(schema: ParameterSchema, parameters: Mapping[str, object]) -> str:
    """Return the text of the parameters that is hashed."""
    return schema.canonical(schema.prepare(parameters).plain)


def refusal(schema: ParameterSchema, **parameters: object) -> str:
    with pytest.raises(InvalidParameters) as caught:
        schema.prepare(parameters)
    return str(caught.value)


@given(ARGUMENTS)
def test_the_handler_gets_what_was_submitted(arguments):
    decoded = EVERYTHING.decode(EVERYTHING.schema.prepare(arguments).text)
    assert decoded == arguments
    assert {name: type(value) for name, value in decoded.items()} == {name: type(arguments[name]) for name in decoded}
    # `==` sees neither the offset of a datetime nor the zeros of a Decimal.
    for name in ("at", "clock", "price", "ratio", "either"):
        assert str(decoded[name]) == str(arguments[name])


@given(ARGUMENTS)
def test_a_process_without_the_handler_prepares_exactly_alike(arguments):
    schema, other = EVERYTHING.schema, elsewhere(EVERYTHING.schema)
    prepared = schema.prepare(arguments)
    assert other.prepare(arguments) == prepared
    assert other.canonical(prepared.plain) == schema.canonical(prepared.plain)
    # What REST and the command line send is the JSON form of the same values.
    assert other.prepare(json.loads(prepared.text)) == prepared


class Grown(str):
    __slots__ = ()


FLAT_NAMES = st.sampled_from(["text", "number", "day", "either", "choice", "tone", "password", "more", "$secret"])
FLAT = st.dictionaries(
    FLAT_NAMES | st.text(max_size=3) | st.integers(0, 1),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=True)
    | st.sampled_from(
        ["2026-11-01", "dark", "[redacted]", "\0", "\ud800", '\x7f\x1f"\\', r"\u0000", Grown("a"), Tone.DARK]
    )
    | st.sampled_from([1 << 63, 1 << 14_001, -(1 << 13_990), "é" * 3000, date(2026, 11, 1), [1]]),
    max_size=5,
)


def outcome(schema: ParameterSchema, given: Mapping[str, object], limit: int) -> object:
    try:
        prepared = schema.prepare(given, limit=limit)
    except (InvalidParameters, PayloadTooLarge) as error:
        return type(error), str(error)
    return prepared, list(prepared.plain), [*map(type, prepared.plain.values())], schema.canonical(prepared.plain)


@pytest.mark.slow
@given(FLAT, st.sampled_from([10, 40, 8000, 1_000_000]))
@example({"number": 1 << 14_001}, 8000)
@example({"text": "\ud800"}, 8000)
@example({"choice": "\0"}, 8000)
@example({"text": "\0", r"\u0000": "a"}, 8000)
@example({"$secret": ""}, 10)
def test_a_dict_of_plain_values_is_prepared_as_any_other_mapping_is(given, limit):
    def strict(ctx, text: str, number: int = 1, day: date | None = None, choice: Literal[1, "a", True] = 1): ...
    def loose(
        ctx, text=None, number: float = 1, either: str | date = "", tone: Tone = Tone.DARK, *, password=1, **more
    ): ...

    for handler in (strict, loose):
        schema = Signature.of("test", handler).schema
        assert outcome(schema, given, limit) == outcome(schema, MappingProxyType(given), limit)


@given(JSON)
def test_values_without_annotation_arrive_as_they_are_in_json(value):
    def handler(ctx, value): ...

    signature = Signature.of("test", handler)
    assert signature.decode(signature.schema.prepare({"value": value}).text) == {"value": value}


def test_values_without_annotation_are_stored_and_hashed_as_their_json_form():
    def handler(ctx, value): ...

    schema = Signature.of("test", handler).schema
    rich = {
        "at": datetime(2026, 11, 1, tzinfo=UTC),
        "price": Decimal("1.0"),
        "of": {10, 9},
        "blob": b"a",
        "p": Point(1),
    }
    plain = {"at": "2026-11-01T00:00:00+00:00", "price": "1.0", "of": [9, 10], "blob": "YQ==", "p": {"x": 1, "y": "0"}}
    assert schema.prepare({"value": rich}) == schema.prepare({"value": plain})


@pytest.mark.parametrize(
    ("annotation", "one", "other"),
    [
        (date, date(2026, 11, 1), "2026-11-01"),
        (datetime, datetime(2026, 11, 1, tzinfo=UTC), "2026-11-01T02:00:00+02:00"),
        (datetime, datetime(2026, 11, 1, tzinfo=UTC), "2026-11-01T00:00:00Z"),
        (Decimal, Decimal("1.50"), 1.5),
        (Decimal, Decimal("1.50"), "1.5"),
        (float, 1.0, 1),
        (float, 0.0, -0.0),
        (timedelta, timedelta(minutes=90), "PT1H30M"),
        (UUID, UUID(int=10), "0000000000000000000000000000000A"),
        (Colour, Colour.RED, "red"),
        (set[int], {1, 2}, [2, 1, 2]),
        (dict[UUID, int], {UUID(int=10): 1}, {"00000000-0000-0000-0000-00000000000A": 1}),
        (list[int], [1, 2], (1, 2)),
        (Point, Point(1, Decimal("2.0")), {"y": "2", "x": 1}),
        (Folder, Folder(title="a"), {"title": "a", "tone": None, "data": "", "children": []}),
        (Renamed, Renamed(n=1), {"number": 1}),  # type: ignore[call-arg]
        (Renamed, {"n": 1}, {"count": 1}),
        (dict, {"a": 1, "b": 2}, MappingProxyType({"b": 2, "a": 1})),
    ],
)
def test_equal_values_have_one_canonical_text(annotation, one, other):
    assert hashed_by(annotation, one) == hashed_by(annotation, other)


def test_a_long_number_of_json_keeps_its_digits_as_a_decimal_and_is_refused_where_no_type_says_so():
    schema = Signature.of("t", _of_numbers).schema
    for text in ("12345678901234567.89", "-0.1234567890123456789", "1e-400", "0.10000000000000001"):
        prepared = schema.prepare(read_json(f'{{"exact": {text}, "rounded": {text}}}'))
        assert prepared.plain == {"exact": str(Decimal(text)), "rounded": float(text)}
        assert type(prepared.plain["rounded"]) is float
    for text in ("12345678901234567.89", "1e-400", "1e-9999999999999999999"):
        for anything in (text, f'[{{"a": {text}}}]'):
            with pytest.raises(InvalidParameters, match="more digits than a float keeps; write it as text, in quotes"):
                schema.prepare(read_json(f'{{"anything": {anything}}}'))
    # The last two are floats as old JVMs and C write them.
    for text in ("0.1", "1e-7", "3.141592653589793", "1.50", "1E5", "5.6843418860808015E-14", "0.10000000000000001"):
        prepared = schema.prepare(read_json(f'{{"anything": {text}}}'))
        assert prepared.text == f'{{"anything":{float(text)!r}}}'


def test_a_decimal_keeps_the_zeros_of_a_number_of_json_and_is_the_same_work():
    schema = Signature.of("t", _of_numbers).schema
    for text in ("9.50", "19.900", "-0.10", "7.00"):
        prepared = schema.prepare(read_json(f'{{"exact": {text}, "rounded": {text}, "anything": {text}}}'))
        assert prepared.text == f'{{"exact":"{text}","rounded":{float(text)},"anything":{float(text)}}}'
        alike = schema.prepare({"exact": text, "rounded": float(text), "anything": float(text)})
        assert schema.canonical(prepared.plain) == schema.canonical(alike.plain)
    assert long_numbers(read_json("[9.50, 7.00, 1E5, 12345678901234567.89]")) == ["12345678901234567.89"]


def _of_numbers(ctx, *, exact: Decimal = Decimal(0), rounded: float = 0.0, anything=None): ...


def test_a_naive_datetime_hashes_apart_from_an_aware_one():
    naive, aware = datetime(2026, 11, 1), datetime(2026, 11, 1, tzinfo=UTC)  # noqa: DTZ001
    assert hashed_by(datetime, naive) != hashed_by(datetime, aware)


def test_the_offset_that_was_given_is_stored():
    at = datetime(2026, 11, 1, tzinfo=timezone(timedelta(hours=2)))
    assert prepared_by(datetime, at).text == '{"value":"2026-11-01T00:00:00+02:00"}'


def test_a_default_that_is_omitted_is_hashed_and_not_stored():
    prepared = SMALL.prepare({"month": date(2026, 11, 1)})
    plain = {"month": "2026-11-01"}
    filled = '{"copies":1,"month":date(2026-11-01),"template":"monthly"}'
    assert prepared == PreparedParameters(plain, plain, '{"month":"2026-11-01"}')
    assert SMALL.canonical(plain) == filled


@dataclass
class Page:
    size: Literal["a4", "a5"] = "a4"
    margins: list[int] = field(default_factory=list)
    corner: Point = field(default_factory=lambda: Point(0))
    made: UUID = field(default_factory=uuid4)


class Book(BaseModel):
    title: str = Field(default="new", alias="name")
    page: Page = Field(default_factory=Page)
    ink: Colour = Colour.RED
    weight: Decimal | None = None
    chapters: list["Book"] = []


def printing(
    ctx,
    book: Book,
    tone: Tone = Tone.DARK,
    day: date | None = None,
    sizes: tuple[int, ...] = (1, 2),
    price: Decimal = Decimal("1.50"),
    names: frozenset[str] = frozenset({"b", "a"}),
    plain=None,
): ...


@pytest.mark.parametrize(
    "given",
    [
        {"tone": "dark"},
        {"day": None},
        {"sizes": [1, 2]},
        {"price": "1.5"},
        {"names": ["a", "b", "a"]},
        {"plain": None},
        {"book": {"name": "new"}},
        {"book": {"page": {}}},
        {"book": {"page": {"size": "a4", "margins": []}}},
        {"book": {"ink": "red", "weight": None}},
        {"book": {"chapters": []}},
    ],
    ids=str,
)
def test_a_default_that_is_omitted_hashes_as_the_one_that_is_given(given):
    schema = Signature.of("print", printing).schema
    least: dict[str, object] = {"book": {}}
    assert canonical_of(schema, least | given) == canonical_of(schema, least)
    assert canonical_of(elsewhere(schema), least | given) == canonical_of(schema, least)


def test_the_defaults_of_each_member_of_a_list_are_hashed():
    schema = elsewhere(Signature.of("print", printing).schema)
    long = {"book": {"chapters": [{"name": "new", "ink": "red"}]}}
    assert canonical_of(schema, {"book": {"chapters": [{}]}}) == canonical_of(schema, long)


def test_another_value_than_the_default_hashes_apart():
    schema = Signature.of("print", printing).schema
    least: dict[str, object] = {"book": {}}
    others: list[dict[str, object]] = [{"price": 2}, {"book": {"page": {"size": "a5"}}}, {"day": "2026-11-01"}]
    for other in others:
        assert canonical_of(schema, least | other) != canonical_of(schema, least)


def test_what_a_function_makes_anew_is_not_hashed():
    (made,) = [
        one for name, one in Signature.of("print", printing).schema.describe()["definitions"].items() if name == "Page"
    ]
    assert {name: "default" in one for name, one in made["fields"].items()} == {
        "size": True,
        "margins": True,
        "corner": False,
        "made": False,
    }


def test_defaults_that_nobody_can_give_or_see_are_left_to_the_handler():
    class Login(BaseModel):
        name: str = "ana"
        password: str = "changeit"
        key: SecretStr = SecretStr("hush-hush")

    def handler(
        ctx,
        number: int = "one",  # type: ignore[assignment]
        marker=object(),  # noqa: B008
        low: Annotated[int, Field(ge=1)] = 0,
        either: str | date = date(2026, 11, 1),
        token: SecretStr = SecretStr("hush-hush"),  # noqa: B008
        api_key: str = "changeit",
        login: Login = Login(),  # noqa: B008
        **more: int,
    ): ...

    signature = Signature.of("test", handler)
    document = json.dumps(signature.schema.describe())
    assert signature.schema.prepare({}) == PreparedParameters({}, {}, "{}")
    assert canonical_of(signature.schema, {}) == "{}"
    assert canonical_of(signature.schema, {"login": {}}) == '{"login":{"name":"ana"}}'
    assert "changeit" not in document
    assert "hush-hush" not in document
    assert signature.decode("{}") == {}


def test_a_parameter_may_have_any_name_beside_its_default():
    def handler(ctx, default: int = 1, fields: int = 2, schema: int = 3, kind: int = 4): ...

    schema = elsewhere(Signature.of("test", handler).schema)
    assert canonical_of(schema, {}) == '{"default":1,"fields":2,"kind":4,"schema":3}'
    assert schema.prepare({}).text == "{}"


# Of a document's nodes, and of the schemas that pydantic makes of them.
WORDS = sorted(
    {name for schema in vars(core_schema).values() if is_typeddict(schema) for name in schema.__annotations__}
    | {"also", "default", "definitions", "extra", "extras", "fields", "items", "keys", "kind", "of", "parameters"}
    | {"required", "rest", "schema", "type", "value", "values"}
)


@pytest.mark.slow
def test_a_field_may_have_the_name_of_any_word_of_a_schema():
    wrong = {}
    for name in WORDS:
        one: Any = make_dataclass("One", [(name, str), ("number", int)])
        good = {name: "union", "number": 1}
        for annotation, place, value in (
            (one, "value", lambda one: one),
            (list[one], "value[0]", lambda one: [one]),
            (dict[str, one | None], "value.a", lambda one: {"a": one}),
        ):
            schema = schema_of(annotation)
            prepared = schema.prepare({"value": value(good)}).plain
            said = refusal(schema, value=value({name: 5, "number": "five"}))
            asked = (
                f"parameter '{place}.{name}' must be a string (got ",
                f"parameter '{place}.number' must be an int (got ",
            )
            if prepared != {"value": value(good)} or not all(map(said.__contains__, asked)):
                wrong[f"{annotation}, {name}"] = said
    assert wrong == {}


def test_a_default_may_look_like_a_secret_s_node():
    def handler(ctx, choice: dict[str, str] = {"kind": "secret"}): ...  # noqa: B006 - nothing changes it

    assert "(got 5)" in refusal(elsewhere(Signature.of("test", handler).schema), choice=5)


def test_the_text_is_compact_and_keeps_unicode():
    prepared = SMALL.prepare({"month": "2026-11-01", "template": "é\u2028🛣"})
    assert prepared.text == '{"month":"2026-11-01","template":"é\u2028🛣"}'


def test_the_hash_of_a_schema_s_output_is_golden():
    text = canonical_of(SMALL, {"template": "a", "month": date(2026, 11, 1)})
    expected = "3eec85f6cbc50d43e48b9cd00e243070fe855586c209b379e427036ed17685f5"
    assert digest("acme", "report.pdf", text) == expected


def test_a_wrong_and_an_unknown_parameter_are_named_with_what_was_expected():
    assert refusal(SMALL, month="foo", tempalte="x") == (
        "report.pdf: parameter 'month' must be a date (got 'foo'); "
        "unknown parameter 'tempalte', did you mean 'template'?"
    )


def test_a_missing_parameter_is_named_with_what_is_expected():
    assert refusal(SMALL) == "report.pdf: parameter 'month' is missing (it must be a date)"


def test_the_place_of_a_nested_mistake_is_named():
    wrong = {"title": "a", "children": [{"title": "b"}, {"title": "", "colour": 1}]}
    with pytest.raises(InvalidParameters) as caught:
        prepared_by(Folder, wrong)
    assert str(caught.value) == (
        "test: parameter 'value.children[1].title': String should have at least 1 character (got ''); "
        "unknown parameter 'value.children[1].colour'"
    )


def test_a_set_that_is_refused_is_shown_as_one():
    assert refusal(elsewhere(SMALL), month="2026-11-01", copies={1}) == (
        "report.pdf: parameter 'copies' must be an int (got {1})"
    )


def test_simple_constraints_hold_without_the_handler():
    assert refusal(elsewhere(SMALL), month="2026-11-01", copies=10) == (
        "report.pdf: parameter 'copies' must be less than or equal to 9 (got 10)"
    )


def test_a_long_value_is_cut_in_the_message():
    message = refusal(SMALL, month="x" * 10_000)
    assert len(message) < 200


def test_of_many_mistakes_the_first_are_told():
    message = refusal(SMALL, month="2026-11-01", **{f"p{number}": 1 for number in range(500)})
    assert message.endswith("; and 490 more")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, True),
        (int, "1"),
        (int, 1.0),
        (bool, 1),
        (float, True),
        (float, 10**400),
        (Decimal, True),
        (Decimal, "NaN"),
        (str, b"a"),
        (str, date(2026, 11, 1)),
        (date, datetime(2026, 11, 1, tzinfo=UTC)),
        (datetime, date(2026, 11, 1)),
        (AwareDatetime, "2026-11-01T00:00"),
        (NaiveDatetime, "2026-11-01T00:00Z"),
        (datetime, "2026-11-01"),
        (bytes, "not base64"),
        (Colour, "blue"),
        (Literal[1], True),
        (Literal["a"], None),
        (list[int], {1}),
        (tuple[int, ...], {1}),
        (tuple[int, int], [1]),
        (dict[int, int], {"a": 1}),
        (Annotated[str, Field(pattern="^a+$")], "b"),
        (Annotated[Decimal, Field(gt=Decimal("0.1"))], "0.1"),
        (Annotated[date, Field(ge=date(2026, 1, 1))], "2025-12-31"),
        (Annotated[int | None, Field(multiple_of=3)], 4),
        (Annotated[list[int], Field(max_length=1)], [1, 2]),
        (Annotated[set[int], Field(min_length=2)], [1, 1]),
        (Point, {"y": 1}),
        (None, 0),
    ],
)
def test_a_value_of_another_type_is_refused(annotation, value):
    with pytest.raises(InvalidParameters, match="parameter 'value"):
        prepared_by(annotation, value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (float("nan"), "parameters.value "),
        ([{"price": float("inf")}], r"parameters.value\[0\].price "),
        ({"a": "x\0"}, "parameters.value.a "),
        ({"\ud800": 1}, r"the key parameters.value.\\ud800 "),
        (object(), "parameters.value "),
        (int, "parameters.value "),
        ({(1, 2): 3}, "the key parameters.value"),
        (10**4290, "parameters.value "),
    ],
)
def test_what_cannot_be_stored_is_refused_by_its_path(value, path):
    with pytest.raises(InvalidParameters, match=f"^test: {path}"):
        prepared_by(Any, value)


def test_keys_that_are_not_text_are_refused_where_no_annotation_types_them():
    with pytest.raises(InvalidParameters, match="keys must be strings, not 1"):
        prepared_by(Any, {1: 2})


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_more_than_32_levels_are_refused():
    assert prepared_by(Any, nested(32)).text
    with pytest.raises(InvalidParameters, match="nested more than 32 levels"):
        prepared_by(Any, nested(33))


def test_a_value_that_contains_itself_is_refused():
    value: list[object] = []
    value.append(value)
    with pytest.raises(InvalidParameters, match="nested more than 32 levels"):
        prepared_by(Any, value)


def test_a_union_refuses_what_would_be_read_back_as_another_member():
    """A date given to `str | date` would arrive as text, since JSON has no dates."""
    assert hashed_by(date | str, date(2026, 11, 1)) == '{"value":date(2026-11-01)}'
    with pytest.raises(InvalidParameters, match="'value' is ambiguous"):
        prepared_by(str | date, date(2026, 11, 1))


def test_extra_parameters_are_plain_json_where_the_handler_takes_them():
    def handler(ctx, month: date, **extra): ...

    signature = Signature.of("test", handler)
    prepared = signature.schema.prepare({"month": "2026-11-01", "more": {"at": time(1)}})
    assert signature.decode(prepared.text) == {"month": date(2026, 11, 1), "more": {"at": "01:00:00"}}
    assert "'ctx' must be left out" in refusal(signature.schema, month="2026-11-01", ctx=1)


def test_extra_parameters_are_typed_by_their_annotation():
    def handler(ctx, month, **extra: date | Colour): ...

    signature = Signature.of("test", handler)
    text = signature.schema.prepare({"month": 1, "from_day": date(2026, 11, 1), "ink": Colour.RED}).text
    assert signature.decode(text) == {"month": 1, "from_day": date(2026, 11, 1), "ink": Colour.RED}
    assert "parameter 'from_day' must be a date or one of" in refusal(signature.schema, month=1, from_day=7)


def test_the_context_needs_no_annotation_that_can_be_resolved():
    def handler(ctx: "JobContext", month: "date") -> "Nothing": ...  # type: ignore[name-defined]  # noqa: F821

    assert Signature.of("test", handler).decode('{"month":"2026-11-01"}') == {"month": date(2026, 11, 1)}


def test_validators_of_the_handler_run_when_it_decodes():
    def even(number: int) -> int:
        if number % 2:
            raise ValueError("odd")
        return number

    def handler(ctx, number: Annotated[int, AfterValidator(even)], text: Annotated[str, BeforeValidator(str)]): ...

    signature = Signature.of("test", handler)
    prepared = signature.schema.prepare({"number": 3, "text": 5})
    with pytest.raises(InvalidParameters, match=r"test: parameter 'number': odd \(got 3\)"):
        signature.decode(prepared.text)
    assert signature.decode('{"number":2,"text":5}') == {"number": 2, "text": "5"}


def test_bytes_are_refused_where_only_the_handler_knows_the_type():
    class Loose(BaseModel):
        data: bytes

        @field_validator("data", mode="before")
        @classmethod
        def any_data(cls, data: object) -> object:
            return data

    with pytest.raises(InvalidParameters, match=r"value\.data' must not contain bytes"):
        prepared_by(Loose, Loose(data=b"a"))


def test_a_handler_whose_parameters_have_no_names_is_refused():
    with pytest.raises(ConfigurationError, match=r"'\*args' can't be given by name"):
        Signature.of("test", lambda ctx, *args: None)


def test_positional_only_parameters_are_refused():
    def handler(ctx, month, /): ...

    with pytest.raises(ConfigurationError, match="'month' can't be given by name"):
        Signature.of("test", handler)


def test_a_default_that_is_for_models_is_refused_and_no_value():
    def handler(ctx, number: int = Field(default=3, ge=1)): ...

    with pytest.raises(ConfigurationError, match=r"number: Annotated\[int, Field\(ge=1\)\] = 3"):
        Signature.of("test", handler)


@pytest.mark.parametrize("annotation", [Corner, Literal[Colour.RED], dict[float, int], object(), "Missing"])
def test_an_annotation_that_cannot_be_used_is_refused(annotation):
    def handler(ctx, value): ...

    handler.__annotations__["value"] = annotation
    with pytest.raises(
        ConfigurationError, match="annotation of the handler's parameter 'value' can't be used"
    ) as caught:
        Signature.of("test", handler)
    assert "pydantic" not in str(caught.value)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there pydantic takes it")
def test_a_typed_dict_of_typing_is_refused_with_the_one_to_import():
    def handler(ctx, value: typing.TypedDict("Point", {"x": int})): ...  # type: ignore[valid-type]  # made here

    with pytest.raises(ConfigurationError, match="import TypedDict from typing_extensions"):
        Signature.of("test", handler)


def test_a_document_of_a_newer_version_is_refused():
    with pytest.raises(ConfigurationError, match="upgrade it"):
        ParameterSchema.from_document(SMALL.describe() | {"version": 2})


@pytest.mark.parametrize("text", ["{", "[]", '{"month":"foo"}', "{}"])
def test_stored_text_that_no_longer_fits_is_refused(text):
    with pytest.raises(InvalidParameters, match=r"^report\.pdf: "):
        Signature.of("report.pdf", small).decode(text)


def flat(
    ctx,
    text: str,
    number: Annotated[int, Field(ge=-5)],
    ratio: float = 1.5,
    flag: bool = False,
    nothing: None = None,
    maybe: int | None = None,
    rows: list[list[float | None]] = [],  # noqa: B006 - nobody changes it
): ...
def deep(
    ctx,
    text: str,
    number: Annotated[int, Field(ge=-5)],
    ratio: float = 1.5,
    flag: bool = False,
    nothing: None = None,
    maybe: int | None = None,
    rows: list[list[float | None]] = [],  # noqa: B006 - nobody changes it
    then: date = date.min,
): ...


IN_ONE_STEP, IN_MANY = Signature.of("test", flat), Signature.of("test", deep)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**400), 10**400)
FITTING = {
    "text": st.text(),
    "number": st.integers(-5),
    "ratio": NUMBERS,
    "flag": st.booleans(),
    "nothing": st.none(),
    "maybe": st.none() | st.integers(),
    "rows": st.lists(st.lists(st.none() | NUMBERS, max_size=3), max_size=3),
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text() | st.sampled_from(["1", "true", "2026-11-01", 1.0, -0.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries({}, optional=FITTING), st.dictionaries(st.sampled_from([*FITTING, "x"]), ANYTHING), st.data()
)
def test_flat_parameters_are_read_in_one_step_as_they_are_read_in_many(fitting, wrong, data):
    given = {"text": "", "number": 1} | fitting | data.draw(st.sampled_from([{}, wrong]))
    text = json.dumps(given, ensure_ascii=False)
    text = data.draw(st.sampled_from([text, text, text, text[:-1], json.dumps(wrong)]))

    assert read(IN_ONE_STEP, text) == read(IN_MANY, text)


def read(signature: Signature, text: str) -> str:
    try:
        return repr(signature.decode(text))
    except InvalidParameters as error:
        return str(error)


def test_parameters_that_are_no_dict_are_refused_by_their_type():
    with pytest.raises(InvalidParameters, match="t: parameters must be a dict of values by name, not list"):
        Signature.of("t", _of_numbers).schema.prepare(["x"])  # type: ignore[arg-type]


def test_a_coroutine_that_nobody_awaited_is_refused_by_its_cause():
    async def work() -> None: ...

    with pytest.raises(PermanentError, match="make it `async def` and await the other there"):
        encode_result(work(), limit=100)


def test_a_result_is_stored_as_json():
    result = {"at": date(2026, 11, 1), "of": {3, 10}, "point": Point(1), "folder": Folder(title="a", tone=Tone.DARK)}
    assert encode_result(result, limit=1000) == (
        '{"at":"2026-11-01","of":[3,10],"point":{"x":1,"y":"0"},'
        '"folder":{"title":"a","tone":"dark","data":"","children":[]}}'
    )
    assert encode_result(None, limit=0) is None


@pytest.mark.parametrize("result", ["a\0", float("nan"), object(), "\ud800", {1: 2}, "é" * 50, nested(33)])
def test_a_result_that_cannot_be_stored_is_a_permanent_error(result):
    with pytest.raises(PermanentError, match="the result"):
        encode_result(result, limit=100)


def test_names_that_somebody_made_up_are_told_in_part():
    with pytest.raises(InvalidParameters) as refused:
        SMALL.prepare({"month": "2026-11-01"} | {f"{one}{'x' * 10_000}": 0 for one in range(20)})
    assert "unknown parameter '0xxx" in str(refused.value)
    assert "and 10 more" in str(refused.value)
    assert len(str(refused.value)) < 2_000


@pytest.mark.parametrize("kind", [list[str], set[str], tuple[str, ...]])
def test_of_a_list_the_first_wrong_item_is_told(kind: Any):
    """A body holds a quarter of a million: to make an error of each, and to tell ten, held up the API."""

    def label(ctx: object, names: Any) -> None: ...

    label.__annotations__["names"] = kind
    with pytest.raises(InvalidParameters) as refused:
        Signature.of("label", label).schema.prepare({"names": ["a", 1, 2, 3]})
    assert str(refused.value).count("must be") == 1
    assert "got 1" in str(refused.value)


@pytest.mark.parametrize(
    "kind", [set[int], set[UUID], set[tuple[int, ...]], set[Any], dict[int, int], dict[UUID, int]], ids=str
)
def test_sets_and_dicts_that_python_hashes_by_a_known_rule_are_bounded(kind: Any) -> None:
    """Numbers that were chosen for it all have one hash: a set of 11,000 of them took six tenths of a second."""

    def made(number: int) -> Any:
        ids: list[Any] = list(range(number))
        if UUID in typing.get_args(kind):
            ids = [str(UUID(int=one)) for one in ids]
        elif kind == set[tuple[int, ...]]:
            ids = [[one] for one in ids]
        return {str(one): 1 for one in ids} if typing.get_origin(kind) is dict else ids

    prepared_by(kind, made(1_000))
    with pytest.raises(InvalidParameters, match="must have at most 1,000 members, as all sets and dicts"):
        prepared_by(kind, made(1_001))


@pytest.mark.parametrize("kind", [set[str], set[str | None], dict[str, int], dict[date, int], list[int]], ids=str)
def test_sets_and_dicts_of_texts_are_not(kind: Any) -> None:
    moments = [str(date(2000, 1, 1) + timedelta(number)) for number in range(3_000)]
    given: Any = range(3_000) if kind == list[int] else moments
    prepared_by(kind, dict.fromkeys(given, 1) if typing.get_origin(kind) is dict else list(given))


def test_a_set_has_each_member_once_before_they_are_counted() -> None:
    prepared_by(set[int], [*range(1_000), *range(1_000)])


def test_a_dict_s_schema_says_how_many_names_it_may_have() -> None:
    shown = json_schema(schema_of(dict[int, int]).describe())
    assert shown["properties"]["value"]["maxProperties"] == 1_000
