"""A year of a shop, for the statements and the books: sales, use, a refund, disputes, an expiry, fees, payouts."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy import insert

from billing.database import sales
from billing.database.db import fetch
from billing.documents.exchange import Rate, enter_rate
from billing.ids import new_id
from billing.ledger.sweep import Sweeper
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.prices.pricing import Tokens
from tests.billing.conftest import Customer
from tests.documents.conftest import ATHENS, OSLO, Shop

CENT = NANODOLLARS_PER_CENT
JANUARY, FEBRUARY, MARCH = (datetime(2026, month, 10, 12, tzinfo=UTC) for month in (1, 2, 3))


async def uses(customer: Customer, cents: int) -> None:
    """A cent is a token."""
    admitted = await customer.admitted(prompt_limit=cents, completion_limit=1, counted=True)
    settled = await customer.settle(admitted, Tokens(cents, 0, 0))
    assert settled.cost == cents * CENT


async def lot_of(shop: Shop, payment: object) -> int:
    async with shop.bank.database.begin() as connection:
        ((lot_id,),) = await fetch(connection, "SELECT lot_id FROM payment WHERE id = $1", payment)
    return int(lot_id)


async def moves_at_stripe(shop: Shop, kind: str, cents: int, fee: int = 0) -> None:
    now = shop.bank.clock()
    row = {
        "id": f"txn_{new_id(now)}", "kind": kind, "currency": "usd", "cents": cents, "fee_cents": fee,
        "net_cents": cents - fee, "usd_cents": cents, "created_at": now,
    }  # fmt: skip
    async with shop.bank.database.begin() as connection:
        await connection.execute(insert(sales.stripe_movement).values(row))


async def lost_at_the_bank(shop: Shop, payment: UUID) -> None:
    now = shop.bank.clock()
    async with shop.bank.database.begin() as connection:
        ((cause,),) = await fetch(connection, "SELECT cause FROM transfer WHERE kind = 'chargeback'")
        row = {
            "id": "du_1", "payment_id": payment, "cause": cause, "state": "lost", "cents": 1000,
            "reason": "fraudulent", "opened_at": FEBRUARY, "closed_at": now,
        }  # fmt: skip
        await connection.execute(insert(sales.dispute).values(row))


async def tell(shop: Shop) -> None:
    """Until 10 March 2026; the lot of January is over a year later."""
    bank = shop.bank
    for since in (JANUARY - timedelta(days=1), FEBRUARY - timedelta(days=1)):  # between, the fixture sets its own
        bank.clock.now = since
        await bank.set_rate((10_000_000_000, 10_000_000_000, 0))
    bank.clock.now = JANUARY
    norwegian, greek, disputing = [await bank.customer(0) for _ in range(3)]
    await shop.sells(norwegian, 2500)
    await shop.sells(greek, 4000, ATHENS)
    lost, won = [await shop.sells(disputing, 1000, OSLO) for _ in range(2)]
    await moves_at_stripe(shop, "charge", 8500, 275)
    await uses(norwegian, 733)
    await uses(disputing, 400)
    await shop.post()
    bank.clock.now = FEBRUARY
    await uses(greek, 1999)
    unwanted = await shop.sells(norwegian, 1500)
    for payment in (lost, won):
        await bank.credit.open_dispute(await lot_of(shop, payment))
    await shop.post()
    await moves_at_stripe(shop, "payout", -8000)
    bank.clock.now = MARCH
    await shop.refunds(unwanted)
    await bank.credit.win_dispute(await lot_of(shop, won))
    await bank.credit.lose_dispute(await lot_of(shop, lost))
    await lost_at_the_bank(shop, lost)
    await bank.credit.write_off(disputing.account_id, 100 * CENT, new_id(MARCH), "test", "gone")
    await moves_at_stripe(shop, "refund", -1500)
    await shop.post()
    async with bank.database.begin() as connection:
        await enter_rate(connection, "NOK", Rate(MARCH.date(), Decimal("10.85")), "Norges Bank", MARCH)


async def ends(shop: Shop) -> None:
    """A year has passed."""
    shop.bank.clock.now = datetime(2027, 1, 11, tzinfo=UTC)
    await Sweeper(shop.bank.store, shop.bank.clock).run_once()
