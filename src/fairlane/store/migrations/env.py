"""Alembic's entry point for each command. It uses the connection and transaction of `store.schema`."""

from alembic import context

from fairlane.store.schema import comparison

connection = context.config.attributes["connection"]
context.configure(connection=connection, **comparison(connection))
with context.begin_transaction():
    context.run_migrations()
