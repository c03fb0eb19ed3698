"""A shop over a real database, the real library of Stripe, and the sandbox behind it in this process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.hosted import Buyer as Payer
from appliance.till import Till, till
from billing.database.db import Database, fetch
from billing.documents.buyers import Buyer, keep_buyer
from billing.documents.vat import Taxing
from billing.ids import new_id
from billing.payments import records
from billing.payments.provider import BadSignature
from billing.payments.records import Payment
from billing.payments.shop import Bounds
from billing.payments.stripe.adapter import StripeProvider
from tests.billing.conftest import RATE, Bank, Customer, TurnedClock
from tests.stripe_sandbox.inprocess import KEY, SECRET, InProcessClient, settings
from tests.taxing import INCLUDED, ON_TOP

BACK = "https://site.test/credit"
BOUNDS = Bounds(500, 100_000, 200_000)
ADA = Buyer("Ada Byron", "Storgata 1", "0155", "Oslo", "NO", business=False)
CARD = "4242424242424242"


@dataclass
class Counter:
    """A shop, who sells in it, and the Stripe that it asks."""

    bank: Bank
    sandbox: Sandbox
    provider: StripeProvider
    taxing: Taxing
    till: Till = field(init=False)

    def __post_init__(self) -> None:
        self.till = till(self.database, self.provider, self.taxing, BOUNDS, self.bank.clock, 30)

    @property
    def database(self) -> Database:
        return self.bank.database

    async def customer(self, buyer: Buyer = ADA) -> Customer:
        customer = await self.bank.customer(0)
        async with self.database.begin() as connection:
            await keep_buyer(connection, customer.account_id, buyer, self.bank.clock())
        return customer

    async def order(self, customer: Customer, cents: int = 1000, *, save_card: bool = False) -> "Page":
        """The page that Stripe shows."""
        order_id = new_id(self.bank.clock())
        await self.till.shop.order_credit(
            customer.account_id,
            cents,
            order_id=order_id,
            back=BACK,
            email="ada@example.com",
            save_card=save_card,
        )
        async with self.database.begin() as connection:
            payment = await records.payment(connection, order_id)
        assert payment.checkout is not None
        return Page(self, payment.id, payment.checkout)

    async def bought(
        self, customer: Customer, cents: int = 1000, *, save_card: bool = False, card: str = CARD
    ) -> Payment:
        """Ordered, paid and credited, by the customer who comes back."""
        page = await self.order(customer, cents, save_card=save_card)
        page.pay(card)
        return await self.till.shop.look(page.payment_id)

    async def payment(self, payment_id: UUID) -> Payment:
        async with self.database.begin() as connection:
            return await records.payment(connection, payment_id)

    async def deliver(self) -> int:
        """All webhooks that Stripe wants to send now, as the site takes them; returns how many it took."""
        taken = 0
        for delivery in self.sandbox.deliveries():
            try:
                await self.till.inbox.receive(delivery.body, delivery.headers["stripe-signature"])
            except BadSignature:
                self.sandbox.delivered(delivery.id, 400)
            else:
                taken += 1
                self.sandbox.delivered(delivery.id, 200)
        return taken

    async def asked_about(self, kind: str) -> list[str]:
        """What Stripe is asked when the worker handles the events of the kind, and no others."""
        for delivery in self.sandbox.deliveries():
            if f'"type":"{kind}' in delivery.body.decode().replace('": "', '":"'):
                await self.till.inbox.receive(delivery.body, delivery.headers["stripe-signature"])
        http = self.provider._http
        assert isinstance(http, InProcessClient)
        http.asked.clear()
        await self.till.inbox.run_once()
        return http.asked

    async def hear(self) -> None:
        """Webhooks come, and the worker handles them."""
        await self.deliver()
        await self.till.inbox.run_once()

    async def lots(self, account_id: int) -> list[int]:
        """The amounts of the account's purchases."""
        async with self.database.begin() as connection:
            query = (
                "SELECT amount_nanodollars AS n FROM lot WHERE account_id = $1 AND source = 'purchase' ORDER BY id"
            )
            return [row.n for row in await fetch(connection, query, account_id)]

    async def moved(self, kind: str) -> int:
        async with self.database.begin() as connection:
            query = "SELECT coalesce(sum(amount_nanodollars), 0)::bigint AS n FROM transfer WHERE kind = $1"
            return int((await fetch(connection, query, kind))[0].n)

    async def errors(self) -> list[str]:
        """Of events that are not handled."""
        return [event.error or "" for event in await self.till.inbox.waiting()]

    async def told(self) -> list[str]:
        async with self.database.begin() as connection:
            return [row.kind for row in await fetch(connection, "SELECT kind FROM notice ORDER BY id")]


@dataclass
class Page:
    """Stripe's page to pay on."""

    counter: Counter
    payment_id: UUID
    checkout: str

    def pay(self, card: str = CARD) -> None:
        step = self.counter.sandbox.pay_session(self.checkout, Payer(card))
        assert step.url is not None, step.message


@pytest.fixture
async def bank(fresh_url: str) -> AsyncIterator[Bank]:
    database = Database(fresh_url, pool_size=12)
    bank = Bank(database, TurnedClock(), fresh_url)
    await bank.set_rate(RATE)
    yield bank
    await database.close()


def counter_of(bank: Bank, taxing: Taxing, **chosen: Any) -> Counter:
    """``chosen`` are settings of the sandbox."""
    seconds = lambda: bank.clock().timestamp()  # noqa: E731
    sandbox = Sandbox(
        settings(webhook_url="http://site.test/webhook", **chosen), clock=seconds, receivers_clock=seconds
    )
    provider = StripeProvider(KEY, SECRET, bank.clock, http=InProcessClient(sandbox))
    return Counter(bank, sandbox, provider, taxing)


@pytest.fixture
async def counter(bank: Bank) -> AsyncIterator[Counter]:
    """Prices include the tax. After each test the books balance."""
    counter = counter_of(bank, INCLUDED)
    yield counter
    assert await bank.discrepancies() == []


@pytest.fixture
async def taxed(bank: Bank) -> AsyncIterator[Counter]:
    """Tax comes on top."""
    counter = counter_of(bank, ON_TOP)
    yield counter
    assert await bank.discrepancies() == []
