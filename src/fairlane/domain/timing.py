"""Times that depend on one another, or that several modules need; in seconds.

A time that only one module uses, and on which no other depends, stands beside its use. `tests/domain/test_timing.py`
checks the promises that these times keep together.
"""

from typing import Final

# Spans of the calendar. They bound how far ahead, or for how long, a value may be set: a moment that is further away
# can't be computed or stored. Nothing waits for them.
DAY: Final = 86_400.0
LEAP_YEAR: Final = 366 * DAY
CENTURY: Final = 100 * 365 * DAY

# Windows of rates (R4). They bound how far back starts, submissions and outcomes are counted; no count is deleted
# before.
LONGEST_RATE_WINDOW: Final = DAY
COUNTS_KEPT: Final = LONGEST_RATE_WINDOW  # bulk actions that have ended are kept for as long

# The life of a worker, by default. A worker that is silent for a lease has lost its jobs; they wait meanwhile. A job
# without a hint waits for the next poll.
LEASE: Final = 15.0
HEARTBEATS_A_LEASE: Final = 3
POLL_INTERVAL: Final = 0.5

# Outages of the database. Jobs wait for the next try of heartbeats, claims and results.
NEXT_TRY: Final = 1.0
SAY_AGAIN: Final = 60.0  # between two log lines, or events, about the same trouble

# The end of a worker. Its supervisor waits for `GRACE`, `STOP_GRACE` and `SUPERVISOR_WAITS`, as docs/how-to/workers.md
# says, and then kills it. Other workers repeat the work that was not written.
GRACE: Final = 30.0
STOP_GRACE: Final = 5.0
SUPERVISOR_WAITS: Final = 10.0
LAST_WRITES: Final = SUPERVISOR_WAITS  # if the database is away; a worker that still writes goes on for longer
LAST_SILENCE: Final = SUPERVISOR_WAITS  # of the database
LAST_TRIES: Final = 3.0  # to write the last results, and then to sign off: the last try of each begins within this time
LAST_HELD_ROWS: Final = 1.0  # for rows that another session holds, in one of these tries
TASKS_END: Final = 1.0  # for cancelled tasks

# Waits for a lock that another transaction holds. The more work waits behind it, the shorter the wait; the comment
# names that work. A frozen process keeps its locks until the server ends its session, after `IDLE_IN_TRANSACTION`;
# amid a claim, after its lease.
IDLE_IN_TRANSACTION: Final = 15  # between two statements of a transaction; Fairlane's take milliseconds
LOCK_TIMEOUT: Final = 5.0  # the caller alone, by default
LOCK_WAIT_OF_TICKS: Final = 1.0  # the ticks of other schedules
LOCK_WAIT_FOR_CLAIMS: Final = 1.0  # an operator who turns maintenance mode on; a claim that hangs must not hold that up
LOCK_WAIT_OF_UPKEEP: Final = 0.5  # clean-up, bulk actions, registration and migration, for all organizations
LOCK_WAIT_OF_ROUND: Final = 0.1  # due jobs, results and reports of all organizations; a request that notes its token
LOCK_WAIT_OF_MOMENT: Final = 0.05  # claims of all organizations; submissions that need the same connection of a pool
LOCK_WAIT_OF_ONE: Final = 0.01  # the other items, one by one, once all together have waited

# Response timeouts: after so much silence of the database the connection is given up, but no sooner than a wait for
# locks ends. The comment names the work that waits.
SILENCE_OF_WORKER: Final = 60.0  # only a read in a database of hundreds of millions of jobs takes that long
SILENCE: Final = 10.0  # an event loop of the application; a worker's thread, for which all other bulk actions wait
SILENCE_OF_ALERTS: Final = LOCK_TIMEOUT  # results, which wait for no alert for longer
READ_TIMEOUT: Final = 10.0  # a request, by default; the server stops its statement

# Bulk actions. Those of all organizations wait behind a step of one, and behind a worker that is killed amid a step.
BULK_STEP: Final = 0.5  # until a stop is seen
BULK_SEARCH: Final = 5.0  # for the next page of jobs
BULK_TAKEN: Final = 30.0  # until the worker that took an action has to report its progress

# Hints and lanes. New jobs and new limits wait until a worker reads its lanes again, or until its next poll.
HINTS_SENT: Final = 0.02  # between two hints of a process
HINTS_HEARD: Final = 0.01  # between two hints that are heard, or two looks at data_version: 0.2 % of a core
LANES_KEPT: Final = 0.1  # few lanes; many are kept for longer
LANES_LATE: Final = 1.0  # claims use old lanes for so much longer, while they are read again

# Rights and keys. A user who has lost a right may use it for so long, on every node. docs/realtime.md,
# docs/security.md and docs/encryption.md promise that it is no longer.
PROOF_KEPT: Final = 1.0  # the proof of a request's credential; the rights of watchers are checked as often
WATCHERS_KEPT: Final = 2 * PROOF_KEPT  # an older check of a watcher's rights is not used
LONGEST_DIRECTORY_AGE: Final = 30.0  # of an answer of a host's directory (R19)
KEYS_KEPT: Final = 5.0  # after a change of keys other processes use the old ones for so long
KEYS_SETTLE: Final = 2 * KEYS_KEPT  # a transaction that read the keys just before a change writes for as long again

# Strangers. A connection without a credential takes a place from others until it is closed.
STRANGER_WAITS: Final = 10  # for a head, a body without a credential, a ticket

# Clients that were refused. They wait for so long before they retry.
RETRY_SOON: Final = 1  # until a request of others has ended
RETRY_LATER: Final = 10.0  # until a download or a stream of their own has ended

# Looks at a job. A caller who waits for its end or its log lines learns of them so much later.
SLOWEST_LOOK: Final = 0.5

# Threads without work. They end after so long; a later job waits for a new one.
IDLE_THREADS: Final = 10.0
