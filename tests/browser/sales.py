"""What the customer of the sample buys, at the sandbox: credit, a plan; and another's payment that went wrong."""

import re
import uuid
from datetime import timedelta

from sqlalchemy import insert

from appliance import secrets
from appliance.papers.wording import Words
from appliance.settings import Settings
from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.hosted import Buyer as Payer
from appliance.stripe_sandbox.settings import SandboxSettings
from appliance.till import open_till
from billing.clock import Clock
from billing.database import sales
from billing.database.db import Database
from billing.documents.buyers import Buyer, keep_buyer
from billing.documents.posting import Office, Posting
from billing.ids import new_id
from billing.payments.stripe.adapter import StripeProvider
from billing.plans.versions import publish
from tests.stripe_sandbox.inprocess import InProcessClient

CARD = "4242424242424242"
UNTOUCHED = uuid.UUID("019a0000-0000-7000-8000-000000000025")
"""The payment of which nothing is used."""
BUYER = Buyer("Ada King AS", "Storgata 1", "0155", "Oslo", "NO", business=True, tax_number="999 999 999")


class Sales:
    """Of one sandbox, which is kept in the file that `appliance stripe-sandbox` reads. ``close`` it in the end."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        keys = secrets.read_sandbox(settings.secrets)
        chosen = SandboxSettings(keys.key, keys.webhook, address=settings.stripe_sandbox_url, seed="sample")
        self._sandbox = Sandbox(chosen, clock=lambda: clock().timestamp(), path=settings.stripe_sandbox)
        provider = StripeProvider(keys.key, keys.webhook, clock, http=InProcessClient(self._sandbox))
        self._till = open_till(settings, provider, database, clock)
        self._settings = settings
        self._database = database
        self._clock = clock

    def close(self) -> None:
        self._sandbox.close()

    async def open(self, account_id: int) -> None:
        async with self._database.begin() as connection:
            await publish(connection, self._settings.plans, self._clock)
            await keep_buyer(connection, account_id, BUYER, self._clock())

    async def buy(self, account_id: int, email: str, dollars: int, order: uuid.UUID) -> None:
        url = await self._till.shop.order_credit(
            account_id, dollars * 100, order_id=order, back=self._settings.site_url, email=email, save_card=True
        )
        self._pay(url)
        assert (await self._till.shop.look(order)).state == "credited"

    async def subscribe(self, account_id: int, email: str, plan: str) -> None:
        back, subscriptions = self._settings.site_url, self._till.subscriptions
        self._pay(await subscriptions.subscribe(account_id, plan, back=back, email=email))
        assert await self._till.subscriptions.look(account_id) is not None

    async def top_up(self, account_id: int) -> None:
        rule = {"below_nanodollars": 5 * 10**9, "top_up_cents": 2500, "ceiling_cents": 10_000}
        await self._till.top_ups.set_rule(account_id, "sample", **rule)

    async def post_documents(self) -> None:
        settings = self._settings
        office = Office(settings.seller, "", settings.taxing, Words(settings.site.name), None)
        await Posting(self._database, office, self._clock).run_once()

    async def trouble(self, account_id: int) -> None:
        """A payment whose refund the bank would not have, and one that is disputed; and an event that failed."""
        now = self._clock()
        first, second = await self._paid(account_id), await self._paid(account_id)
        refund = {
            "id": new_id(now), "payment_id": first, "state": "failed", "value_nanodollars": 10**10,
            "net_cents": 800, "vat_cents": 200, "gross_cents": 1000, "actor": "customer",
            "reason": "the customer asked for it", "failure": "lost_or_stolen_card", "created_at": now,
        }  # fmt: skip
        dispute = {
            "id": "du_1Q2w3E4r5T", "payment_id": second, "cause": new_id(now), "state": "open", "cents": 1000,
            "reason": "product_not_received", "opened_at": now, "due_at": now + timedelta(days=7),
        }  # fmt: skip
        event = {
            "id": "evt_1Q2w3E4r5T", "kind": "charge.dispute.created", "object": "du_1Q2w3E4r5T",
            "came_by": "webhook", "created_at": now, "received_at": now, "due_at": now, "tries": 2,
            "error": "Stripe cannot be reached",
        }  # fmt: skip
        async with self._database.begin() as connection:
            await connection.execute(insert(sales.refund).values(refund))
            await connection.execute(insert(sales.dispute).values(dispute))
            await connection.execute(insert(sales.stripe_event).values(event))
            await connection.execute(insert(sales.stripe_mark).values(name="webhook", at=now))

    async def _paid(self, account_id: int) -> uuid.UUID:
        payment_id, now = new_id(self._clock()), self._clock()
        row = {
            "id": payment_id, "account_id": account_id, "kind": "credit", "state": "credited",
            "value_nanodollars": 10**10, "net_cents": 800, "vat_cents": 200, "gross_cents": 1000, "vat_code": "3",
            "vat_basis_points": 2500, "buyer": {n: getattr(BUYER, n) for n in BUYER.__struct_fields__},
            "created_at": now, "paid_at": now,
        }  # fmt: skip
        async with self._database.begin() as connection:
            await connection.execute(insert(sales.payment).values(row))
        return payment_id

    def _pay(self, url: str) -> None:
        (session,) = re.findall(r"cs_test_\w+", url)
        assert self._sandbox.pay_session(session, Payer(CARD, name="Ada King")).url is not None
