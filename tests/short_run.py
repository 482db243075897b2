"""A pytest plugin: in a short run of everything, what lies above the store meets one database in each test.

The store speaks to each database in its own way, so its tests run on both. Above it the code is the same: there a run
of all tests takes one of them for each test, always the same one, half of the tests each. CI, and whoever names tests,
runs them on both.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final
from zlib import crc32

import pytest

from tests import depth

_DATABASE: Final = re.compile(r"(?<=[\[-])(sqlite|postgresql)(?=[]-])")
_ON_BOTH: Final = "tests/store/"
_IN_A_WORKER: Final = "takes_turns"


def takes_turns(config: pytest.Config) -> bool:
    """Whether everything was asked for, and no more than a little way."""
    is_named = config.args_source is not pytest.Config.ArgsSource.TESTPATHS or bool(config.option.keyword)
    return depth.IS_SHORT and not is_named


def whose_turn(names: Iterable[str]) -> set[str]:
    """Of tests that differ by nothing but the database, one; and all others."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[name if name.startswith(_ON_BOTH) else _DATABASE.sub("*", name)].append(name)
    return {ours[crc32(name.encode()) % len(ours)] for name, ours in alike.items()}


@pytest.hookimpl(optionalhook=True)  # known only where xdist is installed
def pytest_configure_node(node: Any) -> None:
    # A worker is given the paths of the tests as if somebody had named them.
    node.workerinput[_IN_A_WORKER] = takes_turns(node.config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    if not (takes_turns(config) if workerinput is None else workerinput[_IN_A_WORKER]):
        return
    turns = whose_turn(item.nodeid for item in items)
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in turns])
    items[:] = [item for item in items if item.nodeid in turns]
