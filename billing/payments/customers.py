"""An account at Stripe: a customer of its own, made when it first buys something, gone with the account."""

import hashlib

from billing.database.db import Database, execute, fetch
from billing.payments.provider import Provider

_KEEP = """
INSERT INTO wallet (account_id, customer) VALUES ($1, $2)
ON CONFLICT (account_id) DO UPDATE SET customer = coalesce(wallet.customer, excluded.customer) RETURNING customer
"""
_DELETED = """
SELECT w.account_id, w.customer FROM wallet w JOIN account a ON a.id = w.account_id
WHERE a.status = 'deleted' ORDER BY w.account_id LIMIT $1
"""
AT_ONCE = 100
KEY_DIGITS = 16


class Customers:
    """Raises DatabaseUnavailable, PaymentsUnavailable, PaymentsRefused."""

    def __init__(self, database: Database, provider: Provider) -> None:
        self._database = database
        self._provider = provider

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
