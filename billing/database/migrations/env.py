"""Called by Alembic; the connection and its transaction come from ``billing.database.migrations.upgrade``."""

from alembic import context

from billing.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    compare_server_default=True,
)
context.run_migrations()
