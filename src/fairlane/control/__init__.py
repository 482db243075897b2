"""What people and applications do to jobs: submit, cancel, retry, resolve, pause; and who may.

Thin: each verb checks, then calls one statement function in one transaction. It runs no job.
"""
