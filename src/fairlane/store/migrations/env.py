"""Executed by alembic for each command: on the connection, and in the transaction, that `store.schema` hands over."""

from alembic import context

from fairlane.store.schema import comparison

connection = context.config.attributes["connection"]
context.configure(connection=connection, **comparison(connection))
with context.begin_transaction():
    context.run_migrations()
