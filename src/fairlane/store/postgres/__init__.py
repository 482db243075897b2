"""The operations of `store.engine` for PostgreSQL, and its own statements. Nothing here decides about jobs."""
