"""The read service behind the API, CLI, dashboard and metrics. It changes nothing and checks no rights.

SQL is in `store.statements`. The meaning of what is read is in `domain`.
"""
