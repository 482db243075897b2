"""A pytest plugin: a password costs a test less than a millisecond instead of a fifth of a second and 64 MiB."""

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from fairlane.accounts import passwords

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
REAL = passwords._hasher
REAL_NOBODY = passwords._NOBODY


@pytest.fixture(autouse=True, scope="session")
def cheap_passwords() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", lambda: CHEAP)
        patch.setattr(passwords, "_NOBODY", CHEAP.hash("of nobody"))
        yield
