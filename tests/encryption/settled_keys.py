"""A pytest plugin: what is sealed anew is not waited for, since in one process a change of keys is known at once."""

from collections.abc import Iterator

import pytest

from fairlane.encryption import keys

REAL = keys.SETTLING


@pytest.fixture(autouse=True, scope="session")
def settled_keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "SETTLING", 0.0)
        yield
