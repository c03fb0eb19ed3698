"""The way to PostgreSQL: one pool, short transactions, and one error for "try again"."""

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from sqlalchemy import URL, Row, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from billing.errors import DatabaseUnavailable

CONNECT_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_MS = 20_000
LOCK_TIMEOUT_MS = 10_000
POOL_TIMEOUT_SECONDS = 5
CLOSE_TIMEOUT_SECONDS = 5
TRANSACTION_TIMEOUT_SECONDS = 25.0

SSL, SSL_ROOT = "ssl", "sslrootcert"
VERIFYING = ("verify-full", "verify-ca")

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


def reached(url: str) -> tuple[URL, dict[str, ssl.SSLContext]]:
    """SQLAlchemy's URL, and what its driver needs besides.

    With ``ssl`` of ``verify-full`` the certificate must be the host's, and signed by whom the file in
    ``sslrootcert`` names, or else by whom this machine trusts; ``verify-ca`` does without the host's name. Raises
    OSError if there is no such file.
    """
    parsed = async_url(url)
    mode, file = (parsed.query.get(name) for name in (SSL, SSL_ROOT))
    parsed = parsed.difference_update_query([SSL_ROOT])
    if mode not in VERIFYING:
        return parsed, {}
    context = ssl.create_default_context(cafile=None if file in (None, "system") else str(file))
    context.check_hostname = mode == "verify-full"
    return parsed.difference_update_query([SSL]), {"ssl": context}


class Database:
    """Hands out transactions. Every failure to reach PostgreSQL is a DatabaseUnavailable.

    The driver's InternalClientError is one too: a server that goes away tells its idle connections, and the driver
    cannot begin anything on one between that and its end.
    """

    def __init__(self, url: str, *, application_name: str = "appliance", pool_size: int = 4) -> None:
        at, tls = reached(url)
        connect_args = {
            **tls,
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "server_settings": {
                "application_name": application_name,
                "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                "lock_timeout": str(LOCK_TIMEOUT_MS),
            },
        }
        self._engine = create_async_engine(
            at,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            hide_parameters=True,
            connect_args=connect_args,
        )
        _, where = self._engine.dialect.create_connect_args(at)
        self._connect = functools.partial(
            asyncpg.create_pool,
            **where,
            **connect_args,
            min_size=0,
            max_size=pool_size,
            reset=_keep,
            init=_with_fast_times,
        )
        self._pool: asyncpg.Pool | None = None
        self._pool_wanted = asyncio.Lock()

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
        except (PoolTimeout, OSError, TimeoutError, asyncpg.InternalClientError) as error:
            raise DatabaseUnavailable("PostgreSQL cannot be reached") from error
        except DBAPIError as error:
            if is_transient(error):
                raise DatabaseUnavailable("PostgreSQL cannot be reached") from error
            raise

    @asynccontextmanager
    async def begin_raw(
        self, timeout_seconds: float | None = TRANSACTION_TIMEOUT_SECONDS
    ) -> AsyncIterator[asyncpg.Connection]:
        """The same on the driver's own connection, for the hot path: SQLAlchemy costs more than the statements."""
        try:
            async with asyncio.timeout(timeout_seconds):
                pool = await self._raw_pool()
                async with pool.acquire(timeout=POOL_TIMEOUT_SECONDS) as connection, connection.transaction():
                    yield connection
        except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise DatabaseUnavailable("PostgreSQL cannot be reached") from error
        except asyncpg.PostgresError as error:
            if _is_transient_state(error.sqlstate):
                raise DatabaseUnavailable("PostgreSQL cannot be reached") from error
            raise

    async def _raw_pool(self) -> asyncpg.Pool:
        async with self._pool_wanted:
            if self._pool is None:
                self._pool = await self._connect()
            return self._pool

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """One read-only transaction, as long as it takes, in which every statement sees the same moment."""
        async with self.begin(timeout_seconds=None) as connection:
            await execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            await execute(connection, "SET LOCAL statement_timeout = 0")
            yield connection

    async def close(self) -> None:
        """Transactions that are still open have ``CLOSE_TIMEOUT_SECONDS``."""
        await self._engine.dispose()
        if self._pool is not None:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()
            self._pool = None


async def _keep(_: asyncpg.Connection) -> None:
    """A connection needs no RESET between transactions: nothing here sets anything for a session."""


_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@functools.lru_cache(maxsize=65_536)
def _as_microseconds(moment: datetime) -> tuple[int]:
    return ((moment - _EPOCH) // _MICROSECOND,)


@functools.lru_cache(maxsize=65_536)
def _as_moment(microseconds: tuple[int]) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds[0])


async def _with_fast_times(connection: asyncpg.Connection) -> None:
    """The driver's own codec takes 2 us a time; nearly all of ours were seen before: lots' ends, a batch's now."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", format="tuple", encoder=_as_microseconds, decoder=_as_moment
    )


async def fetch(connection: AsyncConnection, sql: str, *parameters: Any) -> list[Row[Any]]:
    """Rows of a hand-written statement with ``$1`` placeholders, for the hot paths."""
    return list(await connection.exec_driver_sql(sql, parameters))


async def execute(connection: AsyncConnection, sql: str, *parameters: Any) -> None:
    await connection.exec_driver_sql(sql, parameters)


def is_transient(error: DBAPIError) -> bool:
    return error.connection_invalidated or _is_transient_state(getattr(error.orig, "sqlstate", None))


def _is_transient_state(state: str | None) -> bool:
    return state is None or state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT_STATES
