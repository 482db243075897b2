"""The REST API, on FastAPI: credential -> principal -> scope -> verb. It decides nothing about jobs, and has no SQL.

`authentication` proves each request, `scope` alone gives it its organization, and it calls the verbs that applications
call. `create_app` makes an ASGI application to serve or to mount. `add_problem_handlers` lets another Starlette
application answer Fairlane's errors in the same way. `problem_of` does so for other frameworks.
"""

from fairlane.api.application import create_app
from fairlane.api.problems import add_problem_handlers, problem_of

__all__ = ["add_problem_handlers", "create_app", "problem_of"]
