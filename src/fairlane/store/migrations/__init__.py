"""The history of the schema, with one revision per change of `store.tables`. Only `store.schema` runs it.

Never edit a released revision. A new revision follows the last one, imports nothing of Fairlane, and works on SQLite
and PostgreSQL. It is right if tests/store/test_migrations.py finds that revisions and tables give the same schema.
"""
