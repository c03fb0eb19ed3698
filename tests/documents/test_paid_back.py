"""An invoice that was paid by bank is wrong: it is credited, and the operator pays back by bank."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from billing.books.chart import Account
from billing.books.exported import note_export
from billing.books.reading import Books, read_books
from billing.documents.document import Kind
from billing.documents.exchange import Rate, enter_rate
from billing.documents.posting import Posted
from billing.documents.settled import InvoiceState, invoices_of
from billing.documents.statement import month_or_year, read_statement
from billing.documents.vat import Taxing
from billing.errors import Conflict, NotFound
from billing.payments.bank_refunds import BankRefunds
from billing.payments.invoices import BankTransfers
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.proof.takings import compare_takings
from tests.documents.conftest import Shop
from tests.documents.test_invoicing import REQUEST, Company, at, company_of, owed_to_the_state
from tests.taxing import INCLUDED, ON_TOP

BACK_ON = date(2026, 2, 20)
MONTHS = (date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 10), BACK_ON)


async def pays_back(company: Company, name: str, cents: int | None = None, on: date = BACK_ON) -> int:
    """As ``appliance invoice paid-back``, and the worker after it, twice."""
    bank = company.bank
    back = await BankRefunds(bank.database, bank.credit, bank.clock).note(name, on, cents, "kari", "a wrong price")
    for _ in range(2):
        await company.shop.post()
    return back


async def state_of(company: Company) -> InvoiceState:
    """Of the only invoice."""
    async with company.bank.database.begin() as connection:
        (state,) = (await invoices_of(connection, company.customer.account_id)).values()
    return state


async def books_of(company: Company) -> Books:
    """In kroner, at a rate that changed between the payment and the day on which it went back."""
    async with company.bank.database.begin() as connection:
        for day, rate in zip(MONTHS, ("10.85", "10.85", "11", "12"), strict=True):
            await enter_rate(connection, "NOK", Rate(day, Decimal(rate)), "a test", company.bank.clock())
    async with company.bank.database.snapshot() as connection:
        return await read_books(connection, 2026, "NOK")


@pytest.mark.parametrize("taxing", [INCLUDED, ON_TOP], ids=["included", "on top"])
async def test_what_was_paid_in_parts_goes_back_in_parts_and_nothing_of_it_is_left_anywhere(
    shop: Shop, taxing: Taxing
) -> None:
    shop.taxing = taxing
    company, clock = await company_of(shop), shop.bank.clock
    await company.uses(7_770_000_000)
    clock.now = at(2, 1, 2)
    await company.invoice()
    (invoice,) = await company.invoices()
    clock.now = at(2, 10)
    first = await company.pays(invoice.name, 333)
    await company.pays(invoice.name)
    clock.now = at(2, 20)
    whole = invoice.gross_cents
    assert await pays_back(company, invoice.name, first + 100) == first + 100, "of both payments"
    assert await state_of(company) == InvoiceState(whole, 233, first + 100, 0, 0, date(2026, 2, 15))
    with pytest.raises(Conflict, match=r"\$2.33 of invoice 1 came by bank and is not paid back"):
        await pays_back(company, invoice.name, 234)
    assert await pays_back(company, invoice.name) == 233
    assert await state_of(company) == InvoiceState(whole, 0, whole, 0, 0, date(2026, 2, 15))
    assert (await company.left(), await company.owed()) == ({}, 0)
    notes = [one for one in await shop.documents() if one.kind is Kind.CREDIT_NOTE]
    assert [one.corrects_id for one in notes] == [invoice.id] * len(notes)
    assert len(notes) == 3, "two of the first time"
    assert sum(one.gross_cents for one in notes) == whole
    assert sum(one.vat_cents for one in notes) == invoice.vat_cents
    books = await books_of(company)
    money = (Account.BANK, Account.RECEIVABLE, Account.VAT, Account.SALES, Account.LOSSES, Account.STRIPE)
    assert {one: books.closing[one] for one in money if abs(books.closing[one]) > 3} == {}, "each part is rounded"
    if taxing is ON_TOP:
        assert await owed_to_the_state(company) == 0
    async with shop.bank.database.snapshot() as connection:
        statement = await read_statement(connection, month_or_year("2026-02"))
    assert statement.adds_up
    assert statement.owed.paid == statement.owed.paid_back == whole * NANODOLLARS_PER_CENT
    clock.turn(hours=1)
    found = await compare_takings(shop.bank.database, BACK_ON, None, clock)
    assert found.differences == ()
    (group,) = found.groups
    assert (group.kind, group.here_cents, group.document_cents) == ("refund", -whole, -whole)
    assert group.ledger_nanodollars == -whole * NANODOLLARS_PER_CENT
    assert await shop.bank.discrepancies() == []
    clock.now = at(6, 1)
    assert await company.invoice() == Posted(0, 0), "nothing is asked for again"


async def test_what_is_unpaid_is_credited_and_what_is_paid_is_paid_back_with_the_same_tax_in_all(
    shop: Shop,
) -> None:
    company, clock = await company_of(shop), shop.bank.clock
    await company.uses(7_770_000_000)
    clock.now = at(2, 1, 2)
    await company.invoice()
    (invoice,) = await company.invoices()
    await company.pays(invoice.name, 333)
    clock.now = at(2, 20)
    await pays_back(company, invoice.name)
    await company.credits(invoice.name)
    notes = [one for one in await shop.documents() if one.kind is Kind.CREDIT_NOTE]
    assert sum(one.vat_cents for one in notes) == invoice.vat_cents
    assert await state_of(company) == InvoiceState(777, 0, 777, 0, 0, date(2026, 2, 15))
    assert await shop.bank.discrepancies() == []


async def test_nothing_goes_back_of_what_did_not_come_by_bank_or_without_a_reason(shop: Shop) -> None:
    company, bank = await company_of(shop), shop.bank
    await company.uses(10 * REQUEST)
    bank.clock.now = at(2, 1, 2)
    await company.invoice()
    with pytest.raises(Conflict, match=r"\$0.00 of invoice 1 came by bank"):
        await pays_back(company, "1", on=date(2026, 2, 1))
    await company.pays("1")
    refunds = BankRefunds(bank.database, bank.credit, bank.clock)
    for cents, on, reason in ((0, 1, "why"), (1, 2, "why"), (1, 1, " ")):
        with pytest.raises(ValueError, match=r"above zero|not over yet|a reason"):
            await refunds.note("1", date(2026, 2, on), cents, "kari", reason)
    with pytest.raises(ValueError, match="it came on 2026-02-01"):
        await refunds.note("1", date(2026, 1, 31), 1, "kari", "why")
    with pytest.raises(NotFound):
        await refunds.note("7", date(2026, 2, 1), 1, "kari", "why")
    with pytest.raises(Conflict, match="appliance invoice paid-back"):
        await company.credits("1")
    assert await company.owed() == 0


@pytest.mark.parametrize("exported", [True, False])
async def test_what_is_noted_after_its_year_was_exported_is_of_the_day_on_which_it_is_noted(
    shop: Shop, exported: bool
) -> None:
    company, bank = await company_of(shop), shop.bank
    await company.uses(10 * REQUEST)
    bank.clock.now = datetime(2026, 12, 1, 12, tzinfo=UTC)
    await company.invoice()
    (invoice,) = await company.invoices()
    bank.clock.now = datetime(2027, 1, 3, 12, tzinfo=UTC)
    if exported:
        async with bank.database.begin() as connection:
            await note_export(connection, 2026, bank.clock())
    sent = await dollars(company, 2026)
    bank.clock.turn(hours=1)
    transfers = BankTransfers(bank.database, bank.credit, bank.clock)
    await transfers.note(invoice.name, date(2026, 12, 30), None, "kari")
    await pays_back(company, invoice.name, 400, date(2026, 12, 31))
    old, new = await dollars(company, 2026), await dollars(company, 2027)
    assert (old == sent) is exported
    assert old.closing[Account.BANK] == (0 if exported else 600)
    assert new.opening.get(Account.BANK, 0) == old.closing[Account.BANK]
    assert (new.closing[Account.BANK], new.closing[Account.RECEIVABLE]) == (600, 0)
    said = {
        "payment of invoice 1, by bank on 2026-12-30",
        "payment of invoice 1, taken back, by bank on 2026-12-31",
    }
    late = {one.text for one in new.vouchers if one.journal == "payments" and one.day == date(2027, 1, 3)}
    assert late == (said if exported else set())


async def dollars(company: Company, year: int) -> Books:
    async with company.bank.database.snapshot() as connection:
        return await read_books(connection, year)
