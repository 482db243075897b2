"""R13: lists filter, search, page and count to a cap."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event

from fairlane.domain.errors import InvalidParameters
from fairlane.domain.jobs import Job, Page
from fairlane.domain.outcomes import Snoozed
from fairlane.domain.statuses import JobStatus
from fairlane.reads import jobs as asked
from fairlane.reads.service import Reads
from tests.reads.world import START, World


def listed(reads: Reads, organization: str = "acme", **filters: Any) -> list[UUID]:
    return [job.id for job in reads.list(organization, **filters).items]


def test_r13_list_has_the_newest_first(world: World, reads: Reads) -> None:
    ids = [world.submit() for _ in range(3)]

    assert listed(reads) == ids[::-1]


def test_r13_a_list_reads_one_row_for_the_parents_of_each_job_however_many_they_are(world: World, reads: Reads) -> None:
    parents = [world.submit() for _ in range(20)]
    children = [world.submit(parents=ids) for ids in (parents, parents[:1], parents[::-1])]
    foreign = world.submit("rival")
    world.submit("rival", parents=[foreign])
    rows = list[Any]()

    def read_once_more(connection: Connection, _: object, statement: str, parameters: Any, *__: object) -> None:
        if "again" not in connection.info and "FROM fairlane_job_parents" in statement:
            connection.info["again"] = True
            rows.extend(connection.exec_driver_sql(statement, parameters))
            del connection.info["again"]

    event.listen(world.database.engine, "before_cursor_execute", read_once_more)

    page = reads.list("acme")

    assert {job.id: job.depends_on for job in page.items if job.depends_on} == {
        children[0]: tuple(parents),
        children[1]: (parents[0],),
        children[2]: tuple(parents),
    }
    assert len(rows) == len(children)


def test_r13_list_shows_nothing_of_another_organization(world: World, reads: Reads) -> None:
    world.submit("rival")
    mine = world.submit("acme")

    page = reads.list("acme")

    assert ([job.id for job in page.items], page.total) == ([mine], 1)


def test_r13_pages_follow_each_other_without_gap_or_repeat(world: World, reads: Reads) -> None:
    ids = [world.submit() for _ in range(5)]

    seen: list[UUID] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = reads.list("acme", limit=2, cursor=cursor)
        seen += [job.id for job in page.items]
        cursor, pages = page.next_cursor, pages + 1
        world.submit()  # what comes in meanwhile is newer and disturbs no later page

    assert (seen, pages) == (ids[::-1], 3)


def test_r13_the_oldest_come_first_where_they_are_wanted(world: World, reads: Reads) -> None:
    ids = [world.submit(labels={"batch": "7"}) for _ in range(5)]

    pages: list[Page[Job]] = []
    while not pages or pages[-1].next_cursor is not None:
        cursor = pages[-1].next_cursor if pages else None
        pages.append(reads.list("acme", label=("batch", "7"), oldest_first=True, limit=2, cursor=cursor))

    assert [job.id for page in pages for job in page.items] == ids
    assert [page.total for page in pages] == [5, 5, 5]


def test_r13_a_full_last_page_has_no_next(world: World, reads: Reads) -> None:
    for _ in range(2):
        world.submit()

    assert reads.list("acme", limit=2).next_cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "!!!!", "bm8gY3Vyc29y", "ü"])
def test_r13_a_cursor_that_no_list_gave_is_refused(world: World, reads: Reads, cursor: str) -> None:
    with pytest.raises(InvalidParameters, match="cursor"):
        reads.list("acme", cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_r13_a_limit_out_of_range_is_refused(world: World, reads: Reads, limit: int) -> None:
    with pytest.raises(InvalidParameters, match="1 to 1000"):
        reads.list("acme", limit=limit)


def test_r13_the_total_is_not_that_of_the_page(world: World, reads: Reads) -> None:
    for _ in range(3):
        world.submit()

    page = reads.list("acme", limit=1)

    assert (page.total, page.total_is_capped) == (3, False)


@pytest.mark.parametrize(("cap", "is_capped"), [(3, False), (2, True)])
def test_r13_the_total_stops_at_its_cap(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch, cap: int, is_capped: bool
) -> None:
    monkeypatch.setattr(asked, "TOTAL_CAP", cap)
    for _ in range(3):
        world.submit()

    page = reads.list("acme")

    assert (page.total, page.total_is_capped) == (cap, is_capped)


def test_r13_filter_by_one_status(world: World, reads: Reads) -> None:
    later = world.submit(delay=60.0)
    world.submit()

    assert listed(reads, status=JobStatus.PENDING) == [later]


def test_r13_filter_by_several_statuses(world: World, reads: Reads) -> None:
    canceled = world.submit()
    world.cancel(canceled)
    later = world.submit(delay=60.0)
    world.submit()

    assert listed(reads, status=[JobStatus.PENDING, JobStatus.CANCELED]) == [later, canceled]


def test_r13_no_status_at_all_is_refused_as_it_would_mean_either_none_or_any(reads: Reads) -> None:
    for empty in (list[str](), tuple[str](), iter("")):
        with pytest.raises(InvalidParameters, match=r"^The filter status is empty; .* leave it out for all jobs\.$"):
            reads.list("acme", status=empty)


def test_r13_a_status_that_is_none_is_refused_in_a_sentence(world: World, reads: Reads) -> None:
    for wrong in ("done", ["queued", "done"]):
        with pytest.raises(InvalidParameters, match=r"A status is one of pending, .*, and not 'done'"):
            reads.list("acme", status=wrong)


@pytest.mark.parametrize(
    ("field", "filter_name", "value"),
    [("job_type", "job_type", "mail.send"), ("user", "user", "bea"), ("queue", "queue", "bulk")],
)
def test_r13_filter_by_a_column(world: World, reads: Reads, field: str, filter_name: str, value: str) -> None:
    world.submit()
    wanted = world.submit(**{field: value})

    assert listed(reads, **{filter_name: value}) == [wanted]


def test_r13_filter_by_a_label(world: World, reads: Reads) -> None:
    wanted = world.submit(labels={"doc": "42"})
    world.submit(labels={"doc": "43"})
    world.submit(labels={"other": "42"})

    assert listed(reads, label=("doc", "42")) == [wanted]


def test_r13_filter_by_labels_asks_for_all_of_them(world: World, reads: Reads) -> None:
    wanted = world.submit(labels={"doc": "42", "kind": "draft"})
    world.submit(labels={"doc": "42"})

    assert listed(reads, label={"doc": "42", "kind": "draft"}) == [wanted]


def test_r13_filter_by_date_has_the_first_moment_and_not_the_last(world: World, reads: Reads) -> None:
    ids = []
    for minute in range(3):
        ids.append(world.submit(labels={"minute": str(minute)}))
        world.pass_time(60)

    until = START + timedelta(seconds=120)
    assert listed(reads, created_after=START, created_before=until) == [ids[1], ids[0]]


def test_r13_a_common_label_finds_what_it_finds_otherwise(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlane.reads.jobs._FEW", 1)
    wanted = [world.submit(labels={"stage": "live", "doc": str(n)}) for n in range(3)]
    world.submit(labels={"doc": "1"})

    others: tuple[dict[str, Any], ...] = ({}, {"status": "queued"}, {"job_type": "report.pdf", "user": "ana"})
    for more in others:
        assert listed(reads, label={"stage": "live"}, **more) == wanted[::-1]
        assert listed(reads, label={"stage": "live", "doc": "1"}, **more) == [wanted[1]]
        assert reads.matching.counts("acme", label={"stage": "live"}, **more).by_status[JobStatus.QUEUED] == 3


def test_r13_a_date_without_time_zone_is_refused(world: World, reads: Reads) -> None:
    with pytest.raises(InvalidParameters, match="created_after must be a datetime with a time zone"):
        reads.list("acme", created_after=datetime(2026, 11, 1))  # noqa: DTZ001 - the point of the test


def test_r13_filters_add_up(world: World, reads: Reads) -> None:
    wanted = world.submit(user="bea", queue="bulk")
    world.submit(user="bea")
    world.submit(queue="bulk")

    assert listed(reads, user="bea", queue="bulk") == [wanted]


@pytest.mark.parametrize("text", ["0190a000-0000-7000-8000-000000000001", "0190a00000007000", "0190A000", " 0190a "])
def test_r13_search_finds_a_job_by_the_beginning_of_its_id(world: World, reads: Reads, text: str) -> None:
    wanted = world.submit(id=UUID("0190a000-0000-7000-8000-000000000001"))
    world.submit(id=UUID("0191b000-0000-7000-8000-000000000001"))

    page = reads.list("acme", text=text)

    assert ([job.id for job in page.items], page.searched_newest) == ([wanted], None)


@pytest.mark.parametrize("text", ["9a6b7c8d", "00009A6B7C8D", "8f50-00009a6b7c8d"])
def test_r13_search_finds_a_job_by_the_end_of_its_id_as_lists_show_it(world: World, reads: Reads, text: str) -> None:
    wanted = world.submit(id=UUID("01928f3a-1b2c-7d4e-8f50-00009a6b7c8d"))
    world.submit(id=UUID("01928f3a-1b2c-7d4e-8f50-00009a6b7c8e"))
    world.submit("rival", id=UUID("01928f3a-1b2c-7d4f-8f50-00009a6b7c8d"))

    page = reads.list("acme", text=text)

    assert ([job.id for job in page.items], page.total) == ([wanted], 1)
    assert reads.matching.counts("acme", text=text).by_status[JobStatus.QUEUED] == 1


def test_r13_the_end_of_an_id_is_looked_for_among_the_newest(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "SEARCHED_NEWEST", 2)
    old, new, _ = [world.submit() for _ in range(3)]

    assert listed(reads, text=str(new)[-8:]) == [new]
    assert listed(reads, text=str(old)[-8:]) == []
    assert reads.list("acme", text=str(new)[-8:]).searched_newest == 2


def test_r13_fewer_digits_than_lists_show_are_a_word(world: World, reads: Reads) -> None:
    world.submit(id=UUID("01928f3a-1b2c-7d4e-8f50-9a6b7c80feed"))
    wanted = world.submit(job_type="rss.feed")

    assert listed(reads, text="feed") == [wanted]


def test_r13_search_reads_hex_digits_that_begin_no_id_as_a_word(world: World, reads: Reads) -> None:
    wanted = world.submit(job_type="rss.feed")
    world.submit()

    assert listed(reads, text="feed") == [wanted]


def test_r13_search_by_id_finds_nothing_foreign(world: World, reads: Reads) -> None:
    foreign = world.submit("rival")

    assert listed(reads, text=str(foreign)) == []


def test_r13_search_finds_words_in_the_job_type_whatever_the_case(world: World, reads: Reads) -> None:
    wanted = world.submit(job_type="Report.PDF")
    world.submit(job_type="mail.send")

    assert listed(reads, text="rePORT") == [wanted]


@pytest.mark.parametrize("text", ["printererror", "NO PAPER"])
def test_r13_search_finds_words_in_the_error(world: World, reads: Reads, text: str) -> None:
    wanted = world.submit()
    world.fail(world.claim(world.start_worker()), "there is no paper in tray 2")
    world.submit()

    assert listed(reads, text=text) == [wanted]


@pytest.mark.parametrize("text", ["%", "_", "a_b%c", "\\", "/"])
def test_r13_search_takes_wildcards_for_what_they_are(world: World, reads: Reads, text: str) -> None:
    world.submit(job_type="plain.type")
    wanted = world.submit(job_type=f"type {text}")

    assert listed(reads, text=text) == [wanted]


def test_r13_search_for_words_looks_at_the_newest_and_says_so(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "SEARCHED_NEWEST", 2)
    ids = [world.submit() for _ in range(3)]

    page = reads.list("acme", text="report")

    assert [job.id for job in page.items] == [ids[2], ids[1]]
    assert (page.searched_newest, page.total) == (2, 2)


def test_r13_a_list_without_search_does_not_say_how_far_it_looked(world: World, reads: Reads) -> None:
    assert reads.list("acme", text="  ").searched_newest is None


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "x" * 1001], ids=["nul", "surrogate", "long"])
def test_r13_a_search_that_can_find_nothing_is_refused(world: World, reads: Reads, text: str) -> None:
    with pytest.raises(InvalidParameters):
        reads.list("acme", text=text)


@pytest.mark.parametrize("name", ["job_type", "user", "queue"])
def test_r13_a_filter_that_no_database_takes_is_refused(world: World, reads: Reads, name: str) -> None:
    with pytest.raises(InvalidParameters, match=name):
        listed(reads, **{name: "a\x00b"})


def test_r13_a_label_that_no_database_takes_is_refused(world: World, reads: Reads) -> None:
    with pytest.raises(InvalidParameters, match="label"):
        listed(reads, label={"doc": "\ud800"})


def test_r13_a_label_filter_that_a_program_has_put_nothing_into_is_refused(world: World, reads: Reads) -> None:
    with pytest.raises(InvalidParameters, match=r"^The filter label is empty; "):
        listed(reads, label={})


def test_id_range_spans_all_ids_that_begin_so() -> None:
    assert asked.id_range("0190-a") == (
        UUID("0190a000-0000-0000-0000-000000000000"),
        UUID("0190afff-ffff-ffff-ffff-ffffffffffff"),
    )


@pytest.mark.parametrize("text", ["", "-", "report", "0" * 33, "٣"])
def test_id_range_is_none_for_what_begins_no_id(text: str) -> None:
    assert asked.id_range(text) is None


def test_r13_list_and_get_show_the_same(world: World, reads: Reads) -> None:
    child = world.submit(parents=(world.submit(),))

    newest, _ = reads.list("acme").items

    assert newest == reads.get(child, "acme")


def waiting(reads: Reads) -> list[UUID]:
    return listed(reads, waiting_for="retry")


def test_r13_what_waits_for_a_retry_is_listed_until_its_time_has_come(world: World, reads: Reads) -> None:
    worker = world.start_worker()
    world.submit()
    world.submit(delay=3600.0)
    retried, snoozed = world.submit(), world.submit()
    world.end(world.claim(worker))
    world.fail(world.claim(worker))
    world.end(world.claim(worker), Snoozed(600.0, "the printer is away"))
    world.submit("rival")
    world.fail(world.claim(worker, "rival"))
    due = reads.get(retried, "acme").next_retry_at
    assert due is not None

    assert waiting(reads) == [snoozed, retried]
    assert listed(reads, status="queued", waiting_for="retry", limit=1) == [snoozed]
    assert listed(reads, status=["queued", "completed"], waiting_for="retry", limit=1) == [snoozed]
    with pytest.raises(InvalidParameters, match="is queued, and never completed or pending; omit the status"):
        listed(reads, status=["pending", "completed"], waiting_for="retry")
    counts = reads.matching.counts("acme", waiting_for="retry")
    assert {status: size for status, size in counts.by_status.items() if size} == {JobStatus.QUEUED: 2}

    world.pass_time((due - world.now).total_seconds())  # nobody has made it ready yet
    assert waiting(reads) == [snoozed]
    world.stage_retries()
    assert (waiting(reads), reads.get(retried, "acme").status) == ([snoozed], JobStatus.QUEUED)
    world.cancel(snoozed)
    assert waiting(reads) == []


@pytest.mark.parametrize("asked_for", ["retries", "", 1])
def test_r13_jobs_wait_for_nothing_else_that_a_list_knows(world: World, reads: Reads, asked_for: Any) -> None:
    with pytest.raises(InvalidParameters, match="waiting_for is 'retry' or omitted"):
        reads.list("acme", waiting_for=asked_for)
