"""The books as SAF-T Financial 1.30, the format in which Norway's tax administration asks for them.

The schema: Norwegian_SAF-T_Financial_Schema_v_1.30.xsd, https://github.com/Skatteetaten/saf-t. What is exported is
what this system knows: sales, credit, customers' payments, Stripe. The seller's other books are not here.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from billing.books.chart import Account
from billing.books.reading import Books
from billing.books.vouchers import Entry, Tax, Voucher
from billing.documents.buyers import Buyer, Seller
from billing.documents.vat import BASIS_POINTS, VOUCHER

NAMESPACE = "urn:StandardAuditFile-Taxation-Financial:NO"
VERSION = "1.30"
COUNTRY = "NO"
SOFTWARE = "Appliance"
JOURNALS = {
    "sales": ("Receipts, invoices and credit notes", "AR"),
    "credit": ("Credit used, expired and forfeited", "GL"),
    "accruals": ("Use of a year whose documents are of the next", "GL"),
    "payments": ("Payments of invoices, debts and disputes", "AR"),
    "stripe": ("Fees and payouts of Stripe", "GL"),
}
"""Names and types by journal."""
NOT_USED = "NotUsed"
"""What the format's description wants where a name is asked for that there is none of."""
SHORT, MIDDLE, LONGER, LONG = 18, 35, 70, 256
"""How many characters the schema's types of text take."""


def as_saft(books: Books, seller: Seller, version: str, today: date) -> Element:
    """Raises ValueError for a seller elsewhere. ``version`` is this software's."""
    if seller.country != COUNTRY:
        raise ValueError("SAF-T Financial 1.30 is the format of Norway: the seller is in another country")
    root = Element("AuditFile", xmlns=NAMESPACE)
    _header(root, books, seller, version, today)
    files = SubElement(root, "MasterFiles")
    _accounts(files, books)
    _customers(files, books)
    _tax_table(files, books)
    _entries(root, books)
    indent(root, "\t")
    return root


def written(root: Element) -> bytes:
    """The file: UTF-8."""
    content: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _text(parent: Element, name: str, text: object, most: int = LONG) -> None:
    SubElement(parent, name).text = str(text)[:most]


def _money(hundredths: int) -> str:
    return f"{Decimal(hundredths).scaleb(-2):.2f}"


def _balance(parent: Element, when: str, hundredths: int) -> None:
    side = "Credit" if hundredths < 0 else "Debit"
    _text(parent, f"{when}{side}Balance", _money(abs(hundredths)))


def _header(root: Element, books: Books, seller: Seller, version: str, today: date) -> None:
    header = SubElement(root, "Header")
    _text(header, "AuditFileVersion", VERSION)
    _text(header, "AuditFileCountry", COUNTRY)
    _text(header, "AuditFileDateCreated", today)
    _text(header, "SoftwareCompanyName", SOFTWARE, LONGER)
    _text(header, "SoftwareID", SOFTWARE)
    _text(header, "SoftwareVersion", version, SHORT)
    company = SubElement(header, "Company")
    number = "".join(seller.number.split())
    _text(company, "RegistrationNumber", number, MIDDLE)
    _text(company, "Name", seller.name)
    _address(company, seller)
    contact = SubElement(company, "Contact")
    person = SubElement(contact, "ContactPerson")
    _text(person, "FirstName", NOT_USED)
    _text(person, "LastName", seller.name, LONGER)
    if seller.email:
        _text(contact, "Email", seller.email, LONGER)
    if seller.registered:
        tax = SubElement(company, "TaxRegistration")
        _text(tax, "TaxRegistrationNumber", f"{number}MVA", MIDDLE)
        _text(tax, "TaxAuthority", "Skatteetaten")
    _text(header, "DefaultCurrencyCode", books.currency)
    selection = SubElement(header, "SelectionCriteria")
    for when, day in (("PeriodStart", books.year.first), ("PeriodEnd", books.year.last)):
        _text(selection, when, day.month)
        _text(selection, f"{when}Year", day.year)
    _text(header, "TaxAccountingBasis", "A")


def _address(parent: Element, whose: Seller | Buyer) -> None:
    address = SubElement(parent, "Address")
    _text(address, "StreetName", whose.address)
    _text(address, "City", whose.city)
    _text(address, "PostalCode", whose.postal_code, LONGER)
    _text(address, "Country", whose.country)
    _text(address, "AddressType", "StreetAddress")


def _accounts(files: Element, books: Books) -> None:
    accounts = SubElement(files, "GeneralLedgerAccounts")
    for one in Account:
        account = SubElement(accounts, "Account")
        _text(account, "AccountID", one.number)
        _text(account, "AccountDescription", one.title)
        _text(account, "GroupingCategory", one.category)
        _text(account, "GroupingCode", one.code)
        _text(account, "AccountType", "GL")
        _balance(account, "Opening", books.opening.get(one, 0))
        _balance(account, "Closing", books.closing.get(one, 0))


def _customers(files: Element, books: Books) -> None:
    if not books.customers:
        return
    customers = SubElement(files, "Customers")
    for customer_id, buyer in sorted(books.customers.items()):
        customer = SubElement(customers, "Customer")
        if buyer.tax_number:
            _text(customer, "RegistrationNumber", buyer.tax_number, MIDDLE)
        _text(customer, "Name", buyer.name)
        _address(customer, buyer)
        _text(customer, "CustomerID", customer_id)
        balance = SubElement(customer, "BalanceAccount")
        _text(balance, "AccountID", Account.RECEIVABLE.number)
        _balance(balance, "Opening", books.owed_opening.get(customer_id, 0))
        _balance(balance, "Closing", books.owed_closing.get(customer_id, 0))


def _tax_table(files: Element, books: Books) -> None:
    names = _tax_codes(books)
    if not names:
        return
    entry = SubElement(SubElement(files, "TaxTable"), "TaxTableEntry")
    _text(entry, "TaxType", "MVA")
    _text(entry, "Description", "Merverdiavgift")
    for (code, points), name in names.items():
        details = SubElement(entry, "TaxCodeDetails")
        _text(details, "TaxCode", name, LONGER)
        _text(details, "TaxPercentage", _percent(points))
        _text(details, "Country", COUNTRY)
        _text(details, "StandardTaxCode", code)
        _text(details, "BaseRate", 100)


def _tax_codes(books: Books) -> Mapping[tuple[str, int], str]:
    """What each standard code with its rate is called here: after its rate too, where the code had several."""
    taxes = sorted(tax for tax in books.taxes if tax[0] != VOUCHER)
    rates = Counter(code for code, _ in taxes)
    return {(code, points): code if rates[code] == 1 else f"{code}-{_percent(points)}" for code, points in taxes}


def _percent(points: int) -> Decimal:
    return Decimal(points * 100) / BASIS_POINTS


def _entries(root: Element, books: Books) -> None:
    ledger = SubElement(root, "GeneralLedgerEntries")
    amounts = [entry.amount for voucher in books.vouchers for entry in voucher.entries]
    _text(ledger, "NumberOfEntries", len(books.vouchers))
    _text(ledger, "TotalDebit", _money(sum(amount for amount in amounts if amount > 0)))
    _text(ledger, "TotalCredit", _money(-sum(amount for amount in amounts if amount < 0)))
    codes = _tax_codes(books)
    for name, vouchers in _by_journal(books.vouchers).items():
        title, kind = JOURNALS[name]
        journal = SubElement(ledger, "Journal")
        _text(journal, "JournalID", name)
        _text(journal, "Description", title)
        _text(journal, "Type", kind)
        for voucher in vouchers:
            _transaction(journal, voucher, books.currency, codes)


def _by_journal(vouchers: Iterable[Voucher]) -> Mapping[str, list[Voucher]]:
    journals: dict[str, list[Voucher]] = defaultdict(list)
    for voucher in vouchers:
        journals[voucher.journal].append(voucher)
    return journals


def _transaction(journal: Element, voucher: Voucher, currency: str, codes: Mapping[tuple[str, int], str]) -> None:
    transaction = SubElement(journal, "Transaction")
    _text(transaction, "TransactionID", voucher.id, LONGER)
    _text(transaction, "Period", voucher.day.month)
    _text(transaction, "PeriodYear", voucher.day.year)
    _text(transaction, "TransactionDate", voucher.day)
    _text(transaction, "VoucherType", voucher.journal, LONGER)
    _text(transaction, "Description", voucher.text)
    _text(transaction, "SystemEntryDate", voucher.day)
    _text(transaction, "GLPostingDate", voucher.day)
    for number, entry in enumerate(voucher.entries, 1):
        line = SubElement(transaction, "Line")
        _text(line, "RecordID", number)
        _text(line, "AccountID", entry.account.number)
        if voucher.document is not None:
            _text(line, "SourceDocumentID", voucher.document, MIDDLE)
        if entry.customer is not None:
            _text(line, "CustomerID", entry.customer)
        _text(line, "Description", voucher.text)
        _amount(line, _side(entry.amount, "Amount"), entry.amount, entry.usd_cents, entry.rate, currency)
        if entry.tax is not None:
            _tax(line, entry, entry.tax, currency, codes[entry.tax.code, entry.tax.basis_points])


def _tax(line: Element, entry: Entry, tax: Tax, currency: str, code: str) -> None:
    information = SubElement(line, "TaxInformation")
    _text(information, "TaxType", "MVA")
    _text(information, "TaxCode", code, LONGER)
    _text(information, "TaxPercentage", _percent(tax.basis_points))
    _text(information, "Country", COUNTRY)
    _text(information, "TaxBase", _money(abs(tax.base)))
    side = _side(tax.base, "TaxAmount")
    _amount(information, side, tax.amount, tax.usd_cents, entry.rate, currency)


def _side(signed: int, name: str) -> str:
    return f"{'Credit' if signed < 0 else 'Debit'}{name}"


def _amount(
    parent: Element, name: str, amount: int, usd_cents: int | None, rate: Decimal | None, currency: str
) -> None:
    """An amount that was none in dollars has its own currency twice."""
    structure = SubElement(parent, name)
    _text(structure, "Amount", _money(abs(amount)))
    foreign = usd_cents is not None and rate is not None and currency != "USD"
    _text(structure, "CurrencyCode", "USD" if foreign else currency)
    _text(structure, "CurrencyAmount", _money(abs(usd_cents if foreign and usd_cents is not None else amount)))
    if foreign and rate is not None:
        _text(structure, "ExchangeRate", f"{rate:f}")
