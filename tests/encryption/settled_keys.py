"""A pytest plugin: what is sealed anew is not waited for, since in one process a change of keys is known at once."""

from collections.abc import Iterator

import pytest

from fairlane.domain.timing import KEYS_SETTLE
from fairlane.encryption import keys

REAL = KEYS_SETTLE


@pytest.fixture(autouse=True, scope="session")
def settled_keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "KEYS_SETTLE", 0.0)
        yield
