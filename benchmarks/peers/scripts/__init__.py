"""The scripts of the peers: each prepares its store, submits, counts what is left, and works, as in `shape.py`."""
