"""Faults that are spared in the ordinary tests, with the reasons. Code that is not named here has to bear them.

`test_promises.py` and `test_every_statement.py` in this folder name nothing here: their loads count effects, not
attempts or events.
"""

from fnmatch import fnmatch
from typing import Final

from tests.faults.fault import Fault
from tests.faults.injection import Spares

# Tests that are not run with faults.
EXCLUDED: Final = {
    "tests/acceptance/test_cli_worker.py*": "its workers run in processes of their own",
    "tests/acceptance/*::test_keys_are_looked_at_once_*": "it counts statements",
    "tests/acceptance/*::test_nobody_goes_by_the_keys_*": "its key comes amid a read that is made again",
    "tests/acceptance/test_engine_outage.py*": "it takes the database away itself",
    "tests/acceptance/test_engine_outage_in_handlers.py*": "it takes the database away itself",
    "tests/tenancy/*::test_a_deletion_that_was_cut_off_is_ended_by_another*": "it injects faults of its own",
    "tests/faults/*": "they inject faults of their own",
    "tests/engine/*::test_a_child_starts_as_its_parent_ends_also_beside*": "its worker polls but once an hour",
    "tests/engine/*::test_a_worker_says_once_*": "it reads the log, which tells of faults",
    "tests/engine/test_cached_directory.py*": "it looks at how long the waits of an outage are",
    "tests/engine/test_service.py::test_what_jobs_wait_for_is_tried_*": "it takes the database away itself",
    "tests/engine/test_worker_ends.py*": "it holds up the database itself",
    "tests/engine/test_worker_leaving.py*": "it holds up the database itself",
    "tests/engine/test_worker_idle.py*": "it counts statements",
    "tests/engine/test_worker_many_limits.py*": "it counts turns, which a round that failed has had",
    "tests/engine/test_worker_shares.py*": "it counts turns, which a round that failed has had",
}


def lost_claim(fault: Fault) -> bool:
    """A claimed job is given back, and that attempt counts."""
    if not {"Claims.claim", "Claims.claim_in_thread"} & {*fault.calls} or "Claims.give_back" in fault.calls:
        return False
    return fault.may_be_kept or "StartChecks.prepare" in fault.calls


def lost_end(fault: Fault) -> bool:
    """An event may be missing, and an end may count for the circuit breaker twice or not at all."""
    places = {"Results._finish", "Claims.claim_in_thread", "Rescue.run_once", "Breakers.run_once"}
    return fault.may_be_kept and (fault.place in {*places, "Results._complete"})


def lost_line(fault: Fault) -> bool:
    """Log lines may be there twice."""
    return "AttemptChannel.write_waiting" in fault.calls and fault.is_commit and fault.has_effect


def lost_file(fault: Fault) -> bool:
    """A file is stored once more, and clean-up finds the first one an hour later."""
    return "AttemptChannel._store_and_insert" in fault.calls


def lost_cleaning(fault: Fault) -> bool:
    """The clean-up of a drain, which has one round, leaves its work to the next."""
    return fault.place == "Cleanup.run_once"


def lost_key(fault: Fault) -> bool:
    """A key that was to come at a certain moment comes at none, or what it seals is not sealed."""
    return any(call in {"Keys.enable", "Keys.reencrypt"} for call in fault.calls)


def lost_alert(fault: Fault) -> bool:
    """An alert that could not be written down is in the log alone."""
    return "Alerts.__call__" in fault.calls


def lost_turn(fault: Fault) -> bool:
    """A tick that could not be submitted is tried again in seconds, a step of a bulk action in up to half a minute."""
    return any(call.startswith(("Scheduler.", "BulkSteps.")) for call in fault.calls)


Reason = tuple[str, list[Spares]]

_BY_ATTEMPT: Final[Reason] = ("they tell attempts by their numbers", [lost_claim])
_BY_EVENT: Final[Reason] = ("they wait for events", [lost_end])
# Which tests are spared what.
SPARED: Final[dict[str, list[Reason]]] = {
    "tests/acceptance/*": [_BY_EVENT],
    "tests/acceptance/test_engine_async.py::test_two_workers_share_a_loop*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_cancel.py::test_a_running_async_handler_is_cancelled*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_cancel.py::test_a_retried_dead_letter_is_not_stopped*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_control.py::test_a_job_waits_for_its_time*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_dependencies.py::test_a_retried_parent_brings_its_children_back*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_encryption.py*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_errors.py*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_handlers.py*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_keys_in_transactions.py*": [("their keys come once", [lost_key])],
    "tests/acceptance/test_engine_limits.py::test_what_a_killed_worker_held_is_free_again*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_lost_workers.py*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_progress.py*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_reports.py*": [
        _BY_ATTEMPT,
        ("they count lines and files", [lost_line, lost_file, lost_cleaning]),
    ],
    "tests/acceptance/test_engine_results.py::test_a_result_that_can_not_be_stored_*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_schedules.py*": [("their clock stands still", [lost_turn])],
    "tests/acceptance/test_engine_sealed_files.py*": [_BY_ATTEMPT, ("they count files", [lost_file])],
    "tests/acceptance/test_engine_shutdown.py*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_start_checks.py*": [_BY_ATTEMPT],
    "tests/acceptance/test_engine_timeouts.py*": [_BY_ATTEMPT],
    "tests/acceptance/test_serve_live.py*": [("they tell each step of a job", [lost_claim])],
    "tests/engine/test_worker_*": [_BY_EVENT],
    "tests/engine/test_way_of_a_job.py*": [_BY_EVENT],
    "tests/engine/test_context.py*": [_BY_ATTEMPT, _BY_EVENT],
    "tests/engine/test_worker_breakers.py*": [_BY_ATTEMPT],
    "tests/engine/system/test_worker_bulk_actions.py*": [_BY_EVENT, ("they don't wait for so long", [lost_turn])],
    "tests/engine/test_worker_claims.py*": [_BY_ATTEMPT],
    "tests/engine/test_worker_cleanup.py*": [_BY_ATTEMPT, ("they count what each round deletes", [lost_cleaning])],
    "tests/engine/test_worker_connections.py*": [_BY_ATTEMPT, ("one waits for an alert", [lost_alert])],
    "tests/engine/test_worker_files.py*": [_BY_ATTEMPT, ("they count files", [lost_file, lost_cleaning])],
    "tests/engine/test_worker_isolation.py*": [_BY_ATTEMPT, ("they read one line", [lost_line])],
    "tests/engine/test_worker_limits.py*": [("a claim that was lost is a start, too", [lost_claim])],
    "tests/engine/test_worker_rescue.py*": [_BY_ATTEMPT],
}


def excluded(test: str) -> str | None:
    """Return why a test is not run with faults, or None."""
    return next((reason for pattern, reason in EXCLUDED.items() if fnmatch(test, pattern)), None)


def spares_for(test: str) -> Spares:
    """Return the faults to spare in this test."""
    kinds = [
        kind for pattern, reasons in SPARED.items() if fnmatch(test, pattern) for _, some in reasons for kind in some
    ]
    return lambda fault: any(kind(fault) for kind in kinds)
