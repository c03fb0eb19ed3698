"""The books balance, are what the documents say, and are what Norway's tax administration reads."""

import os
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import insert

from billing.books import table
from billing.books.chart import Account
from billing.books.exported import note_export
from billing.books.reading import Books, read_books
from billing.books.saft import NAMESPACE, as_saft, written
from billing.books.vouchers import LotSold, of_lots
from billing.database import sales
from billing.database.db import execute
from billing.documents.document import Draft, Kind, Line
from billing.documents.exchange import Rate, enter_rate
from billing.documents.posting import post
from billing.documents.used import UsedPosting
from billing.documents.vat import Taxing
from billing.errors import Conflict, NotFound
from billing.ids import new_id
from billing.proof.archive import archive_year
from billing.proof.seals import seal_days
from tests.billing.conftest import Customer
from tests.documents import story
from tests.documents.conftest import ATHENS, OSLO, SELLER, FixedExchange, Shop
from tests.documents.test_used import AT_USE, uses
from tests.taxing import ABROAD, NORWAY

SCHEMA = "SAFT_SCHEMA"
"""Names the official schema's file: it comes without a licence, so that it is not among ours."""
TODAY = date(2027, 1, 31)


async def books_of(shop: Shop, year: int = 2026, currency: str = "NOK") -> Books:
    async with shop.bank.database.snapshot() as connection:
        return await read_books(connection, year, currency)


def in_kroner(amount: str) -> int:
    return int(Decimal(amount) * 100)


async def test_the_books_of_a_story(shop: Shop) -> None:
    await story.tell(shop)
    books = await books_of(shop)
    assert all(sum(entry.amount for entry in voucher.entries) == 0 for voucher in books.vouchers)
    assert sum(books.closing.values()) == 0
    closing = {account: amount for account, amount in books.closing.items() if amount}
    at = Decimal("10.85")
    assert closing[Account.BANK] == in_kroner(str(80 * at))
    assert closing[Account.FEES] == in_kroner(f"{Decimal('2.75') * at:.2f}")
    # 85 and 15 came; 80 were paid out, 2.75 kept, 15 paid back, 10 taken by the bank
    assert closing[Account.STRIPE] == in_kroner(str(100 * at)) - in_kroner(f"{Decimal('107.75') * at:.2f}")
    assert closing[Account.VAT] == -in_kroner(str(9 * at))
    assert closing[Account.RECEIVABLE] == in_kroner(str(3 * at))
    used_at_home = (733 + 400) * Decimal("0.8") / 100
    assert abs(closing[Account.SALES] + in_kroner(str(used_at_home * at))) <= 2
    assert closing[Account.SALES_ZERO] == -in_kroner(f"{Decimal('19.99') * at:.2f}")


async def test_when_all_credit_is_gone_the_books_owe_nothing(shop: Shop) -> None:
    await story.tell(shop)
    await story.ends(shop)
    year = await books_of(shop, 2027)
    assert year.opening[Account.PREPAID] < 0
    assert year.closing[Account.PREPAID] == 0
    assert abs(year.closing.get(Account.ROUNDING, 0)) <= 4
    assert year.closing[Account.BREAKAGE] < 0
    assert sum(year.opening.values()) == sum(year.closing.values()) == 0


async def test_a_year_begins_where_the_last_one_ended(shop: Shop) -> None:
    await story.tell(shop)
    await story.ends(shop)
    before, after = await books_of(shop, 2026), await books_of(shop, 2027)
    for account in Account:
        if account.is_balance and account is not Account.EQUITY:
            assert after.opening.get(account, 0) == before.closing[account]
    result = sum(amount for account, amount in before.closing.items() if not account.is_balance)
    assert after.opening[Account.EQUITY] == result


async def test_the_books_go_on_when_the_years_before_are_archived(shop: Shop, tmp_path: Path) -> None:
    await story.tell(shop)
    await story.ends(shop)
    before, shop.bank.clock.now = await books_of(shop, 2027), datetime(2032, 1, 2, tzinfo=UTC)
    async with shop.bank.database.begin(timeout_seconds=None) as connection:
        await seal_days(connection, shop.bank.clock)
        await archive_year(connection, 2026, tmp_path, shop.bank.clock)
    assert await books_of(shop, 2027) == before
    assert before.opening[Account.RECEIVABLE]
    assert before.opening[Account.PREPAID]
    with pytest.raises(NotFound, match="archived"):
        await books_of(shop, 2026)


async def test_an_invoice_is_owed_until_it_is_paid_and_the_rate_has_moved(shop: Shop) -> None:
    customer = await shop.bank.customer(0)
    assert shop.exchange is not None
    exchange = await shop.exchange.on(date(2026, 1, 31))
    invoice = Draft(
        series="", kind=Kind.INVOICE, account_id=customer.account_id, seller=SELLER, buyer=OSLO,
        lines=[Line("tokens", 10_000)], delivered_at=shop.bank.clock(), language="en", net_cents=10_000,
        vat_cents=2500, gross_cents=12_500, vat_code="3", vat_basis_points=2500, period="2026-01",
        exchange=exchange,
    )  # fmt: skip
    async with shop.bank.database.begin() as connection:
        id_ = await post(connection, invoice, shop.bank.clock())
    owed = await books_of(shop)
    assert owed.owed_closing == {customer.account_id: 135_625}
    assert (owed.closing[Account.SALES], owed.closing[Account.VAT]) == (-108_500, -27_125)
    shop.bank.clock.turn(days=20)
    now = shop.bank.clock()
    paid = {
        "id": new_id(now), "account_id": customer.account_id, "kind": "invoice", "way": "bank",
        "state": "credited",
        "value_nanodollars": 0, "net_cents": 10_000, "vat_cents": 2500, "gross_cents": 12_500, "vat_code": "3",
        "vat_basis_points": 2500, "buyer": {}, "created_at": now, "paid_at": now, "document_id": id_,
    }  # fmt: skip
    async with shop.bank.database.begin() as connection:
        await connection.execute(insert(sales.payment).values(paid))
        await execute(
            connection,
            "INSERT INTO exchange_rate VALUES ('NOK', $1, 10.95, 'Norges Bank', $2)",
            date(2026, 2, 20),
            now,
        )
    settled = await books_of(shop)
    assert settled.owed_closing == {customer.account_id: 0}
    assert settled.closing[Account.BANK] == 136_875
    assert settled.closing[Account.EXCHANGE_GAIN] == -1250


async def test_without_a_rate_there_are_no_books(shop: Shop) -> None:
    await story.moves_at_stripe(shop, "payout", -100)
    with pytest.raises(Conflict, match="exchange rate"):
        await books_of(shop)
    day = shop.bank.clock().date()
    async with shop.bank.database.begin() as connection:
        await enter_rate(connection, "NOK", Rate(day - timedelta(days=8), Decimal(10)), "x", shop.bank.clock())
    with pytest.raises(Conflict, match=f"no exchange rate for {day}"):
        await books_of(shop)
    async with shop.bank.database.begin() as connection:
        await enter_rate(connection, "NOK", Rate(day - timedelta(days=7), Decimal(11)), "x", shop.bank.clock())
    assert (await books_of(shop)).closing[Account.BANK] == 1100
    assert (await books_of(shop, currency="USD")).closing[Account.BANK] == 100


async def test_a_rate_that_comes_late_does_not_change_a_year_that_was_exported(shop: Shop) -> None:
    clock = shop.bank.clock
    clock.now = datetime(2026, 12, 30, 12, tzinfo=UTC)
    await story.moves_at_stripe(shop, "payout", -100)

    async def rate(day: int, value: int) -> None:
        async with shop.bank.database.begin() as connection:
            entered = Rate(date(2026, 12, day), Decimal(value))
            await enter_rate(connection, "NOK", entered, "Norges Bank", clock())

    await rate(24, 10)
    clock.now = datetime(2027, 1, 2, 12, tzinfo=UTC)
    await rate(28, 11)
    assert (await books_of(shop)).closing[Account.BANK] == 1100, "until it is exported, the day's own rate counts"
    await exports(shop)
    sent = await books_of(shop)
    clock.turn(days=1)
    await rate(29, 12)
    await rate(30, 13)
    assert await books_of(shop) == sent
    assert (await books_of(shop, 2027)).opening[Account.BANK] == 1100
    clock.turn(days=1)
    await exports(shop)
    assert await books_of(shop) == sent, "the first export counts"


async def test_what_needs_a_rate_after_the_export_takes_the_one_that_was_known_first(shop: Shop) -> None:
    """Stripe may tell late of a movement of a day that had no rate."""
    clock = shop.bank.clock
    clock.now = datetime(2027, 1, 3, tzinfo=UTC)
    await exports(shop)
    for day, value in ((18, 10), (20, 11)):
        clock.turn(hours=1)
        async with shop.bank.database.begin() as connection:
            rate = Rate(date(2026, 12, day), Decimal(value))
            await enter_rate(connection, "NOK", rate, "Norges Bank", clock())
    clock.now = datetime(2026, 12, 20, 12, tzinfo=UTC)
    await story.moves_at_stripe(shop, "payout", -100)
    assert (await books_of(shop)).closing[Account.BANK] == 1000


async def exports(shop: Shop, year: int = 2026) -> None:
    async with shop.bank.database.begin() as connection:
        await note_export(connection, year, shop.bank.clock())


async def test_what_was_used_in_december_is_of_the_year_though_its_documents_are_of_january(shop: Shop) -> None:
    customer = await uses_in_december(shop)
    clock = shop.bank.clock
    clock.now = datetime(2027, 1, 1, 2, tzinfo=UTC)
    await UsedPosting(shop.bank.database, shop.office, clock).run_once()
    await post_invoice(shop, customer)
    old, new = await books_of(shop), await books_of(shop, 2027)
    used, vat = 7_000, 1_400  # øre: 70 cents of credit, 14 of them tax
    invoiced = 80_000
    assert old.closing[Account.SALES] == -(used - vat) - invoiced
    assert (old.closing[Account.VAT_ACCRUED], old.closing[Account.VAT]) == (-vat, 0)
    assert old.closing[Account.ACCRUED] == invoiced
    assert (new.closing[Account.SALES], new.closing[Account.ACCRUED], new.closing[Account.VAT_ACCRUED]) == (
        0,
        0,
        0,
    )
    assert new.closing[Account.VAT] == -vat - 20_000, "the tax is of the document's day"
    assert new.owed_closing == {customer.account_id: 100_000}
    for books in (old, new):
        assert sum(books.closing.values()) == 0
        assert all(sum(entry.amount for entry in voucher.entries) == 0 for voucher in books.vouchers)
    for account in Account:
        if account.is_balance and account is not Account.EQUITY:
            assert new.opening.get(account, 0) == old.closing[account]
    for year in (2026, 2027):
        root = await saft_of(shop, year)
        assert misplaced(root) == []
        assert "accruals" in texts(root, "GeneralLedgerEntries/Journal/JournalID")


async def test_a_document_of_december_that_comes_after_the_export_is_of_the_next_year(shop: Shop) -> None:
    customer = await uses_in_december(shop)
    clock = shop.bank.clock
    clock.now = datetime(2027, 1, 2, tzinfo=UTC)
    await exports(shop)
    sent = await books_of(shop)
    clock.turn(days=30)
    await post_invoice(shop, customer)
    assert await books_of(shop) == sent
    assert (await books_of(shop, 2027)).closing[Account.SALES] == -80_000


async def uses_in_december(shop: Shop) -> Customer:
    """70 cents of credit that is taxed at use, on the last day, at 100 øre a cent."""
    shop.taxing, shop.exchange = AT_USE, FixedExchange(Decimal(100))
    shop.bank.clock.now = datetime(2026, 12, 31, 20, tzinfo=UTC)
    await shop.bank.set_rate((7_000_000_000, 7_000_000_000, 0))
    shop.bank.clock.turn(minutes=1)
    customer = await shop.bank.customer(0)
    await shop.sells(customer, 2500)
    await shop.post()
    await uses(customer, 100)
    return customer


async def post_invoice(shop: Shop, customer: Customer) -> None:
    """For December: 8 dollars, and 2 of tax."""
    assert shop.exchange is not None
    invoice = Draft(
        series="", kind=Kind.INVOICE, account_id=customer.account_id, seller=SELLER, buyer=OSLO,
        lines=[Line("tokens", 800)], delivered_at=datetime(2026, 12, 31, 23, 59, tzinfo=UTC), language="en",
        net_cents=800, vat_cents=200, gross_cents=1000, vat_code="3", vat_basis_points=2500, period="2026-12",
        exchange=await shop.exchange.on(date(2026, 12, 31)),
    )  # fmt: skip
    async with shop.bank.database.begin() as connection:
        await post(connection, invoice, shop.bank.clock())


async def test_what_was_a_trial_is_of_no_books(shop: Shop) -> None:
    shop.series = "SANDBOX"
    await shop.sells(await shop.bank.customer(0), 2500)
    await shop.post()
    await story.moves_at_stripe(shop, "charge", 2500, 100)
    await story.moves_at_stripe(shop, "payout", -2400)
    books = await books_of(shop)
    assert (books.vouchers, books.customers) == ([], {})


@given(
    net=st.integers(min_value=0, max_value=10**9),
    parts=st.lists(st.integers(min_value=1, max_value=10**12), min_size=1, max_size=12),
)
def test_a_lot_that_is_used_up_leaves_no_ore_in_the_books(net: int, parts: list[int]) -> None:
    lot = LotSold(1, sum(parts), net, "3", 2500, gone_by_documents=0)
    for number, part in enumerate(parts):
        kind = ("usage", "expiry", "forfeiture")[number % 3]
        lot.gone[kind, date(2026, number + 1, 28)] = part
    made = list(of_lots([lot]))
    assert sum(e.amount for one in made for e in one.entries if e.account is Account.PREPAID) == net
    rounding = sum(e.amount for one in made for e in one.entries if e.account is Account.ROUNDING)
    assert abs(rounding) <= 2


async def saft_of(shop: Shop, year: int = 2026) -> Element:
    return as_saft(await books_of(shop, year), SELLER, "0.1.0", TODAY)


def texts(root: Element, path: str) -> list[str]:
    return [found.text or "" for found in root.findall(path)]


async def test_saft_balances_and_says_who_bought_and_which_tax(shop: Shop) -> None:
    await story.tell(shop)
    root = await saft_of(shop)
    ledger = root.find("GeneralLedgerEntries")
    assert ledger is not None
    assert ledger.findtext("TotalDebit") == ledger.findtext("TotalCredit")
    transactions = ledger.findall("Journal/Transaction")
    assert int(ledger.findtext("NumberOfEntries") or 0) == len(transactions)
    for transaction in transactions:
        debit, credit = (
            sum(Decimal(text) for text in texts(transaction, f"Line/{side}Amount/Amount"))
            for side in ("Debit", "Credit")
        )
        assert debit == credit > 0
    ids = texts(ledger, "Journal/Transaction/TransactionID")
    assert len(ids) == len(set(ids))
    accounts = set(texts(root, "MasterFiles/GeneralLedgerAccounts/Account/AccountID"))
    assert set(texts(ledger, "Journal/Transaction/Line/AccountID")) <= accounts
    customers = texts(root, "MasterFiles/Customers/Customer/CustomerID")
    assert set(texts(ledger, "Journal/Transaction/Line/CustomerID")) <= set(customers)
    codes = texts(root, "MasterFiles/TaxTable/TaxTableEntry/TaxCodeDetails/StandardTaxCode")
    assert codes == ["3", "52"]
    assert set(texts(ledger, "Journal/Transaction/Line/TaxInformation/TaxCode")) == set(codes)
    documents = [document.name for document in await shop.documents()]
    booked = Counter(texts(ledger, "Journal/Transaction/Line/SourceDocumentID"))
    assert set(documents) == set(booked)


async def test_a_code_whose_rate_has_changed_is_there_with_both(shop: Shop) -> None:
    customer = await shop.bank.customer(0)
    await shop.sells(customer, 2500)
    await shop.post()
    shop.taxing = Taxing([replace(NORWAY, basis_points=1550), ABROAD])
    await shop.sells(customer, 2500)
    await shop.sells(customer, 2500, ATHENS)
    await shop.post()
    root = await saft_of(shop)
    table_of_tax = root.findall("MasterFiles/TaxTable/TaxTableEntry/TaxCodeDetails")
    said = [
        tuple(one.findtext(name) for name in ("TaxCode", "StandardTaxCode", "TaxPercentage"))
        for one in table_of_tax
    ]
    assert said == [("3-15.5", "3", "15.5"), ("3-25", "3", "25"), ("52", "52", "0")]
    lines = root.findall("GeneralLedgerEntries/Journal/Transaction/Line/TaxInformation")
    used = {(line.findtext("TaxCode"), line.findtext("TaxPercentage")) for line in lines}
    assert used == {("3-25", "25"), ("3-15.5", "15.5"), ("52", "0")}


# The elements of each structure that this system writes, in the order that the schema demands. Made by hand of
# Norwegian_SAF-T_Financial_Schema_v_1.30.xsd; a "?" may be absent, a "*" may be any number, "a|b" is one of them.
STRUCTURE = {
    "AuditFile": "Header MasterFiles GeneralLedgerEntries",
    "Header": "AuditFileVersion AuditFileCountry AuditFileDateCreated SoftwareCompanyName SoftwareID"
    " SoftwareVersion Company DefaultCurrencyCode SelectionCriteria TaxAccountingBasis",
    "Company": "RegistrationNumber Name Address Contact TaxRegistration?",
    "Address": "StreetName City PostalCode Country AddressType",
    "Contact": "ContactPerson Email?",
    "ContactPerson": "FirstName LastName",
    "TaxRegistration": "TaxRegistrationNumber TaxAuthority",
    "SelectionCriteria": "PeriodStart PeriodStartYear PeriodEnd PeriodEndYear",
    "MasterFiles": "GeneralLedgerAccounts Customers? TaxTable?",
    "GeneralLedgerAccounts": "Account*",
    "Account": "AccountID AccountDescription GroupingCategory GroupingCode AccountType"
    " OpeningDebitBalance|OpeningCreditBalance ClosingDebitBalance|ClosingCreditBalance",
    "Customers": "Customer*",
    "Customer": "RegistrationNumber? Name Address CustomerID BalanceAccount",
    "BalanceAccount": "AccountID OpeningDebitBalance|OpeningCreditBalance"
    " ClosingDebitBalance|ClosingCreditBalance",
    "TaxTable": "TaxTableEntry",
    "TaxTableEntry": "TaxType Description TaxCodeDetails*",
    "TaxCodeDetails": "TaxCode TaxPercentage Country StandardTaxCode BaseRate",
    "GeneralLedgerEntries": "NumberOfEntries TotalDebit TotalCredit Journal*",
    "Journal": "JournalID Description Type Transaction*",
    "Transaction": "TransactionID Period PeriodYear TransactionDate VoucherType Description SystemEntryDate"
    " GLPostingDate Line*",
    "Line": "RecordID AccountID SourceDocumentID? CustomerID? Description DebitAmount|CreditAmount"
    " TaxInformation?",
    "DebitAmount": "Amount CurrencyCode CurrencyAmount ExchangeRate?",
    "TaxInformation": "TaxType TaxCode TaxPercentage Country TaxBase DebitTaxAmount|CreditTaxAmount",
}
STRUCTURE |= dict.fromkeys(("CreditAmount", "DebitTaxAmount", "CreditTaxAmount"), STRUCTURE["DebitAmount"])


def misplaced(element: Element) -> list[str]:
    """What is not where the structure has it."""
    wanted = STRUCTURE.get(element.tag)
    if wanted is None:
        return [element.tag] if len(element) or not element.text else []
    children = [child.tag for child in element]
    for item in wanted.split():
        names = item.rstrip("?*").split("|")
        count = 0
        while children and children[0] in names and (item.endswith("*") or count == 0):
            children.pop(0)
            count += 1
        if count == 0 and not item.endswith(("?", "*")):
            return [f"{element.tag} without {item}"]
    below = [one for child in element for one in misplaced(child)]
    return [f"{element.tag} with {name}" for name in children] + below


async def test_saft_has_the_structure_that_was_checked_by_hand(shop: Shop) -> None:
    await story.tell(shop)
    await story.ends(shop)
    for year in (2026, 2027):
        assert misplaced(await saft_of(shop, year)) == []


@pytest.mark.schema
async def test_saft_is_valid_by_the_official_schema(shop: Shop, tmp_path: Path) -> None:
    await story.tell(shop)
    await story.ends(shop)
    schema = xmlschema.XMLSchema(os.environ[SCHEMA])
    for year in (2025, 2026, 2027):
        file = tmp_path / f"{year}.xml"
        file.write_bytes(written(await saft_of(shop, year)))
        assert NAMESPACE in file.read_text()
        schema.validate(str(file))


async def test_saft_is_norways(shop: Shop) -> None:
    with pytest.raises(ValueError, match="Norway"):
        as_saft(await books_of(shop), replace(SELLER, country="SE"), "0.1.0", TODAY)


async def test_the_table_has_each_entry(shop: Shop) -> None:
    await story.tell(shop)
    books = await books_of(shop)
    rows = list(table.rows(books))
    assert len(rows) == sum(len(voucher.entries) for voucher in books.vouchers)
    debit, credit = (sum(Decimal(str(row[side]) or "0") for row in rows) for side in ("debit", "credit"))
    assert debit == credit > 0
    assert set(rows[0]) == set(table.COLUMNS)


async def test_tax_at_use_is_taken_out_of_the_sales_of_its_month(shop: Shop) -> None:
    shop.taxing = AT_USE
    shop.exchange = FixedExchange(Decimal(10))
    shop.bank.clock.turn(minutes=1)
    await shop.bank.set_rate((7_000_000_000, 7_000_000_000, 0))
    customer = await shop.bank.customer(0)
    await shop.sells(customer, 2500)
    await shop.post()
    await uses(customer, 100)
    shop.bank.clock.now = datetime(2026, 2, 1, 2, tzinfo=UTC)
    await UsedPosting(shop.bank.database, shop.office, shop.bank.clock).run_once()
    closing = (await books_of(shop)).closing
    assert closing[Account.PREPAID] == -25_000 + 700
    assert (closing[Account.VAT], closing[Account.SALES]) == (-140, -560)
