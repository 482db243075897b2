"""The one read service behind API, CLI, dashboard and metrics. It changes nothing and decides no rights.

SQL is in `store.statements`; what a read means is in `domain`.
"""
