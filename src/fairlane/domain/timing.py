"""Times that depend on one another, or that several modules need; in seconds.

A time that one module uses, and on which no other depends, stands beside its use. `tests/domain/test_timing.py` checks
the promises that these times keep together.
"""

from typing import Final

# Spans of the calendar. They bound how far ahead, or for how long, something may be set: a moment that is further away
# can't be computed or stored. Nobody waits for them here.
DAY: Final = 86_400.0
LEAP_YEAR: Final = 366 * DAY
CENTURY: Final = 100 * 365 * DAY

# Windows of rates (R4). They bound how far back starts, submissions and ends are counted; no count is deleted before.
LONGEST_RATE_WINDOW: Final = DAY
COUNTS_KEPT: Final = LONGEST_RATE_WINDOW  # bulk actions that have ended are told of for as long

# The life of a worker, by default. A worker that is silent for a lease has lost its jobs; they wait meanwhile. A job of
# which no hint told waits for the next poll.
LEASE: Final = 15.0
HEARTBEATS_A_LEASE: Final = 3
POLL_INTERVAL: Final = 0.5

# Outages of the database. Jobs wait for the next try of heartbeats, claims and results.
NEXT_TRY: Final = 1.0
SAY_AGAIN: Final = 60.0  # from one line of the log, or event, of the same trouble to the next

# The end of a worker. Its supervisor waits for `GRACE`, `STOP_GRACE` and `SUPERVISOR_WAITS`, as docs/how-to/deploy.md
# says, and then kills it. Other workers do again what was not written.
GRACE: Final = 30.0
STOP_GRACE: Final = 5.0
SUPERVISOR_WAITS: Final = 10.0
LAST_WRITES: Final = SUPERVISOR_WAITS  # if the database is away; a worker goes on for longer while it writes something
LAST_SILENCE: Final = SUPERVISOR_WAITS  # of the database
LAST_TRIES: Final = 3.0  # to write what is left, and then to sign off: the last try of each begins within this time
LAST_HELD_ROWS: Final = 1.0  # for rows that another session holds, in one of these tries
TASKS_END: Final = 1.0  # for cancelled tasks

# Waits for a lock that another transaction holds. The more wait behind it, the shorter it is; beside it stands who they
# are. A frozen process keeps its locks until the server ends its session, after `IDLE_IN_TRANSACTION`; amid a claim,
# after its lease.
IDLE_IN_TRANSACTION: Final = 15  # between two statements of a transaction; ours take milliseconds
LOCK_TIMEOUT: Final = 5.0  # the caller alone, by default
LOCK_WAIT_OF_TICKS: Final = 1.0  # the ticks of other schedules
LOCK_WAIT_FOR_CLAIMS: Final = 1.0  # whoever switches maintenance on; a claim that hangs must not hold that up
LOCK_WAIT_OF_UPKEEP: Final = 0.5  # clean-up, bulk actions, registration and migration, for all organizations
LOCK_WAIT_OF_ROUND: Final = 0.1  # due jobs, results and reports of all organizations; a request that notes its token
LOCK_WAIT_OF_MOMENT: Final = 0.05  # claims of all organizations; submissions that need the same connection of a pool
LOCK_WAIT_OF_ONE: Final = 0.01  # the other items, one by one, once all together have waited

# Silence of the database. Whoever waits for an answer gives the connection up then, and no sooner than a wait for locks
# ends.
SILENCE_OF_WORKER: Final = 60.0  # only a look in a database of hundreds of millions of jobs takes that long
SILENCE: Final = 10.0  # an event loop of the application; a worker's thread, for whom all other bulk actions wait
SILENCE_OF_ALERTS: Final = LOCK_TIMEOUT  # results, which wait for no alert for longer
READ_TIMEOUT: Final = 10.0  # a request, by default; the server stops what it looks for

# Bulk actions. Those of all organizations wait behind a step of one, and behind a worker that is killed amid a step.
BULK_STEP: Final = 0.5  # so long it may take until a stop is seen
BULK_SEARCH: Final = 5.0  # for the next page of jobs
BULK_TAKEN: Final = 30.0  # whoever took an action has to say by then how far it came

# Hints and lanes. New jobs and new limits wait until a worker reads its lanes anew, or until its next poll.
HINTS_SENT: Final = 0.02  # from one hint of a process to the next
HINTS_HEARD: Final = 0.01  # from one hint that is heard to the next, or one look at data_version: 0.2 % of a core
LANES_KEPT: Final = 0.1  # few lanes; many are kept for longer
LANES_LATE: Final = 1.0  # claims go by what was read for so much longer, while it is read anew

# Rights and keys. Whoever has lost a right may use it for so long still, on every node. docs/realtime.md and
# docs/security.md promise that it is no longer.
PROOF_KEPT: Final = 1.0  # of a request's credential; whoever watches is looked at as often
WATCHERS_KEPT: Final = 2 * PROOF_KEPT  # nobody is told anything by an answer that is older
LONGEST_DIRECTORY_AGE: Final = 30.0  # of an answer of a host's directory (R19)
KEYS_KEPT: Final = 5.0  # after a change of keys others go by those from before
KEYS_SETTLE: Final = 2 * KEYS_KEPT  # a transaction that asked for keys just before a change writes for as long again

# Strangers. A connection that has not shown who it is takes a place from others until it is closed.
STRANGER_WAITS: Final = 10  # for a head, a body without a credential, a ticket

# Clients that were refused. They wait for so long before they come again.
RETRY_SOON: Final = 1  # where a request of others has to end
RETRY_LATER: Final = 10.0  # where a download or a stream of their own has to end

# Looks at a job. Whoever waits for its end or its lines learns of them so much later.
SLOWEST_LOOK: Final = 0.5

# Threads that nobody needs. They end after so long; a job that comes later waits for a new one.
IDLE_THREADS: Final = 10.0
