"""The API on each kind of database, as the tests of the API have it."""

from tests.api.conftest import api, one_by_one, serve

__all__ = ["api", "one_by_one", "serve"]
