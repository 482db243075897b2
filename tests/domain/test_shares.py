"""R15: who has most of what is live, while others wait."""

import pytest

from fairlane.domain.shares import Neighbour, Standing, largest, neighbour, together

CROWD = Standing(running=90, ready=9_910, waiting_seconds=300.0)
WAITS = Standing(ready=1, waiting_seconds=12.0)


def test_the_one_with_a_crowd_is_named_with_how_long_the_others_wait() -> None:
    found = neighbour(
        {"crowd": CROWD, "small": WAITS, "tiny": Standing(running=1), "other": Standing(0, 2, False, 4.0)}
    )

    assert found == Neighbour("crowd", 90, 9_910, False, others_waiting=2, others_seconds=12.0)


@pytest.mark.parametrize(
    "standings",
    [
        {},
        {"crowd": CROWD},
        {"crowd": CROWD, "small": Standing(running=5)},
        {"crowd": CROWD, "small": Standing(ready=1, waiting_seconds=0.3)},
        dict.fromkeys(("a", "b", "c"), WAITS),
    ],
    ids=["nobody", "alone", "the others run", "the others are next", "three alike"],
)
def test_nobody_is_named_where_nobody_waits_behind_one(standings: dict[str, Standing]) -> None:
    assert neighbour(standings) is None


def test_together_they_wait_as_long_as_the_longest() -> None:
    assert together([CROWD, WAITS, Standing(1, 2, True)]) == Standing(91, 9_913, True, 300.0)
    assert together([]) == Standing()


def test_those_that_used_most_are_shown_first_then_those_at_work_and_in_line() -> None:
    standings = {"waits": WAITS, "runs": Standing(running=3), "used": Standing()}

    assert largest(standings, {"used": 9.0, "gone": 1.0}, 3) == ["used", "gone", "runs"]
