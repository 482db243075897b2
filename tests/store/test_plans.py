"""The statements that run all day read by an index, however long the backlog.

PostgreSQL holds what skews its statistics: one organization with nearly all of the jobs, a hundred with a few, and many
future retries. Or it has none: a new installation's tables were never analyzed, or when they were empty. Each statement
is planned for its parameters and, as a prepared one may be, for any parameters.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Connection

from fairlane.domain.statuses import JobStatus, Priority, Resolution
from fairlane.store.statements import cleanup, feed, lanes, revival
from fairlane.store.statements.feed import Audience
from fairlane.store.tables import execution_log
from fairlane.store.transaction import Database
from tests.conftest import once
from tests.postgres import create_database, database_on
from tests.store.plan_cases import (
    CASES,
    HOT,
    LATER,
    LOOKS,
    QUEUES,
    TABLES,
    Case,
    count_of,
    letters,
    missed,
    page_of,
    to_retry_and_how_many,
)
from tests.store.plan_rows import BUSY, CHAIN, DEAD, DECIDED, EDGES, FILLS, PROGRESS, jobs_by
from tests.store.plans import plans, scans

# Lists of the large organization's jobs and dead letters.
LISTS = (
    "jobs of an organization",
    "jobs of a status",
    "oldest jobs of a status",
    "ids of a status",
    "jobs of a type",
    "jobs of a user",
    "jobs of a queue",
    "jobs of a time",
    "jobs with a label",
    "jobs by the end of an id",
    "jobs from before a key",
    "jobs that died of one error",
    "jobs to retry",
    "count of a type's jobs of a status",
    "count with a common label",
    "newest dead letters",
    "newest dead letters of one error",
)
# The line of a plan that says by which index it reads, and the condition that follows.
BY_INDEX = re.compile(r"(?:using|on) fairlane_(\w+)(?: on .*)?  \(cost.*\n\s+Index Cond: (.*)")
# Of a job's tables: an organization's rows are all read where its key's condition names no id.
KEYS_OF_JOBS = frozenset({"jobs_pk", "live_pk", "ended_pk"})
# What a line of a plan reads or sorts, and how many rows are expected.
READS = re.compile(r"((?:Index|Seq|Bitmap|Sort).*?)  \(cost=[\d.]+ (rows=\d+)")


class Making(NamedTuple):
    """A maker of databases to plan in. All processes of the run share each, since nobody writes."""

    server: str
    template: str
    directory: Path

    def made(self, name: str, *fills: str, template: str | None = None) -> str:
        """Return the name of a new one with these fills, a copy of the template."""

        def make() -> str:
            full_name = f"{self.directory.name}_{name}"
            create_database(self.server, full_name, template=template or self.template)
            with psycopg.connect(database_on(self.server, full_name), autocommit=True) as connection:
                # Else a look of autovacuum's, which is another sample, changes what is expected between two plans.
                still = [f"ALTER TABLE {table} SET (autovacuum_enabled = false)" for table in TABLES]
                for statement in (*still, *fills):
                    connection.execute(statement)
            return full_name

        return once(self.directory, name, make)

    @contextmanager
    def database(self, name: str, *fills: str, template: str | None = None) -> Iterator[Database]:
        """Yield such a database."""
        database = Database(database_on(self.server, self.made(name, *fills, template=template)))
        yield database
        database.close()


@pytest.fixture(scope="module")
def making(postgres_server: str, postgres_template: str, run_directory: Path) -> Making:
    """Return the maker of PostgreSQL databases."""
    return Making(postgres_server, postgres_template, run_directory)


@pytest.fixture(scope="module")
def backlog(making: Making) -> str:
    """The name of a database with a long backlog that nobody opens, to be copied: to fill one takes 10 s."""
    return making.made("plans_backlog", "ANALYZE", *FILLS)


@pytest.fixture(scope="module")
def filled(making: Making, backlog: str) -> Iterator[Database]:
    """PostgreSQL with a long backlog and fresh statistics."""
    # FREEZE waits for pages that a checkpoint is writing; without it they are passed over, some thousands of them at
    # times, and an index alone is not believed to be enough.
    with making.database("plans", "VACUUM (FREEZE, ANALYZE)", template=backlog) as database:
        yield database


@pytest.fixture(scope="module")
def grown(making: Making, backlog: str) -> Iterator[Database]:
    """PostgreSQL with as long a backlog, of which the planner knows nothing: statistics are of the empty tables."""
    with making.database("plans_grown", template=backlog) as database:
        yield database


@pytest.fixture(scope="module")
def young(making: Making) -> Iterator[Database]:
    """PostgreSQL as it was installed an hour ago: 4,000 jobs, and no statistics yet."""
    with making.database("plans_young", jobs_by(100), EDGES) as database:
        yield database


def both_ways(database: Database, work: Callable[[Connection], object], **options: Any) -> list[list[str]]:
    """The plans for the statements' parameters, and those for any parameters."""
    return [plans(database, work, generic=generic, **options) for generic in (False, True)]


def assert_reads_by_index(database: Database, case: Case) -> None:
    for found in both_ways(database, case.work):
        for table in {*TABLES} - {case.read_whole}:
            assert [line for plan in found for line in scans(plan, table)] == []
        for index in case.indexes:
            assert any(f"fairlane_{index}" in plan for plan in found), found
            if index in KEYS_OF_JOBS:
                conditions = [one for plan in found for name, one in BY_INDEX.findall(plan) if name == index]
                assert [one for one in conditions if not re.search(r"\bid = ", one)] == []


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_postgres_reads_by_index(filled: Database, case: Case) -> None:
    assert_reads_by_index(filled, case)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOT + LOOKS)
def test_tables_that_were_empty_when_they_were_analyzed_are_read_by_index(grown: Database, name: str) -> None:
    assert_reads_by_index(grown, CASES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", HOT)
def test_tables_that_were_never_analyzed_are_read_by_index(young: Database, name: str) -> None:
    assert_reads_by_index(young, CASES[name])


def test_a_piece_of_a_log_is_compared_with_no_subquery(young: Database) -> None:
    """The database took the job for a short one, and compared each of its rows with each of the piece."""
    found = both_ways(young, lambda c: cleanup._thin_out(c, "big", execution_log.c.job_id, UUID(int=1)))
    assert not [plan for way in found for plan in way if "Join" in plan]


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
def test_row_security_changes_no_plan_of_a_large_organization_s_lists(filled: Database, name: str) -> None:
    """Nor what is expected: where too few rows are, a page is sorted instead of read in its order."""
    free, bound = (both_ways(filled, CASES[name].work, of=of) for of in (None, "big"))

    for found in bound:
        assert any("One-Time Filter" in plan for plan in found)
    assert [READS.findall(plan) for found in bound for plan in found] == [
        READS.findall(plan) for found in free for plan in found
    ]


@pytest.mark.slow
@pytest.mark.parametrize("queues", [None, QUEUES], ids=["all", "named"])
def test_lanes_are_found_in_the_index_alone(filled: Database, queues: tuple[str, ...] | None) -> None:
    def look(connection: Connection) -> object:
        return lanes.active_lanes(connection, queues)

    for (plan,) in both_ways(filled, look):
        assert plan.count("Index Only Scan using fairlane_live_ready") == 2
        assert " Sort " not in plan
        if queues is not None:
            assert re.search(r"Index Cond: \(\(queue = .*queue.*\) AND \(ROW\(organization_id, job_type", plan)


@pytest.mark.slow
def test_the_oldest_of_a_lane_are_read_from_where_they_are_in_each_priority(filled: Database) -> None:
    """Prometheus asks for them with each scrape, and a lane may have a million."""
    for (plan,) in both_ways(filled, CASES["oldest ready jobs"].work):
        ends = re.findall(r"Limit .*\n\s+->  Index Scan using fairlane_live_ready .*\n\s+Index Cond: (.*)", plan)

        assert len(ends) == len(Priority)
        assert [one for one in ends if "priority = " not in one] == []
        assert "Sort" not in plan, "LIMIT has to end the read of a lane; a sort would read all of it"


@pytest.mark.slow
def test_claim_reads_a_lane_in_the_order_of_the_index(filled: Database) -> None:
    plan = plans(filled, CASES["claim"].work)[-1]
    lane, update = plan.split("CTE candidate")[1].split("CTE claimed")

    assert "Index Scan using fairlane_live_ready" in lane
    assert "Sort" not in lane, "LIMIT has to end the read of a lane; a sort would read all of it"
    assert "Tid Scan on fairlane_live" in update
    assert "Index Scan using fairlane_jobs_pk" in update, "and the facts are read by their key"


@pytest.mark.slow
def test_claim_passes_over_nothing_before_a_lane_s_mark(filled: Database) -> None:
    for found in both_ways(filled, CASES["claim behind marks"].work):
        lines = found[-1].splitlines()
        reads = [number for number, line in enumerate(lines) if "Index Scan using fairlane_live_ready" in line]
        conditions = [lines[number + 1] for number in reads]

        assert len(reads) == 2
        for beginning in ("ROW(priority, run_at, id) >= ROW(", "ROW(run_at, id) >= ROW("):
            assert sum("Index Cond" in one and beginning in one for one in conditions) == 1
        for number in reads:
            assert "LockRows" in lines[number - 1], "LIMIT has to end the read of a lane; a sort would read all of it"


@pytest.mark.slow
def test_what_somebody_missed_is_looked_for_at_the_end_of_the_log(filled: Database) -> None:
    for found in both_ways(filled, missed):
        lines = found[-1].splitlines()
        (log,) = [number for number, line in enumerate(lines) if " on fairlane_execution_log" in line]

        assert "Index Cond: ((id >= " in lines[log + 1]


@pytest.mark.slow
def test_those_of_many_watched_jobs_that_run_are_found_among_what_runs(filled: Database) -> None:
    for (plan,) in both_ways(filled, CASES["watched jobs that run"].work):
        assert re.search(r"fairlane_live_(running|status)", plan), "thousands that are watched must not be looked up"


@pytest.mark.slow
def test_progress_of_what_runs_is_looked_up_however_much_runs(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in (BUSY, PROGRESS, "VACUUM (FREEZE, ANALYZE)"):
            connection.execute(statement)
    database = Database(postgres_url)
    watched, heard = Audience(jobs=frozenset({("small1", UUID(int=7))})), Audience(frozenset({"small1"}))

    def look(connection: Connection) -> None:
        assert len(feed.watched_progress(connection, watched)) == 1
        assert len(feed.running_progress(connection, heard, 10_000)) == 5_000

    found = both_ways(database, look)
    database.close()
    for plan in [plan for way in found for plan in way]:
        assert "Index Scan using fairlane_progress_pk" in plan


@pytest.mark.slow
def test_clean_up_reads_a_shelf_from_where_it_is(filled: Database) -> None:
    (plan,) = plans(filled, CASES["old jobs of a shelf"].work)

    assert "Sort" not in plan, "LIMIT has to end the read; a sort would read all that is kept"
    assert "Filter" not in plan, "what was looked at before must not be read again"


@pytest.mark.slow
@pytest.mark.parametrize("fingerprint", [None, "frequent"])
def test_a_page_of_dead_letters_is_read_from_where_it_is(filled: Database, fingerprint: str | None) -> None:
    (plan,) = plans(filled, partial(letters, fingerprint=fingerprint))
    of_letters, _, of_jobs = plan.partition("using fairlane_jobs")

    assert "Sort" not in plan, "LIMIT has to end the read; a sort would read all of them"
    assert "Filter" not in of_letters, "what stood on the pages before must not be read again"
    assert "AND (id = fairlane_dead_letters.job_id))" in of_jobs, "and each job is read for its letter alone"


@pytest.mark.slow
def test_a_page_of_all_dead_letters_is_read_from_where_it_is_in_each_decision(filled: Database) -> None:
    (plan,) = plans(filled, partial(letters, resolution=None))
    ends = re.findall(r"Limit .*\n\s+->  Index Scan Backward using fairlane_dead_letters_newest ", plan)

    assert len(ends) == len(Resolution), "LIMIT has to end the read in each; a sort would read all of them"
    assert "Filter" not in plan.partition("using fairlane_jobs")[0], "nor what stood on the pages before"


@pytest.mark.slow
@pytest.mark.parametrize(("most", "few"), [("ignored", "pending"), ("pending", "ignored")])
def test_a_retry_of_many_reads_no_table_for_what_is_open(postgres_url: str, most: str, few: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(DEAD)
        connection.execute(DECIDED, {"most": most, "few": few})
        connection.execute("VACUUM (FREEZE, ANALYZE)")
    database = Database(postgres_url)
    found = plans(database, to_retry_and_how_many)
    database.close()

    for table in ("fairlane_jobs", "fairlane_dead_letters"):
        assert [line for plan in found for line in scans(plan, table)] == []
    if few == "pending":
        for plan in found[1:]:
            assert re.search(r"fairlane_dead_letters_(newest|group)", plan), "what is decided about must not be read"


@pytest.mark.slow
def test_a_revival_looks_up_each_generation_before_statistics_are_gathered(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for table in ("fairlane_jobs", "fairlane_dead_letters"):
            connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        for statement in (DEAD, CHAIN):
            connection.execute(statement)
        analyzed = "SELECT relname FROM pg_class WHERE relname = 'fairlane_dead_letters' AND reltuples >= 0"
        assert connection.execute(analyzed).fetchall() == []
    database = Database(postgres_url)
    found = both_ways(database, revive)
    database.close()

    looks = [plan for way in found for plan in way if "caused_by" in plan]
    assert len(looks) == 14, "six for what is below, up to a hundred, and one for what is left, planned both ways"
    for plan in looks:
        assert re.search(
            r"Index Scan using fairlane_dead_letters_cause.*\n"
            r".*Index Cond: \(.*organization_id.* = .*AND \(caused_by = below\S*\.\w+\)\)",
            plan,
        ), plan
        assert re.search(r"Filter: .*resolution", plan), f"what was decided is skipped behind the probe: {plan}"


def revive(connection: Connection) -> None:
    assert revival.revive_children(connection, LATER, "big", {UUID(int=600_001): "ana"}).number == 99


@pytest.mark.slow
def test_that_a_user_has_none_of_a_frequent_type_is_found_in_the_index(filled: Database) -> None:
    (plan,) = plans(filled, partial(page_of, job_type="type0", user="user1"))
    (_, read) = plan.split("Index Only Scan Backward using fairlane_jobs_user")

    assert "job_type" in read.partition("Index Cond: ")[2].partition("\n")[0], "each job of the user would be read"


@pytest.mark.slow
def test_few_jobs_of_a_user_are_counted_without_reading_all_that_have_the_status(filled: Database) -> None:
    plan = plans(filled, partial(count_of, user="guest", statuses=frozenset({JobStatus.QUEUED}), are_few=True))[-1]

    assert "fairlane_jobs_user" in plan


@pytest.mark.slow
def test_what_few_jobs_of_a_status_fit_is_counted_in_the_index_alone(filled: Database) -> None:
    wanted: tuple[dict[str, Any], ...] = ({"job_type": "type1"}, {"user": "user1"}, {"queue": "default"})
    for filters in wanted:
        plan = plans(filled, partial(count_of, **filters, statuses=frozenset({JobStatus.PENDING})))[-1]

        assert "Index Only Scan using fairlane_live_status" in plan


@pytest.mark.slow
def test_finish_finds_its_row_by_its_key(filled: Database) -> None:
    """Few jobs of the organization ran when statistics were gathered; by now it may be thousands, and dead entries."""
    found = "\n".join(plans(filled, CASES["finish"].work))

    assert "fairlane_live_running" not in found
    assert "fairlane_live_pk" in found


@pytest.fixture
def empty(sqlite_url: str) -> Iterator[Database]:
    """SQLite, which plans without statistics until somebody gathers them."""
    database = Database(sqlite_url)
    yield database
    database.close()


@pytest.mark.slow
def test_sqlite_reads_by_index(empty: Database) -> None:
    found = {name: "\n".join(plans(empty, case.work)) for name, case in CASES.items()}

    assert [
        (name, line)
        for name, plan in found.items()
        for table in {*TABLES} - {CASES[name].read_whole}
        for line in scans(plan, table)
    ] == []
    assert [
        (name, index)
        for name, case in CASES.items()
        for index in (case.sqlite_indexes if case.sqlite_indexes is not None else case.indexes)
        if f"INDEX fairlane_{index}" not in found[name]
    ] == []


def test_sqlite_claims_in_the_order_of_the_index(empty: Database) -> None:
    found = "\n".join(plans(empty, CASES["claim"].work))
    found += "\n".join(
        plan for name in ("active lanes", "active lanes of queues") for plan in plans(empty, CASES[name].work)
    )

    assert "TEMP B-TREE" not in found
