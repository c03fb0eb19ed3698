"""Prices: announced before they change, and charged as they were at admission."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.db import execute, fetch
from billing.errors import Conflict, NotFound
from billing.prices import rates
from billing.prices.pricing import Tokens
from billing.prices.rates import Prices
from tests.billing.conftest import MODEL, Bank

DOLLAR = 10**9
DEARER = Prices(200_000, 40_000, 800_000)


async def change(
    bank: Bank, prices: Prices, days: float, emergency: str | None = None, model: str = MODEL
) -> None:
    async with bank.database.begin() as connection:
        effective_at = bank.clock() + timedelta(days=days)
        await rates.change_rate(
            connection, model, prices, effective_at, bank.clock, notice_days=14, actor="kari", emergency=emergency
        )


async def test_we_will_notify_you_of_model_rate_changes_and_they_take_effect_on_the_date_of_the_notification(
    bank: Bank,
) -> None:
    customer = await bank.customer(DOLLAR)
    with pytest.raises(Conflict, match="14 days before"):
        await change(bank, DEARER, 13.9)
    await change(bank, DEARER, 14)
    async with bank.database.begin() as connection:
        (notice,) = await fetch(connection, "SELECT kind, account_id, body FROM notice")
    assert (notice.kind, notice.account_id) == ("rate_change", None)
    assert (notice.body["old"]["output"], notice.body["new"]["output"]) == (400_000, 800_000)
    assert notice.body["effective_at"] == (bank.clock() + timedelta(days=14)).isoformat()
    bank.clock.turn(days=14, microseconds=-1)
    before = await customer.admitted()
    bank.clock.turn(microseconds=1)
    after = await customer.admitted()
    assert [(await customer.settle(one, Tokens(10, 0, 10))).cost for one in (before, after)] == [5_000, 10_000]


async def test_one_dollar_of_credit_will_always_represent_one_dollar_of_value(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    bank.clock.turn(seconds=1)
    await change(bank, DEARER, 0, emergency="the model was sold below cost")
    assert (await customer.account()).balance_nanodollars == DOLLAR


async def test_an_emergency_is_at_once_and_on_record(bank: Bank) -> None:
    bank.clock.turn(seconds=1)
    await change(bank, DEARER, 0, emergency="typing error")
    async with bank.database.begin() as connection:
        (entry,) = await fetch(connection, "SELECT actor, action, subject, reason FROM audit")
        in_force = await rates.rates_in_force(connection, bank.clock)
    assert tuple(entry) == ("kari", "rate set in an emergency", MODEL, "typing error")
    assert in_force[MODEL].output == 800_000


async def test_a_model_gets_its_first_rate_at_once_and_a_declared_one_changes_nothing_later(bank: Bank) -> None:
    await change(bank, DEARER, 0, model="new")
    with pytest.raises(Conflict):
        await change(bank, DEARER, -1, model="new")
    async with bank.database.begin() as connection:
        declared = {MODEL: DEARER, "other": DEARER}
        assert await rates.first_rates(connection, declared, bank.clock) == (["other"], [MODEL])
        assert await rates.first_rates(connection, declared, bank.clock) == ([], [MODEL])


async def test_a_negotiated_rate_is_one_accounts_alone_until_it_ends(bank: Bank) -> None:
    one, other = await bank.customer(DOLLAR), await bank.customer(DOLLAR)
    async with bank.database.begin() as connection:
        end = bank.clock() + timedelta(days=1)
        await rates.negotiate_rate(
            connection, one.account_id, MODEL, Prices(1000, 1000, 1000, request=7_000), bank.clock,
            ends_at=end, actor="kari", reason="contract",
        )  # fmt: skip
    cheap = await one.admitted()
    assert (await other.admitted()).rate.input == 100_000
    assert (await one.settle(cheap, Tokens(10, 0, 10))).cost == 7_000 + 20
    bank.clock.turn(days=1)
    assert (await one.admitted()).rate.input == 100_000
    assert await bank.discrepancies() == []


async def test_a_rate_may_be_negotiated_for_a_later_date(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    cheap = Prices(1000, 1000, 1000)
    async with bank.database.begin() as connection:
        with pytest.raises(Conflict, match="past"):
            await negotiate(bank, connection, customer.account_id, cheap, start=-1, end=2)
        with pytest.raises(Conflict, match="end after it begins"):
            await negotiate(bank, connection, customer.account_id, cheap, start=1, end=1)
        await negotiate(bank, connection, customer.account_id, cheap, start=1, end=2)
    prices = []
    for _ in range(3):
        prices.append((await customer.admitted()).rate.input)
        bank.clock.turn(days=1)
    assert prices == [100_000, 1000, 100_000]


async def negotiate(
    bank: Bank, connection: AsyncConnection, account_id: int, prices: Prices, start: int, end: int
) -> None:
    now = bank.clock()
    await rates.negotiate_rate(
        connection, account_id, MODEL, prices, bank.clock, effective_at=now + timedelta(days=start),
        ends_at=now + timedelta(days=end), actor="kari", reason="contract",
    )  # fmt: skip


async def test_the_price_list_shows_what_is_in_force_and_the_next_change_and_nobodys_agreement(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    even_dearer = Prices(300_000, 60_000, 900_000)
    await change(bank, even_dearer, 40)
    await change(bank, DEARER, 20)
    async with bank.database.begin() as connection:
        await negotiate(bank, connection, customer.account_id, Prices(1, 1, 1), start=0, end=2)
        listed = (await rates.price_list(connection, bank.clock))[MODEL]
        (own,) = await rates.list_versions(connection, account_id=customer.account_id)
    assert (listed.current.output, listed.current.account_id) == (400_000, None)
    assert listed.next is not None
    assert (listed.next.prices, listed.next.effective_at) == (DEARER, bank.clock() + timedelta(days=20))
    assert own.prices == Prices(1, 1, 1)
    bank.clock.turn(days=40)
    async with bank.database.begin() as connection:
        listed = (await rates.price_list(connection, bank.clock))[MODEL]
    assert (listed.current.prices, listed.next) == (even_dearer, None)


async def withdraw(bank: Bank, rate_id: int, reason: str = "a typing error") -> None:
    async with bank.database.begin() as connection:
        await rates.withdraw_rate(connection, rate_id, bank.clock, actor="kari", reason=reason)


async def newest(bank: Bank) -> rates.Version:
    async with bank.database.begin() as connection:
        return max(await rates.list_versions(connection), key=lambda version: version.id)


async def test_a_change_that_was_taken_back_is_never_charged_and_everybody_is_told(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    await change(bank, DEARER, 14)
    await withdraw(bank, (await newest(bank)).id)
    async with bank.database.begin() as connection:
        listed = (await rates.price_list(connection, bank.clock))[MODEL]
        notices = await fetch(connection, "SELECT kind, account_id, body FROM notice ORDER BY id")
        (entry,) = await fetch(connection, "SELECT actor, action, reason FROM audit")
    assert listed.next is None
    assert [(one.kind, one.account_id) for one in notices] == [("rate_change", None), ("rate_withdrawn", None)]
    assert notices[1].body == {"model": MODEL, "effective_at": notices[0].body["effective_at"]}
    assert tuple(entry) == ("kari", "rate taken back", "a typing error")
    bank.clock.turn(days=20)
    admitted = await customer.admitted()
    assert (await customer.settle(admitted, Tokens(10, 0, 10))).cost == 5_000
    assert await bank.discrepancies() == []


async def test_a_moment_that_became_free_has_another_version_once(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    await change(bank, DEARER, 14)
    with pytest.raises(Conflict, match="already"):
        await change(bank, Prices(300_000, 60_000, 900_000), 14)
    await withdraw(bank, (await newest(bank)).id)
    await change(bank, Prices(300_000, 60_000, 900_000), 14)
    with pytest.raises(Conflict, match="already"):
        await change(bank, DEARER, 14)
    bank.clock.turn(days=14)
    assert (await customer.admitted()).rate.output == 900_000


async def test_of_two_who_set_a_rate_at_once_for_the_same_moment_one_succeeds(bank: Bank) -> None:
    tries = [change(bank, Prices(one, one, one), 14) for one in (1, 2, 3)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcomes) == ["Conflict", "Conflict", "NoneType"]


async def test_what_is_in_force_or_about_to_be_is_not_taken_back_and_nothing_twice(bank: Bank) -> None:
    await change(bank, DEARER, 14)
    announced = await newest(bank)
    with pytest.raises(Conflict, match="reason"):
        await withdraw(bank, announced.id, " ")
    with pytest.raises(NotFound):
        await withdraw(bank, announced.id + 1)
    with pytest.raises(Conflict, match="in force"):
        await withdraw(bank, announced.id - 1)
    bank.clock.turn(days=13)
    with pytest.raises(Conflict, match="about to be"):
        await withdraw(bank, announced.id)
    bank.clock.turn(seconds=-1)
    await withdraw(bank, announced.id)
    with pytest.raises(Conflict, match="before"):
        await withdraw(bank, announced.id)


async def test_a_first_rate_that_is_taken_back_was_told_to_nobody_and_makes_room_for_the_declared_one(
    bank: Bank,
) -> None:
    await change(bank, DEARER, 14, model="new")
    await withdraw(bank, (await newest(bank)).id)
    async with bank.database.begin() as connection:
        assert await fetch(connection, "SELECT id FROM notice") == []
        assert (await rates.first_rates(connection, {"new": DEARER}, bank.clock))[0] == ["new"]


async def test_when_the_newest_agreement_ends_the_lists_price_comes_back_and_no_older_one(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    async with bank.database.begin() as connection:
        await negotiate(bank, connection, customer.account_id, Prices(500_000, 1, 1), start=1, end=99)
        await negotiate(bank, connection, customer.account_id, Prices(1, 1, 1), start=2, end=3)
    found = []
    for _ in range(4):
        found.append((await customer.admitted()).rate.input)
        bank.clock.turn(days=1)
    assert found == [100_000, 500_000, 1, 100_000]


async def test_an_agreement_that_is_to_come_can_be_taken_back_and_is_told_to_nobody(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    async with bank.database.begin() as connection:
        await negotiate(bank, connection, customer.account_id, Prices(1, 1, 1), start=2, end=9)
    await withdraw(bank, (await newest(bank)).id)
    bank.clock.turn(days=3)
    assert (await customer.admitted()).rate.input == 100_000
    async with bank.database.begin() as connection:
        assert await fetch(connection, "SELECT id FROM notice") == []


async def test_a_withdrawal_of_which_only_the_record_is_left_shows(bank: Bank) -> None:
    await change(bank, DEARER, 14)
    await withdraw(bank, (await newest(bank)).id)
    async with bank.database.begin() as connection:
        await execute(connection, "SET session_replication_role = replica")
        await execute(connection, "DELETE FROM rate_withdrawal")
        await execute(connection, "SET session_replication_role = origin")
    (found,) = await bank.discrepancies()
    assert found.rule == "a rate is taken back before it takes effect, and on record"


async def test_an_announcement_compares_with_what_will_be_in_force_until_then(bank: Bank) -> None:
    await change(bank, DEARER, 20)
    await change(bank, Prices(300_000, 60_000, 900_000), 40)
    async with bank.database.begin() as connection:
        rows = await fetch(connection, "SELECT body FROM notice ORDER BY id")
    assert [row.body["old"]["output"] for row in rows] == [400_000, 800_000]
