"""Bulk actions and their filters, as rows store them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from fairlane.domain.bulk import BulkAction, BulkVerb, Refusal
from fairlane.domain.errors import BulkActionNotFound, ConfigurationError
from fairlane.domain.jobs import decode_cursor, encode_cursor
from fairlane.domain.statuses import JobStatus
from fairlane.store.statements.job_list import Place, WantedJobs
from fairlane.store.tables import AnyRow

_WAITING: Final = timedelta(seconds=10)  # without a process that works at it
_MOMENTS: Final = ("created_after", "created_before", "there_at", "retry_after")


def bulk_action_of(row: AnyRow, now: datetime) -> BulkAction:
    """Return the public value of a row."""
    return BulkAction(
        id=row.id,
        organization=row.organization_id,
        verb=BulkVerb(row.verb),
        user=row.user_id,
        filters=_with_moments(json.loads(row.filters)),
        per_second=row.per_second,
        changed=row.changed,
        passed_over=row.passed_over,
        refused=row.refused,
        refusals=tuple(Refusal(UUID(job), detail) for job, detail in json.loads(row.refusals)),
        is_waiting=row.look_at is not None and now - row.look_at > _WAITING,
        created_at=row.created_at,
        ended_at=row.ended_at,
        stopped_by=row.stopped_by,
        problem=row.problem,
    )


def kept_filters(filters: Mapping[str, Any]) -> str:
    """Return the filters as the user gave them, to be shown; statuses as a list."""
    given = {name: value for name, value in filters.items() if name != "in_errors"}
    if isinstance(given.get("label"), tuple):
        given["label"] = dict([given["label"]])
    return json.dumps(given, default=_plain)


def kept_wanted(wanted: WantedJobs) -> str:
    """Return the wanted jobs as JSON."""
    kept = asdict(wanted)
    if wanted.words_from is not None:
        kept["words_from"] = encode_cursor(*wanted.words_from)
    return json.dumps(kept, default=_plain)


class OfNewerRelease(ConfigurationError):
    """A newer Fairlane began the bulk action, with a filter that this one does not know."""


def wanted_of(text: str) -> WantedJobs:
    """Read the wanted jobs.

    Raises:
        OfNewerRelease: a filter is not known here; without it the action would take other jobs, too.
    """
    kept: dict[str, Any] = _with_moments(json.loads(text))
    for name in kept.keys() - WantedJobs.__dataclass_fields__.keys():
        if kept.pop(name):  # else it has no effect: see `Wanted`
            raise OfNewerRelease(
                f"A newer Fairlane has begun this bulk action, with a filter {name!r:.80} that this one does not know: "
                "workers of the newer one go on with it; upgrade this one."
            )
    pairs = {name: [(label, value) for label, value in kept[name]] for name in ("labels", "common")}
    first = Place(*decode_cursor(kept["words_from"])) if kept["words_from"] is not None else None
    return WantedJobs(
        **{
            **kept,
            "statuses": frozenset(map(JobStatus, kept["statuses"])),
            "labels": tuple(pairs["labels"]),
            "common": frozenset(pairs["common"]),
            "ids": tuple(map(UUID, kept["ids"])) if kept["ids"] is not None else None,
            "words_from": first,
        }
    )


def unknown(organization: str, action: object) -> BulkActionNotFound:
    """Return the error for a bulk action that does not exist."""
    return BulkActionNotFound(
        f"Organization {organization} has no bulk action {action!s:.80}, or it ended more than a day ago."
    )


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return sorted(value) if isinstance(value, frozenset) else str(value)


def _with_moments(kept: dict[str, Any]) -> dict[str, Any]:
    moments = {name: datetime.fromisoformat(kept[name]) for name in _MOMENTS if kept.get(name) is not None}
    return kept | moments
