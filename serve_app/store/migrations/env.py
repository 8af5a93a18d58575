"""Runs migrations on the connection that `migrate` has opened and locked."""

from alembic import context

from serve_app.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
