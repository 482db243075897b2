"""How the schema came to be, one revision per change of `store.tables`. Run by `store.schema`, never by hand.

A released revision is never edited. A new one comes after the last, imports nothing of ours, works on SQLite and
PostgreSQL, and is right when tests/store/test_migrations.py finds the same schema in both.
"""
