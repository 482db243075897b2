"""Tables of all that the classifier knows by name: errors of Python and of libraries, HTTP statuses, AWS codes.

The tables hold names and not classes, so nothing is imported for them.
"""

import errno
from collections.abc import Mapping
from typing import Final, NamedTuple

from fairlane.domain import errors


def name_of(kind: type) -> str:
    """Return a class's qualified name, as the tables have it."""
    module, name = (type.__getattribute__(kind, part) for part in ("__module__", "__qualname__"))
    return f"{module}.{name}"


def _names(names: str, *kinds: type) -> frozenset[str]:
    return frozenset(names.split()).union(map(name_of, kinds))


class Ruling(NamedTuple):
    """The consequence of an error for its job. `retry_after`: the seconds that the other side asked for.

    `is_storage`: Fairlane's own storage did not serve the handler, so the handler did not fail.
    `retries`: the number of retries that a permanent error still gets.
    """

    permanent: bool
    retry_after: float | None = None
    is_storage: bool = False
    retries: int = 0

    @property
    def rank(self) -> int:
        """Return the rank among the errors of a group: the first error with the lowest rank decides."""
        return 2 if self.permanent else 1 if self.is_storage else 0


# InvalidParameters is here because a stored payload that can't be decoded backs off like any other failure (R7).
# StatementTooSlow is here because the database answered: the handler asked it for too much.
_TRANSIENT: Final = _names(
    """
    asyncio.exceptions.IncompleteReadError concurrent.futures._base.BrokenExecutor ftplib.error_temp
    http.client.HTTPException smtplib.SMTPConnectError smtplib.SMTPServerDisconnected socket.gaierror socket.herror
    sqlite3.OperationalError ssl.SSLError subprocess.TimeoutExpired urllib.error.URLError

    aiohttp.client_exceptions.ClientConnectionError aiohttp.client_exceptions.ClientPayloadError
    botocore.exceptions.ConnectionError botocore.exceptions.HTTPClientError httpcore.NetworkError
    httpcore.TimeoutException httpx.TransportError requests.exceptions.ChunkedEncodingError
    requests.exceptions.ConnectionError requests.exceptions.Timeout urllib3.exceptions.HTTPError

    asyncpg.exceptions.InsufficientResourcesError asyncpg.exceptions.OperatorInterventionError
    asyncpg.exceptions.PostgresConnectionError asyncpg.exceptions.TransactionRollbackError
    django.db.utils.InterfaceError django.db.utils.OperationalError psycopg.InterfaceError psycopg.OperationalError
    psycopg2.InterfaceError psycopg2.OperationalError pymysql.err.InterfaceError pymysql.err.OperationalError
    sqlalchemy.exc.InterfaceError sqlalchemy.exc.OperationalError sqlalchemy.exc.TimeoutError

    amqp.exceptions.RecoverableConnectionError kombu.exceptions.OperationalError paramiko.ssh_exception.SSHException
    pika.exceptions.AMQPConnectionError pymongo.errors.ConnectionFailure pymongo.errors.ExecutionTimeout
    redis.exceptions.ConnectionError redis.exceptions.TimeoutError

    frappe.exceptions.DocumentLockedError frappe.exceptions.QueryDeadlockError frappe.exceptions.QueryTimeoutError
    frappe.exceptions.TimestampMismatchError frappe.exceptions.TooManyRequestsError
    """,
    *(BlockingIOError, ConnectionError, InterruptedError, MemoryError, TimeoutError),
    *(errors.IdentityProviderUnavailable, errors.InvalidParameters, errors.OrganizationSuspended),
    errors.StatementTooSlow,
)
_PERMANENT: Final = _names(
    """
    ftplib.error_perm smtplib.SMTPAuthenticationError

    jsonschema.exceptions.ValidationError marshmallow.exceptions.ValidationError msgspec.ValidationError
    pydantic.error_wrappers.ValidationError pydantic.v1.error_wrappers.ValidationError
    pydantic_core._pydantic_core.ValidationError

    aiohttp.client_exceptions.InvalidURL botocore.exceptions.NoCredentialsError
    botocore.exceptions.ParamValidationError botocore.exceptions.PartialCredentialsError httpx.InvalidURL
    httpx.UnsupportedProtocol requests.exceptions.InvalidSchema requests.exceptions.InvalidURL
    requests.exceptions.MissingSchema urllib3.exceptions.LocationParseError

    asyncpg.exceptions.DataError asyncpg.exceptions.InsufficientPrivilegeError
    asyncpg.exceptions.InvalidAuthorizationSpecificationError django.core.exceptions.PermissionDenied
    django.core.exceptions.ValidationError django.db.utils.DataError django.http.response.Http404 psycopg.DataError
    psycopg.errors.InsufficientPrivilege psycopg.errors.InvalidAuthorizationSpecification
    psycopg.errors.InvalidPassword psycopg2.DataError psycopg2.errors.InsufficientPrivilege
    psycopg2.errors.InvalidAuthorizationSpecification psycopg2.errors.InvalidPassword pymysql.err.DataError
    sqlalchemy.exc.DataError

    paramiko.ssh_exception.AuthenticationException redis.exceptions.AuthenticationError
    redis.exceptions.AuthorizationError redis.exceptions.NoPermissionError

    frappe.exceptions.AuthenticationError frappe.exceptions.PermissionError frappe.exceptions.ValidationError
    """,
    *(FileNotFoundError, ImportError, IsADirectoryError, NotADirectoryError, PermissionError, UnicodeError),
    *(errors.ConfigurationError, errors.CyclicDependency, errors.JobNotFound, errors.JobTypeNotFound),
    *(errors.OrganizationNotFound, errors.ParentNotFound, errors.PayloadTooLarge, errors.PermissionDenied),
)
# A job that was submitted without `connection=` may run before its submitter commits the row that the job needs.
_NOT_FOUND_IN_HOST: Final = _names(
    """
    django.core.exceptions.ObjectDoesNotExist frappe.exceptions.DoesNotExistError sqlalchemy.exc.NoResultFound
    """
)
KNOWN_TYPES: Final[Mapping[str, Ruling]] = {
    **dict.fromkeys(_TRANSIENT, Ruling(permanent=False)),
    **dict.fromkeys(_PERMANENT, Ruling(permanent=True)),
    **dict.fromkeys(_NOT_FOUND_IN_HOST, Ruling(permanent=True, retries=2)),
    # An operator repairs the installation: until then each job waits, as in an outage.
    **dict.fromkeys(
        map(name_of, (errors.StorageUnavailable, errors.InstallationError)), Ruling(permanent=False, is_storage=True)
    ),
}
PERMANENT_ERRNOS: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}  # some libraries' classes have only these
    | {errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOEXEC}
)

TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})
# The names that requests, httpx and openai, botocore, aiohttp and kubernetes, urllib and google.api_core use.
STATUS_NAMES: Final = ("status_code", "HTTPStatusCode", "status", "code")
HEADERS_NAMES: Final = ("headers", "HTTPHeaders")
# The codes that botocore itself retries; most of them come with status 400.
AWS_TRANSIENT: Final = _names(
    """
    BandwidthLimitExceeded EC2ThrottledException LimitExceededException PriorRequestNotComplete
    ProvisionedThroughputExceededException RequestLimitExceeded RequestThrottled RequestThrottledException
    RequestTimeout RequestTimeoutException SlowDown ThrottledException Throttling ThrottlingException
    TooManyRequestsException TransactionInProgressException
    """
)
