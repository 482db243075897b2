"""Schedules: their verbs, their rows, the jobs of their ticks, and the scheduler that every worker runs.

`domain.schedules` decides when a tick is due. The engine checks and submits the job of a tick.
"""
