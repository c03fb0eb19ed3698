"""Postpaid accounts: an invoice at the month's end, paid, reminded of, stopped; the clock is the test's."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from billing.books.chart import Account
from billing.books.reading import read_books
from billing.customers.accounts import list_audit
from billing.database.db import execute, fetch
from billing.documents.buyers import Buyer, keep_buyer
from billing.documents.crediting import InvoiceCrediting
from billing.documents.document import Document
from billing.documents.exchange import Rate, enter_rate
from billing.documents.invoicing import Invoicing
from billing.documents.on_account import require_nobody
from billing.documents.posting import Posted
from billing.documents.statement import month_or_year, read_statement
from billing.documents.vat import Taxing
from billing.errors import Conflict, NotFound
from billing.ids import new_id
from billing.payments.debts import Debts
from billing.payments.invoices import BankTransfers, unpaid
from billing.payments.reminding import Patience, Reminded, Reminding, stopped_for, why_stopped
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.prices.pricing import Tokens
from billing.proof.takings import compare_takings
from tests.billing.conftest import Bank, Customer
from tests.documents.conftest import ATHENS, OSLO, Shop
from tests.taxing import ABROAD, INCLUDED, NORWAY, ON_TOP

AT = Decimal("10.85")
LIMIT = 100 * 10**9
REQUEST = 10**9
"""Nano-dollars of a request in these tests: a million tokens of output at the rate below."""

BY_STRIPE = Taxing([NORWAY, ABROAD], by_stripe=True)


@dataclass
class Company:
    """An account with a credit limit, and what the worker does for it."""

    shop: Shop
    customer: Customer

    @property
    def bank(self) -> Bank:
        return self.shop.bank

    async def uses(self, nanodollars: int) -> None:
        """A completion that costs so much."""
        admitted = await self.customer.admitted(prompt_limit=0, completion_limit=nanodollars)
        await self.customer.settle(admitted, Tokens(0, 0, nanodollars))

    async def invoice(self) -> Posted:
        return await Invoicing(
            self.bank.database, self.shop.office, self.bank.credit, self.bank.clock, invoice_days=14
        ).run_once()

    async def remind(self) -> Reminded:
        patience = Patience(reminder_days=7, stop_days=21)
        return await Reminding(self.bank.database, self.bank.standings, patience, self.bank.clock).run_once()

    async def pays(self, name: str, cents: int | None = None, on: date | None = None) -> int:
        """By bank; what is left, in cents."""
        transfers = BankTransfers(self.bank.database, self.bank.credit, self.bank.clock)
        left = await transfers.note(name, on or self.bank.clock().date(), cents, "kari")
        return 0 if left is None else left.left_cents

    async def forgives(self, nanodollars: int, cause: UUID | None = None) -> None:
        """The operator: as ``appliance credit forgive``."""
        await Debts(self.bank.database, self.bank.credit, self.bank.clock).forgive(
            self.customer.account_id, nanodollars, cause or new_id(self.bank.clock()), "kari", "an outage"
        )

    async def pays_for_nothing_named(self, nanodollars: int, cause: UUID | None = None) -> None:
        """As ``appliance credit paid``."""
        await Debts(self.bank.database, self.bank.credit, self.bank.clock).paid(
            self.customer.account_id, nanodollars, cause or new_id(self.bank.clock()), "kari"
        )

    async def credits(self, name: str, cents: int | None = None) -> int:
        """As ``appliance invoice credit``, and the worker after it, twice."""
        credited = await Debts(self.bank.database, self.bank.credit, self.bank.clock).credit_invoice(
            name, cents, "kari", "a wrong price"
        )
        for _ in range(2):
            await InvoiceCrediting(self.bank.database, self.shop.office, self.bank.clock).run_once()
        return credited

    async def left(self) -> dict[str, int]:
        """Cents of each invoice that are unpaid."""
        async with self.bank.database.begin() as connection:
            return {one.name: one.left_cents for one in await unpaid(connection, self.customer.account_id)}

    async def owed(self) -> int:
        return (await self.customer.account()).owed_nanodollars

    async def status(self) -> str:
        return (await self.customer.account()).status

    async def invoices(self) -> list[Document]:
        return [one for one in await self.shop.documents() if one.kind == "invoice"]

    async def told(self) -> list[tuple[str, str]]:
        async with self.bank.database.begin() as connection:
            rows = await fetch(
                connection, "SELECT kind, subject FROM notice WHERE kind LIKE '%invoice%' ORDER BY id"
            )
        return [(row.kind, row.subject) for row in rows]


def at(month: int, day: int, hour: int = 12) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


async def company_of(shop: Shop, buyer: Buyer | None = OSLO) -> Company:
    bank = shop.bank
    bank.clock.turn(seconds=1)
    await bank.set_rate((0, 0, 1_000))  # a nano-dollar a token
    customer = await bank.customer(0)
    await bank.standings.set_terms(
        customer.account_id, "kari", credit_limit=LIMIT, priority=0, reason="a contract"
    )
    if buyer is not None:
        async with bank.database.begin() as connection:
            await keep_buyer(connection, customer.account_id, buyer, bank.clock())
    return Company(shop, customer)


@pytest.fixture
async def company(shop: Shop) -> Company:
    return await company_of(shop)


async def test_the_whole_cents_of_each_month_are_invoiced_once_and_the_rest_with_the_next(
    company: Company,
) -> None:
    clock, used = company.bank.clock, (1_234_567_891, 2_000_000_009, 7)
    await company.uses(used[0])
    assert await company.invoice() == Posted(0, 0), "the month is not over"
    clock.now = at(2, 1, 0)
    assert await company.invoice() == Posted(0, 0), "its last requests may not be settled"
    for month in (2, 3, 4):
        clock.now = at(month, 1, 2)
        for _ in range(2):
            await company.invoice()
        if month < 4:
            clock.now = at(month, 20)
            await company.uses(used[month - 1])
    clock.now = at(5, 1, 2)
    await company.invoice()
    invoices = await company.invoices()
    assert [(one.period, one.gross_cents, one.due_on) for one in invoices] == [
        ("2026-01", 123, date(2026, 2, 15)), ("2026-02", 200, date(2026, 3, 15)),
    ]  # fmt: skip
    assert [one.number for one in invoices] == [1, 2]
    assert (invoices[0].net_cents, invoices[0].vat_cents, invoices[0].vat_code) == (98, 25, "3")
    async with company.bank.database.begin() as connection:
        months = await fetch(connection, "SELECT * FROM invoiced_month ORDER BY period")
    assert [(one.before_nanodollars, one.rest_nanodollars) for one in months] == [
        (0, 4_567_891), (4_567_891, 4_567_900), (4_567_900, 4_567_907),
    ]  # fmt: skip
    invoiced = sum(one.gross_cents for one in invoices) * NANODOLLARS_PER_CENT
    assert invoiced + months[-1].rest_nanodollars == sum(used) == await company.owed()
    assert await company.bank.discrepancies() == []


async def test_tax_on_top_of_prices_is_owed_with_the_invoice_and_paid_with_it(shop: Shop) -> None:
    shop.taxing = ON_TOP
    at_home, abroad = await company_of(shop), await company_of(shop, ATHENS)
    for one in (at_home, abroad):
        await one.uses(10 * REQUEST)
    shop.bank.clock.now = at(2, 1, 2)
    for _ in range(2):
        await at_home.invoice()
    first, second = await at_home.invoices()
    assert [(one.net_cents, one.vat_cents, one.gross_cents) for one in (first, second)] == [
        (1000, 250, 1250), (1000, 0, 1000),
    ]  # fmt: skip
    assert (await at_home.owed(), await abroad.owed()) == (
        1250 * NANODOLLARS_PER_CENT,
        1000 * NANODOLLARS_PER_CENT,
    )
    assert await at_home.pays(first.name) == 0
    assert await at_home.owed() == 0
    assert await shop.bank.discrepancies() == []


async def test_an_invoice_is_paid_in_parts_and_never_beyond_what_is_left(company: Company) -> None:
    await company.uses(30 * REQUEST)
    company.bank.clock.now = at(2, 1, 2)
    await company.invoice()
    (invoice,) = await company.invoices()
    assert await company.pays(invoice.name, 1000, date(2026, 1, 31)) == 2000
    with pytest.raises(Conflict, match=r"\$20.00 is left: note that much, and give the rest back"):
        await company.pays(invoice.name, 2001)
    with pytest.raises(ValueError, match="above zero"):
        await company.pays(invoice.name, 0)
    with pytest.raises(ValueError, match="not over yet"):
        await company.pays(invoice.name, 1, date(2026, 2, 2))
    with pytest.raises(NotFound, match="no invoice 7"):
        await company.pays("7")
    assert await company.pays(invoice.name) == 0
    with pytest.raises(Conflict, match="is left to be paid"):
        await company.pays(invoice.name, 1)
    assert await company.owed() == 0
    assert await company.bank.discrepancies() == []
    company.bank.clock.turn(hours=1)
    found = await compare_takings(company.bank.database, date(2026, 2, 1), None, company.bank.clock)
    assert found.differences == ()
    assert [(one.kind, one.here_cents, one.ledger_nanodollars) for one in found.groups] == [
        ("invoice", 3000, 3000 * NANODOLLARS_PER_CENT)
    ]


async def test_who_does_not_pay_is_reminded_then_stopped_and_goes_on_once_it_is_paid(company: Company) -> None:
    clock = company.bank.clock
    await company.uses(10 * REQUEST)
    clock.now = at(2, 1, 2)
    await company.invoice()
    (invoice,) = await company.invoices()
    days = {}
    for _ in range(60):
        done = await company.remind()
        if done != Reminded(0, 0, 0):
            days[clock().date()] = done
        clock.turn(days=1)
    due = date(2026, 2, 15)
    assert invoice.due_on == due
    assert days == {
        due + timedelta(days=8): Reminded(1, 0, 0), due + timedelta(days=22): Reminded(0, 1, 0),
    }  # fmt: skip
    assert await company.status() == "suspended"
    assert await company.told() == [("invoice_reminder", "1"), ("operator:invoice_stop", "1")]
    assert await company.pays(invoice.name, 999) == 1
    assert await company.remind() == Reminded(0, 0, 0), "a cent is still owed"
    await company.pays(invoice.name)
    assert await company.remind() == Reminded(0, 0, 1)
    assert await company.status() == "active"
    async with company.bank.database.begin() as connection:
        trail = [(one.action, one.actor) for one in await list_audit(connection, company.customer.account_id)]
    assert ("account suspended", "appliance") in trail
    assert ("account active", "appliance") in trail


async def test_another_reason_keeps_an_account_suspended_and_an_operator_is_not_overruled(shop: Shop) -> None:
    abuse, trusted = await company_of(shop), await company_of(shop)
    clock, standings = shop.bank.clock, shop.bank.standings
    for one in (abuse, trusted):
        await one.uses(10 * REQUEST)
    clock.now = at(2, 1, 2)
    await abuse.invoice()
    first, second = await abuse.invoices()
    await standings.suspend(abuse.customer.account_id, "kari", "spam")
    clock.now = at(4, 1)
    assert (await abuse.remind()).stopped == 1
    await standings.resume(trusted.customer.account_id, "kari", "they pay on Friday")
    assert await abuse.remind() == Reminded(0, 0, 0)
    assert await trusted.status() == "active"
    for invoice in (first, second):
        await abuse.pays(invoice.name)
    assert await abuse.remind() == Reminded(0, 0, 0)
    assert await abuse.status() == "suspended"


async def test_of_two_unpaid_invoices_one_that_is_paid_does_not_open_the_account(company: Company) -> None:
    clock = company.bank.clock
    await company.uses(10 * REQUEST)
    clock.now = at(2, 1, 2)
    await company.invoice()
    await company.uses(20 * REQUEST)
    clock.now = at(3, 1, 2)
    await company.invoice()
    clock.now = at(5, 1)
    assert (await company.remind()).stopped == 1
    first, second = await company.invoices()
    await company.pays(first.name)
    assert (await company.remind()).resumed == 0
    await company.pays(second.name)
    assert (await company.remind()).resumed == 1


async def test_what_was_forgiven_or_paid_before_is_not_asked_for_and_nobody_is_stopped_for_it(
    company: Company,
) -> None:
    bank = company.bank
    await company.uses(10 * REQUEST)
    await company.forgives(4 * REQUEST)
    bank.clock.now = at(2, 1, 2)
    await company.invoice()
    (invoice,) = await company.invoices()
    assert invoice.gross_cents == 600
    await company.forgives(6 * REQUEST)
    assert await company.left() == {}
    bank.clock.now = at(6, 1)
    assert await company.remind() == Reminded(0, 0, 0)


@pytest.mark.parametrize("by", [Company.forgives, Company.pays_for_nothing_named])
async def test_an_invoice_that_was_forgiven_stays_so_when_the_account_goes_on_and_new_use_is_invoiced(
    company: Company, by: Callable[[Company, int], Awaitable[None]]
) -> None:
    clock = company.bank.clock
    await company.uses(10 * REQUEST)
    clock.now = at(2, 1, 2)
    await company.invoice()
    await by(company, 10 * REQUEST)
    clock.now = at(3, 20)
    await company.uses(7 * REQUEST)
    assert await company.left() == {}
    assert await company.remind() == Reminded(0, 0, 0)
    clock.now = at(4, 1, 2)
    await company.invoice()
    assert await company.left() == {"2": 700}
    assert await company.pays("2") == 0
    assert await company.owed() == 0
    assert await company.bank.discrepancies() == []


async def test_what_is_forgiven_goes_to_the_oldest_invoice_and_the_rest_to_what_is_not_invoiced_yet(
    company: Company,
) -> None:
    clock, cause = company.bank.clock, new_id(company.bank.clock())
    for month, used in ((2, 10), (3, 5)):
        await company.uses(used * REQUEST)
        clock.now = at(month, 1, 2)
        await company.invoice()
    await company.uses(8 * REQUEST)
    for _ in range(2):
        await company.forgives(12 * REQUEST + 5_000_000, cause)
        assert await company.left() == {"2": 300}
    await company.pays_for_nothing_named(6 * REQUEST)
    assert await company.left() == {}
    with pytest.raises(Conflict, match="is left to be paid"):
        await company.pays("1")
    clock.now = at(4, 1, 2)
    await company.invoice()
    assert await company.left() == {"3": 499}, "eight dollars, less three, less half a cent"
    assert await company.owed() == 4_995_000_000
    assert await company.bank.discrepancies() == []


@pytest.mark.parametrize("last", [Company.forgives, Company.pays_for_nothing_named])
async def test_a_part_of_a_cent_is_asked_of_nobody_and_what_is_left_can_be_paid(
    company: Company, last: Callable[[Company, int], Awaitable[None]]
) -> None:
    clock = company.bank.clock
    await company.uses(5 * REQUEST)
    clock.now = at(2, 1, 2)
    await company.invoice()
    await company.forgives(NANODOLLARS_PER_CENT // 2)
    assert await company.left() == {"1": 499}
    assert await company.pays("1", 300) == 199
    await last(company, 1_995_000_000)
    assert (await company.left(), await company.owed()) == ({}, 0)
    await company.uses(REQUEST)
    assert await company.left() == {}, "nothing of the first is asked for again"
    clock.now = at(3, 1, 2)
    await company.invoice()
    assert await company.left() == {"2": 100}
    assert await company.pays("2") == 0
    assert await company.bank.discrepancies() == []


async def test_an_invoice_whose_account_owes_less_than_a_cent_is_not_asked_for(company: Company) -> None:
    await company.uses(5 * REQUEST)
    company.bank.clock.now = at(2, 1, 2)
    await company.invoice()
    await company.forgives(NANODOLLARS_PER_CENT // 2)
    assert await company.pays("1") == 0
    assert await company.owed() == NANODOLLARS_PER_CENT // 2
    company.bank.clock.now = at(6, 1)
    assert await company.remind() == Reminded(0, 0, 0)


@pytest.mark.parametrize("taxing", [INCLUDED, ON_TOP], ids=["included", "on top"])
async def test_an_invoice_that_is_wrong_is_credited_with_its_tax_and_what_is_left_is_paid(
    shop: Shop, taxing: Taxing
) -> None:
    shop.taxing = taxing
    company, clock = await company_of(shop), shop.bank.clock
    await company.uses(10 * REQUEST)
    clock.now = at(2, 1, 2)
    await company.invoice()
    (invoice,) = await company.invoices()
    with pytest.raises(Conflict, match="not more can be credited"):
        await company.credits(invoice.name, invoice.gross_cents + 1)
    assert await company.credits(invoice.name, 333) == 333
    assert await company.left() == {invoice.name: invoice.gross_cents - 333}
    assert await company.credits(invoice.name, 334) == 334
    notes = [one for one in await shop.documents() if one.kind == "credit_note"]
    assert [(one.net_cents, one.vat_cents, one.gross_cents, one.corrects_id) for one in notes] == [
        (266, 67, 333, invoice.id), (268, 66, 334, invoice.id),
    ]  # fmt: skip
    assert [one.exchange for one in notes] == [invoice.exchange] * 2
    left = invoice.gross_cents - 667
    clock.now = at(2, 5)
    assert await company.pays(invoice.name) == 0
    assert await company.owed() == 0
    with pytest.raises(Conflict, match="is left to be paid"):
        await company.credits(invoice.name)
    async with company.bank.database.begin() as connection:
        await enter_rate(connection, "NOK", Rate(clock.now.date(), AT), "Norges Bank", clock.now)
    async with company.bank.database.snapshot() as connection:
        statement = await read_statement(connection, month_or_year("2026"))
        books = await read_books(connection, 2026, "NOK")
        told = await fetch(connection, "SELECT 1 FROM notice WHERE kind = 'document'")
        trail = [one.reason for one in await list_audit(connection, company.customer.account_id)]
    assert statement.adds_up
    vat_left = invoice.vat_cents - 133
    assert abs(books.closing[Account.RECEIVABLE]) <= 1, "each part is rounded"
    assert books.closing[Account.LOSSES] == 0
    assert abs(books.closing[Account.VAT] + vat_left * AT) <= 2, "the tax of what is paid, in kroner"
    assert abs(books.closing[Account.SALES] + (left - vat_left) * AT) <= 2
    assert len(told) == 3
    assert trail.count(f"invoice {invoice.name}: a wrong price") == 2
    if taxing is ON_TOP:
        assert await owed_to_the_state(company) == vat_left * NANODOLLARS_PER_CENT
    assert await shop.bank.discrepancies() == []


async def owed_to_the_state(company: Company) -> int:
    """By the ledger, in nano-dollars."""
    query = """
        SELECT sum(amount_nanodollars * CASE WHEN t.credit_id = a.id THEN 1 ELSE -1 END)::bigint AS owed
        FROM transfer t JOIN ledger_account a ON a.id IN (t.credit_id, t.debit_id) WHERE a.kind = 'vat'"""
    async with company.bank.database.begin() as connection:
        owed: int = (await fetch(connection, query))[0].owed
    return owed


async def test_a_whole_invoice_that_is_credited_is_asked_of_nobody(company: Company) -> None:
    await company.uses(7_770_000_000)
    company.bank.clock.now = at(2, 1, 2)
    await company.invoice()
    (invoice,) = await company.invoices()
    assert await company.credits(invoice.name) == invoice.gross_cents
    note = (await company.shop.documents())[-1]
    assert (note.vat_cents, note.gross_cents) == (invoice.vat_cents, invoice.gross_cents)
    company.bank.clock.now = at(6, 1)
    assert await company.remind() == Reminded(0, 0, 0)
    with pytest.raises(Conflict, match="is left to be paid"):
        await company.pays(invoice.name)
    assert await company.bank.discrepancies() == []


async def test_who_has_not_said_who_buys_is_invoiced_when_it_is_known(shop: Shop) -> None:
    company = await company_of(shop, None)
    await company.uses(REQUEST)
    shop.bank.clock.now = at(2, 1, 2)
    assert await company.invoice() == Posted(0, 1)
    await company.uses(REQUEST)
    shop.bank.clock.now = at(3, 1, 2)
    async with shop.bank.database.begin() as connection:
        await keep_buyer(connection, company.customer.account_id, OSLO, shop.bank.clock())
    assert await company.invoice() == Posted(2, 0)
    assert [one.period for one in await company.invoices()] == ["2026-01", "2026-02"]


async def test_two_months_that_waited_are_both_invoiced_whole_where_tax_is_on_top(shop: Shop) -> None:
    shop.taxing = ON_TOP
    company, clock = await company_of(shop, None), shop.bank.clock
    for month in (2, 3):
        await company.uses(10 * REQUEST)
        clock.now = at(month, 1, 2)
    async with shop.bank.database.begin() as connection:
        await keep_buyer(connection, company.customer.account_id, OSLO, clock())
    assert await company.invoice() == Posted(2, 0)
    assert [one.gross_cents for one in await company.invoices()] == [1250, 1250]
    assert await company.owed() == 2500 * NANODOLLARS_PER_CENT


async def test_who_leaves_has_the_last_invoice_before_and_who_stays_after_all_the_rest_with_the_next(
    shop: Shop,
) -> None:
    leaves, stays = await company_of(shop), await company_of(shop)
    clock, standings = shop.bank.clock, shop.bank.standings
    clock.now = at(3, 1, 2)
    for one in (leaves, stays):
        await one.uses(2 * REQUEST)
        await standings.mark_for_deletion(one.customer.account_id, "customer", "asked")
    clock.now = at(3, 29)
    assert await leaves.invoice() == Posted(0, 0)
    clock.now = at(3, 30)
    assert await leaves.invoice() == Posted(2, 0)
    await standings.restore(stays.customer.account_id, "customer", "after all")
    clock.turn(hours=1)
    await stays.uses(REQUEST)
    clock.now = at(4, 1, 2)
    await standings.delete(leaves.customer.account_id, "appliance")
    assert await stays.invoice() == Posted(0, 0)
    await stays.uses(REQUEST)
    clock.now = at(5, 1, 2)
    assert await stays.invoice() == Posted(1, 0)
    invoices = await stays.invoices()
    assert [(one.account_id, one.period, one.gross_cents) for one in invoices] == [
        (leaves.customer.account_id, "2026-03", 200),
        (stays.customer.account_id, "2026-03", 200),
        (stays.customer.account_id, "2026-04", 200),
    ]
    assert (invoices[0].delivered_at, invoices[0].buyer) == (at(3, 30), OSLO)


async def test_a_crash_before_the_tax_was_owed_is_made_good_by_the_next_run(shop: Shop) -> None:
    shop.taxing = ON_TOP
    company = await company_of(shop)
    await company.uses(10 * REQUEST)
    shop.bank.clock.now = at(2, 1, 2)
    await company.invoice()
    async with shop.bank.database.begin() as connection:
        await execute(connection, "SET session_replication_role = replica")
        await execute(connection, "DELETE FROM transfer WHERE kind = 'vat_invoiced'")
        await execute(connection, "UPDATE account SET owed_nanodollars = 10000000000 WHERE owed_nanodollars > 0")
        await execute(connection, "SET session_replication_role = origin")
    for _ in range(2):
        await company.invoice()
    assert await company.owed() == 1250 * NANODOLLARS_PER_CENT
    assert await shop.bank.discrepancies() == []


def test_the_reason_of_a_stop_names_the_invoice() -> None:
    assert why_stopped("AB-12") == "invoice AB-12 is unpaid"
    assert (stopped_for(why_stopped("AB-12")), stopped_for("spam")) == ("AB-12", None)


async def test_what_was_used_on_account_before_stripe_tax_is_invoiced_by_the_table(company: Company) -> None:
    """The operator ends the contract, as the start asks for, and turns Stripe Tax on within the month."""
    bank = company.bank
    await company.uses(3 * REQUEST)
    async with bank.database.begin() as connection:
        await require_nobody(connection, INCLUDED)
        with pytest.raises(Conflict, match="by the table alone"):
            await require_nobody(connection, BY_STRIPE)
    await bank.standings.set_terms(company.customer.account_id, "kari", credit_limit=0, priority=0, reason="over")
    async with bank.database.begin() as connection:
        await require_nobody(connection, BY_STRIPE)
    company.shop.taxing = BY_STRIPE
    bank.clock.turn(days=40)
    assert await company.invoice() == Posted(1, 0)
    (invoice,) = await company.invoices()
    assert (invoice.gross_cents, invoice.vat_cents, invoice.vat_code) == (300, 60, NORWAY.code)
    assert await company.invoice() == Posted(0, 0)
