-- Read the worker's lease. It can't change meanwhile: only the claim's transaction writes.
SELECT lease_expires FROM fairlane_workers WHERE id = :worker
