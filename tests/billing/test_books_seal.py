"""One digest says whether two databases have the same books."""

from datetime import datetime, timedelta

from billing.database.db import execute
from billing.prices.pricing import Tokens
from billing.proof.books import BooksSeal, seal_books
from tests.billing.conftest import Bank
from tests.billing.test_life_of_a_dollar import DOLLAR, admitted
from tests.billing.test_seals import TAMPERING


async def sealed(bank: Bank, until: datetime) -> BooksSeal:
    async with bank.database.snapshot() as connection:
        return await seal_books(connection, until)


async def test_the_books_until_a_moment_have_the_same_digest_whatever_comes_after(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    await customer.settle(await admitted(customer), Tokens(10, 0, 10))
    bank.clock.turn(seconds=1)
    until = bank.clock()
    before = await sealed(bank, until)
    assert before.records > 3
    assert before.balances > 1
    await customer.settle(await admitted(customer), Tokens(10, 0, 10))
    assert await sealed(bank, until) == before
    after = await sealed(bank, until + timedelta(seconds=1))
    assert after.records > before.records
    assert after.digest != before.digest


async def test_a_change_of_any_record_is_another_digest(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    await customer.settle(await admitted(customer), Tokens(10, 0, 10))
    bank.clock.turn(seconds=1)
    seen = {(await sealed(bank, bank.clock())).digest}
    for statement in TAMPERING.values():
        async with bank.database.begin() as connection:
            await execute(connection, "SET LOCAL session_replication_role = replica")
            await execute(connection, statement)
        seen.add((await sealed(bank, bank.clock())).digest)
    assert len(seen) == 1 + len(TAMPERING)
