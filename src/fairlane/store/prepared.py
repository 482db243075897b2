"""Prepared statements of PostgreSQL, sent by libpq. Psycopg's cursors would double the cost of a submission.

Parameters are texts. Psycopg reads the answers.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from psycopg.adapt import Transformer
from psycopg.errors import DataError, InvalidSqlStatementName, error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus

if TYPE_CHECKING:
    from psycopg import BaseConnection
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGresult

Rows = list[tuple[Any, ...]]
_PARAMETER: Final = re.compile(r"%\((\w+)\)s")


class Prepared:
    """A prepared statement on a psycopg connection, which runs as its own transaction, and the cursor of its answer.

    Args:
        connection: only one thread or task at a time may use it.
        statement: in psycopg's style, with `%(name)s` for a parameter. The statement casts each parameter to its type.
    """

    def __init__(self, connection: "BaseConnection[Any]", statement: str) -> None:
        self.connection = connection
        self.rowcount = -1
        self._encoding = connection.info.encoding
        self._names = tuple(dict.fromkeys(_PARAMETER.findall(statement)))
        self._text = _PARAMETER.sub(lambda found: f"${self._names.index(found[1]) + 1}", statement)
        self._name = f"fairlane_{hash(statement):x}".encode()
        self._is_prepared = False
        self._reader = Transformer(connection)
        self._rows: Rows = []

    def execute(self, _statement: str, values: Mapping[str, str | None]) -> None:
        """Run the statement, and wait for the answer.

        Raises:
            psycopg.Error
        """
        connection: Any = self.connection
        self._rows = connection.wait(self.run(values))

    def fetchall(self) -> Rows:
        """Return the rows of the last answer."""
        return self._rows

    def run(self, values: Mapping[str, str | None]) -> "PQGen[Rows]":
        """Run the statement as a generator for the connection's `wait`, and return the rows.

        Raises:
            psycopg.Error
        """
        given = [self._bytes(values[name]) for name in self._names]
        if not self._is_prepared:
            yield from self._prepare()
        try:
            answer = yield from self._answer_to(given)
        except InvalidSqlStatementName:  # The server has dropped it, which psycopg orders after each rollback.
            yield from self._prepare()
            answer = yield from self._answer_to(given)
        self.rowcount = answer.ntuples
        self._reader.set_pgresult(answer)
        return self._reader.load_rows(0, answer.ntuples, tuple)

    def _bytes(self, value: str | None) -> bytes | None:
        if value is None:
            return None
        if "\0" in value:  # for libpq it ends the text
            raise DataError("PostgreSQL's texts can't hold NUL characters.")
        return value.encode(self._encoding)

    def _prepare(self) -> "PQGen[None]":
        self.connection.pgconn.send_prepare(self._name, self._text.encode(self._encoding))
        yield from self._answer()
        self._is_prepared = True

    def _answer_to(self, given: list[bytes | None]) -> "PQGen[PGresult]":
        self.connection.pgconn.send_query_prepared(self._name, given)
        return (yield from self._answer())

    def _answer(self) -> "PQGen[PGresult]":
        answer: PGresult
        (answer,) = yield from execute(self.connection.pgconn)
        if answer.status == ExecStatus.FATAL_ERROR:
            raise error_from_result(answer, self._encoding)
        return answer
