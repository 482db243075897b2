"""The matrix as data: which status each route gives to each kind of principal.

A route of the API that has no row here fails the test, and so does a row without a route.
"""

from typing import Any, Final, NamedTuple

ANONYMOUS, REVOKED, STRANGER = "anonymous", "revoked", "stranger"
VIEWER, MEMBER, ADMIN, SUSPENDED, OPERATOR = "viewer", "member", "admin", "suspended", "operator"
PRINCIPALS: Final = (ANONYMOUS, REVOKED, STRANGER, VIEWER, MEMBER, ADMIN, SUSPENDED, OPERATOR)


class Open(NamedTuple):
    """The answer without a credential: the same for everybody."""

    status: int
    body: Any = None


class Proved(NamedTuple):
    """The answer to any user with a credential, in whatever organization."""

    status: int
    body: Any = None


class Within(NamedTuple):
    """The answers within an organization.

    Args:
        viewer, member, admin, suspended, operator: with what is the organization's own; what is to be changed is the
            member's. `suspended` is a member of an organization that is suspended.
        unknown: with an id that is another organization's or nobody's, for a user with the right.
        job: in which state the job of the path has to be.
    """

    viewer: int
    member: int
    admin: int
    suspended: int
    operator: int
    unknown: int = 404
    body: Any = None
    job: str = "queued"


class Across(NamedTuple):
    """The answers to operators only; `unknown`: with an id that is nobody's."""

    status: int
    unknown: int = 404
    body: Any = None


_READ: Final = Within(200, 200, 200, 200, 200)
_ADMINS: Final = Within(403, 403, 200, 403, 200)
_CHANGED: Final = Within(403, 202, 202, 202, 202)
_BULK: Final = Within(403, 200, 200, 200, 200)
_NOTED: Final = Within(403, 204, 204, 204, 204)
_SCHEDULE: Final = {"job_type": "report", "every": 3600}
_NOTHING: Final = {"action": "retry", "filter": {"queue": "nothing"}}
_DEAD: Final = _CHANGED._replace(job="dead")

MATRIX: Final[dict[str, Open | Proved | Within | Across]] = {
    "getHealth": Open(200),
    "logIn": Open(401, {"user": "nobody", "password": "wrong"}),
    "redeemLink": Open(401, {"secret": "wrong"}),
    "openLink": Open(422),  # a link without its secret
    "whoAmI": Proved(200),
    "getMaintenance": Proved(200),
    "logOut": Proved(204),
    # By a token nobody does; by a session: test_authentication.py.
    "changeMyPassword": Proved(403, {"current": "correct horse battery", "new": "staple battery horse"}),
    "createSocketTicket": Proved(201),
    "watchOrganization": _READ,
    "submitJob": Within(403, 201, 201, 409, 403, body={"job_type": "report"}),
    "submitJobs": Within(403, 201, 201, 409, 403, body={"jobs": [{"job_type": "report"}]}),
    "listJobs": _READ,
    "getJob": _READ,
    "cancelJob": _CHANGED,
    "runJobNow": _CHANGED,
    "rescheduleJob": _BULK._replace(body={"run_at": "2199-12-31T00:00:00Z"}),
    "prioritizeJob": _BULK._replace(body={"priority": "high"}),
    "deleteJob": Within(403, 403, 204, 403, 204, job="dead"),
    "retryJob": _DEAD,
    "getGraph": _READ,
    "countJobs": _READ,
    "getTimeline": _READ,
    "startBulkAction": Within(403, 201, 201, 201, 201, body=_NOTHING),
    "countForBulkAction": _BULK._replace(body=_NOTHING),
    "listBulkActions": _READ,
    "getBulkAction": _READ,
    "stopBulkAction": _BULK,
    "getHistory": _READ,
    "getLogs": _READ,
    "explainJob": _READ,
    "getResult": Within(200, 200, 200, 409, 200, job="done"),
    "listArtifacts": Within(200, 200, 200, 409, 200, job="done"),
    "getArtifact": Within(403, 200, 200, 409, 403, job="done"),
    "listDeadLetters": _READ,
    "listDeadLetterGroups": _READ,
    "retryDeadLetterGroup": _CHANGED,
    "retryDeadLetters": _CHANGED._replace(body={"ids": ["00000000-0000-7000-8000-000000000000"]}),
    "resolveDeadLetters": _BULK._replace(
        body={"ids": ["00000000-0000-7000-8000-000000000000"], "resolution": "ignored"}
    ),
    "deleteDeadLetters": _ADMINS._replace(body={"ids": ["00000000-0000-7000-8000-000000000000"]}),
    "retryDeadLetter": _DEAD,
    "resolveDeadLetter": _NOTED._replace(job="dead", body={"resolution": "resolved"}),
    "deleteDeadLetter": Within(403, 403, 204, 403, 204, job="dead"),
    "listMyOrganizations": Proved(200),
    "getAccess": _READ,
    "getOrganization": _READ,
    "updateOrganization": _ADMINS._replace(body={"name": "Another"}),
    "getMetrics": _READ,
    "listQueues": _READ,
    "listJobTypes": _READ,
    "listBreakers": _READ,
    "listMembers": _READ,
    "putMember": _ADMINS._replace(unknown=200, body={"role": "viewer"}),  # whom nobody knows is added
    "removeMember": Within(403, 403, 204, 403, 204),
    "listSchedules": _READ,
    "getSchedule": _READ,
    "putSchedule": Within(403, 403, 200, 403, 403, unknown=200, body=_SCHEDULE),  # a new name is a new schedule
    "deleteSchedule": Within(403, 403, 204, 403, 204),
    "pauseSchedule": _ADMINS,
    "resumeSchedule": _ADMINS,
    "submitScheduledJob": Within(403, 403, 201, 403, 403),
    "listTokens": _READ,
    "createToken": Within(201, 201, 201, 201, 422, body={"name": "mine"}),  # an operator is no member
    "revokeToken": Within(404, 204, 204, 204, 204),  # a viewer's own are others
    "listAudit": _ADMINS,
    "exportAudit": _ADMINS,
    "listOrganizations": Across(200),
    "createOrganization": Across(201),
    "getOrganizationAsOperator": Across(200),
    "updateOrganizationAsOperator": Across(200, body={"weight": 2}),
    "deleteOrganization": Across(204),
    "suspendOrganization": Across(200),
    "activateOrganization": Across(200),
    "pauseOrganization": Across(200),
    "resumeOrganization": Across(200),
    "watchAll": Across(200),
    "getRealtime": Across(200),
    "getMetricsOfAll": Across(200),
    "getTimelineOfAll": Across(200),
    "getShares": Across(200),
    "getMetricsForPrometheus": Across(200),
    "listWorkers": Across(200),
    "drainWorker": Across(202),
    "listRunningJobs": Across(200),
    "listStrandedJobs": Across(200),
    "listDeadLetterGroupsOfAll": Across(200),
    "listQueuesOfAll": Across(200),
    "pauseQueue": Across(204, 204),  # also one in which nothing is yet
    "resumeQueue": Across(204, 204),
    "turnMaintenanceOn": Across(200),
    "turnMaintenanceOff": Across(200),
    "listJobTypesOfAll": Across(200),
    "updateJobType": Across(204, body={"enabled": True}),
    "deleteJobType": Across(204),
    "pauseJobType": Across(204),
    "resumeJobType": Across(204),
    "listLimits": Across(200),
    "setLimit": Across(200, body={"max_running": 1}),
    "resetLimit": Across(204),
    "listBreakersOfAll": Across(200),
    "closeBreaker": Across(404),  # none is open
    "listAuditAsOperator": Across(200),
    "exportAuditAsOperator": Across(200),
    "listUsers": Across(200),
    "createUser": Across(201),
    "getUser": Across(200),
    "updateUser": Across(200, body={"operator": False}),
    "deleteUser": Across(204),
    "listOperatorTokens": Across(200),
    "createOperatorToken": Across(201, body={"name": "mine"}),
    "revokeOperatorToken": Across(204),
}
