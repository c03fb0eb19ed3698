"""Our rows follow what Stripe says of subscriptions: in any order, any number of times, by whoever looks first.

What Stripe says is fetched before the transaction that writes it; ``subscription.written`` sees to it that nothing
older is written over it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID
from weakref import WeakValueDictionary

from msgspec.structs import replace
from sqlalchemy import ColumnElement, select, update

from billing.clock import Clock
from billing.database import sales, tables
from billing.database.db import Database
from billing.documents.buyers import Buyer, buyer_of
from billing.documents.vat import Taxing
from billing.errors import Conflict
from billing.ledger.credit import CLOSED
from billing.payments import records
from billing.payments.customers import Customers
from billing.payments.giving import payment_of, write
from billing.payments.plan_life import (
    BEGINNINGS,
    CHANGES,
    CLOSED_ACCOUNT,
    CONTESTED,
    EXPIRED,
    OVER,
    SECOND,
    PlanPrice,
    follow,
    without_stripe,
)
from billing.payments.plan_prices import sold_at
from billing.payments.provider import (
    CURRENCY,
    BuyerRefused,
    CheckoutSeen,
    CheckoutStatus,
    EventSeen,
    Gone,
    InvoiceSeen,
    Provider,
    SubscriptionSeen,
)
from billing.payments.subscribed import RUNNING, Subscription, running_of, stripe_id_of, subscriptions_where
from billing.store.port import Store

RENEWAL = "subscription_cycle"
TRIES = 20
"""A payment has some ten events, and another process writes the row once or twice for each of them."""

log = logging.getLogger(__name__)


class Following:
    """Raises DatabaseUnavailable, PaymentsUnavailable, PaymentsRefused; Conflict if somebody must look at it."""

    def __init__(
        self,
        database: Database,
        store: Store,
        provider: Provider,
        taxing: Taxing,
        grace: timedelta,
        clock: Clock,
    ) -> None:
        self._database = database
        self._store = store
        self._provider = provider
        self._taxing = taxing
        self._grace = grace
        self._clock = clock
        self._customers = Customers(database, provider, taxing)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def on_subscription(self, event: EventSeen) -> None:
        """For ``customer.subscription.``"""
        await self.follow(event.object)

    async def on_invoice(self, event: EventSeen) -> None:
        """For ``invoice.``"""
        try:
            invoice = await self._provider.invoice(event.object)
        except Gone:
            return
        if invoice.subscription is not None:
            await self.follow(invoice.subscription, await self._collected(invoice))

    async def _collected(self, invoice: InvoiceSeen) -> InvoiceSeen:
        """A renewal is charged as soon as it is told of, so that its allowance begins with its period."""
        if not invoice.is_due or invoice.why != RENEWAL or invoice.subscription is None:
            return invoice
        row = await self._row(invoice.subscription)
        if row is None or row.state != "active" or row.end_reason or await self._why_closed(row):
            return invoice
        key, now = f"collect {invoice.id}", self._clock()
        if invoice.tax_waits:  # else Stripe would say again what it said when the address was missing
            key = f"{key} {now.isoformat()}"
        collected = await self._provider.collect(invoice.id, key=key)
        if _waits_for_tax(collected) and await self._told_again(row, now):
            collected = await self._provider.collect(invoice.id, key=f"{key} again {now.isoformat()}")
        if _waits_for_tax(collected):
            raise Conflict(
                f"Stripe cannot tell the tax of invoice {invoice.id} of account {row.account_id}: the buyer's"
                " address is not complete, or Stripe Tax does not answer; in an hour it goes on without Stripe Tax"
            )
        return collected

    async def _told_again(self, row: Subscription, now: datetime) -> bool:
        """Whether Stripe has taken who buys, of whom it may have lost the address."""
        try:
            await self._customers.tell_again(row.account_id, now)
        except (BuyerRefused, Gone):
            return False
        return True

    async def on_checkout(self, seen: CheckoutSeen) -> bool:
        """Whether it is a page of ours to subscribe on. One on which credit is bought is nobody's here."""
        if seen.reference is None:
            return False
        found = await self._one(sales.subscription.c.id == seen.reference)
        if found is None:
            return False
        if seen.subscription is not None:
            await self.follow(seen.subscription)
        elif seen.status is CheckoutStatus.EXPIRED:
            await self.give_up(found)
        return True

    async def follow(self, stripe_id: str, invoice: InvoiceSeen | None = None) -> Subscription | None:
        """Brings our row to what Stripe says now; None if the subscription is not ours.

        A payment is told of by many events at once, so those of one subscription take turns.

        ``invoice``: one that may not be its newest. Raises Conflict if money came for a price that is not ours, or
        it is not the one that was ordered.
        """
        async with self._turns.setdefault(stripe_id, asyncio.Lock()):
            for _ in range(TRIES):
                found, done = await self._follow_once(stripe_id, invoice)
                if done:
                    return found
        raise Conflict(f"subscription {stripe_id} is written by others all the time; it is tried again")

    async def end(self, row: Subscription, reason: str) -> Subscription:
        """Ends it at Stripe, now, and here. The reason is kept first, so that it is not lost on the way."""
        table, stripe_id = sales.subscription, stripe_id_of(row)
        async with self._database.begin() as connection:
            statement = update(table).where(table.c.id == row.id, table.c.end_reason.is_(None))
            await connection.execute(statement.values(end_reason=reason, written=table.c.written + 1))
        await self._provider.end_subscription(stripe_id, key=f"end {row.id}")
        found = await self.follow(stripe_id)
        assert found is not None, "it is ours"
        return found

    async def contested(self, subscription_id: UUID) -> None:
        """The payer's bank takes a payment of it back: whoever contests a plan does not keep it."""
        row = await self._one(sales.subscription.c.id == subscription_id)
        if row is not None and row.state in RUNNING:
            await self.end(row, CONTESTED)

    async def close_page(self, row: Subscription) -> None:
        """Of one that was ordered: what was paid on its page counts, else nobody pays on it any more."""
        if row.checkout is None:
            await self.give_up(row)
            return
        try:
            await self._provider.expire_checkout(row.checkout)
            await self.on_checkout(await self._provider.checkout(row.checkout))
        except Gone:
            await self.give_up(row)

    async def give_up(self, row: Subscription) -> None:
        """Of one that was ordered and not paid in time."""
        table = sales.subscription
        async with self._database.begin() as connection:
            statement = update(table).where(table.c.id == row.id, table.c.state == "ordered")
            await connection.execute(
                statement.values(
                    state="ended", ended_at=self._clock(), end_reason=EXPIRED, written=table.c.written + 1
                )
            )

    async def _follow_once(self, stripe_id: str, invoice: InvoiceSeen | None) -> tuple[Subscription | None, bool]:
        """The row after it, and whether that is all: else it is to be done again."""
        row = await self._row(stripe_id)
        try:
            seen = await self._provider.subscription(stripe_id)
        except Gone:
            return await self._without_stripe(row)
        if row is None and seen.reference is not None:
            row = await self._one(sales.subscription.c.id == seen.reference)
        if row is None:
            return None, True
        if different := differences(row, seen, await self._customer(row)):
            raise Conflict(f"subscription {stripe_id} names an order of ours, but {different}")
        paid = await self._paid(seen, invoice)
        if odd := [one.id for one in paid if (one.currency, one.customer) != (CURRENCY, seen.customer)]:
            raise Conflict(
                f"invoice {odd[0]} of subscription {stripe_id} is of another customer, or not in {CURRENCY}"
            )
        named = {one.price for one in paid if one.price is not None} | {seen.price}
        prices = await sold_at(self._database, named, row.version)
        if unknown := [one.id for one in paid if one.price not in prices]:
            raise Conflict(f"invoice {unknown[0]} of subscription {stripe_id} is for a price that is not ours")
        seen = await self._changed(row, seen, paid, prices)
        closed = await self._why_closed(row)
        now = self._clock()
        after = follow(row, seen, paid, prices, now, self._grace, closed=closed)
        buyer = await self._buyer(row) if after.bought else None
        if not await write(self._store, row, after, buyer, self._taxing, now):
            return row, False
        if after.leave:
            await self._provider.end_subscription(stripe_id, key=f"end {row.id}")
            return after.row, row.state == "ended"
        return await self._one(sales.subscription.c.id == row.id), True

    async def _without_stripe(self, row: Subscription | None) -> tuple[Subscription | None, bool]:
        """As ``_follow_once``."""
        now = self._clock()
        after = None if row is None else without_stripe(row, now)
        if row is None or after is None:
            return row, True
        if not await write(self._store, row, after, None, self._taxing, now):
            return row, False
        return after.row, True

    async def _paid(self, seen: SubscriptionSeen, invoice: InvoiceSeen | None) -> Sequence[InvoiceSeen]:
        """Those that brought money for the plan and are in no book yet, in the order in which they were paid."""
        found = {} if invoice is None else {invoice.id: invoice}
        if seen.latest_invoice is not None and seen.latest_invoice not in found:
            found[seen.latest_invoice] = await self._provider.invoice(seen.latest_invoice)
        paid = [one for one in found.values() if one.status == "paid" and _is_for_a_plan(one)]
        table = sales.payment
        query = select(table.c.id).where(table.c.id.in_([payment_of(one.id) for one in paid]))
        async with self._database.begin() as connection:
            known = set((await connection.execute(query)).scalars())
        now = self._clock()
        new = [one for one in paid if payment_of(one.id) not in known]
        return sorted(new, key=lambda one: (one.paid_at or now, one.id))

    async def _changed(
        self,
        row: Subscription,
        seen: SubscriptionSeen,
        paid: Sequence[InvoiceSeen],
        prices: Mapping[str, PlanPrice],
    ) -> SubscriptionSeen:
        """After a difference that was paid flat, by an invoice of its own: the price that it was paid for."""
        now = self._clock()
        for one in paid:
            if one.why != "manual" or seen.status in OVER or one.period_end <= now:
                continue
            assert one.price is not None, "_is_for_a_plan"
            if one.price != seen.price and prices[one.price].version.cents > row.version.cents:
                await self._provider.change_now(
                    seen.id, seen.item, one.price, at=now, prorated=False, key=f"change {one.id}"
                )
                seen = replace(seen, price=one.price)
        return seen

    async def _why_closed(self, row: Subscription) -> str | None:
        query = select(tables.account.c.status).where(tables.account.c.id == row.account_id)
        async with self._database.begin() as connection:
            status = (await connection.execute(query)).scalar_one()
            other = await running_of(connection, row.account_id)
        if status in CLOSED:
            return CLOSED_ACCOUNT
        return SECOND if other is not None and other.id != row.id else None

    async def _buyer(self, row: Subscription) -> Buyer:
        """As the account says now, or as it said when it paid last. Raises Conflict."""
        table = sales.payment
        query = select(table.c.buyer).where(table.c.account_id == row.account_id)
        async with self._database.begin() as connection:
            if (found := await buyer_of(connection, row.account_id)) is not None:
                return found
            last = (await connection.execute(query.order_by(table.c.created_at.desc()).limit(1))).scalar()
        if last is None:
            raise Conflict(f"account {row.account_id} has paid for a plan, and nobody knows who buys")
        return Buyer(**last)

    async def _customer(self, row: Subscription) -> str | None:
        async with self._database.begin() as connection:
            return (await records.wallet(connection, row.account_id)).customer

    async def _row(self, stripe_id: str) -> Subscription | None:
        return await self._one(sales.subscription.c.stripe_id == stripe_id)

    async def _one(self, condition: ColumnElement[bool]) -> Subscription | None:
        async with self._database.begin() as connection:
            found = await subscriptions_where(connection, condition)
        return found[0] if found else None


def differences(row: Subscription, seen: SubscriptionSeen, customer: str | None) -> str | None:
    """What of a subscription is not as it was ordered, in words; None if all is. Pure.

    ``customer`` is the account's at Stripe: None once it is deleted, when only what is known already is followed.
    """
    if customer != seen.customer and (customer is not None or row.stripe_id is None):
        return "it is another customer's"
    return None if row.stripe_id in (None, seen.id) else "the order has another subscription"


def _waits_for_tax(invoice: InvoiceSeen) -> bool:
    return invoice.status == "draft" and invoice.tax_waits


def _is_for_a_plan(invoice: InvoiceSeen) -> bool:
    return invoice.why in BEGINNINGS or (invoice.why in CHANGES and invoice.price is not None)
