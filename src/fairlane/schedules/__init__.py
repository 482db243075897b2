"""Schedules: their verbs, their rows, the jobs of their ticks, and the scheduler that every worker runs.

When a tick is due is decided in `domain.schedules`; how its job is checked and submitted is the engine's.
"""
