"""The name by which another process finds a handler."""

import functools
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from fairlane.domain.errors import ConfigurationError
from fairlane.engine.executors.target import check_importable, importable_target, load_handler
from tests.engine import handlers


def test_a_handler_is_found_by_its_name() -> None:
    target = importable_target(handlers.add)
    assert target == ("tests.engine.handlers", "add")
    assert load_handler(*target) is handlers.add


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [(lambda ctx: None, "is a lambda"), (functools.partial(handlers.add, a=1), "has no name to import it by")],
)
def test_a_handler_that_has_no_name_is_refused(handler: Callable[..., object], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        importable_target(handler)


def test_a_handler_of_a_script_is_refused_but_not_one_of_a_module_that_was_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def handler() -> None:
        pass

    handler.__module__, handler.__qualname__ = "__main__", "handler"
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(ConfigurationError, match="`python -m`"):
        importable_target(handler)
    with pytest.raises(ConfigurationError, match=r"report: .* `python -m`"):
        check_importable("report", handler)
    main.__file__ = "app.py"  # a worker may import what only submits here
    check_importable("report", handler)
    with pytest.raises(ConfigurationError, match="`python -m`"):
        importable_target(handler)
    main.__spec__ = handlers.__spec__
    assert importable_target(handler) == ("tests.engine.handlers", "handler")


def test_a_name_that_the_module_does_not_have_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="has no function missing"):
        load_handler("tests.engine.handlers", "missing")
