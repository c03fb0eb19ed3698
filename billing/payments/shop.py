"""Where credit is bought: what may be bought, the order, and the way to Stripe's page.

The row comes first: whatever happens after it, there is something that the worker finishes or lets expire.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.customers.accounts import Account, get_account
from billing.database.db import Database, execute, fetch
from billing.documents.buyers import Buyer, buyer_of
from billing.documents.vat import Quote, Taxing
from billing.errors import BillingError, Conflict, NotFound
from billing.ids import new_id
from billing.ledger.credit import MOST_BALANCE
from billing.payments.customers import Customers
from billing.payments.provider import Provider
from billing.payments.records import Payment, payment
from billing.payments.rows import NewPayment, note_page, on, take_tax, write
from billing.payments.settling import Settling, reckoned_on
from billing.payments.taxes import Taxes
from billing.prices.money import NANODOLLARS_PER_CENT, format_dollars

DAY = timedelta(days=1)
CREDIT = "Credit"
"""What Stripe's page and the bank's statement call it."""

_TODAY = """
SELECT coalesce(sum(value_nanodollars), 0)::bigint FROM payment
WHERE account_id = $1 AND created_at > $2 AND kind IN ('credit', 'top_up') AND state NOT IN ('failed', 'expired')
"""
_LOCK = "SELECT 1 FROM account WHERE id = $1 FOR NO KEY UPDATE"


class NoBuyer(BillingError):
    """The account has not said yet who buys: no receipt could be made out."""


class NotForSale(BillingError):
    """So much credit cannot be bought, or not today, or not by this account. The message says which."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one payment, and of an account's payments in 24 hours. Cents, as prices are advertised."""

    least: int
    most: int
    most_a_day: int


class Shop:
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
        self._taxing = taxing
        self._bounds = bounds
        self._clock = clock

    async def quote(self, account_id: int, price_cents: int) -> Quote:
        """What the account would pay. Raises NoBuyer, NotForSale, BuyerRefused."""
        buyer = await self._buyer(account_id, price_cents)
        return await self._quoted(buyer, price_cents, new_id(self._clock()))

    async def order_credit(
        self, account_id: int, price_cents: int, *, order_id: UUID, back: str, email: str, save_card: bool
    ) -> str:
        """The address of Stripe's page to pay on.

        Raises NoBuyer, NotForSale, BuyerRefused; Conflict if the order is over.

        ``order_id`` becomes the payment's: the same one a second time leads to the same page. Stripe sends the
        customer to ``back`` with ``?payment=<id>``, paid or not. ``save_card``: for top-ups; the first one counts.
        """
        ordered = await self._known(order_id, account_id)
        if ordered is None:
            ordered = await self._ordered(order_id, account_id, price_cents, save_card)
        customer = await self._customers.of(account_id, email, ordered.buyer.name)
        await self._customers.tell_buyer(account_id)
        page = await self._provider.sell(
            customer=customer,
            cents=ordered.price_cents if self._taxing.by_stripe else ordered.gross_cents,
            taxed=self._taxing.by_stripe,
            what=CREDIT,
            reference=order_id,
            save_card=ordered.save_card,
            back=f"{back}?{urlencode({'payment': order_id})}",
            key=str(order_id),
        )
        async with self._database.begin() as connection:
            await note_page(connection, order_id, page.id)
            if (taxed := reckoned_on(page, ordered, self._taxing)) is not None:
                await take_tax(connection, order_id, taxed)
        if page.url is None:
            raise Conflict(f"the page to pay {order_id} on is closed already")
        return page.url

    async def look(self, payment_id: UUID) -> Payment:
        """The payment as it is after asking Stripe: when its customer comes back. Raises Mismatch."""
        return await self._settling.settle(payment_id)

    async def _known(self, order_id: UUID, account_id: int) -> Payment | None:
        """The order as it is."""
        try:
            async with self._database.begin() as connection:
                known = await payment(connection, order_id)
        except NotFound:
            return None
        if known.account_id != account_id or known.state not in ("ordered", "open"):
            raise Conflict(f"payment {order_id} is {known.state}")
        if (known.vat_reason is not None) != self._taxing.by_stripe:
            raise Conflict(f"the tax of payment {order_id} was reckoned otherwise: order it anew")
        return known

    async def _ordered(self, order_id: UUID, account_id: int, price_cents: int, save_card: bool) -> Payment:
        """Made now. Whoever orders the same at once has the same."""
        buyer = await self._buyer(account_id, price_cents)
        quoted = await self._quoted(buyer, price_cents, order_id)
        async with self._database.begin() as connection:
            await execute(connection, _LOCK, account_id)
            if await fetch(connection, "SELECT 1 FROM payment WHERE id = $1", order_id):
                return await payment(connection, order_id)
            now = self._clock()
            await self._require_for_sale(connection, account_id, price_cents)
            await order(connection, order_id, account_id, "credit", quoted, buyer, now, save_card=save_card)
            return await payment(connection, order_id)

    async def _buyer(self, account_id: int, price_cents: int) -> Buyer:
        """Raises NoBuyer, NotForSale."""
        async with self._database.begin() as connection:
            await self._require_for_sale(connection, account_id, price_cents)
            buyer = await buyer_of(connection, account_id)
        if buyer is None:
            raise NoBuyer("the account has not said who buys")
        return buyer

    async def _require_for_sale(self, connection: AsyncConnection, account_id: int, price_cents: int) -> None:
        require_for_sale(await get_account(connection, account_id), price_cents, self._bounds)
        await require_today(connection, account_id, price_cents, self._bounds, self._clock())

    async def _quoted(self, buyer: Buyer, price_cents: int, reference: UUID) -> Quote:
        return await self._taxes.quote(price_cents, buyer, is_credit=True, key=f"tax {reference}")


def require_for_sale(account: Account, price_cents: int, bounds: Bounds) -> None:
    """Raises NotForSale. Pure."""
    if account.status != "active":
        raise NotForSale(f"the account is {account.status}: it takes no credit")
    if not bounds.least <= price_cents <= bounds.most:
        least, most = (format_dollars(cents * NANODOLLARS_PER_CENT) for cents in (bounds.least, bounds.most))
        raise NotForSale(f"from {least} to {most} can be bought at once")
    if account.balance_nanodollars + price_cents * NANODOLLARS_PER_CENT > MOST_BALANCE:
        raise NotForSale("the account cannot have so much credit")


async def require_today(
    connection: AsyncConnection, account_id: int, price_cents: int, bounds: Bounds, now: datetime
) -> None:
    """Raises NotForSale if it would be more than in a day. Under the account's lock: two at once are both seen."""
    ((today,),) = await fetch(connection, _TODAY, account_id, now - DAY)
    if today + price_cents * NANODOLLARS_PER_CENT > bounds.most_a_day * NANODOLLARS_PER_CENT:
        most = format_dollars(bounds.most_a_day * NANODOLLARS_PER_CENT)
        raise NotForSale(f"{most} at most can be bought in 24 hours")


async def order(
    connection: AsyncConnection,
    payment_id: UUID,
    account_id: int,
    kind: str,
    quoted: Quote,
    buyer: Buyer,
    now: datetime,
    *,
    save_card: bool = False,
) -> None:
    """The row of a payment for credit that is about to be asked for."""
    new = NewPayment(
        id=payment_id,
        account_id=account_id,
        kind=kind,
        quote=quoted,
        buyer=buyer,
        created_at=now,
        save_card=save_card,
    )
    await write(on(connection), new)
