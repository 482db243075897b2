"""R15: who has most of what runs, while others wait."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.shares import (
    Neighbour,
    OrganizationLoad,
    WaitingOrganizations,
    largest,
    neighbour,
    together,
    waiting,
)

CROWD = OrganizationLoad(running=90, ready=9_910, behind_seconds=300.0)
WAITS = OrganizationLoad(ready=1, behind_seconds=12.0)


def test_the_one_with_a_crowd_is_named_with_how_long_the_others_wait() -> None:
    found = neighbour(
        {
            "crowd": CROWD,
            "small": WAITS,
            "tiny": OrganizationLoad(running=1),
            "other": OrganizationLoad(0, 2, behind_seconds=4.0),
        }
    )

    assert found == Neighbour("crowd", 90, 9_910, False, others_waiting=2, others_seconds=12.0)


@pytest.mark.parametrize(
    "standings",
    [
        {},
        {"crowd": CROWD},
        {"crowd": CROWD, "small": OrganizationLoad(running=5)},
        {"crowd": CROWD, "small": OrganizationLoad(ready=1, behind_seconds=0.3)},
        dict.fromkeys(("a", "b", "c"), WAITS),
    ],
    ids=["nobody", "alone", "the others run", "the others are next", "three alike"],
)
def test_nobody_is_named_where_nobody_waits_behind_one(standings: dict[str, OrganizationLoad]) -> None:
    assert neighbour(standings) is None


def test_the_one_that_has_the_slots_is_named_and_not_the_one_with_the_longest_line() -> None:
    standings = {
        "slots": OrganizationLoad(running=100),
        "line": OrganizationLoad(ready=600, behind_seconds=80.0),
        "small": OrganizationLoad(ready=1, behind_seconds=100.0),
    }

    assert neighbour(standings) == Neighbour("slots", 100, 0, False, others_waiting=2, others_seconds=100.0)


def test_who_waits_is_told_also_where_no_single_one_has_most() -> None:
    two = {
        "a": OrganizationLoad(running=45, ready=9),
        "b": OrganizationLoad(running=45, ready=8),
        "c": OrganizationLoad(running=10),
    }
    small = OrganizationLoad(ready=1, behind_seconds=600.0)

    assert (neighbour({**two, "small": small}), waiting({**two, "small": small})) == (
        None,
        WaitingOrganizations(1, 600.0),
    )
    alike = {"a": OrganizationLoad(running=50), "b": OrganizationLoad(running=50)}
    assert (neighbour({**alike, "small": small}), waiting({**alike, "small": small})) == (
        None,
        WaitingOrganizations(1, 600.0),
    )
    assert waiting({**two, "small": OrganizationLoad(ready=1, behind_seconds=0.5)}) is None


def test_nobody_is_named_for_what_is_in_line_while_no_slot_is_taken() -> None:
    line = OrganizationLoad(ready=60, waiting_seconds=None, held=60)
    small = OrganizationLoad(ready=1, waiting_seconds=520.0)

    assert (neighbour({"line": line, "small": small}), waiting({"line": line, "small": small})) == (None, None)
    assert neighbour({"line": OrganizationLoad(ready=60), "small": WAITS}) is None


def test_of_a_neighbour_s_line_what_is_held_takes_nobody_s_turn() -> None:
    crowd = OrganizationLoad(running=9, ready=70, held=60)

    assert neighbour({"crowd": crowd, "small": WAITS}) == Neighbour("crowd", 9, 10, False, 1, 12.0)


waits = st.none() | st.floats(0, 1000)
standings = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(OrganizationLoad, st.integers(0, 100), st.integers(0, 1000), behind_seconds=waits),
)


@given(standings)
def test_an_organization_that_is_named_holds_at_least_half_of_the_slots(
    given_standings: dict[str, OrganizationLoad],
) -> None:
    found, running = neighbour(given_standings), sum(one.running for one in given_standings.values())

    if found is not None and running > 0:
        assert found.running * 2 >= running
        assert all(one.running < found.running for name, one in given_standings.items() if name != found.organization)


@given(standings, st.sampled_from("abcdef"), st.integers(1, 10_000))
def test_a_longer_line_makes_nobody_a_neighbour_while_something_runs(
    before: dict[str, OrganizationLoad], name: str, more: int
) -> None:
    running = {**before, "holder": OrganizationLoad(running=1)}
    one = running.get(name, OrganizationLoad())
    longer = {**running, name: replace(one, ready=one.ready + more)}
    found, then = neighbour(running), neighbour(longer)

    assert (then and then.organization) == (found and found.organization)


@given(standings)
def test_nobody_who_waits_behind_others_is_passed_over_in_silence(all_of_them: dict[str, OrganizationLoad]) -> None:
    long = [one for one in all_of_them.values() if (one.behind_seconds or 0.0) >= 1.0]

    if waiting(all_of_them) is None:
        assert len(long) <= 1, "the one that has most waits for its own jobs"
        assert neighbour(all_of_them) is None
    else:
        assert long


def test_together_they_wait_as_long_as_the_longest() -> None:
    assert together([CROWD, WAITS, OrganizationLoad(1, 2, True, 4.0, 1)]) == OrganizationLoad(
        91, 9_913, True, 4.0, 1, 300.0
    )
    assert together([]) == OrganizationLoad()


def test_those_that_used_most_are_shown_first_then_those_at_work_and_in_line() -> None:
    standings = {"waits": WAITS, "runs": OrganizationLoad(running=3), "used": OrganizationLoad()}

    assert largest(standings, {"used": 9.0, "gone": 1.0}, 3) == ["used", "gone", "runs"]
