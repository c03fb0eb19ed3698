"""What was charged today, as the console shows it."""

import asyncio

from appliance.console.today import FRESH, Today
from billing.prices.pricing import Tokens
from tests.billing.conftest import Bank, Customer, bank

__all__ = ["bank"]
DOLLAR = 10**9


async def use(customer: Customer) -> None:
    await customer.settle(await customer.admitted(), Tokens(10, 0, 10))


async def shown(today: Today) -> int | None:
    """To somebody who looks, and looks again a moment later."""
    before = asyncio.all_tasks()
    await today.charged()
    await asyncio.gather(*(asyncio.all_tasks() - before))
    return await today.charged()


async def test_it_is_summed_once_a_minute_and_begins_anew_at_midnight(bank: Bank) -> None:
    customer, today = await bank.customer(DOLLAR), Today(bank.database, bank.clock)
    await use(customer)
    assert await today.charged() == 5_000
    await use(customer)
    bank.clock.now += FRESH / 2
    assert await shown(today) == 5_000
    bank.clock.now += FRESH / 2
    assert await shown(today) == 10_000
    bank.clock.turn(days=1)
    assert await today.charged() == 0
