"""Work on many jobs that Fairlane does itself, step by step: bulk actions, their verbs and their service.

A step uses the engine's own verbs; no handler of an application runs here.
"""
