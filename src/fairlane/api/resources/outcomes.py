"""A job's log, result, files and explanation."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query, Response

from fairlane.api.authentication import ROOT
from fairlane.api.downloads import Download, Part, disposition, media_type, part_of
from fairlane.api.headers import headers_told
from fairlane.api.problems import MEDIA_TYPE, Problem
from fairlane.api.rates import Rate
from fairlane.api.representations import Explanation, History, LogLines, Result
from fairlane.api.scope import InOrganization, Scope
from fairlane.api.values import JobPath
from fairlane.domain.errors import ArtifactNotFound
from fairlane.domain.jobs import entry_without_payload
from fairlane.domain.permissions import Right
from fairlane.encryption.artifacts import stream_file
from fairlane.encryption.sealing import Unreadable

router = APIRouter(prefix=ROOT + "/organizations/{organization}/jobs/{job}", tags=["jobs"])

_Looking = Annotated[Scope, Depends(InOrganization(Rate.STATUS, Right.JOBS_READ))]
_FURTHEST = 10**9  # lines
_OF_FILE: Final = ("ETag", "Accept-Ranges", "Content-Disposition")


@router.get("/history", operation_id="getHistory")
def get_history(scope: _Looking, job: JobPath) -> History:
    """Get the execution log: each change of status, time or priority."""
    entries = scope.fl.history(job, organization=scope.organization)
    sees = _sees(scope, job)
    return History(items=list(entries if sees else map(entry_without_payload, entries)), payload_hidden=not sees)


@router.get("/logs", operation_id="getLogs")
def get_logs(
    scope: _Looking,
    job: JobPath,
    after: Annotated[int, Query(ge=0, le=_FURTHEST, description="How many lines you have already.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> LogLines:
    """Get the lines that the handler wrote with `ctx.log`."""
    if not _sees(scope, job):
        return LogLines(items=None, next_after=None, payload_hidden=True)
    lines = scope.fl.log_lines(job, organization=scope.organization, after=after, limit=limit)
    items = list(lines)
    return LogLines(items=items, next_after=after + len(items) if items else None, payload_hidden=False)


@router.get("/explanation", operation_id="explainJob")
def explain_job(scope: _Looking, job: JobPath) -> Explanation:
    """Say why the job is not running, or how it runs, or how it ended."""
    found = scope.fl.reads.explain(job, scope.organization, with_errors=_sees(scope, job))
    return Explanation.model_validate(found)


@router.get("/result", operation_id="getResult")
def get_result(scope: _Looking, job: JobPath) -> Result:
    """Get the value that the handler returned, and the artifacts. It is a conflict while the job has not ended."""
    result = scope.fl.result(job, organization=scope.organization)
    return Result.of(result, sees=_sees(scope, job))


@router.get("/artifacts", operation_id="listArtifacts")
def list_artifacts(scope: _Looking, job: JobPath) -> Result:
    """List the files that the job has stored so far; `value` is null."""
    found = scope.fl.list_artifacts(job, organization=scope.organization)
    return Result.of(found, sees=_sees(scope, job))


@router.get(
    "/artifacts/{name:path}",
    operation_id="getArtifact",
    response_class=Download,
    responses={
        200: {"description": "The file, with its own content type.", "content": {"*/*": {}}, **headers_told(*_OF_FILE)},
        206: {
            "description": "The range.",
            "content": {"*/*": {}},
            **headers_told(*_OF_FILE, "Content-Range"),
        },
        304: {"description": "The file is unchanged.", **headers_told("ETag")},
        416: {
            "description": "The file does not have these bytes.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            **headers_told("Content-Range"),
        },
    },
)
def get_artifact(
    scope: _Looking,
    job: JobPath,
    name: str,
    header_range: Annotated[
        str | None, Header(alias="Range", description="One range of bytes; omitted: the whole file.")
    ] = None,
    if_range: Annotated[str | None, Header(description="The range only if the file is still this one.")] = None,
    if_none_match: Annotated[str | None, Header(description="304 if the file is still this one.")] = None,
) -> Response:
    """Download a file. It is always an attachment, so no browser shows it as a page of this site."""
    if not _sees(scope, job):
        raise Problem(403, "permission-denied", "Files of others' jobs need the right payload:read.")
    found = scope.fl.find_artifact(job, name, organization=scope.organization)
    tag = f'"{found.sha256}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": disposition(found.name),
        "Content-Type": media_type(found.content_type),
        "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    }
    if if_none_match is not None and (if_none_match.strip() == "*" or tag in if_none_match):
        return Response(status_code=304, headers={"ETag": tag})
    wanted = part_of(header_range, found.size) if if_range in {None, tag} else Part(0, found.size)
    if wanted is None:
        raise Problem(
            416,
            "range-not-satisfiable",
            f"The file has {found.size} bytes; ask for some of them.",
            headers={"Content-Range": f"bytes */{found.size}"},
        )
    fl = scope.fl
    try:
        pieces = stream_file(
            fl.artifacts,
            fl.keyring,
            fl.database,
            scope.organization,
            found.path,
            found.size,
            wanted.start,
            wanted.stop,
        )
    except (FileNotFoundError, Unreadable):
        raise ArtifactNotFound from None
    headers["Content-Length"] = str(wanted.stop - wanted.start)
    if (wanted.start, wanted.stop) == (0, found.size):
        return Download(pieces, headers=headers)
    headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{found.size}"
    return Download(pieces, status_code=206, headers=headers)


def _sees(scope: Scope, job: str) -> bool:
    """Return True if the user may see the job's payload. Raises JobNotFound if the user may not see the job."""
    return scope.access.sees_payload(scope.fl.reads.get(job, scope.organization, with_parameters=False).user)
