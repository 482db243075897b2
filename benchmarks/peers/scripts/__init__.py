"""One script per peer: how to prepare its store, submit, count what is left, and work. The shape is in `shape.py`."""
