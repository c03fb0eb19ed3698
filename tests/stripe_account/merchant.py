"""Who sells in a scenario: our own services over a real database, and a Stripe that is known by its API alone.

What Stripe does later (a dispute, a test clock that advances, events in its list) is waited for in ``until``.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

import stripe
from sqlalchemy.dialects.postgresql import insert

from appliance.till import Offer, Till, till
from billing.database import sales
from billing.database.db import Database, fetch
from billing.documents.buyers import Buyer, keep_buyer
from billing.payments import records
from billing.payments.inbox import Event, mark
from billing.payments.records import Payment
from billing.payments.shop import Bounds
from billing.payments.stripe.adapter import StripeProvider
from billing.payments.stripe.objects import OURS
from billing.payments.subscribed import Subscription
from billing.payments.sweep import Sweep
from billing.plans.catalog import Plan
from billing.plans.entitlements import Terms
from billing.plans.versions import publish
from tests.billing.conftest import Bank, Customer, TurnedClock
from tests.payments.on_a_plan import orders_of
from tests.taxing import INCLUDED

DOLLAR = 10**9
BACK = "https://site.test/credit"
BOUNDS = Bounds(500, 100_000, 200_000)
PATIENCE_SECONDS = 120.0
LONGEST_PAUSE_SECONDS = 2.0
ALL = 1000
ADA = Buyer("Ada Byron", "Storgata 1", "0155", "Oslo", "NO", business=False)
SMALL = Plan("small", {"en": "Small"}, {}, 1000, 12 * DOLLAR, Terms(requests_per_minute=60))
LARGE = Plan("large", {"en": "Large"}, {}, 4000, 60 * DOLLAR, Terms(requests_per_minute=600))

Found = TypeVar("Found")

_BOOKS = """
SELECT kind, amount_nanodollars::text FROM transfer WHERE kind <> 'expiry'
UNION ALL SELECT id::text, state FROM payment
UNION ALL SELECT id::text, state FROM refund
UNION ALL SELECT id, state FROM dispute
UNION ALL SELECT id::text, state || coalesce(period_end::text, '') FROM subscription
ORDER BY 1, 2
"""


@dataclass
class ScenarioClock(TurnedClock):
    """The machine's time, until the time of a test clock takes its place."""

    frozen: bool = False

    def __call__(self) -> datetime:
        return self.now if self.frozen else datetime.now(UTC)


def wall() -> datetime:
    return datetime.now(UTC)


@dataclass
class Merchant:
    """``pages`` is the host of Stripe's own pages; ``taxing`` lets Stripe reckon the tax.

    ``close`` it, whatever became of the scenario.
    """

    bank: Bank
    clock: ScenarioClock
    provider: StripeProvider
    taxing: StripeProvider
    api: stripe.StripeClient
    pages: str
    till: Till = field(init=False)
    test_clocks: list[str] = field(default_factory=list)
    customers: list[str] = field(default_factory=list)
    began: datetime = field(init=False)

    @property
    def database(self) -> Database:
        return self.bank.database

    async def open(self) -> "Merchant":
        """What happened at Stripe before is none of this scenario's, but for the last hour."""
        self.began = (await self.provider.account()).clock.replace(microsecond=0)
        async with self.database.begin() as connection:
            await mark(connection, "swept", wall())
            await mark(connection, "imported", wall())
        await self.sell([SMALL, LARGE])
        return self

    async def sell(self, plans: Sequence[Plan], *, prorated: bool = True) -> None:
        """Events are asked for by the machine's time: whether those of a test clock bear its time, nobody says."""
        async with self.database.begin() as connection:
            await publish(connection, plans, self.clock)
        offer = Offer(plans, prorated=prorated)
        made = till(self.database, self.provider, INCLUDED, BOUNDS, self.clock, 30, None, offer)
        self.till = replace(made, sweep=Sweep(self.database, self.provider, made.settling, wall))

    async def customer(self, *, test_clock: str | None = None) -> Customer:
        """Of an address of its own: Stripe remembers idempotency keys for longer than a database lives here."""
        made = await self.bank.customer(0)
        async with self.database.begin() as connection:
            await keep_buyer(connection, made.account_id, ADA, self.clock())
        if test_clock is None:
            await self.till.customers.of(made.account_id, f"{uuid.uuid4()}@example.com", ADA.name)
        else:
            known = await self.api.v1.customers.create_async({"name": ADA.name, "test_clock": test_clock})
            async with self.database.begin() as connection:
                row = {"account_id": made.account_id, "customer": known.id}
                await connection.execute(insert(sales.wallet).values(row))
        self.customers.append(await self.at_stripe(made))
        return made

    async def at_stripe(self, customer: Customer) -> str:
        wallet = await self.till.top_ups.wallet(customer.account_id)
        assert wallet.customer is not None
        return wallet.customer

    async def attach(self, customer: Customer, card: str) -> str:
        """``card`` is one of Stripe's test cards, by its ``pm_card_`` name."""
        made = await self.api.v1.payment_methods.attach_async(card, {"customer": await self.at_stripe(customer)})
        return made.id

    async def with_card(self, card: str) -> Customer:
        """A customer without credit whose card is saved, and charged $20 below $5."""
        customer = await self.customer()
        method = await self.attach(customer, card)
        assert (await self.till.top_ups.find_card(customer.account_id)).card == method
        await self.till.top_ups.set_rule(
            customer.account_id, "ada", below_nanodollars=5 * DOLLAR, top_up_cents=2000, ceiling_cents=10_000
        )
        return customer

    async def topped_up(self, card: str) -> tuple[Customer, Payment]:
        customer = await self.with_card(card)
        assert await self.till.top_ups.run_once() == 1
        (payment,) = await self.payments(customer)
        return customer, payment

    async def on_a_plan(self, plan: Plan, *, test_clock: str | None = None) -> tuple[Customer, Subscription]:
        """As our page of Checkout makes it when it is paid on; but a program cannot pay on Stripe's page."""
        customer = await self.customer(test_clock=test_clock)
        plans = self.till.subscriptions
        await plans.subscribe(customer.account_id, plan.id, back=BACK, email="ada@example.com")
        (ordered,) = await orders_of(self.database, customer.account_id)
        async with self.database.begin() as connection:
            query = "SELECT price FROM plan_price WHERE version_id = $1"
            (sold,) = await fetch(connection, query, ordered.version.id)
        await self.api.v1.subscriptions.create_async(
            {
                "customer": await self.at_stripe(customer),
                "items": [{"price": sold.price, "quantity": 1}],
                "default_payment_method": await self.attach(customer, "pm_card_visa"),
                "off_session": True,
                "payment_behavior": "error_if_incomplete",
                "metadata": {OURS: str(ordered.id)},
            }
        )
        running = await self.until(lambda: plans.running(customer.account_id))
        assert ordered.checkout is not None
        await self.provider.expire_checkout(ordered.checkout)
        return customer, running

    async def start_clock(self) -> str:
        """A test clock at Stripe that stands at the present second, and our time with it."""
        now = wall().replace(microsecond=0)
        made = await self.api.v1.test_helpers.test_clocks.create_async(
            {"frozen_time": int(now.timestamp()), "name": "appliance"}
        )
        self.test_clocks.append(made.id)
        self.clock.now, self.clock.frozen = now, True
        return made.id

    async def advance(self, clock: str, to: datetime) -> None:
        """``to`` is a whole second. Stripe does on the way what falls due."""
        clocks = self.api.v1.test_helpers.test_clocks
        await clocks.advance_async(clock, {"frozen_time": int(to.timestamp())})

        async def arrived() -> bool:
            seen = await clocks.retrieve_async(clock)
            assert seen.status != "internal_failure"
            return seen.status == "ready"

        await self.until(arrived)
        self.clock.now = to

    async def until(self, look: Callable[[], Awaitable[Found | None]]) -> Found:
        """What ``look`` finds, with everything that Stripe tells meanwhile. Fails when patience is over."""
        ends, pause = time.monotonic() + PATIENCE_SECONDS, 0.02
        while True:
            await self.hear()
            if found := await look():
                return found
            assert time.monotonic() < ends, f"not there in time; events that wait: {await self.errors()}"
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def hear(self) -> int:
        """No webhook reaches a test: the sweep finds what happened. Events that wait are tried again at once."""
        found = await self.till.sweep.find_events()
        for event in await self.till.inbox.waiting():
            await self.till.inbox.replay(event.id, "scenario")
        await self.till.inbox.run_once()
        return found

    async def hear_again(self) -> None:
        """All that was ever told, once more."""
        for event in await self.till.inbox.newest(ALL):
            await self.till.inbox.replay(event.id, "scenario")
        await self.till.inbox.run_once()

    async def errors(self) -> list[str]:
        """Of events of this scenario that could not be handled."""
        waiting = await self.till.inbox.waiting()
        return [f"{event.kind}: {event.error}" for event in waiting if await self._is_ours(event)]

    async def _is_ours(self, event: Event) -> bool:
        """Stripe may still tell of the refunds and disputes of an earlier scenario."""
        if event.kind.startswith(("refund.", "charge.refund.")):
            intent = (await self.provider.refund_seen(event.object)).intent
        elif event.kind.startswith("charge.dispute."):
            intent = (await self.provider.dispute(event.object)).intent
        else:
            return event.created_at >= self.began
        return intent is not None and (await self.provider.intent(intent)).customer in self.customers

    async def payments(self, customer: Customer) -> list[Payment]:
        """In the order in which they were paid."""
        async with self.database.begin() as connection:
            query = "SELECT id FROM payment WHERE account_id = $1 ORDER BY paid_at, id"
            found = await fetch(connection, query, customer.account_id)
            return [await records.payment(connection, row.id) for row in found]

    async def lots(self, customer: Customer) -> list[tuple[int, str]]:
        """Purchases in nano-dollars, and how each ends or has ended."""
        async with self.database.begin() as connection:
            query = "SELECT amount_nanodollars, end_kind FROM lot WHERE account_id = $1 AND source = 'purchase'"
            return [tuple(row) for row in await fetch(connection, query, customer.account_id)]

    async def books(self) -> list[tuple[str, ...]]:
        """All that money ever did here, but for credit that has expired: that is moved by whoever looks first."""
        async with self.database.begin() as connection:
            return [tuple(row) for row in await fetch(connection, _BOOKS)]

    async def close(self) -> None:
        """Nothing is left at Stripe but what it keeps of everything: charges, prices, events."""
        async with AsyncExitStack() as last_first:
            last_first.push_async_callback(self.provider.close)
            for customer in self.customers:
                last_first.push_async_callback(self.provider.delete_customer, customer)
            for clock in self.test_clocks:
                last_first.push_async_callback(self.api.v1.test_helpers.test_clocks.delete_async, clock)
            for customer in self.customers:
                last_first.push_async_callback(self._close_pages, customer)

    async def _close_pages(self, customer: str) -> None:
        pages = await self.api.v1.checkout.sessions.list_async({"customer": customer, "limit": 100})
        for page in pages.data:
            if page.status == "open":
                await self.provider.expire_checkout(page.id)
