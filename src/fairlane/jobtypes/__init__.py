"""Job types: handlers, options, parameters and their schemas, the registered types, and the verbs of operators.

No job is submitted or run here. A handler's own process loads `job_type` and `parameters`, which know of no database.
"""
