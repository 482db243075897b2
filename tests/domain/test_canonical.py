"""R2, R3: one canonical text and one hash for each value, in every process."""

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from math import inf, nan
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.canonical import Unordered, canonical, digest, digest_of_key
from fairlane.domain.errors import InvalidParameters


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 2


NAMES = {
    kind.__name__: kind for kind in (Colour, Level, Decimal, UUID, ZoneInfo, date, datetime, time, timedelta, timezone)
} | {"UTC": UTC, "inf": inf, "nan": nan}
GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("golden_hashes.json").read_text(encoding="utf-8"))

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))
OFFSETS = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))


def evaluate(expression: str) -> Any:
    """The value of an expression in the golden file."""
    return eval(expression, dict(NAMES))


@pytest.mark.parametrize("vector", GOLDEN["values"], ids=lambda vector: vector["what"])
def test_the_golden_vectors_hold(vector):
    for expression in vector["values"]:
        text = canonical(evaluate(expression))
        assert text == vector["canonical"]
        assert digest(GOLDEN["organization"], GOLDEN["job_type"], text) == vector["digest"]


@pytest.mark.parametrize("vector", GOLDEN["keys"], ids=lambda vector: repr(vector["key"]))
def test_the_golden_hashes_of_explicit_keys_hold(vector):
    assert digest_of_key(GOLDEN["organization"], GOLDEN["job_type"], vector["key"]) == vector["digest"]


@pytest.mark.parametrize("vector", GOLDEN["refused"], ids=lambda vector: ascii(vector["value"]))
def test_what_cannot_be_stored_is_refused_by_its_path(vector):
    with pytest.raises(InvalidParameters) as caught:
        canonical(evaluate(vector["value"]))
    assert str(caught.value) == vector["message"]


def test_different_golden_values_have_different_hashes():
    digests = [vector["digest"] for vector in GOLDEN["values"] + GOLDEN["keys"]]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    "seed", ["0", pytest.param("1", marks=pytest.mark.slow), pytest.param("4242", marks=pytest.mark.slow), "random"]
)
def test_every_process_finds_the_golden_hashes_whatever_its_hash_seed(seed):
    program = (
        "from tests.domain.test_canonical import *\n"
        "for vector in GOLDEN['values']:\n"
        "    for value in vector['values']:\n"
        "        assert canonical(evaluate(value)) == vector['canonical'], value\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], cwd=root, env=environment, check=True)


def test_the_hash_tells_organizations_and_job_types_apart():
    digests = {digest(*parts) for parts in [("a", "b", "c"), ("ab", "", "c"), ("a", "bc", ""), ('a","b', "c", "")]}
    assert len(digests) == 4


@given(TEXTS, TEXTS, TEXTS)
def test_an_explicit_key_never_collides_with_parameters(organization, job_type, key):
    assert digest_of_key(organization, job_type, key) != digest(organization, job_type, key)


def test_an_explicit_key_with_nul_is_refused():
    with pytest.raises(InvalidParameters, match="dedup_key contains a NUL"):
        digest_of_key("acme", "report.pdf", "a\0")


@given(JSON, JSON)
def test_different_json_values_have_different_texts(one, other):
    assert (canonical(one) == canonical(other)) == same(one, other)


@given(JSON)
def test_the_text_survives_a_round_trip_through_json(value):
    assert canonical(json.loads(json.dumps(value))) == canonical(value)


@given(st.dictionaries(TEXTS, SCALARS), st.randoms())
def test_the_order_of_keys_does_not_matter(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(value)


@given(st.lists(SCALARS), st.randoms())
def test_the_order_of_the_members_of_a_set_does_not_matter(members, random):
    shuffled = random.sample(members, len(members))
    assert canonical(Unordered(shuffled)) == canonical(Unordered(members))


@given(st.datetimes(timezones=OFFSETS), st.datetimes(timezones=OFFSETS))
def test_aware_datetimes_count_by_instant(one, other):
    assert (canonical(one) == canonical(other)) == (one == other)
    assert canonical(one) != canonical(one.replace(tzinfo=None))


@given(st.times(timezones=OFFSETS), st.times(timezones=OFFSETS))
def test_aware_times_count_as_python_compares_them(one, other):
    assert (canonical(one) == canonical(other)) == (one == other)


@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_decimals_count_by_value(one, other):
    assert (canonical(one) == canonical(other)) == (one == other)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.integers(0, 40))
def test_zeros_at_the_end_of_a_decimal_do_not_matter(number, zeros):
    assert canonical(Decimal(f"{number}{'0' * zeros}")) == canonical(number)


def same(one: object, other: object) -> bool:
    """Equality of JSON values: as Python's, but True is not 1."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return isinstance(one, bool) == isinstance(other, bool) and one == other
