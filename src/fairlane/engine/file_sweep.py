"""The sweep for files that no job has: of deleted jobs, of replaced artifacts, of uploads that came to nothing."""

from typing import Final

from sqlalchemy import Connection

from fairlane.registry.artifacts import ArtifactStorage
from fairlane.store.statements import doomed_files
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

_BATCH: Final = 200
_PATIENCE: Final = 5  # refusals a round; a storage that is away would be asked for each file


class FileSweep:
    """A part of clean-up. Two at once take different files, and no transaction is open while files are deleted."""

    def __init__(self, database: Database, artifacts: ArtifactStorage) -> None:
        self._database = database
        self._artifacts = artifacts

    def run_once(self) -> int:
        """Delete one batch of files; how many.

        Raises what the storage raised, after all that it did delete.
        """
        clock = self._database.clock
        due = self._database.write(lambda c: doomed_files.take_due(c, clock.now(c), _BATCH))
        if not due:
            return 0
        gone: list[AnyRow] = []
        refused: list[tuple[AnyRow, Exception]] = []
        for file in due:
            try:
                self._artifacts.delete(file.path)
            except Exception as error:  # noqa: BLE001 - the storage's; the other files shall not wait for this one
                refused.append((file, error))
                if len(refused) == _PATIENCE:
                    break
            else:
                gone.append(file)

        def note(connection: Connection) -> None:
            doomed_files.forget(connection, gone)
            for file, _ in refused:
                doomed_files.postpone(connection, clock.now(connection), file)

        self._database.write(note)
        if refused:
            raise refused[-1][1]
        return len(gone)
