"""A job's life: submit, change, claim, run, heartbeat, rescue, stage, clean up.

Services are alike: each has a `run_once` that returns what it did. Decisions are made in `domain`, SQL is in `store`.
"""
