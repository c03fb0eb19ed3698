"""A Norwegian operator sells in dollars, and Stripe keeps the balance in kroner, at a rate that moves."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from appliance.stripe_sandbox import control
from appliance.stripe_sandbox.hosted import Buyer as Payer
from appliance.worker.takings import describe
from billing.books.chart import Account
from billing.books.reading import Books, read_books
from billing.database.db import execute, fetch
from billing.documents.exchange import Rate, enter_rate
from billing.documents.statement import AtStripe, as_rows, month_or_year, read_statement
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.proof.takings import Takings, compare_takings
from billing.statements.period import Period
from tests.billing.conftest import Bank
from tests.documents.conftest import FixedExchange, Shop
from tests.payments.conftest import CARD, Counter, bank, counter_of
from tests.payments.test_disputes import DISPUTED, decided
from tests.payments.test_invoices import owes, page_of
from tests.payments.test_subscriptions_by_till import on_a_plan
from tests.taxing import INCLUDED

__all__ = ["bank"]
BEGINS, ENDS = datetime(2026, 2, 1, 12, tzinfo=UTC), date(2026, 3, 1)
BOOKED_AT = Decimal("10.50")


@pytest.fixture
async def counter(bank: Bank) -> AsyncIterator[Counter]:
    bank.clock.now = BEGINS
    counter = counter_of(bank, INCLUDED, default_currency="nok", exchange_rate=10.85)
    yield counter
    assert await bank.discrepancies() == []


def a_dollar_is(counter: Counter, rate: str) -> None:
    control.carry_out(counter.sandbox, "settle", {"currency": "nok", "rate": rate})


async def month(counter: Counter) -> None:
    """Four sales, one given back, one contested and lost, one contested and won, each at another rate; payouts."""
    shop = Shop(counter.bank, INCLUDED, FixedExchange(BOOKED_AT))
    clock = counter.bank.clock
    regrets, loses, wins = [await counter.customer() for _ in range(3)]
    given_back = await counter.bought(regrets, 1999)
    await on_a_plan(counter)
    await shop.post()
    clock.turn(days=1)
    a_dollar_is(counter, "11.02")
    await counter.bought(loses, 2500, card=DISPUTED)
    clock.turn(hours=1)
    await counter.hear()
    (lost,) = counter.sandbox.state.table("dispute").rows.values()
    await counter.till.refunds.ask(regrets.account_id, given_back.id)
    a_dollar_is(counter, "10.71")
    await counter.bought(wins, 777, card=DISPUTED)
    clock.turn(hours=1)
    await counter.hear()
    (won,) = [row for row in counter.sandbox.state.table("dispute").rows.values() if row["id"] != lost["id"]]
    await shop.post()
    clock.turn(days=5)
    a_dollar_is(counter, "10.333")
    await decided(counter, lost, won=False)
    await decided(counter, won, won=True)
    await counter.bought(await counter.customer(), 10_000)
    await shop.post()
    clock.now = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)  # the plan is renewed at noon
    counter.sandbox.catch_up()
    await counter.till.sweep.import_movements()


async def days(counter: Counter, *, asked: bool = True) -> list[Takings]:
    found, day = [], BEGINS.date()
    while day < ENDS:
        movements = counter.provider.movements(Period(day, day).start) if asked else None
        found.append(await compare_takings(counter.database, day, movements, counter.bank.clock))
        day += timedelta(days=1)
    return found


async def changed(counter: Counter, how: str) -> None:
    """Behind the table's back: nothing may change what is on record."""
    async with counter.database.begin() as connection:
        await execute(connection, "SET LOCAL session_replication_role = replica")
        await execute(connection, f"UPDATE stripe_movement SET {how}")


async def books_of(counter: Counter, currency: str) -> Books:
    async with counter.database.snapshot() as connection:
        return await read_books(connection, 2026, currency)


@pytest.mark.parametrize("asked", [True, False])
async def test_a_month_agrees_to_the_cent_in_dollars(counter: Counter, asked: bool) -> None:
    await month(counter)
    found = await days(counter, asked=asked)
    assert [describe(one) for day in found for one in day.differences] == []
    groups = [group for day in found for group in day.groups]
    sold = [group for group in groups if group.kind in ("credit", "plan")]
    assert (
        sum(group.stripe_cents for group in sold)
        == sum(group.here_cents for group in sold)
        == 1999 + 1000 + (2500 + 777 + 10_000)
    )
    assert sum(group.ledger_nanodollars for group in sold) == 16_276 * NANODOLLARS_PER_CENT
    back = {group.kind: group.stripe_cents for group in groups if group.kind in ("refund", "dispute")}
    assert back == {"refund": -1999, "dispute": -2500}
    (payout, *_) = [group for group in groups if group.kind == "payout"]
    assert payout.stripe_cents == 0, "kroner are no dollars"
    assert [(one.currency, one.cents < 0) for one in payout.on_balance] == [("nok", True)]


async def test_a_cent_that_is_missing_is_found(counter: Counter) -> None:
    await month(counter)
    await changed(counter, "usd_cents = usd_cents - 1 WHERE kind = 'charge' AND cents > 50000")
    (said,) = [describe(one) for day in await days(counter, asked=False) for one in day.differences]
    assert (
        "another amount was paid at Stripe than was asked; at Stripe $99.99 (NOK 1,033.30), here $100.00" in said
    )


async def test_kroner_that_are_not_as_stripe_has_them_are_found(counter: Counter) -> None:
    await month(counter)
    await changed(counter, "fee_cents = fee_cents + 1 WHERE kind = 'adjustment'")
    found = {one.what for day in await days(counter) for one in day.differences}
    assert found == {"recorded here otherwise than Stripe has it"}


async def test_statement_and_books_have_fees_and_payouts_in_kroner(counter: Counter) -> None:
    """In the books, Stripe's account is what Stripe has: what its rates gained and lost is there too."""
    await month(counter)
    async with counter.database.snapshot() as connection:
        statement = await read_statement(connection, month_or_year("2026"))
        (sums,) = await fetch(
            connection,
            "SELECT sum(fee_cents)::bigint AS fees, sum(net_cents)::bigint AS net,"
            " -(sum(cents) FILTER (WHERE kind = 'payout'))::bigint AS paid_out FROM stripe_movement",
        )
    assert statement.adds_up
    assert statement.at_stripe == [AtStripe("nok", sums.fees, sums.paid_out)]
    assert sums.paid_out > 50_000
    charged = [one["amount"] for one in as_rows(statement) if one["figure"] == "charged, less given back, USD"]
    assert sum(Decimal(str(one)) for one in charged) == Decimal("162.76") - Decimal("19.99") - 25
    books = await books_of(counter, "NOK")
    closing = books.closing
    assert all(sum(entry.amount for entry in voucher.entries) == 0 for voucher in books.vouchers)
    assert (closing[Account.FEES], closing[Account.BANK]) == (sums.fees, sums.paid_out)
    assert closing[Account.STRIPE] == sums.net
    assert closing[Account.EXCHANGE_GAIN] < 0 < closing[Account.EXCHANGE_LOSS]


async def test_an_invoice_that_is_paid_by_card_is_in_the_books_as_stripe_has_it(counter: Counter) -> None:
    counter.bank.clock.now = BEGINS - timedelta(days=1)  # the month ends
    ada, invoice = await owes(counter)
    today = counter.bank.clock().date()
    async with counter.database.begin() as connection:
        await enter_rate(connection, "NOK", Rate(today, BOOKED_AT), "Norges Bank", counter.bank.clock())
    counter.sandbox.pay_session(await page_of(counter, ada, invoice), Payer(CARD))
    await counter.hear()
    counter.bank.clock.turn(minutes=20)
    await counter.till.sweep.import_movements()
    closing = (await books_of(counter, "NOK")).closing
    charged, fee = 10_850, 640
    assert (closing[Account.STRIPE], closing[Account.FEES]) == (charged - fee, fee)
    found = await compare_takings(counter.database, today, None, counter.bank.clock)
    assert [describe(one) for one in found.differences] == []


async def test_books_in_dollars_take_fees_and_payouts_at_stripes_own_rate(counter: Counter) -> None:
    """Of a seller in another country, whose books are in dollars."""
    a_dollar_is(counter, "8")
    await counter.bought(await counter.customer(), 2000)
    counter.bank.clock.turn(days=4)
    counter.sandbox.catch_up()
    await counter.till.sweep.import_movements()
    await Shop(counter.bank, INCLUDED, None).post()
    closing = (await books_of(counter, "USD")).closing
    assert (closing[Account.FEES], closing[Account.BANK]) == (88, 2000 - 88)
    assert closing[Account.STRIPE] == 0
