"""Pure Python: what a job is and what may happen to it.

Nothing here does I/O, reads a clock or imports anything of ours from outside this folder.
"""
