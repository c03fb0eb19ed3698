"""A change of the past shows: each day's records are sealed, each seal on the one before."""

import pytest

from billing.database.db import execute
from billing.prices.pricing import Tokens
from billing.proof.seals import BrokenSeal, newest_seal, seal_days, verify_seals
from tests.billing.conftest import Bank
from tests.billing.test_life_of_a_dollar import DOLLAR, admitted

TAMPERING = {
    "transfer": "UPDATE transfer SET amount_nanodollars = amount_nanodollars - 1 WHERE kind = 'usage'",
    "usage": "UPDATE usage SET completion_tokens = completion_tokens - 1",
    "rate": "UPDATE rate SET output = output - 1",
}


async def days_of_business(bank: Bank) -> None:
    """Three days with records, one without."""
    customer = await bank.customer(DOLLAR)
    for days in (0, 1, 2):
        bank.clock.turn(days=days)
        await customer.settle(await admitted(customer), Tokens(10, 0, 10))
    bank.clock.turn(days=1, hours=2)


async def seal(bank: Bank) -> int:
    async with bank.database.begin() as connection:
        return len(await seal_days(connection, bank.clock))


async def broken(bank: Bank) -> list[BrokenSeal]:
    async with bank.database.snapshot() as connection:
        return await verify_seals(connection)


async def test_every_day_that_is_over_is_sealed_once_and_the_chain_holds(bank: Bank) -> None:
    await days_of_business(bank)
    assert [await seal(bank), await seal(bank)] == [4, 0]
    assert await broken(bank) == []
    async with bank.database.begin() as connection:
        newest = await newest_seal(connection)
    assert newest is not None
    assert (newest.day.isoformat(), newest.records) == ("2026-02-03", 2)


async def test_a_day_is_not_sealed_before_everything_of_it_is_written(bank: Bank) -> None:
    await bank.customer(DOLLAR)
    bank.clock.turn(hours=12, minutes=30)
    assert await seal(bank) == 0
    bank.clock.turn(minutes=30)
    assert await seal(bank) == 1


@pytest.mark.parametrize("kind", TAMPERING)
async def test_a_changed_record_breaks_the_seal_of_its_day(bank: Bank, kind: str) -> None:
    await days_of_business(bank)
    await seal(bank)
    async with bank.database.begin() as connection:
        await execute(connection, "SET LOCAL session_replication_role = replica")
        await execute(connection, TAMPERING[kind])
    assert kind in {found.what for found in await broken(bank)}


async def test_a_day_that_is_sealed_anew_breaks_the_chain(bank: Bank) -> None:
    await days_of_business(bank)
    await seal(bank)
    async with bank.database.begin() as connection:
        await execute(connection, "SET LOCAL session_replication_role = replica")
        await execute(connection, "UPDATE day_seal SET digest = sha256(digest) WHERE day = '2026-02-01'")
    assert {found.what for found in await broken(bank)} == {"the chain"}
