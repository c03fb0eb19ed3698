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
from billing.documents.vat import Quote, Taxing, quote
from billing.errors import BillingError, Conflict, NotFound
from billing.ledger.credit import MOST_BALANCE
from billing.payments.customers import Customers
from billing.payments.provider import Provider
from billing.payments.records import Payment, payment
from billing.payments.rows import NewPayment, note_page, on, write
from billing.payments.settling import Settling
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
        self._customers = Customers(database, provider)
        self._settling = settling
        self._taxing = taxing
        self._bounds = bounds
        self._clock = clock

    async def quote(self, account_id: int, price_cents: int) -> Quote:
        """What the account would pay. Raises NoBuyer, NotForSale."""
        async with self._database.begin() as connection:
            _, quoted = await self._quoted(connection, account_id, price_cents)
        return quoted

    async def order_credit(
        self, account_id: int, price_cents: int, *, order_id: UUID, back: str, email: str, save_card: bool
    ) -> str:
        """The address of Stripe's page to pay on. Raises NoBuyer, NotForSale; Conflict if the order is over.

        ``order_id`` becomes the payment's: the same one a second time leads to the same page. Stripe sends the
        customer to ``back`` with ``?payment=<id>``, paid or not. ``save_card``: for top-ups; the first one counts.
        """
        async with self._database.begin() as connection:
            await execute(connection, _LOCK, account_id)
            ordered = await self._ordered(connection, order_id, account_id, price_cents, save_card)
        customer = await self._customers.of(account_id, email, ordered.buyer.name)
        page = await self._provider.sell(
            customer=customer,
            cents=ordered.gross_cents,
            what=CREDIT,
            reference=order_id,
            save_card=ordered.save_card,
            back=f"{back}?{urlencode({'payment': order_id})}",
            key=str(order_id),
        )
        async with self._database.begin() as connection:
            await note_page(connection, order_id, page.id)
        if page.url is None:
            raise Conflict(f"the page to pay {order_id} on is closed already")
        return page.url

    async def look(self, payment_id: UUID) -> Payment:
        """The payment as it is after asking Stripe: when its customer comes back. Raises Mismatch."""
        return await self._settling.settle(payment_id)

    async def _ordered(
        self, connection: AsyncConnection, order_id: UUID, account_id: int, price_cents: int, save_card: bool
    ) -> Payment:
        """The order as it is, or made now."""
        try:
            known = await payment(connection, order_id)
        except NotFound:
            buyer, quoted = await self._quoted(connection, account_id, price_cents)
            await order(
                connection, order_id, account_id, "credit", quoted, buyer, self._clock(), save_card=save_card
            )
            return await payment(connection, order_id)
        if known.account_id != account_id or known.state not in ("ordered", "open"):
            raise Conflict(f"payment {order_id} is {known.state}")
        return known

    async def _quoted(self, connection: AsyncConnection, account_id: int, price_cents: int) -> tuple[Buyer, Quote]:
        account = await get_account(connection, account_id)
        require_for_sale(account, price_cents, self._bounds)
        await require_today(connection, account_id, price_cents, self._bounds, self._clock())
        buyer = await buyer_of(connection, account_id)
        if buyer is None:
            raise NoBuyer("the account has not said who buys")
        return buyer, quote(price_cents, buyer, self._taxing, is_credit=True)


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
