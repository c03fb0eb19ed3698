"""A small operator's business on one clock: its customers, its Stripe, and the worker's night."""

import random
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from uuid import UUID

from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.disputes import decide, open_dispute
from appliance.stripe_sandbox.errors import InvalidRequest
from appliance.stripe_sandbox.hosted import Buyer as Payer
from appliance.stripe_sandbox.webhooks import Fault
from appliance.till import Offer, Till, till
from billing.charging.admission import Admitted
from billing.charging.settlement import Ended, Metered, Settled
from billing.customers import accounts
from billing.database.db import fetch
from billing.database.partitions import make_partitions
from billing.documents.buyers import Buyer, keep_buyer
from billing.documents.invoicing import Invoicing
from billing.documents.posting import Office, Posting
from billing.documents.vat import Taxing, VatRule
from billing.errors import BillingError, Conflict
from billing.ids import new_id
from billing.ledger.sweep import Sweeper
from billing.payments import records
from billing.payments.invoices import BankTransfers, Invoices, Unpaid, unpaid
from billing.payments.provider import BadSignature, Declined
from billing.payments.records import Payment
from billing.payments.reminding import Patience, Reminding
from billing.payments.shop import Bounds, NotForSale
from billing.payments.stripe.adapter import StripeProvider
from billing.payments.subscriptions.changes import NotPossible
from billing.plans.catalog import Plan
from billing.plans.entitlements import Terms
from billing.plans.versions import publish
from billing.prices.pricing import Tokens
from billing.proof.reconciliation import Reading, reconcile
from billing.proof.takings import compare_takings
from tests.billing.conftest import MODEL, Bank, Customer
from tests.documents.conftest import SELLER, FixedExchange, Words
from tests.stripe_sandbox.inprocess import KEY, SECRET, InProcessClient, settings

DOLLAR = 10**9
BACK, EMAIL = "https://site.test/credit", "a@b.example"
LEAST_CENTS = 50
"""Stripe takes no less."""
PAYS, DECLINED = "4242424242424242", "4000000000000002"
RULES = (
    VatRule("NO", None, 2500, "3"),
    VatRule("SE", False, 2500, "oss-se"),
    VatRule("DE", False, 1900, "oss-de"),
    VatRule("*", None, 0, "52", "Outside the scope of Norwegian VAT"),
)
BUYERS = (
    Buyer("Ada Byron", "Storgata 1", "0155", "Oslo", "NO", business=False),
    Buyer("Fjord AS", "Torget 2", "5014", "Bergen", "NO", business=True, tax_number="999999999"),
    Buyer("Sven Svensson", "Gatan 3", "111 20", "Stockholm", "SE", business=False),
    Buyer("Svea AB", "Gatan 4", "111 20", "Stockholm", "SE", business=True, tax_number="SE1"),
    Buyer("Max Mustermann", "Weg 5", "10115", "Berlin", "DE", business=False),
    Buyer("Grace Hopper", "Main St 6", "10001", "New York", "US", business=False),
)
SMALL = Plan("small", {"en": "Small"}, {}, 1000, 12 * DOLLAR, Terms(requests_per_minute=600))
LARGE = Plan("large", {"en": "Large"}, {}, 4000, 60 * DOLLAR, Terms(requests_per_minute=6000, priority=5))


@dataclass
class Business:
    """``happened`` counts what was done; ``differences`` is what any night found."""

    bank: Bank
    sandbox: Sandbox
    provider: StripeProvider
    taxing: Taxing
    random: random.Random
    till: Till = field(init=False)
    happened: Tally[str] = field(default_factory=Tally)
    differences: list[str] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    plans: Sequence[Plan] = (SMALL, LARGE)

    def __post_init__(self) -> None:
        bank, office = self.bank, self.office
        self._open_till()
        self.posting = Posting(bank.database, office, bank.clock)
        self.invoicing = Invoicing(bank.database, office, bank.credit, bank.clock, invoice_days=14)
        self.reminding = Reminding(bank.database, bank.standings, Patience(7, 21), bank.clock)
        self.sweeper = Sweeper(bank.store, bank.clock)
        self.invoices = Invoices(bank.database, self.provider, self.taxing, bank.clock)
        self.transfers = BankTransfers(bank.database, bank.credit, bank.clock)

    @property
    def office(self) -> Office:
        return Office(SELLER, "", self.taxing, Words(), FixedExchange())

    def _open_till(self) -> None:
        offer = Offer(self.plans, timedelta(days=7), True)
        bounds = Bounds(500, 100_000, 200_000)
        bank = self.bank
        self.till = till(bank.database, self.provider, self.taxing, bounds, bank.clock, 30, None, offer)

    async def publish(self, *plans: Plan) -> None:
        self.plans = plans
        async with self.bank.database.begin() as connection:
            await publish(connection, plans, self.bank.clock)
        self._open_till()

    async def customers(self, count: int) -> list[Customer]:
        made = []
        for number in range(count):
            customer = await self.bank.customer(0)
            async with self.bank.database.begin() as connection:
                buyer = BUYERS[number % len(BUYERS)]
                await keep_buyer(connection, customer.account_id, buyer, self.bank.clock())
            made.append(customer)
        return made

    # What customers do.

    async def buys(self, customer: Customer, cents: int, card: str = PAYS, *, comes_back: bool = True) -> None:
        """Without ``comes_back`` the webhook alone tells of it."""
        try:
            await self.till.shop.order_credit(
                customer.account_id,
                cents,
                order_id=new_id(self.bank.clock()),
                back=BACK,
                email=EMAIL,
                save_card=False,
            )
        except NotForSale:
            self.happened["not sold"] += 1
            return
        page = await self._page(customer)
        step = self.sandbox.pay_session(page, Payer(card))
        self.happened["declined" if step.url is None else "paid"] += 1
        if step.url is not None and comes_back:
            async with self.bank.database.begin() as connection:
                (row,) = await fetch(connection, "SELECT id FROM payment WHERE checkout = $1", page)
            await self.till.shop.look(row.id)

    async def _page(self, customer: Customer, table: str = "payment") -> str:
        query = (
            f"SELECT checkout FROM {table} WHERE account_id = $1 AND checkout IS NOT NULL"
            " ORDER BY created_at DESC, id DESC LIMIT 1"
        )
        async with self.bank.database.begin() as connection:
            return str((await fetch(connection, query, customer.account_id))[0].checkout)

    async def saves_card(self, customer: Customer, card: str = PAYS) -> None:
        account_id, top_ups = customer.account_id, self.till.top_ups
        url = await top_ups.save_card(account_id, back=BACK, email=EMAIL)
        sessions = self.sandbox.state.table("checkout.session").rows.values()
        page = next(one["id"] for one in sessions if one["url"] == url)
        self.sandbox.pay_session(page, Payer(card))
        await top_ups.find_card(account_id)
        await top_ups.set_rule(
            account_id, "customer", below_nanodollars=2 * DOLLAR, top_up_cents=1000, ceiling_cents=3000
        )

    async def subscribes(self, customer: Customer, plan: str) -> None:
        try:
            await self.till.subscriptions.subscribe(customer.account_id, plan, back=BACK, email=EMAIL)
        except NotPossible:
            return
        self.sandbox.pay_session(await self._page(customer, "subscription"), Payer(PAYS))
        await self.till.subscriptions.look(customer.account_id)
        self.happened["subscribed"] += 1

    async def changes_plan(self, customer: Customer) -> None:
        """Up or down, or out, whichever comes."""
        subscriptions, account_id = self.till.subscriptions, customer.account_id
        running = await subscriptions.running(account_id)
        if running is None:
            return
        try:
            if self.random.random() < 0.3:
                await subscriptions.cancel(account_id)
                self.happened["plan cancelled"] += 1
            elif running.version.plan == "small":
                preview = await subscriptions.preview(account_id, "large")
                await subscriptions.upgrade(account_id, "large", preview)
                self.happened["plan upgraded"] += 1
            else:
                await subscriptions.plan_downgrade(account_id, "small")
                self.happened["plan downgraded"] += 1
        except (NotPossible, Declined) as error:
            self.happened[f"plan not changed: {type(error).__name__}"] += 1

    async def loses_card(self, customer: Customer) -> None:
        """From now on it is declined."""
        running = await self.till.subscriptions.running(customer.account_id)
        if running is None or running.stripe_id is None:
            return
        seen, api = await self.provider.subscription(running.stripe_id), self.provider._v1
        method = await api.payment_methods.attach_async("pm_card_chargeCustomerFail", {"customer": seen.customer})
        await api.subscriptions.update_async(seen.id, {"default_payment_method": method.id})
        self.happened["card lost"] += 1

    async def use(self, customers: Sequence[Customer], dollars: float) -> None:
        """A request of each, all in one batch; of those that can pay for it."""
        tokens = int(dollars * DOLLAR) // 400
        asked = [one.request(prompt_limit=0, completion_limit=tokens, counted=True) for one in customers]
        decisions = await self.bank.admission.admit_all(asked)
        metered = []
        for customer, decision in zip(customers, decisions, strict=True):
            if isinstance(decision, Admitted):
                used = Tokens(0, 0, self.random.randint(1, max(1, decision.completion_limit)))
                metered.append(Metered(decision.request.id, customer.account_id, used, Ended.COMPLETE))
                self.readings.append(Reading(decision.request.id, MODEL, used, 1))
        settled = await self.bank.settlement.settle_all(metered)
        assert all(isinstance(one, Settled) for one in settled), settled
        self.happened["requests"] += len(metered)
        self.happened["requests refused"] += len(customers) - len(metered)

    async def asks_money_back(self, payment: UUID, account_id: int) -> None:
        try:
            await self.till.refunds.ask(account_id, payment)
            self.happened["refunded by rule"] += 1
        except BillingError:
            self.happened["refund refused"] += 1

    async def gives_back(self, payment: Payment) -> None:
        """The operator, a part of it."""
        try:
            await self.till.refunds.by_operator(payment.id, "kari", "a gesture", payment.net_cents // 3)
            self.happened["refunded by the operator"] += 1
        except Conflict:
            self.happened["refund refused"] += 1

    async def credited(self, kind: str = "credit") -> list[Payment]:
        async with self.bank.database.begin() as connection:
            rows = await records.newest_payments(connection, 200)
        return [row for row in rows if row.state == "credited" and row.kind == kind]

    def contest(self, payment: Payment) -> None:
        intent = self.sandbox.state.table("payment_intent").rows[payment.intent or ""]
        with suppress(InvalidRequest):  # of what was given back, or is contested already
            self.sandbox.control(lambda world: open_dispute(world, intent["latest_charge"]))
            self.happened["disputed"] += 1

    def decide_disputes(self) -> None:
        for row in list(self.sandbox.state.table("dispute").rows.values()):
            if row["status"] == "needs_response" and self.random.random() < 0.5:
                won = self.random.random() < 0.5
                self.sandbox.control(lambda world, row=row, won=won: decide(world, row["id"], won=won))  # type: ignore[misc]
                self.happened["dispute won" if won else "dispute lost"] += 1

    async def pay_invoices(self, *, pays: Callable[[int, date], bool]) -> None:
        async with self.bank.database.begin() as connection:
            open_ = await unpaid(connection)
        for one in open_:
            if not pays(one.account_id, one.due_on):
                continue
            if one.account_id % 2:
                await self._pays_by_card(one)
            else:
                await self._pays_by_bank(one)

    async def _pays_by_card(self, one: Unpaid) -> None:
        if one.left_cents < LEAST_CENTS:
            return
        url = await self.invoices.order(
            one.account_id, one.id, order_id=new_id(self.bank.clock()), back=BACK, email=EMAIL
        )
        self.sandbox.pay_session(url.rpartition("/")[2], Payer(PAYS))
        self.happened["invoice paid by card"] += 1

    async def _pays_by_bank(self, one: Unpaid) -> None:
        """In two parts."""
        half = one.left_cents // 2
        for cents in filter(None, (half, one.left_cents - half)):
            await self.transfers.note(one.name, self.bank.clock().date(), cents, "kari")
        self.happened["invoice paid by bank"] += 1

    # What the worker does.

    async def hear(self) -> None:
        """Webhooks come, badly, and are handled."""
        for delivery in self.sandbox.deliveries():
            try:
                await self.till.inbox.receive(delivery.body, delivery.headers["stripe-signature"])
            except BadSignature:
                self.sandbox.delivered(delivery.id, 400)
            else:
                self.sandbox.delivered(delivery.id, 200)
        await self.till.inbox.run_once()

    async def night(self, first: date, days: int) -> None:
        """An hour after these days."""
        self.sandbox.catch_up()
        await self.hear()
        await self.till.sweep.find_events()
        await self.till.inbox.run_once()
        await self.till.sweep.look_at_unfinished()
        await self.till.upkeep.run_once()
        self.happened["topped up"] += await self.till.top_ups.run_once()
        await self.till.refunds.run_once()
        self.happened["lots over"] += await self.sweeper.run_once()
        await self.till.sweep.import_movements()
        self.happened["documents"] += (await self.posting.run_once()).documents
        self.happened["invoices"] += (await self.invoicing.run_once()).documents
        reminded = await self.reminding.run_once()
        self.happened["reminded"] += reminded.reminders
        self.happened["stopped"] += reminded.stopped
        self.happened["opened again"] += reminded.resumed
        await self._delete()
        for day in (first + timedelta(days=number) for number in range(days)):
            found = await compare_takings(self.bank.database, day, None, self.bank.clock)
            self.happened["takings compared"] += found.items
            self.happened["renewed"] += sum(group.items for group in found.groups if group.kind == "plan")
            self.differences += [f"{day}: {one}" for one in found.differences]
        if self.readings:
            await self.reconcile(first)

    async def reconcile(self, day: date) -> None:
        found = await reconcile(self.bank.database, day, self._pages(), self.bank.clock)
        self.differences += [f"{day}: {one}" for one in found.differences]
        self.readings.clear()

    async def _pages(self) -> AsyncIterator[Sequence[Reading]]:
        yield self.readings

    async def _delete(self) -> None:
        async with self.bank.database.begin() as connection:
            due = await accounts.due_for_deletion(connection, self.bank.clock)
        for account_id in due:
            await self.bank.standings.delete(account_id, "appliance")
            self.happened["deleted"] += 1

    async def month(self) -> None:
        """What is done and checked once a month."""
        async with self.bank.database.begin() as connection:
            await make_partitions(connection, self.bank.clock)
        self.differences += [str(one) for one in await self.bank.discrepancies()]


def business(bank: Bank, taxing: Taxing, seed: int) -> Business:
    def seconds() -> float:
        return bank.clock().timestamp()

    sandbox = Sandbox(
        settings(webhook_url="http://site.test/webhook", seed=str(seed)), clock=seconds, receivers_clock=seconds
    )
    provider = StripeProvider(KEY, SECRET, bank.clock, http=InProcessClient(sandbox))
    for fault, probability in ((Fault.DROP, 0.1), (Fault.DUPLICATE, 0.2), (Fault.REORDER, 0.2)):
        sandbox.outbox.set_fault(fault, probability=probability, count=0, seconds=0)
    return Business(bank, sandbox, provider, taxing, random.Random(seed))
