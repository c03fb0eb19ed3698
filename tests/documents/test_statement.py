"""A statement adds up: what was there, came, went and is left, by the transfers and by what the lots say."""

from datetime import date, timedelta
from itertools import pairwise

import pytest

from billing.books.chart import Account
from billing.books.reading import read_books
from billing.database.db import execute
from billing.documents.statement import AtStripe, Sale, Statement, as_rows, month_or_year, read_statement
from billing.ids import new_id
from billing.statements.period import Period
from tests.billing.allowances import allow
from tests.documents import story
from tests.documents.conftest import Shop
from tests.documents.story import CENT, moves_at_stripe


async def statement_of(shop: Shop, text: str) -> Statement:
    async with shop.bank.database.snapshot() as connection:
        return await read_statement(connection, month_or_year(text))


async def test_each_month_of_a_story_adds_up_and_begins_where_the_last_one_ended(shop: Shop) -> None:
    await story.tell(shop)
    await story.ends(shop)
    months = [await statement_of(shop, f"2026-{month:02}") for month in range(1, 13)]
    assert all(month.adds_up for month in months)
    for before, after in pairwise(months):
        assert before.deferred[1] == after.deferred[0]
        assert before.disputed.closing == after.disputed.opening
        assert before.owed.closing == after.owed.opening
    year = await statement_of(shop, "2026")
    assert year.adds_up
    purchases = year.flows[0]
    assert purchases.opened == 10_000 * CENT
    assert purchases.used == sum(month.flows[0].used for month in months) == (733 + 400 + 1999) * CENT
    assert purchases.refunded == 1500 * CENT
    assert (purchases.set_aside, purchases.released) == (1600 * CENT, 1000 * CENT)
    assert year.disputed.lost == 600 * CENT
    assert (year.owed.shortfalls, year.owed.written_off) == (400 * CENT, 100 * CENT)
    assert year.at_stripe == [AtStripe("usd", 275, 8000)]
    assert year.deferred == (0, purchases.closing)
    expired = await statement_of(shop, "2027-01")
    assert expired.adds_up
    assert expired.flows[0].expired == purchases.closing
    assert expired.deferred[1] == 0


async def test_sales_are_by_tax_and_the_refund_is_a_line_of_its_own(shop: Shop) -> None:
    await story.tell(shop)
    january, march = [(await statement_of(shop, month)).sales for month in ("2026-01", "2026-03")]
    assert january == [
        Sale("receipt", "credit", "3", 2500, 3, 3600, 900, 4500, "NOK", 9765),
        Sale("receipt", "credit", "52", 0, 1, 4000, 0, 4000, "NOK", 0),
    ]
    assert march == [Sale("credit_note", "credit", "3", 2500, 1, 1200, 300, 1500, "NOK", 3255)]


async def test_what_was_a_trial_is_of_no_statement_once_there_are_real_sales(shop: Shop) -> None:
    customer = await shop.bank.customer(0)
    shop.series = "SANDBOX"
    await shop.sells(customer, 2500)
    await shop.post()
    assert [sale.gross_cents for sale in (await statement_of(shop, "2026-01")).sales] == [2500], (
        "a trial shows all"
    )
    shop.series = ""
    await shop.sells(customer, 1000)
    await shop.post()
    assert [sale.gross_cents for sale in (await statement_of(shop, "2026-01")).sales] == [1000]


async def test_what_is_deferred_was_bought(shop: Shop) -> None:
    customer, now = await shop.bank.customer(0), shop.bank.clock()
    await shop.sells(customer, 2500)
    until = now + timedelta(days=400)
    bank = shop.bank
    await allow(bank.store, bank.clock, customer.account_id, 700 * CENT, until, new_id(now), stops=False)
    await shop.bank.credit.grant(customer.account_id, 50 * CENT, "sorry", new_id(now), "test")
    assert (await statement_of(shop, "2026-01")).deferred == (0, 2500 * CENT)


async def test_fees_and_payouts_are_what_the_books_say(shop: Shop) -> None:
    for kind, cents, fee in (
        ("charge", 1000, 59), ("stripe_fee", -200, 0), ("payout", -500, 0), ("payout_failure", 500, 0),
        ("payout", -300, 0), ("payout", -90, 0), ("payout_cancel", 90, 0),
    ):  # fmt: skip
        await moves_at_stripe(shop, kind, cents, fee)
    statement = await statement_of(shop, "2026")
    assert statement.at_stripe == [AtStripe("usd", 259, 300)]
    async with shop.bank.database.snapshot() as connection:
        closing = (await read_books(connection, 2026)).closing
    assert (closing[Account.FEES], closing[Account.BANK]) == (259, 300)


async def test_a_lot_that_was_changed_behind_the_ledger_shows(shop: Shop) -> None:
    await story.tell(shop)
    async with shop.bank.database.begin() as connection:
        await execute(connection, "UPDATE lot SET remaining_nanodollars = remaining_nanodollars - 1 WHERE open")
    statement = await statement_of(shop, "2026-01")
    assert not statement.adds_up
    assert {"section": "check", "line": "", "figure": "adds up", "amount": "NO"} in as_rows(statement)


def test_a_month_or_a_year() -> None:
    assert month_or_year("2026-02") == Period(date(2026, 2, 1), date(2026, 2, 28))
    assert month_or_year("2026") == Period(date(2026, 1, 1), date(2026, 12, 31))
    for text in ("2026-13", "2026-1", "26", "", "2026-", "0000", "2026-00", "2026-01-01"):
        with pytest.raises(ValueError, match="neither a month"):
            month_or_year(text)
