"""What a plan costs an account, with its tax, and at which of Stripe's Prices."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from billing.database import sales
from billing.database.db import Database
from billing.documents.buyers import Buyer, buyer_of
from billing.documents.vat import Quote, Taxing, quote
from billing.errors import NotFound
from billing.payments.plan_prices import price_for, sold_at
from billing.payments.provider import Provider
from billing.payments.shop import NoBuyer
from billing.payments.subscribed import Subscription, stripe_id_of
from billing.plans.catalog import Plan
from billing.plans.versions import Version, newest_versions


class Costs:
    """``prorated``: an upgrade costs the difference for the time that is left, else all of it."""

    def __init__(
        self, database: Database, provider: Provider, plans: Sequence[Plan], taxing: Taxing, *, prorated: bool
    ) -> None:
        self._database = database
        self._provider = provider
        self._plans = {plan.id for plan in plans}
        self._taxing = taxing
        self.prorated = prorated

    async def offered(self, plan: str) -> Version:
        async with self._database.begin() as connection:
            version = (await newest_versions(connection)).get(plan)
        if version is None or plan not in self._plans:
            raise NotFound(f"no plan {plan} is on offer")
        return version

    async def buyer(self, account_id: int) -> Buyer:
        async with self._database.begin() as connection:
            buyer = await buyer_of(connection, account_id)
        if buyer is None:
            raise NoBuyer(f"account {account_id} has not said who buys")
        return buyer

    async def quote(self, account_id: int, cents: int) -> Quote:
        return self.quoted(await self.buyer(account_id), cents)

    def quoted(self, buyer: Buyer, cents: int) -> Quote:
        return quote(cents, buyer, self._taxing, is_credit=False)

    async def price(self, version: Version, cents: int) -> str:
        """Stripe's Price of a month of the version at ``cents``."""
        return await price_for(self._database, self._provider, version, cents)

    async def difference(self, row: Subscription, version: Version, gross: int, at: datetime) -> int:
        """Cents of the first invoice of an upgrade."""
        seen = await self._provider.subscription(stripe_id_of(row))
        if not self.prorated:
            paid = (await sold_at(self._database, [seen.price], row.version)).get(seen.price)
            return gross - (row.version.cents if paid is None else paid.cents)
        price = await self.price(version, gross)
        return (await self._provider.preview_change(seen.id, seen.item, price, at)).cents

    async def price_paid(self, row: Subscription) -> str:
        """The price at which the subscription was paid last: terms, "at the rate you were charged"."""
        table = sales.payment
        query = (
            select(sales.plan_price.c.price)
            .join(table, table.c.gross_cents == sales.plan_price.c.cents)
            .where(table.c.subscription_id == row.id, sales.plan_price.c.version_id == row.version.id)
            .order_by(table.c.created_at.desc())
            .limit(1)
        )
        async with self._database.begin() as connection:
            found = (await connection.execute(query)).scalar()
        if found is not None:
            return str(found)
        gross = (await self.quote(row.account_id, row.version.cents)).gross
        return await self.price(row.version, gross)
