"""The promises that times keep together: each test would fail if one of these times were changed without the others."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fairlane.config import Settings, WebSettings
from fairlane.domain import breaker, timing
from fairlane.domain.limits import DEFAULT_WINDOW
from fairlane.domain.timing import HEARTBEATS_A_LEASE, LEASE

DOCS = Path(__file__).parents[2] / "docs"
LOCK_WAITS = {name: seconds for name, seconds in vars(timing).items() if name.startswith("LOCK_")}
HEARTBEAT = LEASE / HEARTBEATS_A_LEASE


def test_the_server_ends_no_transaction_of_ours_while_we_wait_for_a_lock_amid_it():
    """It ended claims of a slow process, which it let pause for two seconds. Now they may for a lease."""
    assert max(LOCK_WAITS.values()) < timing.IDLE_IN_TRANSACTION <= LEASE


def test_the_more_wait_behind_a_lock_the_sooner_it_is_given_up():
    ours = [name for name in LOCK_WAITS if name.startswith("LOCK_WAIT_")]
    assert sorted(ours, key=LOCK_WAITS.__getitem__, reverse=True) == ours
    assert LOCK_WAITS[ours[0]] <= timing.LOCK_TIMEOUT


def test_a_connection_that_waits_for_a_lock_is_not_taken_for_silent():
    assert max(LOCK_WAITS.values()) < min(timing.SILENCE, timing.SILENCE_OF_WORKER, timing.LAST_SILENCE)
    assert timing.LOCK_TIMEOUT <= timing.SILENCE_OF_ALERTS


def test_a_connection_that_searches_is_not_taken_for_silent():
    assert max(timing.READ_TIMEOUT, timing.BULK_SEARCH) < timing.SILENCE_OF_WORKER


def test_a_worker_keeps_its_lease_if_one_beat_has_no_answer():
    without_answer = HEARTBEAT + HEARTBEAT  # until it is sent, and until its connection is given up
    assert without_answer + timing.NEXT_TRY < LEASE


def test_a_beat_that_waits_for_a_lock_is_over_when_the_next_one_is_due():
    assert timing.LOCK_TIMEOUT <= HEARTBEAT


def test_a_worker_leaves_within_the_time_that_supervisors_are_told_to_give():
    last_try = timing.LAST_TRIES + timing.LAST_HELD_ROWS
    # Its async handlers end, it writes what is left, it signs off, and its loop ends.
    assert timing.TASKS_END + last_try + last_try + timing.TASKS_END <= timing.SUPERVISOR_WAITS


def test_a_worker_waits_for_a_database_that_is_away_no_longer_than_supervisors_do():
    assert max(timing.LAST_WRITES, timing.LAST_SILENCE) <= timing.SUPERVISOR_WAITS


def test_a_host_s_answers_are_never_older_than_r19_allows():
    assert Settings.model_fields["directory_max_age"].default <= timing.LONGEST_DIRECTORY_AGE <= 30.0


def test_a_watcher_is_looked_at_twice_before_the_last_answer_is_too_old():
    assert 2 * timing.PROOF_KEPT <= timing.WATCHERS_KEPT


def test_no_process_writes_by_keys_from_before_a_change_once_that_has_settled():
    assert 2 * timing.KEYS_KEPT <= timing.KEYS_SETTLE


def test_a_step_of_a_bulk_action_is_over_before_somebody_else_takes_the_action():
    # The look at who began it, the search, the step, its last job, and the note how far it came.
    step = timing.BULK_STEP + timing.LOCK_WAIT_OF_UPKEEP
    assert timing.SILENCE + timing.BULK_SEARCH + step + timing.LOCK_TIMEOUT < timing.BULK_TAKEN


def test_no_limit_and_no_breaker_looks_back_beyond_the_counts_that_are_kept():
    longest = max(timing.LONGEST_RATE_WINDOW, DEFAULT_WINDOW, breaker.WINDOW.total_seconds())
    assert longest <= timing.COUNTS_KEPT


def test_a_hint_brings_a_worker_sooner_to_a_job_than_looking_does():
    assert timing.HINTS_HEARD <= timing.HINTS_SENT < timing.LANES_KEPT < timing.POLL_INTERVAL


def test_the_furthest_moment_that_may_be_set_can_be_computed_for_thousands_of_years():
    assert timing.LEAP_YEAR <= timing.CENTURY
    assert datetime(9000, 1, 1, tzinfo=UTC) + timedelta(seconds=timing.CENTURY) < datetime.max.replace(tzinfo=UTC)


def test_postgresql_can_count_the_longest_pause_of_a_claim_in_milliseconds():
    assert timing.DAY * 1000 < 2**31


def test_settings_have_these_defaults():
    given = Settings.model_fields | WebSettings.model_fields
    names = ("lease", "poll_interval", "grace", "stop_grace", "lock_timeout", "read_timeout")
    assert {name: given[name].default for name in names} == {name: getattr(timing, name.upper()) for name in names}


WHOLE = timing.GRACE + timing.STOP_GRACE + timing.SUPERVISOR_WAITS
IN_WORDS = {
    0.1: "a tenth of a second",
    0.5: "half a second",
    1.0: "a second",
    2.0: "two seconds",
    5.0: "five seconds",
    10.0: "ten seconds",
    30.0: "thirty",
}


def said(seconds: float) -> str:
    return IN_WORDS.get(seconds, f"{seconds:g} s")


@pytest.mark.parametrize(
    ("page", "promise"),
    [
        ("how-to/workers.md", f"a third of its lease ({HEARTBEAT:g} s)"),
        ("how-to/workers.md", f"for `grace` ({timing.GRACE:g} s)"),
        ("how-to/workers.md", f"gives them `stop_grace` ({timing.STOP_GRACE:g} s)"),
        ("how-to/workers.md", f"{said(timing.SUPERVISOR_WAITS)} more to write how its jobs ended"),
        ("how-to/workers.md", f"`terminationGracePeriodSeconds: {WHOLE:g}`"),
        ("how-to/workers.md", f"`stop_grace_period: {WHOLE:g}s`"),
        ("how-to/workers.md", f"TimeoutStopSec={WHOLE:g}"),
        ("how-to/postgresql.md", f"idle_in_transaction_session_timeout = '{timing.IDLE_IN_TRANSACTION}s'"),
        ("how-to/limits.md", f"Workers see it within {said(timing.LANES_KEPT)}"),
        ("known-limits.md", f"That is {said(timing.LANES_KEPT)} later"),
        ("known-limits.md", f"It is no more than {said(timing.LANES_LATE)} longer than a read takes"),
        ("known-limits.md", f"waits for such claims to end, {said(timing.LOCK_WAIT_FOR_CLAIMS)} at most"),
        ("api.md", f"Workers do the rest, {said(timing.BULK_STEP)} at a time"),
        ("realtime.md", f"A user loses access within {said(timing.WATCHERS_KEPT)}, on every node"),
        ("realtime.md", f"does not answer for {said(timing.WATCHERS_KEPT)} (a host's directory: "),
        ("realtime.md", f"a host's directory: {said(timing.LONGEST_DIRECTORY_AGE).split()[0]}), no client gets events"),
        ("security.md", f"each {said(timing.PROOF_KEPT).removeprefix('a ')} every client is checked again"),
        ("encryption.md", f"Processes keep keys for {said(timing.KEYS_KEPT)}"),
        ("encryption.md", f"waits until the newest version is {said(timing.KEYS_SETTLE)} old"),
        ("security.md", f"whose request line and headers are not whole within {said(timing.STRANGER_WAITS)}"),
        ("security.md", f"A body without a credential has {said(timing.STRANGER_WAITS)}"),
    ],
)
def test_a_page_promises_what_the_code_keeps(page: str, promise: str):
    assert promise in " ".join((DOCS / page).read_text(encoding="utf-8").split())
