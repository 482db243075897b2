"""Fairlane and its peers at the same work: `python -m benchmarks.peers run`.

`scripts/` has one script per peer, all of the shape in `shape.py`, each run in the peer's own environment. Nothing but
the standard library is shared with them, for they have no Fairlane.
"""
