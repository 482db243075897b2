"""The statements in files of their own set all that the code and their transitions say."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files

import pytest

from fairlane.domain import transitions
from fairlane.domain.statuses import OrganizationStatus
from fairlane.store.sql import statement
from fairlane.store.tables import ended, live

STORE = files("fairlane.store")
AT = datetime(2026, 11, 1, tzinfo=UTC)
# What a statement sets without a parameter of that name.
LEASE = {"worker_id", "lease_token", "started_at", "status", "log_sequence"}
# What begins empty with an end that is no cancel.
EMPTY = {"canceled_at", "canceled_by"}


def read(path: str) -> str:
    return STORE.joinpath(f"{path}.sql").read_text(encoding="utf-8")


def paths() -> Iterator[str]:
    for database in ("postgres", "sqlite"):
        for file in STORE.joinpath(database).iterdir():
            if file.name.endswith(".sql"):
                yield f"{database}/{file.name.removesuffix('.sql')}"


def test_each_statement_begins_with_its_reason() -> None:
    assert [path for path in paths() if not re.match(r"-- [A-Z][a-z]+ .*\.", read(path))] == []


@pytest.mark.parametrize("path", ["postgres/claim", "sqlite/claim"])
def test_a_claim_sets_what_its_transition_says_and_the_lease(path: str) -> None:
    (written,) = re.findall(r"UPDATE fairlane_live SET (.*?)\n *(?:WHERE|FROM)", read(path), re.DOTALL)
    changes = transitions.claim("w").changes
    assert {*re.findall(r"(\w+) = ", written)} == LEASE | set(changes)
    assert {*re.findall(r":(\w+)", written)} >= {"target", *changes}


@pytest.mark.parametrize("path", ["postgres/complete", "sqlite/complete"])
def test_a_completion_writes_each_column_of_an_end_and_what_its_transition_says(path: str) -> None:
    ((into, values),) = re.findall(r"fairlane_ended \((.*?)\)\s+SELECT (.*?)\s+FROM", read(path), re.DOTALL)
    names = re.split(r",\s+", into)
    assert set(names) == {column.name for column in ended.c} - EMPTY
    assert len(names) == len(re.split(r",\s+", values))
    changed = {name for name in transitions.complete(AT, None).changes if name in ended.c}
    mine = dict(zip(names, re.split(r",\s+", values), strict=True))
    assert {name for name, value in mine.items() if value != name} == {"status", "log_sequence", *changed}
    assert {mine[name] for name in changed - {"finished_at"}} == {f":{name}" for name in changed - {"finished_at"}}
    assert {name for name, value in mine.items() if value == name} <= {column.name for column in live.c}


def test_a_claim_of_the_most_urgent_alone_leaves_out_the_oldest() -> None:
    whole, urgent = statement("postgres/claim").text, statement("postgres/claim", without="oldest").text
    assert {"ranks", "aged"} <= set(re.findall(r":(\w+)", whole))
    assert not {"ranks", "aged", "place_in_lane"} & set(re.findall(r"\w+", urgent))
    assert f"own.status = '{OrganizationStatus.SUSPENDED}'" in urgent
