"""Alembic migrations, run through ``upgrade``."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from billing.database.db import reached

LOCK_TIMEOUT_MS = 5_000
ADVISORY_LOCK = 7_232_415_001


async def upgrade(url: str, revision: str = "head") -> None:
    """Brings the database to a version, the newest; concurrent calls wait for each other."""
    at, tls = reached(url)
    engine = create_async_engine(at, connect_args=tls)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            await connection.run_sync(_upgrade, revision)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
