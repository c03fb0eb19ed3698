"""The way to a plan: the order, Stripe's page, and what became of it."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import sales, tables
from billing.errors import NotFound
from billing.ids import new_id
from billing.payments.subscribed import RUNNING, Subscription, running_of, unfinished_of
from billing.payments.subscriptions.changes import NotPossible
from billing.payments.subscriptions.running import Running


class Orders(Running):
    async def subscribe(self, account_id: int, plan: str, *, back: str, email: str) -> str:
        """The address of Stripe's page to pay on. Raises NoBuyer, BuyerRefused, NotPossible.

        Stripe sends the customer to ``back``, paid or not; then call ``look``. A page that was opened before is
        closed: only the newest can be paid on.
        """
        version = await self._costs.offered(plan)
        buyer = await self._costs.buyer(account_id)
        await self._close_pages(account_id)
        price = await self._costs.price(version, buyer)
        row_id = new_id(self._clock())
        row = {"id": row_id, "account_id": account_id, "version_id": version.id, "state": "ordered"}
        async with self._database.begin() as connection:
            await _require_active(connection, account_id)
            if await running_of(connection, account_id) is not None:
                raise NotPossible("the account has a plan already")
            await connection.execute(insert(sales.subscription).values(**row, created_at=self._clock()))
        customer = await self._costs.customers.of(account_id, email, buyer.name)
        await self._costs.customers.tell_buyer(account_id)
        page = await self._provider.subscribe(
            customer=customer, price=price, reference=row_id, back=back, key=f"subscribe {row_id}"
        )
        table = sales.subscription
        async with self._database.begin() as connection:
            await connection.execute(update(table).where(table.c.id == row_id).values(checkout=page.id))
        if page.url is None:
            raise NotPossible("the page to pay on is closed already")
        return page.url

    async def look(self, account_id: int) -> Subscription | None:
        """When its customer comes back: asks Stripe what became of the order; returns the account's plan then."""
        for row in await self._unfinished(account_id):
            if row.state == "ordered" and row.checkout is not None:
                await self._following.on_checkout(await self._provider.checkout(row.checkout))
            elif row.state in RUNNING and row.stripe_id is not None:
                await self._following.follow(row.stripe_id)
        return await self.running(account_id)

    async def _close_pages(self, account_id: int) -> None:
        """Those that were opened before. What was paid on one of them counts."""
        for row in await self._unfinished(account_id):
            if row.state == "ordered":
                await self._following.close_page(row)

    async def _unfinished(self, account_id: int) -> Sequence[Subscription]:
        async with self._database.begin() as connection:
            return await unfinished_of(connection, account_id)


async def _require_active(connection: AsyncConnection, account_id: int) -> None:
    account = tables.account
    query = select(account.c.status).where(account.c.id == account_id).with_for_update(key_share=True)
    status = (await connection.execute(query)).scalar_one_or_none()
    if status is None:
        raise NotFound(f"there is no account {account_id}")
    if status != "active":
        raise NotPossible(f"the account is {status}")
