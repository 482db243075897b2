"""The place of a handler for another process: a module and a name in it. Both come from this process's own
registration, never from a database row."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from fairlane.domain.errors import ConfigurationError
from fairlane.jobtypes.job_type import JobType


def importable_target(function: Callable[..., object]) -> tuple[str, str]:
    """Return the module and the qualified name under which a new process finds `function`.

    Raises ConfigurationError for functions that only this process has: of a script, a lambda, in another function.
    """
    module, name = _place(function)
    return _importable_module(module, name), name


def check_importable(job_type: str, function: Callable[..., object]) -> None:
    """Refuse a handler that no process can find, as soon as it is made a job type.

    A handler in a script is checked only at the worker's start: a script may submit jobs of its own handlers, while a
    worker imports the same file as a module.

    Raises ConfigurationError, as `importable_target`.
    """
    try:
        module, _ = _place(function)
        if module != "__main__" or not hasattr(sys.modules["__main__"], "__file__"):
            importable_target(function)
    except ConfigurationError as error:
        raise ConfigurationError(f"{job_type}: {error}") from None


def _place(function: Callable[..., object]) -> tuple[str, str]:
    name: str | None = getattr(function, "__qualname__", None)
    module: str | None = getattr(function, "__module__", None)
    if name is None or module is None:
        raise ConfigurationError(
            f"{function!r} can't run in a process of its own, because it has no name to import it by: "
            "make it a function of a module"
        )
    if "<" in name:
        raise ConfigurationError(
            f"{name} can't run in a process of its own, because it is defined inside a function or is a lambda: "
            f"move it to the top level of its module, {module}"
        )
    return module, name


def _importable_module(module: str, name: str) -> str:
    if module != "__main__":
        return module
    # With `python -m package.module` the importable name is here, with `python module.py` there is none.
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        raise ConfigurationError(
            f"{name} can't run in a process of its own, because it is in the script that was started, which other "
            "processes can't import: move it to a module, or start the script with `python -m`"
        )
    imported: str = spec.name
    return imported


def load_handler(module: str, name: str) -> Callable[..., Any]:
    """Import a handler: the function itself, also if its name now stands for the job type made of it.

    Raises ConfigurationError if the module has no such function, and errors of the import.
    """
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    handler = found.handler if isinstance(found, JobType) else found
    if not callable(handler):
        raise ConfigurationError(
            f"{module} has no function {name} when it is imported afresh: define it at the top level"
        )
    function: Callable[..., Any] = handler
    return function
