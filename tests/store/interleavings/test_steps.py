"""PostgreSQL decides which steps wait for each other, and both the plays and the model of them agree with it."""

from itertools import product
from typing import Final

import psycopg
import pytest
from psycopg.errors import LockNotAvailable
from psycopg.sql import SQL

from fairlane.store.row_ending import END_WAITING
from tests.store.interleavings.model import HELD_UP
from tests.store.interleavings.steps import Step, Touch, commute, statement

WITH: Final = {  # the one row of the table, or its key
    Touch.READ: SQL("SELECT * FROM one"),
    Touch.INSERT: SQL("INSERT INTO one VALUES (1, 0) ON CONFLICT DO NOTHING"),
    Touch.SHARE: SQL("SELECT * FROM one FOR KEY SHARE"),
    Touch.UPDATE: SQL("UPDATE one SET value = value + 1"),
    Touch.REMOVE: SQL("DELETE FROM one"),
}


@pytest.fixture
def waits(postgres_url: str) -> set[tuple[Touch, Touch]]:
    """Return which touches of an open transaction another waits for, and with which of its own."""
    with psycopg.connect(postgres_url) as one, psycopg.connect(postgres_url) as other:
        one.execute("CREATE TABLE one (id integer PRIMARY KEY, value integer)")
        one.commit()
        other.execute("SET lock_timeout = '20ms'")
        other.commit()
        return {(held, wish) for held, wish in product(Touch, Touch) if has_to_wait(one, held, other, wish)}


def has_to_wait(one: psycopg.Connection, held: Touch, other: psycopg.Connection, wish: Touch) -> bool:
    one.execute("TRUNCATE one")
    if held is not Touch.INSERT:
        one.execute(WITH[Touch.INSERT])
    one.commit()
    one.execute(WITH[held])
    try:
        other.execute(WITH[wish])
    except LockNotAvailable:
        return True
    else:
        return False
    finally:
        other.rollback()
        one.rollback()


def test_steps_that_wait_for_each_other_are_those_that_do_not_commute(waits: set[tuple[Touch, Touch]]):
    steps = {touch: Step(touch.value, frozenset({("one", touch)})) for touch in Touch}
    racing = {frozenset(pair) for pair in product(Touch, Touch) if not commute(*(steps[touch] for touch in pair))}
    assert racing == {frozenset(pair) for pair in waits}


def test_the_model_waits_as_postgresql_does(waits: set[tuple[Touch, Touch]]):
    assert {(held, wish) for held, wishes in HELD_UP.items() for wish in wishes} == waits


def test_the_function_by_which_submitters_end_jobs_is_a_step_that_deletes_and_inserts():
    step = statement(f"SELECT job.id FROM {END_WAITING}() AS job")
    assert step is not None
    touched = {
        ("fairlane_live", Touch.REMOVE),
        ("fairlane_ended", Touch.INSERT),
        ("fairlane_dead_letters", Touch.UPDATE),
    }
    assert touched <= step.touched
