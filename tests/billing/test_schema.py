"""The migrations and the tables say the same."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from billing.db import async_url
from billing.tables import metadata


def is_declared(_: object, name: str | None, kind: str, __: bool, ___: object) -> bool:
    """The months of `usage` are made as time goes by (billing/partitions.py)."""
    return not (kind == "table" and name is not None and name.startswith("usage_"))


OPTIONS = {"compare_type": True, "include_object": is_declared}


async def test_the_migrated_database_is_what_the_tables_declare(fresh_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection, opts=OPTIONS), metadata))

    engine = create_async_engine(async_url(fresh_url))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()
