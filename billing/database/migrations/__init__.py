"""Alembic migrations, run through ``upgrade``."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from billing.database.db import reached
from billing.errors import Conflict

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_MS = 5_000
"""How long a migration waits for a table that is in use. Whoever asks for the table meanwhile waits behind it."""
ADVISORY_LOCK = 7_232_415_001
OLDEST_VERSION = 15
"""Of PostgreSQL: the first one in which a unique index may take nulls for equal."""


async def upgrade(url: str, revision: str = "head") -> None:
    """Brings the database to a version, the newest; concurrent calls wait for each other.

    A database of a newer release than this one, which was rolled back, stays as it is: each release runs with the
    schema of the next.

    Raises:
        Conflict: PostgreSQL is older than ``OLDEST_VERSION``.
    """
    at, tls = reached(url)
    engine = create_async_engine(at, connect_args=tls)
    try:
        async with engine.begin() as connection:
            await _require_version(connection)
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            await connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
            await connection.run_sync(_upgrade, revision)
    finally:
        await engine.dispose()


async def _require_version(connection: AsyncConnection) -> None:
    query = text("SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000")
    name, major = (await connection.execute(query)).one()
    if major < OLDEST_VERSION:
        raise Conflict(f"PostgreSQL {name} is too old: version {OLDEST_VERSION} or a newer one is needed")


def _upgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        logger.warning("the database is of a newer release (%s) and stays as it is", current)
        return
    command.upgrade(config, revision)
