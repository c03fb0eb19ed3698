"""A saved card, and credit that is bought by itself when it runs low.

The row comes before the charge, and its id is the charge's idempotency key: whoever goes on with it after a
failure asks Stripe first whether the charge is there. Of an account at most one is unfinished.
"""

import logging
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.customers.accounts import Entry, get_account, record
from billing.database.db import Database, fetch
from billing.documents.buyers import Buyer, buyer_of
from billing.documents.vat import Taxing
from billing.errors import BillingError, Conflict, DatabaseUnavailable
from billing.ids import new_id
from billing.payments import records, wallets
from billing.payments.customers import Customers
from billing.payments.notices import tell_owner
from billing.payments.provider import BuyerRefused, Declined, EventSeen, Gone, PaymentsRefused, Provider
from billing.payments.records import Payment, Wallet
from billing.payments.settling import Settling, over
from billing.payments.shop import CREDIT, Bounds, NoBuyer, NotForSale, order, require_for_sale, require_today
from billing.payments.taxes import Taxes
from billing.prices.money import NANODOLLARS_PER_CENT

log = logging.getLogger(__name__)

AT_ONCE = 100
NEEDS_OWNER = "authentication_required"

# Wallets that may be charged are few, and in an index; what is free of the balance is looked at of these alone.
_DUE = """
SELECT w.account_id FROM wallet w JOIN account a ON a.id = w.account_id
WHERE w.below_nanodollars IS NOT NULL AND w.card IS NOT NULL AND w.paused IS NULL
  AND a.status = 'active' AND a.balance_nanodollars - a.held_nanodollars < w.below_nanodollars
  AND NOT EXISTS (
      SELECT FROM payment p WHERE p.account_id = w.account_id AND p.kind = 'top_up' AND p.state = 'ordered'
  )
ORDER BY w.account_id LIMIT $1
"""
_LOCK = "SELECT balance_nanodollars - held_nanodollars AS free FROM account WHERE id = $1 FOR NO KEY UPDATE"
_UNFINISHED = "SELECT id FROM payment WHERE kind = 'top_up' AND state = 'ordered' ORDER BY created_at LIMIT $1"
_OF_ACCOUNT = "SELECT id FROM payment WHERE kind = 'top_up' AND state = 'ordered' AND account_id = $1"
_THIS_MONTH = """
SELECT coalesce(sum(gross_cents), 0)::bigint AS cents FROM payment
WHERE account_id = $1 AND kind = 'top_up' AND state NOT IN ('failed', 'expired') AND created_at >= $2
"""


class Due(msgspec.Struct, frozen=True):
    """Who is to be sold how much credit, in cents."""

    cents: int
    buyer: Buyer


class Reckoned(msgspec.Struct, frozen=True):
    """What it came to with the tax, in a month (its first second)."""

    due: Due
    month: datetime
    gross_cents: int


class TopUps:
    """Raises NotFound, DatabaseUnavailable; PaymentsUnavailable and PaymentsRefused where Stripe is asked."""

    def __init__(
        self,
        database: Database,
        provider: Provider,
        settling: Settling,
        taxing: Taxing,
        bounds: Bounds,
        clock: Clock,
    ) -> None:
        self._database = database
        self._provider = provider
        self._customers = Customers(database, provider, taxing)
        self._taxes = Taxes(provider, taxing)
        self._settling = settling
        self._bounds = bounds
        self._clock = clock
        self._too_much: dict[int, Reckoned] = {}
        """By account what was over its ceiling, so that Stripe reckons the same once a month."""

    async def wallet(self, account_id: int) -> Wallet:
        async with self._database.begin() as connection:
            return await records.wallet(connection, account_id)

    async def save_card(self, account_id: int, *, back: str, email: str) -> str:
        """The address of Stripe's page to save a card on; nothing is paid. Raises NoBuyer.

        Stripe sends the customer to ``back``; call ``find_card`` then.
        """
        async with self._database.begin() as connection:
            buyer = await buyer_of(connection, account_id)
        if buyer is None:
            raise NoBuyer("the account has not said who buys")
        customer = await self._customers.of(account_id, email, buyer.name)
        reference = new_id(self._clock())
        page = await self._provider.save_card(
            customer=customer, reference=reference, back=back, key=str(reference)
        )
        if page.url is None:
            raise PaymentsRefused("the page to save a card on is closed already")
        return page.url

    async def find_card(self, account_id: int) -> Wallet:
        """Takes over the card that Stripe has of the account now."""
        wallet = await self.wallet(account_id)
        if wallet.customer is None:
            return wallet
        cards = await self._provider.cards(wallet.customer)
        async with self._database.begin() as connection:
            if cards:
                await wallets.keep_card(connection, account_id, cards[0])
            else:
                await wallets.forget_card(connection, account_id)
            return await records.wallet(connection, account_id)

    async def card_changed(self, event: EventSeen) -> None:
        """Of an event about a saved card: whoever's it is or was here."""
        async with self._database.begin() as connection:
            query = "SELECT account_id FROM wallet WHERE card = $1"
            owners = await fetch(connection, query, event.object)
        for owner in owners:
            await self.find_card(owner.account_id)

    async def forget_card(self, account_id: int, actor: str) -> None:
        """Here and at Stripe, all that it has of the account. No top-up without a card."""
        wallet = await self.wallet(account_id)
        now = self._clock()
        async with self._database.begin() as connection:
            await wallets.forget_card(connection, account_id)
            await record(connection, Entry(now, actor, "card removed", account_id, "top-up", "-"))
        if wallet.customer is not None:
            for card in await self._provider.cards(wallet.customer):
                await self._provider.forget_card(card.id)

    async def set_rule(
        self, account_id: int, actor: str, *, below_nanodollars: int, top_up_cents: int, ceiling_cents: int
    ) -> Wallet:
        """When what is free of the balance is ``below``, ``top_up_cents`` of credit are bought; ``ceiling_cents``
        of money at most in a calendar month (UTC).

        Raises Conflict without a card, NoBuyer, BuyerRefused, NotForSale for amounts that cannot be. Ends a pause.
        """
        if below_nanodollars <= 0:
            raise NotForSale("the balance below which credit is bought must be above zero")
        async with self._database.begin() as connection:
            account = await get_account(connection, account_id)
            require_for_sale(account, top_up_cents, self._bounds)
            buyer = await buyer_of(connection, account_id)
        if buyer is None:
            raise NoBuyer("the account has not said who buys")
        quoted = await self._taxes.quote(top_up_cents, buyer, is_credit=True, key=f"tax {new_id(self._clock())}")
        if ceiling_cents < quoted.gross:
            raise NotForSale("the ceiling of a month must allow one top-up")
        async with self._database.begin() as connection:
            if (await records.wallet(connection, account_id)).card is None:
                raise Conflict("there is no card to charge")
            await wallets.set_rule(connection, account_id, below_nanodollars, top_up_cents, ceiling_cents)
            await record(connection, Entry(self._clock(), actor, "top-up set", account_id, "top-up", "-"))
            return await records.wallet(connection, account_id)

    async def stop(self, account_id: int, actor: str) -> Wallet:
        """No more top-ups; the card stays."""
        async with self._database.begin() as connection:
            await wallets.set_rule(connection, account_id, None, None, None)
            await record(connection, Entry(self._clock(), actor, "top-up stopped", account_id, "top-up", "-"))
            return await records.wallet(connection, account_id)

    async def resume(self, account_id: int, actor: str) -> Wallet:
        """After a pause, by the customer."""
        async with self._database.begin() as connection:
            await wallets.resume(connection, account_id)
            await record(connection, Entry(self._clock(), actor, "top-up resumed", account_id, "top-up", "-"))
            return await records.wallet(connection, account_id)

    async def spent_this_month(self, account_id: int) -> int:
        """Cents that count against the ceiling."""
        async with self._database.begin() as connection:
            return await _spent(connection, account_id, self._clock())

    async def run_once(self) -> int:
        """Charges whoever is due; returns how many were charged. By the worker alone."""
        async with self._database.begin() as connection:
            unfinished = [row.id for row in await fetch(connection, _UNFINISHED, AT_ONCE)]
            due = [row.account_id for row in await fetch(connection, _DUE, AT_ONCE)]
        for account_id in due:
            try:
                if (ordered := await self._order(account_id)) is not None:
                    unfinished.append(ordered)
            except DatabaseUnavailable:
                raise
            except BillingError as error:
                log.warning("the top-up of account %d waits: %s", account_id, error)
        charged = 0
        for payment_id in unfinished:
            try:
                charged += (await self.charge(payment_id)).state == "credited"
            except DatabaseUnavailable:
                raise
            except BillingError as error:
                log.warning("top-up %s waits: %s", payment_id, error)
        return charged

    async def charge(self, payment_id: UUID) -> Payment:
        """Goes on with a top-up that was ordered. Raises PaymentsUnavailable, Mismatch."""
        payment = await self._settling.settle(payment_id)
        if payment.state != "ordered":
            return payment
        wallet = await self.wallet(payment.account_id)
        if wallet.customer is None or wallet.card is None:
            return await self._failed(payment, "no_card")
        try:
            intent = await self._provider.charge(
                customer=wallet.customer,
                card=wallet.card,
                cents=payment.gross_cents,
                what=CREDIT,
                reference=payment.id,
                key=str(payment.id),
                calculation=payment.tax_calculation,
            )
        except Declined as error:
            return await self._failed(payment, error.code)
        except (PaymentsRefused, Gone) as error:
            log.warning("top-up %s is refused: %s", payment.id, error)
            return await self._failed(payment, "refused")
        if intent.status == "requires_action":
            return await self._failed(payment, NEEDS_OWNER)
        return await self._settling.settle(payment_id)

    async def _order(self, account_id: int) -> UUID | None:
        """None if it is not due any more, or may not be. Its tax is asked for between two looks at that."""
        now = self._clock()
        async with self._database.begin() as connection:
            due = await self._still_due(connection, account_id, now)
        if due is None:
            return None
        payment_id = new_id(now)
        try:
            quoted = await self._taxes.quote(due.cents, due.buyer, is_credit=True, key=f"tax {payment_id}")
        except BuyerRefused:
            async with self._database.begin() as connection:
                await wallets.pause(connection, account_id, "no_buyer", f"no buyer {now.isoformat()}", now)
            return None
        async with self._database.begin() as connection:
            reckoned = Reckoned(due, _month_of(now), quoted.gross)
            if await self._still_due(connection, account_id, now, reckoned) != due:
                return None
            await order(connection, payment_id, account_id, "top_up", quoted, due.buyer, now)
        return payment_id

    async def _still_due(
        self, connection: AsyncConnection, account_id: int, now: datetime, reckoned: Reckoned | None = None
    ) -> Due | None:
        """Under the account's lock. Not ``reckoned``, it comes to what is known without asking Stripe."""
        (row,) = await fetch(connection, _LOCK, account_id)
        wallet = await records.wallet(connection, account_id)
        if wallet.paused is not None or wallet.card is None or wallet.below_nanodollars is None:
            return None
        if row.free >= wallet.below_nanodollars or await fetch(connection, _OF_ACCOUNT, account_id):
            return None
        assert wallet.top_up_cents is not None
        assert wallet.ceiling_cents is not None
        buyer = await buyer_of(connection, account_id)
        if buyer is None:
            await wallets.pause(connection, account_id, "no_buyer", f"no buyer {now.isoformat()}", now)
            return None
        due = Due(wallet.top_up_cents, buyer)
        gross = self._known_of(due, now, reckoned or self._too_much.get(account_id))
        if await _spent(connection, account_id, now) + gross > wallet.ceiling_cents:
            if reckoned is not None:
                self._too_much[account_id] = reckoned
            await self._tell_of_ceiling(connection, account_id, wallet.ceiling_cents, now)
            return None
        try:
            require_for_sale(await get_account(connection, account_id), wallet.top_up_cents, self._bounds)
            await require_today(connection, account_id, wallet.top_up_cents, self._bounds, now)
        except NotForSale:
            return None
        return due

    def _known_of(self, due: Due, now: datetime, reckoned: Reckoned | None) -> int:
        """What it comes to: exactly by the table; where Stripe reckons, as it did this month, or the price."""
        quoted = self._taxes.by_table(due.cents, due.buyer, is_credit=True)
        if quoted is not None:
            return quoted.gross
        if reckoned is None or (reckoned.due, reckoned.month) != (due, _month_of(now)):
            return due.cents
        return reckoned.gross_cents

    async def _failed(self, payment: Payment, code: str) -> Payment:
        async with self._database.begin() as connection:
            await over(connection, payment, "failed", code, None, self._clock())
            return await records.payment(connection, payment.id)

    @staticmethod
    async def _tell_of_ceiling(
        connection: AsyncConnection, account_id: int, ceiling_cents: int, now: datetime
    ) -> None:
        """Once a month."""
        body = {"ceiling_nanodollars": ceiling_cents * NANODOLLARS_PER_CENT}
        await tell_owner(connection, account_id, "top_up_ceiling", f"{now:%Y-%m}", body, now)


async def _spent(connection: AsyncConnection, account_id: int, now: datetime) -> int:
    (row,) = await fetch(connection, _THIS_MONTH, account_id, _month_of(now))
    return int(row.cents)


def _month_of(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
