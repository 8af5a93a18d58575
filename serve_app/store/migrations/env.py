"""Before the first query: where Alembic takes its connection from.

Exists so that migrations run on a connection that `migrate` opened and locked.
"""

from alembic import context

from serve_app.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
