"""Test money and real money never meet in one database."""

import pytest

from billing.database.db import execute
from billing.errors import Conflict
from billing.payments.mode import require_one_mode
from tests.payments.conftest import Counter


async def test_a_database_in_which_somebody_practised_sells_nothing_for_real(counter: Counter) -> None:
    async with counter.database.begin() as connection:
        await require_one_mode(connection, live=True)
    ada = await counter.customer()
    await counter.order(ada)
    async with counter.database.begin() as connection:
        await require_one_mode(connection, live=False)
        with pytest.raises(Conflict, match="would become real"):
            await require_one_mode(connection, live=True)


async def test_a_database_with_real_payments_gives_nothing_for_test_money(counter: Counter) -> None:
    page = await counter.order(await counter.customer())
    async with counter.database.begin() as connection:
        await execute(connection, "UPDATE payment SET checkout = 'cs_live_1' WHERE id = $1", page.payment_id)
        await require_one_mode(connection, live=True)
        with pytest.raises(Conflict, match="put the live key back"):
            await require_one_mode(connection, live=False)
