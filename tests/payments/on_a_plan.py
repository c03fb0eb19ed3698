"""Customers of plans: the real library against the sandbox in this process, on one clock with our books."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.hosted import Buyer as Payer
from billing.database import sales
from billing.database.db import Database, fetch
from billing.documents.buyers import Buyer, keep_buyer
from billing.documents.vat import Taxing
from billing.payments.following import Following
from billing.payments.provider import EventSeen
from billing.payments.stripe.adapter import StripeProvider
from billing.payments.subscribed import Subscription, subscriptions_of
from billing.payments.subscriptions.service import Subscriptions
from billing.payments.upkeep import Upkeep
from billing.plans.catalog import Plan
from billing.plans.entitlements import Terms
from billing.plans.versions import publish
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.proof import rules
from tests.billing.conftest import RATE, Bank, Customer, TurnedClock
from tests.stripe_sandbox.inprocess import KEY, SECRET, InProcessClient, settings
from tests.taxing import INCLUDED

DOLLAR = 10**9
PAYS, DECLINED, ATTACHES_ONLY = "4242424242424242", "4000000000000002", "4000000000000341"
BACK = "https://site.test/account"
KARI = Buyer("Kari Nordmann", "Storgata 1", "0155", "Oslo", "NO", business=False)
SMALL = Plan(
    "small", {"en": "Small", "nb": "Liten"}, {}, 1000, 12 * DOLLAR, Terms(requests_per_minute=60, priority=1)
)
LARGE = Plan(
    "large",
    {"en": "Large"},
    {},
    4000,
    60 * DOLLAR,
    Terms(requests_per_minute=600, concurrent_requests=32, priority=5),
)
FIXED = Plan("fixed", {"en": "Fixed"}, {}, 2000, DOLLAR, Terms(stops=True, models=("smollm2",)))


async def orders_of(database: Database, account_id: int) -> Sequence[Subscription]:
    """Newest first, also those that nobody paid for."""
    async with database.begin() as connection:
        return await subscriptions_of(connection, account_id)


@dataclass
class Shop:
    """All that follows a plan, over one database and one sandbox."""

    bank: Bank
    sandbox: Sandbox
    provider: StripeProvider
    taxing: Taxing = INCLUDED
    prorated: bool = True
    plans: Sequence[Plan] = (SMALL, LARGE, FIXED)
    following: Following = field(init=False)
    subscriptions: Subscriptions = field(init=False)
    upkeep: Upkeep = field(init=False)

    async def open(self, **changes: Any) -> "Shop":
        """With its plans published, as at a start."""
        shop = replace(self, **changes)
        bank, grace = shop.bank, timedelta(days=7)
        async with bank.database.begin() as connection:
            await publish(connection, shop.plans, bank.clock)
        shop.following = Following(bank.database, bank.store, shop.provider, shop.taxing, grace, bank.clock)
        shop.subscriptions = Subscriptions(
            bank.database, shop.following, shop.provider, shop.plans, shop.taxing, bank.clock,
            prorated=shop.prorated,
        )  # fmt: skip
        shop.upkeep = Upkeep(bank.database, shop.following, shop.provider, bank.clock)
        return shop

    async def customer(self, buyer: Buyer = KARI, dollars: int = 0) -> Customer:
        made = await self.bank.customer(dollars * DOLLAR)
        async with self.bank.database.begin() as connection:
            await keep_buyer(connection, made.account_id, buyer, self.bank.clock())
        return made

    async def order(self, customer: Customer, plan: Plan = SMALL, card: str = PAYS) -> None:
        """Through the page of Checkout, without anybody looking afterwards."""
        await self.subscriptions.subscribe(customer.account_id, plan.id, back=BACK, email="kari@example.com")
        (newest, *_) = await orders_of(self.bank.database, customer.account_id)
        assert newest.checkout is not None
        self.sandbox.pay_session(newest.checkout, Payer(card))

    async def subscriber(self, plan: Plan = SMALL, buyer: Buyer = KARI, card: str = PAYS) -> Customer:
        made = await self.customer(buyer)
        await self.order(made, plan, card)
        assert await self.subscriptions.look(made.account_id) is not None
        return made

    async def upgrade(self, customer: Customer, plan: Plan) -> int:
        """After looking at the amount; returns it, in cents."""
        preview = await self.subscriptions.preview(customer.account_id, plan.id)
        await self.subscriptions.upgrade(customer.account_id, plan.id, preview)
        return preview.cents

    async def row(self, customer: Customer) -> Subscription:
        """The newest."""
        return (await orders_of(self.bank.database, customer.account_id))[0]

    def go_to(self, *when: int) -> None:
        self.bank.clock.now = datetime(*when, tzinfo=UTC)  # type: ignore[misc, arg-type]
        self.sandbox.catch_up()

    def turn(self, **delta: float) -> None:
        self.bank.clock.turn(**delta)
        self.sandbox.catch_up()

    async def events(self) -> list[EventSeen]:
        """All there were so far, oldest first."""
        pages = [page async for page in self.provider.events(datetime(2020, 1, 1, tzinfo=UTC))]
        return [event for page in pages for event in page][::-1]

    async def handle(self, event: EventSeen) -> None:
        if event.kind.startswith("customer.subscription."):
            await self.following.on_subscription(event)
        elif event.kind.startswith("invoice."):
            await self.following.on_invoice(event)
        elif event.kind.startswith("checkout.session."):
            await self.following.on_checkout(await self.provider.checkout(event.object))

    async def handle_all(self) -> None:
        for event in await self.events():
            await self.handle(event)

    async def payments(self, customer: Customer) -> list[tuple[str, str, int]]:
        """(kind, state, gross cents), oldest first."""
        table = sales.payment.c
        query = select(table.kind, table.state, table.gross_cents).where(table.account_id == customer.account_id)
        async with self.bank.database.begin() as connection:
            return [tuple(row) for row in await connection.execute(query.order_by(table.paid_at, table.id))]

    async def notices(self, customer: Customer) -> list[str]:
        query = "SELECT body->>'became' FROM notice WHERE account_id = $1 AND kind = 'plan' ORDER BY id"
        async with self.bank.database.begin() as connection:
            return [row[0] for row in await fetch(connection, query, customer.account_id)]

    async def money_in(self) -> int:
        """Cents that left the house account of payments."""
        query = """
            SELECT coalesce(sum(amount_nanodollars), 0)::bigint FROM transfer t
            JOIN ledger_account d ON d.id = t.debit_id WHERE d.kind = 'payments'"""
        async with self.bank.database.begin() as connection:
            return int((await fetch(connection, query))[0][0]) // NANODOLLARS_PER_CENT

    async def charged(self) -> int:
        """Cents that Stripe took from cards."""
        charges = self.provider._v1.charges
        return sum(one.amount for one in (await charges.list_async({"limit": 100})).data if one.paid)

    async def books_balance(self) -> None:
        async with self.bank.database.snapshot() as connection:
            assert await rules.verify(connection) == []


@pytest.fixture
async def shop(fresh_url: str) -> AsyncIterator[Shop]:
    clock = TurnedClock(datetime(2027, 3, 1, 12, tzinfo=UTC))
    database = Database(fresh_url, pool_size=8)
    bank = Bank(database, clock, fresh_url)
    await bank.set_rate(RATE)
    sandbox = Sandbox(settings(), clock=lambda: clock().timestamp(), receivers_clock=lambda: clock().timestamp())
    provider = StripeProvider(KEY, SECRET, clock, http=InProcessClient(sandbox))
    shop = await Shop(bank, sandbox, provider).open()
    yield shop
    await shop.books_balance()
    await database.close()
