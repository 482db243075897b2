"""What the composition root hands to the running side."""

from dataclasses import dataclass

from fairlane.config import Settings
from fairlane.domain.events import Emit
from fairlane.registry.artifacts import ObjectStorage
from fairlane.registry.directory import Directory
from fairlane.registry.job_types import Catalogue
from fairlane.store.transaction import Database


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What the composition root hands to a worker."""

    database: Database
    settings: Settings
    catalogue: Catalogue
    directory: Directory
    artifacts: ObjectStorage
    emit: Emit
