"""What a plan costs an account, with its tax, and at which of Stripe's Prices."""

from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

from sqlalchemy import select

from billing.database import sales
from billing.database.db import Database
from billing.documents.buyers import Buyer, buyer_of
from billing.documents.vat import Quote, Reckoned, Taxing, quote
from billing.errors import NotFound
from billing.payments.customers import Customers
from billing.payments.plan_prices import PAID, price_for, sold_at
from billing.payments.provider import PreviewSeen, Provider
from billing.payments.shop import NoBuyer
from billing.payments.subscribed import Subscription, stripe_id_of
from billing.payments.taxes import Taxes
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
        self._taxes = Taxes(provider, taxing)
        self.customers = Customers(database, provider, taxing)
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

    async def quoted(self, buyer: Buyer, cents: int) -> Quote:
        return await self._taxes.quote(cents, buyer, is_credit=False, key=f"tax {uuid4()}")

    async def price(self, version: Version, buyer: Buyer) -> str:
        """Stripe's Price of a month of the version."""
        return await price_for(self._database, self._provider, version, buyer, self._taxing)

    def charged_flat(self, row: Subscription, version: Version, cents: int) -> int:
        """Of ``cents`` that an upgrade costs, what is asked of Stripe: without a tax that it reckons itself."""
        return version.cents - row.version.cents if self._taxing.by_stripe else cents

    async def difference(self, row: Subscription, version: Version, buyer: Buyer, at: datetime) -> PreviewSeen:
        """The first invoice of an upgrade."""
        await self.customers.tell_buyer(row.account_id)
        if self.prorated:
            seen = await self._provider.subscription(stripe_id_of(row))
            price = await self.price(version, buyer)
            return await self._provider.preview_change(seen.id, seen.item, price, at)
        return await self._flat(row, version, buyer, at)

    async def _flat(self, row: Subscription, version: Version, buyer: Buyer, at: datetime) -> PreviewSeen:
        """All of the difference: of the prices that are advertised, or of what is paid with the tax of today."""
        if self._taxing.by_stripe:
            quoted = await self.quoted(buyer, version.cents - row.version.cents)
            tax = Reckoned(quoted.vat, quoted.basis_points, quoted.reason or "", self._taxing.included)
            return PreviewSeen(quoted.gross, at, tax)
        seen = await self._provider.subscription(stripe_id_of(row))
        paid = (await sold_at(self._database, [seen.price], row.version)).get(seen.price)
        gross = quote(version.cents, buyer, self._taxing, is_credit=False).gross
        return PreviewSeen(gross - (row.version.cents if paid is None else paid.cents), at)

    async def price_paid(self, row: Subscription) -> str:
        """The price at which the subscription was paid last: terms, "at the rate you were charged".

        Where Stripe reckons the tax, a version has one price, of the tax code of now.
        """
        if self._taxing.by_stripe:
            return await self.price(row.version, await self.buyer(row.account_id))
        table = sales.payment
        query = (
            select(sales.plan_price.c.price)
            .join(table, table.c.gross_cents == sales.plan_price.c.cents)
            .where(
                table.c.subscription_id == row.id,
                sales.plan_price.c.version_id == row.version.id,
                sales.plan_price.c.tax == PAID,
            )
            .order_by(table.c.created_at.desc())
            .limit(1)
        )
        async with self._database.begin() as connection:
            found = (await connection.execute(query)).scalar()
        if found is not None:
            return str(found)
        return await self.price(row.version, await self.buyer(row.account_id))
