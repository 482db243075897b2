"""The REST API, on FastAPI: credential -> principal -> scope -> verb. It decides nothing about jobs, and has no SQL.

Each request is proved by `authentication`, gets its organization from `scope` and nowhere else, and calls the verbs
that applications call. `create_app` makes an ASGI application, to be served or to be mounted in another one;
`add_problem_handlers` lets another one answer for Fairlane's errors as this one does, and `problem_of` lets one of
another framework.
"""

from fairlane.api.application import create_app
from fairlane.api.problems import add_problem_handlers, problem_of

__all__ = ["add_problem_handlers", "create_app", "problem_of"]
