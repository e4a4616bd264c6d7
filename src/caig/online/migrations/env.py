"""How Alembic reaches the database: through the connection that `caig.online.schema.upgrade` holds."""

from __future__ import annotations

from alembic import context

from caig.online.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite can't alter most things in place
)
with context.begin_transaction():
    context.run_migrations()
