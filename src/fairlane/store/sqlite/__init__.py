"""The operations of `store.engine` for SQLite, and its own statements. Nothing here decides about jobs."""
