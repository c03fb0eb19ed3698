"""The way to PostgreSQL: one pool, short transactions, and one error for "try again"."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import URL, Row, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from billing.errors import DatabaseUnavailable

CONNECT_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_MS = 20_000
LOCK_TIMEOUT_MS = 10_000
POOL_TIMEOUT_SECONDS = 5
TRANSACTION_TIMEOUT_SECONDS = 25.0

# SQLSTATE classes: connection exception, insufficient resources, operator intervention (shutdown, time-out);
# and lock_not_available, deadlock_detected, serialization_failure: nothing was done, the same call may succeed.
_TRANSIENT_CLASSES = ("08", "53", "57")
_TRANSIENT_STATES = ("55P03", "40P01", "40001")


def async_url(url: str) -> URL:
    """Accepts ``postgres://`` and ``postgresql://`` as other tools write them."""
    parsed = make_url(url)
    if parsed.drivername.split("+")[0] not in ("postgres", "postgresql"):
        raise ValueError("the database must be PostgreSQL: postgresql://user@host/name")
    return parsed.set(drivername="postgresql+asyncpg")


class Database:
    """Hands out transactions. Every failure to reach PostgreSQL is a DatabaseUnavailable."""

    def __init__(self, url: str, *, application_name: str = "appliance", pool_size: int = 4) -> None:
        self._engine = create_async_engine(
            async_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            hide_parameters=True,
            connect_args={
                "timeout": CONNECT_TIMEOUT_SECONDS,
                "server_settings": {
                    "application_name": application_name,
                    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                    "lock_timeout": str(LOCK_TIMEOUT_MS),
                },
            },
        )

    @asynccontextmanager
    async def begin(
        self, timeout_seconds: float | None = TRANSACTION_TIMEOUT_SECONDS
    ) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end of the block, rolled back by an exception.

        A server that has fallen silent is noticed after ``timeout_seconds``; None is without limit.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self._engine.begin() as connection:
                yield connection
        except (PoolTimeout, OSError, TimeoutError) as error:
            raise DatabaseUnavailable("PostgreSQL cannot be reached") from error
        except DBAPIError as error:
            if is_transient(error):
                raise DatabaseUnavailable("PostgreSQL cannot be reached") from error
            raise

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """One read-only transaction, as long as it takes, in which every statement sees the same moment."""
        async with self.begin(timeout_seconds=None) as connection:
            await execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            await execute(connection, "SET LOCAL statement_timeout = 0")
            yield connection

    async def close(self) -> None:
        await self._engine.dispose()


async def fetch(connection: AsyncConnection, sql: str, *parameters: Any) -> list[Row[Any]]:
    """Rows of a hand-written statement with ``$1`` placeholders, for the hot paths."""
    return list(await connection.exec_driver_sql(sql, parameters))


async def execute(connection: AsyncConnection, sql: str, *parameters: Any) -> None:
    await connection.exec_driver_sql(sql, parameters)


def is_transient(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return True
    return state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT_STATES or error.connection_invalidated
