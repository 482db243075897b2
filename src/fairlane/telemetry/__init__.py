"""Subscribers to the code's events: they own the wording of logs and metrics.

They change nothing; an error of theirs must not reach the code that emitted.
"""
