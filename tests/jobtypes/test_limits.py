"""Limits on what runs, as operators see and change them (R4)."""

from collections.abc import Callable
from functools import partial

import pytest

from fairlane import ConfigurationError, Fairlane, JobTypeNotFound
from tests.store.races.race import Race, at_once
from tests.store.races.scene import Scene


def limits(fl: Fairlane, name: str = "report") -> dict[str | None, tuple[int | None, int | None, float]]:
    """Return the limits of a type, by organization: at once, rate, window."""
    return {
        one.organization: (one.max_running, one.execution_rate, one.execution_rate_window)
        for one in fl.job_types.limits(name=name)
    }


@pytest.fixture
def scene(scene: Scene) -> Scene:
    scene.add_type("letter", max_running=5, execution_rate=100, execution_rate_window=3600)
    scene.fl._submitter.register_types()
    return scene


def test_a_type_is_limited_as_its_handler_says_until_somebody_says_otherwise(scene: Scene):
    types = scene.fl.job_types
    assert limits(scene.fl, "letter") == {None: (5, 100, 3600.0)}
    assert limits(scene.fl) == {None: (None, None, 60.0)}
    types.limit("letter", max_running=None)
    assert limits(scene.fl, "letter") == {None: (None, 100, 3600.0)}
    types.limit("letter", execution_rate=0)
    changed = types.limit("letter")
    assert (changed.max_running, changed.execution_rate, changed.changed) == (
        None,
        0,
        ("execution_rate", "max_running"),
    )
    assert types.limits(name="letter") == (changed,)
    assert types.reset_limit("letter")
    assert limits(scene.fl, "letter") == {None: (5, 100, 3600.0)}
    assert not types.reset_limit("letter")


def test_an_organization_s_own_limit_stands_beside_that_of_all(scene: Scene):
    types = scene.fl.job_types
    types.limit("letter", organization="rival", max_running=1)
    types.limit("letter", organization="acme", execution_rate=2, execution_rate_window=10)
    assert limits(scene.fl, "letter") == {None: (5, 100, 3600.0), "acme": (None, 2, 10.0), "rival": (1, None, 60.0)}
    assert types.reset_limit("letter", organization="acme")
    assert set(limits(scene.fl, "letter")) == {None, "rival"}
    assert {(one.job_type, one.organization) for one in types.limits()} == {
        ("letter", None),
        ("letter", "rival"),
        ("report", None),
    }


def test_what_two_operators_change_at_once_is_both_kept(scene: Scene):
    change = partial(scene.fl.job_types.limit, "report")
    at_once([partial(change, max_running=3), partial(change, execution_rate=7)])
    assert limits(scene.fl) == {None: (3, 7, 60.0)}


def test_a_change_of_a_limit_waits_for_no_submission(scene: Scene, race: Race):
    with race.open() as submitting:
        scene.submit(connection=submitting)
        race.passes(lambda: scene.fl.job_types.limit("report", max_running=1))


def test_a_window_may_stand_beside_a_rate_that_is_taken_away_or_is_set_already(scene: Scene):
    scene.fl.job_types.limit("report", execution_rate=None, execution_rate_window=30)
    scene.fl.job_types.limit("report", execution_rate=7)
    scene.fl.job_types.limit("report", execution_rate_window=10)
    assert limits(scene.fl) == {None: (None, 7, 10.0)}


def test_a_type_that_is_deleted_leaves_no_limit(scene: Scene):
    scene.fl.job_types.limit("letter", max_running=1)
    scene.fl.job_types.delete("letter")
    scene.fl.job_types.limit("report", max_running=1)
    assert {one.job_type for one in scene.fl.job_types.limits()} == {"report"}
    scene.submit("letter")
    assert limits(scene.fl, "letter") == {None: (5, 100, 3600.0)}


def test_a_list_of_types_says_what_holds_and_what_their_handlers_say(scene: Scene):
    types = scene.fl.job_types
    scene.fl.organizations.create("globex")
    types.limit("letter", max_running=2)
    types.limit("letter", organization="acme", max_running=1)
    types.limit("letter", organization="rival", max_running=0)
    told = {
        organization: {(one.organization, one.max_running, one.execution_rate, one.changed) for one in view.limits}
        for organization in (None, "acme", "globex")
        for view in types.list(organization=organization)
        if view.name == "letter" and view.options.max_running == 5
    }
    every = (None, 2, 100, ("max_running",))
    assert told == {None: {every}, "acme": {every, ("acme", 1, None, ("max_running",))}, "globex": {every}}


REFUSED: dict[str, tuple[Callable[[Fairlane], object], type[Exception]]] = {
    "unknown type": (lambda fl: fl.job_types.limit("nope", max_running=1), JobTypeNotFound),
    "look at an unknown type": (lambda fl: fl.job_types.limits(name="nope"), JobTypeNotFound),
    "below none": (lambda fl: fl.job_types.limit("report", max_running=-1), ConfigurationError),
    "no whole number": (lambda fl: fl.job_types.limit("report", max_running=True), ConfigurationError),
    "no window": (lambda fl: fl.job_types.limit("report", execution_rate_window=0), ConfigurationError),
    "more than a day": (lambda fl: fl.job_types.limit("report", execution_rate_window=86_401), ConfigurationError),
    "no organization": (lambda fl: fl.job_types.limit("report", organization="", max_running=1), ConfigurationError),
    "rate of a handler": (lambda fl: fl.job_type("new", execution_rate=-1), ConfigurationError),
    "window without a rate": (
        lambda fl: fl.job_types.limit("report", execution_rate_window=10),
        ConfigurationError,
    ),
    "window of a handler without a rate": (lambda fl: fl.job_type("new", execution_rate_window=10), ConfigurationError),
    "window of a handler": (lambda fl: fl.job_type("new", execution_rate_window=0), ConfigurationError),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_limit_that_can_not_be_is_refused_in_a_sentence(scene: Scene, what: str):
    change, refusal = REFUSED[what]
    with pytest.raises(refusal, match=r"\.$"):
        change(scene.fl)
    assert limits(scene.fl) == {None: (None, None, 60.0)}


async def test_limits_through_async_verbs(scene: Scene):
    types = scene.fl.aio.job_types
    changed = await types.limit("report", max_running=1)
    assert (await types.limits(name="report")) == (changed,)
    assert await types.reset_limit("report")
