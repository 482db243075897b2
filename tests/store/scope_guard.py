"""A pytest plugin that fails the test in which our code touches tenant data without naming the organization.

It watches every statement that a function of `fairlane` executes, in every test; what tests themselves look at is their
own business. In a statement each tenant table must be bound to an organization:

- SELECT, UPDATE, DELETE: `organization_id` is compared with a value, or with the organization of something that is
  bound (a joined table, an enclosing statement, a subquery, which is looked at by itself);
- INSERT: `organization_id` is among the values;
- text(): not parsed, only counted: as many comparisons or inserted columns `organization_id` as tables.

A statement that works across organizations on purpose says why, by `.execution_options(fairlane_across="…")`, and the
reason is listed in `REASONS`.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy
from sqlalchemy import BindParameter, Delete, Engine, Insert, Table, TextClause, Tuple, Update, event
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import Compiled
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, ClauseElement, ColumnClause, Grouping
from sqlalchemy.sql.selectable import CTE, AliasedReturnsRows, Join, Lateral, Select, SelectBase, Subquery

import fairlane
from fairlane.store.tables import metadata

TENANT_TABLES: Final = frozenset(table for table in metadata.tables.values() if "organization_id" in table.c)
ACROSS: Final = "fairlane_across"
# Why a statement may leave the organization out.
REASONS: Final = {
    "claim": "a worker claims for all organizations; fairness decides between them",
    "finish": "a worker ends its attempts, each proved by its lease",
    "rescue": "a worker holds jobs of any organization; it is given up, or removed, with an eye on all of them",
    "stage": "time makes jobs of all organizations due; new edges are looked at once, whose ever they are",
    "clean-up": "retention and the sweeper for orphans go through all organizations",
    "feed": "a node follows the log of all organizations and sorts events into rooms",
    "heartbeat": "a worker asks for its own jobs, of any organization",
    "schedules": "due schedules of all organizations are submitted by one scheduler",
    "bulk actions": "a worker goes on with those of all organizations",
    "credentials": "a credential says which organization it opens, so it is looked up before that is known",
    "operator reads": "operators see all organizations",
}

_OURS: Final = f"{Path(fairlane.__path__[0])}{os.sep}"
_LIBRARY: Final = f"{Path(sqlalchemy.__path__[0])}{os.sep}"
_NAMES: Final = "|".join(sorted((table.name for table in TENANT_TABLES), key=len, reverse=True))
_TOUCHED: Final = re.compile(rf"\b(?:FROM|JOIN|UPDATE|INTO|,)\s+(?:ONLY\s+)?\"?(?:{_NAMES})\b", re.IGNORECASE)
_BOUND: Final = re.compile(
    r"\borganization_id\"?\s*(?:=|IN\b)|=\s*(?:\w+\.)?organization_id\b|INTO\s+\w+\s*\([^)]*\borganization_id\b",
    re.IGNORECASE,
)

# A table or an alias of one, and the name of a column in it. None stands for a value.
Node = tuple[object, str] | None
Edge = tuple[Node, Node]

violations: list[str] = []
# What was found to be in order: a test run executes each many times. SQLAlchemy caches what it has compiled by its
# structure, values aside.
_approved: set[Compiled | str] = set()


@pytest.fixture(autouse=True, scope="session")
def _watch_statements() -> Iterator[None]:
    event.listen(Engine, "before_cursor_execute", _before_cursor_execute)
    yield
    event.remove(Engine, "before_cursor_execute", _before_cursor_execute)


@pytest.fixture(autouse=True)
def _organization_scope() -> Iterator[None]:
    """Fail a test also when the code under test has swallowed the guard's error, or met it in another thread."""
    violations.clear()
    yield
    assert not violations, "\n".join(violations)


def _before_cursor_execute(
    _connection: object, _cursor: object, sql: str, _parameters: object, context: Any, _is_many: bool
) -> None:
    compiled = context.compiled
    statement: Any = sql if compiled is None else compiled.statement if context.isddl else context.invoked_statement
    is_across = compiled is not None and ACROSS in statement.get_execution_options()
    seen = sql if compiled is None else compiled
    if (seen in _approved and not is_across) or not _is_ours():
        return
    try:
        check(statement, () if compiled is None else context.compiled_parameters)
    except AssertionError as error:
        violations.append(str(error))
        raise
    if not is_across and (compiled is None or compiled.cache_key is not None):
        _approved.add(seen)


def _is_ours() -> bool:
    """Return True if the nearest caller outside SQLAlchemy is Fairlane's code."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_LIBRARY, "<string>")):
        frame = frame.f_back
    return frame.f_code.co_filename.startswith(_OURS)


def check(statement: Any, parameters: Sequence[Mapping[str, Any]] = ()) -> None:
    """Refuse a statement that touches tenant data without the organization.

    Args:
        statement: whatever `Connection.execute` takes, or a driver's SQL.
        parameters: of the execution; an INSERT's values may be among them.

    Raises:
        AssertionError: it names the tables, and shows the statement.
    """
    options = statement.get_execution_options() if isinstance(statement, sqlalchemy.Executable) else {}
    reason = options.get(ACROSS)
    if reason is not None:
        assert reason in REASONS, f'"{reason}" is no reason to work across organizations: {", ".join(REASONS)}.'
        return
    unbound = _Walk(parameters).unbound(statement)
    assert not unbound, (
        f"Tenant data without its organization: {', '.join(sorted(unbound))}. Compare organization_id, "
        f'or say why not: .execution_options({ACROSS}="…").\n{statement}'
    )


class _Walk:
    """A walk through one statement and everything in it. A block is one SELECT, UPDATE or DELETE."""

    def __init__(self, parameters: Sequence[Mapping[str, Any]]) -> None:
        self._parameters = parameters
        self._seen: set[int] = set()
        self._found: set[str] = set()

    def unbound(self, statement: Any) -> set[str]:
        """The tenant tables that no organization binds."""
        self._visit(statement, frozenset())
        return self._found

    def _visit(self, element: Any, outer: frozenset[Any]) -> None:
        """`outer`: the tables of the enclosing blocks, which a correlated subquery may refer to."""
        for cte in getattr(element, "_independent_ctes", ()):
            self._visit(cte, outer)
        match element:
            case str() | TextClause():
                self._text(str(element))
            case Select():
                self._select(element, outer)
            case Insert():
                self._insert(element)
            case Update() | Delete():
                self._change(element)
            case Lateral():
                self._visit(element.element, outer)
            case Subquery() | CTE():
                self._derived(element)
            case ClauseElement():
                self._all(element.get_children(), outer)

    def _all(self, elements: Iterable[Any], outer: frozenset[Any]) -> None:
        for element in elements:
            self._visit(element, outer)

    def _derived(self, element: Subquery | CTE) -> None:
        # A CTE may be used more than once, and by itself.
        if id(element) not in self._seen:
            self._seen.add(id(element))
            self._visit(element.element, frozenset())

    def _text(self, sql: str) -> None:
        touched = _TOUCHED.findall(sql)
        if len(_BOUND.findall(sql)) < len(touched):
            self._found |= {name.split()[-1] for name in touched}

    def _select(self, select: Select[Any], outer: frozenset[Any]) -> None:
        froms = select.get_final_froms()
        tables = [table for one in froms for table in _tables(one)]
        own = [table for table in tables if table not in _correlated(select, outer)] or tables
        edges = [edge for one in froms for edge in _join_edges(one)]
        self._require(own, edges + [edge for one in select._where_criteria for edge in _edges(one)])
        inner = outer | frozenset(tables)
        self._all(froms, inner)
        parts = (select._raw_columns, select._where_criteria, select._having_criteria, select._order_by_clauses)
        for elements in parts:
            self._all((part for part in elements if not isinstance(part, Table)), inner)

    def _change(self, statement: Update | Delete) -> None:
        criteria = statement._where_criteria
        mentioned = {table for one in criteria for table in _mentioned(one) if _base(table) is not None}
        tables = [statement.table, *(mentioned - {statement.table})]
        self._require(tables, [edge for one in criteria for edge in _edges(one)])
        values = getattr(statement, "_values", None) or {}
        self._all([*criteria, *values.values()], frozenset(tables))

    def _insert(self, insert: Insert) -> None:
        if insert.table in TENANT_TABLES:
            names = {getattr(key, "name", key) for key in (*(insert._values or ()), *(insert._select_names or ()))}
            rows = [row for rows in insert._multi_values for row in rows]
            given = [{getattr(key, "name", key) for key in row} for row in rows]
            given += [set(row) for row in self._parameters if row]
            if "organization_id" not in names and not (given and all("organization_id" in row for row in given)):
                self._found.add(insert.table.name)
        if insert.select is not None:
            self._visit(insert.select, frozenset())

    def _require(self, tables: Iterable[Any], edges: Iterable[Edge]) -> None:
        """Refuse a tenant table whose organization no value, and no table of another block, reaches."""
        tables = list(tables)
        known: set[Node] = {None}
        pending = list(edges)
        reached = True
        while reached:
            reached = False
            for source, target in pending:
                foreign = source is not None and source[0] not in tables and source[1] == "organization_id"
                if target not in known and (source in known or foreign):
                    known.add(target)
                    reached = True
        for table in tables:
            base = _base(table)
            if base in TENANT_TABLES and (table, "organization_id") not in known:
                self._found.add(base.name)


def _correlated(select: Select[Any], outer: frozenset[Any]) -> frozenset[Any]:
    """The tables of enclosing blocks that the SELECT refers to instead of reading them anew."""
    if select._auto_correlate:
        return outer
    if select._correlate_except is not None:
        return outer - set(select._correlate_except)
    return outer & set(select._correlate or ())


def _base(table: Any) -> Any:
    """The table itself, or that of an alias; None for what is looked at by itself."""
    if isinstance(table, Subquery | CTE | Lateral):
        return None
    if isinstance(table, AliasedReturnsRows):
        return _base(table.element)
    return table if isinstance(table, Table) else None


def _tables(element: Any) -> list[Any]:
    if isinstance(element, Join):
        return _tables(element.left) + _tables(element.right)
    return [element] if _base(element) is not None else []


def _mentioned(element: Any) -> Iterator[Any]:
    """The tables whose columns an expression uses, not counting its subqueries."""
    if isinstance(element, SelectBase):
        return
    if isinstance(element, ColumnClause):
        yield element.table
    for child in element.get_children():
        yield from _mentioned(child)


def _join_edges(element: Any) -> Iterator[Edge]:
    """Yield the bindings of the ON clauses. The ON clause of an outer join binds only its nullable side."""
    if not isinstance(element, Join):
        return
    yield from _join_edges(element.left)
    yield from _join_edges(element.right)
    nullable = _tables(element.right)
    if element.full:
        return
    for source, target in _edges(element.onclause):
        if not element.isouter or (target is not None and target[0] in nullable):
            yield source, target


def _edges(element: Any) -> set[Edge]:
    """(a, b): where the condition holds and a is bound to one organization, so is b."""
    match element:
        case Grouping():
            return _edges(element.element)
        case BooleanClauseList() if element.operator is operators.and_:
            return set[Edge]().union(*map(_edges, element.clauses))
        case BooleanClauseList() if element.operator is operators.or_:
            return set[Edge].intersection(*map(_edges, element.clauses))
        case BinaryExpression() if element.operator is operators.eq:
            return _equal(element.left, element.right)
        case BinaryExpression() if element.operator is operators.in_op:
            columns = element.left.clauses if isinstance(element.left, Tuple) else [element.left]
            is_list = isinstance(element.right, BindParameter)
            return {(None, _node(column)) for column in columns if is_list and isinstance(column, ColumnClause)}
        case _:
            return set()


def _equal(left: Any, right: Any) -> set[Edge]:
    if isinstance(left, ColumnClause) and isinstance(right, ColumnClause):
        return {(_node(left), _node(right)), (_node(right), _node(left))}
    edges: set[Edge] = set()
    for column, other in ((left, right), (right, left)):
        if isinstance(column, ColumnClause) and isinstance(other, BindParameter):
            edges.add((None, _node(column)))
    return edges


def _node(column: Any) -> Node:
    return column.table, column.name
