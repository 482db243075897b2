"""The API on each kind of database, as the tests of the API have it."""

from tests.api.conftest import api, serve

__all__ = ["api", "serve"]
