-- Read the worker's lease, which stays as it is: a claim's transaction is the only one that writes.
SELECT lease_expires FROM fairlane_workers WHERE id = :worker
