"""The REST API, on FastAPI: credential -> principal -> scope -> verb. It decides nothing about jobs, and has no SQL.

Each request is proved by `authentication`, gets its organization from `scope` and nowhere else, and calls the verbs
that applications call. `create_app` makes an ASGI application, to be served or to be mounted in another one.
"""

from fairlane.api.application import create_app

__all__ = ["create_app"]
