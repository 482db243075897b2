"""Problem details (RFC 9457): the answer and the status for each of Fairlane's errors.

An answer for what the reader may not see equals the answer for what does not exist, to the byte. So these answers
never carry an error's own words.
"""

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from traceback import format_tb
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from fairlane.domain import errors as e
from fairlane.domain.texts import printable
from fairlane.domain.timing import RETRY_SOON

MEDIA_TYPE: Final = "application/problem+json"
_log: Final = logging.getLogger(__name__)
_CHALLENGE: Final = 'Bearer realm="fairlane"'
_URN: Final = "urn:fairlane:problem:"
_PASSES_SOON: Final = frozenset({"storage-unavailable", "identity-provider-unavailable"})
MOST_TOLD: Final = 20  # errors of one body that are listed; the sentence counts all of them
LONGEST_POINTER: Final = 500  # characters; a client may send names of any length

ORGANIZATION_UNKNOWN: Final = "There is no such organization, or you are not a member of it."
_AWAY: Final = (
    "The database, artifacts or the application's directory did not answer; nothing was changed, try again. "
    "The server's log says why."
)
_JOB_UNKNOWN: Final = "The organization has no such job."
# By the error's class: the status, the end of the problem's type and, where its own words would say too much, a text.
_KINDS: Final[Mapping[type[BaseException], tuple[int, str, str | None]]] = {
    e.JobNotFound: (404, "job-not-found", _JOB_UNKNOWN),
    e.ArtifactNotFound: (404, "artifact-not-found", "The job has no such artifact."),
    e.WorkerNotFound: (404, "worker-not-found", None),
    e.TooManyBulkActions: (409, "too-many-bulk-actions", None),
    e.BulkActionNotFound: (404, "bulk-action-not-found", "The organization has no such bulk action."),
    e.ScheduleNotFound: (404, "schedule-not-found", "The organization has no such schedule."),
    e.OrganizationNotFound: (404, "organization-not-found", ORGANIZATION_UNKNOWN),
    e.OrganizationExists: (409, "organization-exists", None),
    e.UserExists: (409, "user-exists", None),
    e.OrganizationSuspended: (409, "organization-suspended", None),
    e.JobTypeNotFound: (404, "job-type-not-found", None),
    e.JobTypeDisabled: (409, "job-type-disabled", None),
    e.PermissionDenied: (403, "permission-denied", None),
    e.InvalidParameters: (422, "invalid-parameters", None),
    e.PayloadTooLarge: (413, "payload-too-large", None),
    e.ParentNotFound: (422, "parent-not-found", None),
    e.CyclicDependency: (422, "cyclic-dependency", None),
    e.DuplicateJob: (409, "duplicate-job", None),
    e.RateLimited: (429, "rate-limited", None),
    e.QueueFull: (429, "queue-full", None),
    e.IdempotencyConflict: (422, "idempotency-conflict", None),
    e.IllegalTransition: (409, "illegal-transition", None),
    e.WaitTimeout: (409, "wait-timeout", None),
    e.StatementTooSlow: (503, "too-slow", None),
    e.CommitUnanswered: (503, "commit-unanswered", None),
    e.IdentityProviderUnavailable: (503, "identity-provider-unavailable", None),
    e.StorageUnavailable: (503, "storage-unavailable", _AWAY),
    e.KeptByHost: (409, "kept-by-host", None),
    e.ConfigurationError: (422, "invalid-value", None),
}
_NO_OBJECT: Final = "it must be an object, with values by name"
# By pydantic's types of errors.
_SAID: Final = {
    "extra_forbidden": "there is no field of this name; leave it out",
    "missing": "it is missing; give it a value",
    "dict_type": _NO_OBJECT,
    "model_type": _NO_OBJECT,
    "model_attributes_type": _NO_OBJECT,
    "timezone_aware": "a time is written with its time zone, such as 2026-11-01T08:00:00Z",
}
_UNANSWERED: Final = "A request could not be answered: %s"
_NOT_READY: Final = (
    "The server can't use the database, or a key; the server's log says why, and its operator can read it."
)
_BROKEN: Final = "Something went wrong in the server; its log says what, and its operator can read it."


class Problem(Exception):
    """An exception that a route raises to answer with a problem.

    Args:
        status: the HTTP status.
        kind: the end of the problem's `type`, for example "rate-limited".
        detail: a sentence that says what to do.
        headers: headers of the answer.
        more: additional members.
    """

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = {"Content-Type": MEDIA_TYPE, **(headers or {})}
        self.more = more

    @property
    def type(self) -> str:
        """Return the type of the problem, a URI."""
        return _URN + self.kind

    def document(self) -> dict[str, Any]:
        """Return the problem as clients get it."""
        return {
            "type": self.type,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            # It may quote what a client sent, for example half a surrogate pair, which is not valid UTF-8.
            "detail": self.detail.encode(errors="backslashreplace").decode(),
            **self.more,
        }

    def response(self) -> Response:
        """Return the response."""
        return JSONResponse(self.document(), status_code=self.status, headers=self.headers)


def unauthenticated(detail: str, *, given: bool = False) -> Problem:
    """Return the problem of a request without a valid credential. `given`: there was a credential."""
    challenge = f'{_CHALLENGE}, error="invalid_token"' if given else _CHALLENGE
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": challenge})


def no_longer_good() -> Problem:
    """Return the problem of a credential that is not valid, or no longer."""
    return unauthenticated("The credential is wrong, was revoked or has expired; get another one.", given=True)


def problem_of(error: BaseException) -> Problem:
    """Return the problem with which to answer an error.

    In any web framework its `document()`, `status` and `headers` make the response.
    """
    if isinstance(error, Problem):
        return error
    found = next((_KINDS[kind] for kind in type(error).__mro__ if kind in _KINDS), None)
    if isinstance(error, e.InstallationError):
        # Each request meets the error until it is repaired. The sentence says how, so a traceback is of no use.
        _log.error(_UNANSWERED, error)
        return Problem(503, "not-ready", _NOT_READY)
    # A ConfigurationError with a cause is not the request's fault.
    if found is None or (isinstance(error, e.ConfigurationError) and error.__cause__ is not None):
        # Only the place in the code is logged: the error's text may quote the request.
        where = "".join(format_tb(error.__traceback__))
        _log.error("A request failed with %s:\n%s", printable(type(error).__name__), where)
        return Problem(500, "internal-error", _BROKEN)
    status, kind, words = found
    if words is _AWAY:
        _log.warning(_UNANSWERED, printable(str(error)))
    more: dict[str, Any] = {}
    headers: dict[str, str] = {}
    if isinstance(error, e.SubmissionError):
        # The body names something unknown: this is an error of the body, not of the address.
        status = 422 if status == HTTPStatus.NOT_FOUND else status
        more |= {"index": error.index} if error.index is not None else {}
    if isinstance(error, e.DuplicateJob) and error.existing_id is not None:
        more |= {"existing_id": str(error.existing_id), "existing_status": error.existing_status}
    wait = getattr(error, "retry_after", None) or (float(RETRY_SOON) if kind in _PASSES_SOON else None)
    if wait is not None:
        more["retry_after"] = wait
        headers["Retry-After"] = str(max(math.ceil(wait), 1))
    return Problem(status, kind, words or str(error), headers=headers, **more)


def add_problem_handlers(app: Starlette) -> None:
    """Let an application of Starlette or FastAPI answer Fairlane's errors as the REST API does: as problem details.

    Args:
        app: an application that submits jobs in its own routes. Its answers to other errors do not change.
    """
    for kind in (e.FairlaneError, Problem):
        app.add_exception_handler(kind, on_error)


def on_error(_request: Request, error: Exception) -> Response:
    """Answer one of Fairlane's errors."""
    return problem_of(error).response()


def on_invalid(_request: Request, error: Exception) -> Response:
    """Answer a request with a value of the wrong form, without repeating what was sent."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if found[0]["type"] == "json_invalid":
        what, place = found[0]["ctx"]["error"], found[0]["loc"][-1]
        return Problem(400, "invalid-json", f"The body is not JSON: {what}, at character {place}.").response()
    wrong = [
        {
            "pointer": ("/" + "/".join(map(str, one["loc"])))[:LONGEST_POINTER],
            "detail": said(one["type"], one["msg"]),
        }
        for one in found[:MOST_TOLD]
    ]
    first = wrong[0]
    detail = f"{first['pointer']}: {first['detail']}" + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")
    return Problem(422, "invalid-request", detail, errors=wrong).response()


def said(kind: str, words: str) -> str:
    """Return what is wrong with a value: pydantic's words, or a plainer text where those are about Python."""
    return _SAID.get(kind, words.removeprefix("Value error, ")).encode(errors="replace").decode()


def on_http(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: an unknown path, an unknown method, a body that is not JSON."""
    assert isinstance(error, HTTPException)
    kinds = {404: "not-found", 405: "method-not-allowed"}
    document = f"{request.scope.get('root_path', '')}/api/v1/openapi.json"
    detail = {
        404: f"There is nothing at this address; {document} lists what there is.",
        405: f"This address does not take the method; {document} says which it takes.",
    }.get(error.status_code, str(error.detail))
    kind = kinds.get(error.status_code, "bad-request")
    if isinstance(error.__cause__, ValueError):  # the parser refuses a number of valid JSON
        kind, detail = "invalid-json", "The body holds an integer of more than 4,300 digits; send it as text."
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods_at(request)))
    return Problem(error.status_code, kind, detail, headers=headers).response()


def _methods_at(request: Request) -> set[str]:
    """Return all methods that the address takes.

    Each method is a separate route, with the same path as the first route that matches.
    """
    routes = [one for one in request.app.state.routes if isinstance(one, Route)]
    path = next((one.path for one in routes if one.matches(request.scope)[0] is not Match.NONE), None)
    return {method for one in routes if one.path == path for method in one.methods or ()}
