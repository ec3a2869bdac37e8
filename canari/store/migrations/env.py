"""How Alembic runs the migrations: on the connection that `canari.store.migrate` hands over, in one transaction."""

from __future__ import annotations

from alembic import context

from canari.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="canari_schema",
)
with context.begin_transaction():
    context.run_migrations()
