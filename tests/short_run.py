"""A pytest plugin: what `make test` takes of all tests, so that it takes minutes.

That is a short run of everything: `FAIRLANE_TEST_DEPTH` is short, and no tests are named. It leaves out what is marked
`slow` and the folders `SLOW`. Of a test that runs on both databases it takes one, always the same one, unless the test
is marked `both_databases`, since what it tests speaks to each database in its own way. That one is PostgreSQL for one
test in eight, since a test takes twice as much processor time there. `make test-all`, and a run that names tests, run
all of them, on both.
"""

import importlib
import re
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import pytest

from tests import depth

SLOW: Final = ("browser", "faults", "model", "storm", "upgrade")  # not even imported
BOTH_DATABASES: Final = ("store/races",)
_HERE: Final = Path(__file__).parent
_DATABASE: Final = re.compile(r"(?<=[\[-])(sqlite|postgresql)(?=[]-])")
_IN_A_WORKER: Final = "short_run"


def is_short(config: pytest.Config) -> bool:
    """Return True if everything was asked for, and no more than a little way."""
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    if workerinput is not None:
        # A worker is given the paths of the tests as if somebody had named them.
        return bool(workerinput[_IN_A_WORKER])
    is_named = config.args_source is not pytest.Config.ArgsSource.TESTPATHS or bool(config.option.keyword)
    return depth.IS_SHORT and not is_named


def whose_turn(names: Iterable[str]) -> set[str]:
    """Return one of those tests that differ by nothing but the database, and all others."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[_DATABASE.sub("*", name)].append(name)
    return {max(ours) if crc32(name.encode()) % 8 else min(ours) for name, ours in alike.items()}


@pytest.hookimpl(optionalhook=True)  # known only where xdist is installed
def pytest_configure_node(node: Any) -> None:
    node.workerinput[_IN_A_WORKER] = is_short(node.config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Have each worker begin with other tests, and import of the rest the bytecode that another has written.

    pytest rewrites each assertion when a test is first imported, which takes longer than all else of that. Workers
    that collect side by side would each do so for each file.
    """
    workerinput: dict[str, Any] | None = getattr(session.config, "workerinput", None)
    if workerinput is None or not is_short(session.config):
        return
    paths = sorted(path.relative_to(_HERE.parent) for path in _HERE.rglob("test_*.py"))
    names = [".".join(path.with_suffix("").parts) for path in paths if path.parts[1] not in SLOW]
    begin = len(names) * int(workerinput["workerid"].removeprefix("gw")) // workerinput["workercount"]
    for name in names[begin:] + names[:begin]:
        # What is wrong with it, or missing for it, pytest says when it collects it.
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(name)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if is_short(config) and collection_path in {_HERE / folder for folder in SLOW} else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not is_short(config):
        return
    turns = whose_turn(item.nodeid for item in items)
    excluded = [item for item in items if _is_slow(item) or not (item.nodeid in turns or _is_on_both(item))]
    config.hook.pytest_deselected(items=excluded)
    gone = set(excluded)
    items[:] = [item for item in items if item not in gone]


def _is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


def _is_on_both(item: pytest.Item) -> bool:
    in_folder = item.nodeid.startswith(tuple(f"{_HERE.name}/{folder}/" for folder in BOTH_DATABASES))
    return in_folder or item.get_closest_marker("both_databases") is not None
