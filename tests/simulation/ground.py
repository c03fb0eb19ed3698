"""What a world stands on: the store in memory, or PostgreSQL; and how to look at what is in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from billing.database.db import Database
from billing.prices.pricing import Rate
from billing.store.port import Allowance, Lot, Standing, Store, Transaction, Transfer
from billing.store.postgres import PostgresStore
from tests.simulation.memory import Crash, MemoryStore

Prices = tuple[int, int, int, int, int, int]


def keys_of(account_id: int) -> tuple[int, int]:
    return 2 * account_id, 2 * account_id + 1


class Ground(Protocol):
    """``crash`` makes the next transaction die ``before`` or ``after`` its commit."""

    crash: str | None

    @property
    def store(self) -> Store: ...

    async def settle_accounts(self, count: int, now: datetime) -> list[int]:
        """New accounts, each with the keys of ``keys_of``, whose digests are their numbers in ASCII."""
        ...

    async def set_rate(
        self,
        model: str,
        prices: Prices,
        at: datetime,
        account_id: int | None = None,
        end: datetime | None = None,
    ) -> None:
        """The list's, or one negotiated for the account."""
        ...

    async def revoke(self, key_id: int, now: datetime) -> None: ...

    async def opened(self, cause: UUID) -> int | None: ...

    async def look(self, account_ids: list[int]) -> tuple[dict[int, Standing], dict[int, Lot]]:
        """The accounts, and all lots that they have or had (without those that are used up, at least)."""
        ...

    async def transfers(self) -> list[Transfer] | None:
        """None where somebody else proves the sums."""
        ...

    async def receivable(self, account_id: int) -> int | None: ...


class MemoryGround:
    def __init__(self) -> None:
        self._memory = MemoryStore()

    @property
    def crash(self) -> str | None:
        return self._memory.crash

    @crash.setter
    def crash(self, when: str | None) -> None:
        self._memory.crash = when

    @property
    def store(self) -> Store:
        return self._memory

    async def settle_accounts(self, count: int, now: datetime) -> list[int]:
        for number in range(1, count + 1):
            self._memory.tables["accounts"][number] = Standing(number, "active", 0, 0, None, Allowance())
            for key in keys_of(number):
                self._memory.owners[b"%d" % key] = (key, number)
        return list(range(1, count + 1))

    async def set_rate(
        self,
        model: str,
        prices: Prices,
        at: datetime,
        account_id: int | None = None,
        end: datetime | None = None,
    ) -> None:
        rates = self._memory.rates
        rates.append((model, account_id, at, end, Rate(len(rates) + 1, *prices)))

    async def revoke(self, key_id: int, now: datetime) -> None:
        self._memory.revoked.add(key_id)

    async def opened(self, cause: UUID) -> int | None:
        return self._memory.tables["opened"].get(cause)

    async def look(self, account_ids: list[int]) -> tuple[dict[int, Standing], dict[int, Lot]]:
        return self._memory.tables["accounts"], self._memory.tables["lots"]

    async def transfers(self) -> list[Transfer] | None:
        return self._memory.transfers

    async def receivable(self, account_id: int) -> int | None:
        return self._memory.tables["ledger"].get(("receivable", account_id))


class PostgresGround:
    """``billing.proof.rules.verify`` proves its sums, once for many worlds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._inside = PostgresStore(database)
        self.crash: str | None = None

    @property
    def store(self) -> Store:
        return self

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        async with self._inside.begin() as transaction:
            yield transaction
            crash, self.crash = self.crash, None
            if crash == "before":
                raise Crash
        if crash == "after":
            raise Crash

    async def settle_accounts(self, count: int, now: datetime) -> list[int]:
        async with self._database.begin_raw() as connection:
            last = await connection.fetchval("SELECT coalesce(max(id), 0) FROM account")
            ids = list(range(last + 1, last + count + 1))
            await connection.execute(
                "INSERT INTO account (id, name, role, created_at)"
                " SELECT id, 'account ' || id, 'customer', $2 FROM unnest($1::bigint[]) id",
                ids,
                now,
            )
            await connection.execute(
                "INSERT INTO api_key (id, account_id, name, digest, hint, created_at)"
                " SELECT id, account_id, 'key', id::text::bytea, '', $3 FROM unnest($1::bigint[], $2::bigint[])"
                " AS k(id, account_id)",
                [key for id_ in ids for key in keys_of(id_)],
                [id_ for id_ in ids for _ in keys_of(id_)],
                now,
            )
        return ids

    async def set_rate(
        self,
        model: str,
        prices: Prices,
        at: datetime,
        account_id: int | None = None,
        end: datetime | None = None,
    ) -> None:
        async with self._database.begin_raw() as connection:
            await connection.execute(
                "INSERT INTO rate (model, effective_at, announced_at, account_id, ends_at,"
                " input, cached_input, output, request, image, audio_second)"
                " VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                model,
                at,
                account_id,
                end,
                *prices,
            )
            await connection.execute("UPDATE account SET negotiated = true WHERE id = $1", account_id)

    async def revoke(self, key_id: int, now: datetime) -> None:
        async with self._database.begin_raw() as connection:
            await connection.execute("UPDATE api_key SET revoked_at = $2 WHERE id = $1", key_id, now)

    async def opened(self, cause: UUID) -> int | None:
        async with self._inside.begin() as transaction:
            return await transaction.lot_of(cause)

    async def look(self, account_ids: list[int]) -> tuple[dict[int, Standing], dict[int, Lot]]:
        async with self._inside.begin() as transaction:
            accounts = await transaction.lock(account_ids)
            return accounts, {lot.id: lot for lot in await transaction.lots(account_ids)}

    async def transfers(self) -> list[Transfer] | None:
        return None

    async def receivable(self, account_id: int) -> int | None:
        return None
