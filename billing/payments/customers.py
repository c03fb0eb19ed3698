"""An account at Stripe: a customer of its own, made when it first buys something, gone with the account."""

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.db import Database, execute, fetch
from billing.documents.buyers import buyer_of
from billing.documents.vat import Taxing
from billing.payments.provider import Gone, KeyRefused, PaymentsRefused, Provider, RightsMissing

log = logging.getLogger(__name__)

_KEEP = """
INSERT INTO wallet (account_id, customer) VALUES ($1, $2)
ON CONFLICT (account_id) DO UPDATE SET customer = coalesce(wallet.customer, excluded.customer) RETURNING customer
"""
_DELETED = """
SELECT w.account_id, w.customer FROM wallet w JOIN account a ON a.id = w.account_id
WHERE a.status = 'deleted' ORDER BY w.account_id LIMIT $1
"""
_CHANGED = """
SELECT w.account_id, w.customer, b.updated_at FROM wallet w JOIN buyer b ON b.account_id = w.account_id
WHERE w.customer IS NOT NULL AND w.told_at IS DISTINCT FROM b.updated_at
    AND (w.account_id = $2 OR ($2::bigint IS NULL AND w.refused_at IS DISTINCT FROM b.updated_at))
ORDER BY w.account_id LIMIT $1
"""
_KNOWN = """
SELECT w.account_id, w.customer, b.updated_at FROM wallet w JOIN buyer b ON b.account_id = w.account_id
WHERE w.customer IS NOT NULL AND w.account_id = $1
"""
_TOLD = "UPDATE wallet SET told_at = $2, refused_at = NULL WHERE account_id = $1"
_REFUSED = "UPDATE wallet SET told_at = NULL, refused_at = $2 WHERE account_id = $1"
_REFUSED_NOW = """
SELECT w.account_id FROM wallet w JOIN buyer b ON b.account_id = w.account_id
WHERE w.refused_at = b.updated_at AND w.told_at IS DISTINCT FROM b.updated_at ORDER BY w.account_id
"""
AT_ONCE = 100
KEY_DIGITS = 16


async def refused_buyers(connection: AsyncConnection) -> Sequence[int]:
    """The accounts whose buyer, as it is now, Stripe has not taken: their renewals are taxed by what it has."""
    return [row.account_id for row in await fetch(connection, _REFUSED_NOW)]


class Customers:
    """Raises DatabaseUnavailable, PaymentsUnavailable, PaymentsRefused."""

    def __init__(self, database: Database, provider: Provider, taxing: Taxing) -> None:
        self._database = database
        self._provider = provider
        self._taxing = taxing

    async def of(self, account_id: int, email: str, name: str) -> str:
        """Stripe's id of the account. Two that ask at once get the same: of an account there is one key."""
        async with self._database.begin() as connection:
            query = "SELECT customer FROM wallet WHERE account_id = $1 AND customer IS NOT NULL"
            known = await fetch(connection, query, account_id)
        if known:
            return str(known[0].customer)
        made = await self._made(account_id, email, name)
        async with self._database.begin() as connection:
            (row,) = await fetch(connection, _KEEP, account_id, made)
        return str(row.customer)

    async def tell_buyer(self, account_id: int) -> None:
        """Stripe of the account's, where it reckons the tax and does not know it yet. Raises BuyerRefused."""
        if not self._taxing.by_stripe:
            return
        async with self._database.begin() as connection:
            changed = await fetch(connection, _CHANGED, 1, account_id)
        for one in changed:
            await self._tell(one)

    async def tell_buyers(self) -> int:
        """Stripe of all buyers who have changed: their next renewal is taxed by it. Returns how many.

        One that Stripe refuses, for whatever reason, or has not got, keeps none behind it; it is told again when
        it changes again, or buys. A key that is refused, or has no right to it, is no buyer's fault.
        """
        if not self._taxing.by_stripe:
            return 0
        async with self._database.begin() as connection:
            changed = await fetch(connection, _CHANGED, AT_ONCE, None)
        for one in changed:
            try:
                await self._tell(one)
            except (KeyRefused, RightsMissing):
                raise
            except (PaymentsRefused, Gone) as error:
                log.warning("Stripe does not take the buyer of account %d: %s", one.account_id, error)
        return len(changed)

    async def tell_again(self, account_id: int, now: datetime) -> None:
        """Stripe, which has lost what it was told: somebody changed it there. Raises BuyerRefused, Gone."""
        async with self._database.begin() as connection:
            known = await fetch(connection, _KNOWN, account_id)
        for one in known:
            await self._tell(one, f" again {now.isoformat()}")

    async def _tell(self, row: Row[Any], again: str = "") -> None:
        """``again`` makes another key: by the first, Stripe would answer as it did and do nothing."""
        async with self._database.begin() as connection:
            buyer = await buyer_of(connection, row.account_id)
        if buyer is None:
            return
        key = f"buyer {row.account_id} {row.updated_at.isoformat()}{again}"
        try:
            await self._provider.put_buyer(row.customer, buyer, key)
        except (KeyRefused, RightsMissing):
            raise
        except (PaymentsRefused, Gone):
            async with self._database.begin() as connection:
                await execute(connection, _REFUSED, row.account_id, row.updated_at)
            raise
        async with self._database.begin() as connection:
            await execute(connection, _TOLD, row.account_id, row.updated_at)

    async def _made(self, account_id: int, email: str, name: str) -> str:
        """The same key must come with the same words, and the account's may have changed since."""
        words = hashlib.sha256(f"{email}\0{name}".encode()).hexdigest()[:KEY_DIGITS]
        return await self._provider.create_customer(account_id, email, name, f"customer-{account_id}-{words}")

    async def forget_deleted(self) -> int:
        """Those of deleted accounts, at Stripe and then here; returns how many. What fails is tried next time."""
        async with self._database.begin() as connection:
            deleted = await fetch(connection, _DELETED, AT_ONCE)
        for one in deleted:
            if one.customer is not None:
                await self._provider.delete_customer(one.customer)
            async with self._database.begin() as connection:
                await execute(connection, "DELETE FROM wallet WHERE account_id = $1", one.account_id)
        return len(deleted)
