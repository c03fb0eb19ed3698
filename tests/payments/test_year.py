"""A year of a small operator's business, of all rules, on one clock: in the end all four columns are the same."""

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.db import fetch
from billing.documents.vat import Taxing
from billing.errors import Conflict
from billing.prices.money import NANODOLLARS_PER_CENT
from tests.billing.conftest import Bank, Customer
from tests.conftest import Figure
from tests.payments.conftest import bank
from tests.payments.year import DECLINED, DOLLAR, LARGE, PAYS, RULES, SMALL, Business, business

__all__ = ["bank"]
CUSTOMERS = 500
A_YEAR, A_SEASON = 400, 120
"""In days. A year and a month: what is bought at its beginning is over before its end."""
DAYS_OF_A_STEP = 3
SUBSCRIBERS, TOPPED_UP, COMPANIES, LEAVING = 14, 10, 12, 60
SIGN_UP_MONTHS, DEARER_MODEL, DEARER_PLAN = 3, 4, 6
NEVER_PAY, THEN_THEY_PAY = 2, date(2026, 9, 1)
"""Of the companies: until long after they are stopped."""
EXPECTED = {
    "card lost", "declined", "deleted", "invoice paid by bank", "invoice paid by card",
    "dispute lost", "dispute won", "documents", "invoices", "lots over",
    "opened again", "plan cancelled", "plan downgraded", "plan upgraded", "refund refused", "refunded by rule",
    "refunded by the operator", "reminded", "renewed", "requests refused", "stopped", "topped up",
}  # fmt: skip
"""What the year would be no year of all rules without."""


GAPS = """
SELECT count(*) FROM document_series s WHERE (last, last) <> (
    SELECT count(*), max(number) FROM document d WHERE d.series = s.name
)
"""


async def number(connection: AsyncConnection, query: str) -> int:
    ((found,),) = await fetch(connection, f"SELECT coalesce(({query}), 0)::bigint AS n")
    return int(found)


async def agree(one: Business) -> dict[str, int]:
    """What the documents, the payments, the ledger and Stripe say, in cents."""
    house = "(SELECT id FROM ledger_account WHERE kind = 'payments')"
    async with one.bank.database.begin() as connection:
        receipts = await number(connection, "SELECT sum(gross_cents) FROM document WHERE kind = 'receipt'")
        notes = await number(connection, "SELECT sum(gross_cents) FROM document WHERE kind = 'credit_note'")
        paid = await number(
            connection,
            "SELECT sum(gross_cents) FROM payment WHERE state IN ('credited', 'unwanted') AND kind <> 'invoice'",
        )
        back = await number(connection, "SELECT sum(gross_cents) FROM refund WHERE state = 'done'")
        invoices = await number(
            connection, "SELECT sum(gross_cents) FROM payment WHERE state = 'credited' AND kind = 'invoice'"
        )
        lost = await number(connection, "SELECT sum(cents) FROM dispute WHERE state = 'lost'")
        contested = await number(connection, "SELECT sum(cents) FROM dispute WHERE state = 'open'")
        ledger = await number(
            connection,
            f"SELECT sum(CASE WHEN debit_id = {house} THEN amount_nanodollars ELSE -amount_nanodollars END)"
            f" FROM transfer WHERE {house} IN (debit_id, credit_id)",
        )
        by_bank = await number(
            connection, "SELECT sum(gross_cents) FROM payment WHERE way = 'bank' AND state = 'credited'"
        )
        stripe = await number(connection, "SELECT sum(cents) FROM stripe_movement WHERE kind <> 'payout'")
        gaps = await number(connection, GAPS)
    assert gaps == 0
    assert (receipts, notes) == (paid, back)
    assert ledger == (paid - back + invoices - lost) * NANODOLLARS_PER_CENT
    assert stripe == paid - back + invoices - by_bank - lost - contested
    return {"paid": paid, "paid back": back, "lost": lost, "invoices": invoices, "at Stripe": stripe}


async def begin_month(one: Business, everyone: list[Customer], month: int) -> None:
    if month == DEARER_MODEL:
        await one.bank.set_rate((100_000, 20_000, 600_000))
    if month == DEARER_PLAN:
        await one.publish(replace(SMALL, cents=1200), LARGE)
    subscribers = everyone[:SUBSCRIBERS]
    if month < SIGN_UP_MONTHS:
        for customer in subscribers[month::SIGN_UP_MONTHS]:
            await one.subscribes(customer, "small" if one.random.random() < 0.6 else "large")
    else:
        for customer in one.random.sample(subscribers, 3):
            await one.changes_plan(customer)
        await one.loses_card(one.random.choice(subscribers))
        await one.subscribes(one.random.choice(subscribers), "small")
    for customer in one.random.sample(everyone[-LEAVING:], 2):
        with suppress(Conflict):
            await one.bank.standings.mark_for_deletion(customer.account_id, "customer", "asked")
    await one.month()


async def noon(one: Business, everyone: list[Customer], step: int) -> None:
    """What customers, their banks and the operator do."""
    chance = one.random.random
    card = DECLINED if chance() < 0.1 else PAYS
    cents = one.random.choice((500, 1000, 2500, 999))
    buyer = one.random.choice(everyone[SUBSCRIBERS + TOPPED_UP + COMPANIES :])
    await one.buys(buyer, cents, card, comes_back=chance() < 0.5)
    if step % 4 == 1:
        await one.use(one.random.sample(everyone, 150), 3.0)
    if step % 4 == 2:
        companies = [customer.account_id for customer in everyone[SUBSCRIBERS + TOPPED_UP :][:COMPANIES]]
        day = one.bank.clock().date()
        late = companies[:NEVER_PAY] if day < THEN_THEY_PAY else []
        await one.pay_invoices(pays=lambda account_id, due: account_id not in late and due < day)
    await goes_back(one, step % 15)


async def goes_back(one: Business, step: int) -> None:
    if step == 6:
        for payment in one.random.sample(await one.credited(), 3):
            await one.asks_money_back(payment.id, payment.account_id)
    elif step == 8:
        await one.gives_back((await one.credited())[0])
    elif step == 10:
        one.contest(one.random.choice((await one.credited())[:5]))
    elif step == 13:
        one.decide_disputes()


@pytest.mark.scenario
@pytest.mark.timeout(1800)
async def test_a_year_of_a_small_operators_business(bank: Bank, figure: Figure) -> None:
    one = await passes(bank, Taxing(RULES), A_YEAR)
    sums = await agree(one)
    for name, count in sorted(one.happened.items()):
        figure(f"a year of {CUSTOMERS} customers, {name}", count)
    for name, cents in sums.items():
        figure(f"a year of {CUSTOMERS} customers, {name}, dollars", cents / 100)
    assert set(+one.happened) >= EXPECTED, EXPECTED - set(+one.happened)


@pytest.mark.scenario
@pytest.mark.timeout(1800)
async def test_a_season_with_tax_on_top_of_prices(bank: Bank) -> None:
    await agree(await passes(bank, Taxing(RULES, included=False), A_SEASON))


async def passes(bank: Bank, taxing: Taxing, days: int) -> Business:
    """The business so many days later; every night its columns agreed."""
    began = datetime(2026, 1, 1, 12, tzinfo=UTC)
    bank.clock.now = began
    one = business(bank, taxing, seed=2026)
    await one.publish(SMALL, LARGE)
    everyone = await one.customers(CUSTOMERS)
    for customer in everyone[SUBSCRIBERS : SUBSCRIBERS + TOPPED_UP]:
        await one.saves_card(customer)
    for customer in everyone[SUBSCRIBERS + TOPPED_UP :][:COMPANIES]:
        await bank.standings.set_terms(
            customer.account_id, "kari", credit_limit=40 * DOLLAR, priority=0, reason="a contract"
        )
    for customer in everyone[SUBSCRIBERS + TOPPED_UP + COMPANIES :: 4]:
        await bank.credit.grant(customer.account_id, 5 * DOLLAR, "welcome", uuid4(), "kari")
    months = 0
    for step in range(days // DAYS_OF_A_STEP):
        bank.clock.now = began + timedelta(days=DAYS_OF_A_STEP * step)
        day = bank.clock().date()
        if 12 * (day.year - began.year) + day.month > months:
            await begin_month(one, everyone, months)
            months += 1
        await noon(one, everyone, step)
        bank.clock.turn(days=DAYS_OF_A_STEP - 1, hours=13)
        await one.night(day, DAYS_OF_A_STEP)
        assert one.differences == [], one.differences[:5]
    await one.month()
    assert one.differences == []
    return one
