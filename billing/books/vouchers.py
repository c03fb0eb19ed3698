"""From what is on record to balanced vouchers. Pure. docs/decisions/0034-documents-and-books.md has the rules.

Amounts are hundredths of the books' currency: debit above zero, credit below. A document is booked at its own
rate, credit at the rate of the document that sold it; what is left by rounding, when all of a lot is gone, has an
account of its own.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

from billing.books.chart import Account, sales_account
from billing.documents.document import Document, Kind
from billing.documents.vat import VOUCHER, rounded
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.statements.period import Period

ONE = Decimal(1)
PLANS = ("plan", "upgrade")


@dataclass(frozen=True, slots=True)
class Tax:
    """On an entry that is its base. ``amount`` has the sign of the tax's own entry; ``usd_cents`` too."""

    code: str
    basis_points: int
    base: int
    amount: int
    usd_cents: int


@dataclass(frozen=True, slots=True)
class Entry:
    """``usd_cents`` is the same amount in US dollars, where it was one; ``rate`` what one of them was worth."""

    account: Account
    amount: int
    customer: int | None = None
    usd_cents: int | None = None
    rate: Decimal | None = None
    tax: Tax | None = None


@dataclass(frozen=True, slots=True)
class Voucher:
    """``journal`` is where it is found: one of ``saft.JOURNALS``. ``document`` is a document's number."""

    id: str
    day: date
    journal: str
    text: str
    entries: Sequence[Entry]
    document: str | None = None


@dataclass(frozen=True, slots=True)
class PostedDocument:
    """A document, with what its payment, or that of the one which it takes back, was for.

    ``elsewhere``: the money came or went by a bank, not by Stripe. ``refunds``: it took money back, which has no
    voucher of its own.
    """

    document: Document
    sold: str
    elsewhere: bool
    refunds: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """An invoice that was paid, at the invoice's own rate and at that of the day on which it was.

    ``cents`` are below zero where such a payment went back: it leaves as it came.
    ``was_on``: the bank's day, where another one is booked.
    """

    id: str
    day: date
    customer: int
    cents: int
    invoice: str
    invoice_rate: Decimal
    rate: Decimal
    elsewhere: bool
    was_on: date | None = None


@dataclass(frozen=True, slots=True)
class PaidOtherwise:
    """A refund that went by Stripe, came back, and was paid by bank: ``cents`` at the rate at which they went."""

    id: str
    day: date
    customer: int
    cents: int
    rate: Decimal


@dataclass(slots=True)
class LotSold:
    """Credit that a document sold: ``amount`` nano-dollars for ``net`` in the books.

    ``gone`` is what left it in nano-dollars by kind (usage, expiry, forfeiture) and month (its last day). What
    credit notes and lost disputes took has vouchers of its own: ``taken`` is that in the books, by month.
    """

    customer: int
    amount: int
    net: int
    code: str
    basis_points: int
    gone_by_documents: int
    gone: dict[tuple[str, date], int] = field(default_factory=dict)
    taken: list[tuple[date, int]] = field(default_factory=list)

    def take(self, day: date, in_books: int, nanodollars: int) -> None:
        self.taken.append((Period.month(day).last, in_books))
        self.gone_by_documents += nanodollars

    @property
    def all_gone(self) -> bool:
        """Also what is set aside for a dispute is not gone."""
        return sum(self.gone.values()) + self.gone_by_documents == self.amount


@dataclass(frozen=True, slots=True)
class Lost:
    """A dispute: ``cents`` went back. ``unused`` and ``owed`` (by the customer, since then) are nano-dollars."""

    id: str
    day: date
    customer: int
    cents: int
    rate: Decimal
    unused: int
    owed: int
    lot: int | None


@dataclass(frozen=True, slots=True)
class Receivable:
    """A payment of what was owed, or what was given up of it (``write_off``)."""

    id: str
    day: date
    customer: int
    nanodollars: int
    rate: Decimal
    kind: str


@dataclass(frozen=True, slots=True)
class AtStripe:
    """``cents`` out of the balance to the bank, ``fee`` kept by Stripe: of a day, or of one payout.

    In US cents, of which one dollar was worth ``rate``; in the books' own currency, where there is no rate.
    """

    id: str
    day: date
    cents: int
    fee: int
    rate: Decimal | None


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What Stripe made of ``usd_cents``, booked at ``rate``: ``cents`` of the books' currency."""

    usd_cents: int
    rate: Decimal
    cents: int


def hundredths(cents: int, rate: Decimal) -> int:
    """Half to even."""
    return int((cents * rate).quantize(ONE, ROUND_HALF_EVEN))


def rate_of(document: Document) -> Decimal:
    return ONE if document.exchange is None else document.exchange.rate


def balanced(entries: Iterable[Entry], rest: Account | None = None) -> Sequence[Entry]:
    """Without those of nothing; what is missing goes to ``rest``. Raises AssertionError if it does not balance."""
    kept = [entry for entry in entries if entry.amount]
    missing = -sum(entry.amount for entry in kept)
    if missing and rest is not None:
        kept.append(Entry(rest, missing))
        missing = 0
    assert missing == 0, "a voucher must balance"
    return kept


def of_document(posted: PostedDocument) -> Voucher:
    document, rate = posted.document, rate_of(posted.document)
    gross, vat = hundredths(document.gross_cents, rate), hundredths(document.vat_cents, rate)
    sign = -1 if document.kind is Kind.CREDIT_NOTE else 1
    net, customer = gross - vat, document.account_id
    tax = None
    if document.vat_code != VOUCHER:
        tax = Tax(
            document.vat_code, document.vat_basis_points, sign * -net, sign * -vat, sign * -document.vat_cents
        )
    base = Entry(_sold_to(posted), sign * -net, customer, sign * -document.net_cents, rate, tax)
    on_top = Entry(Account.VAT, sign * -vat, None, sign * -document.vat_cents, rate)
    money = Entry(_money_of(posted), sign * gross, customer, sign * document.gross_cents, rate)
    text = f"{document.kind.value.replace('_', ' ')} {document.name}"
    entries = balanced([money, base, on_top])
    return Voucher(f"D-{document.name}", document.issued_at.date(), "sales", text, entries, document.name)


def _sold_to(posted: PostedDocument) -> Account:
    document = posted.document
    if posted.sold not in (*PLANS, "invoice", "usage"):
        return Account.PREPAID
    return sales_account(document.vat_code, document.vat_basis_points)


def _money_of(posted: PostedDocument) -> Account:
    match posted.document.kind:
        case Kind.INVOICE:
            return Account.RECEIVABLE
        case Kind.USAGE:  # the credit itself is booked as used by its lots; here its tax is taken out
            return Account.SALES
        case Kind.CREDIT_NOTE if not posted.refunds:
            return Account.RECEIVABLE
    return Account.BANK if posted.elsewhere else Account.STRIPE


def of_use_before(document: Document) -> Sequence[Voucher]:
    """What was used in a year and is documented in the next: into the one, and out again with the document.

    Of an invoice what is owed without its tax; of credit that is taxed at use the tax, which is in its sales until
    then. Both at the document's rate. The tax is reported with the document.
    """
    rate, year = rate_of(document), document.delivered_at.year
    gross, vat = hundredths(document.gross_cents, rate), hundredths(document.vat_cents, rate)
    sold_to = sales_account(document.vat_code, document.vat_basis_points)
    if document.kind is Kind.INVOICE:
        amounts = [(Account.ACCRUED, gross - vat), (sold_to, vat - gross)]
    else:
        amounts = [(Account.SALES, gross), (sold_to, vat - gross), (Account.VAT_ACCRUED, -vat)]
    text = f"used in {year}, {document.kind.value} {document.name}"
    made = []
    for day, sign, what in ((date(year, 12, 31), 1, ""), (document.issued_at.date(), -1, "-back")):
        entries = balanced([Entry(account, sign * amount) for account, amount in amounts])
        id_ = f"A-{document.name}{what}"
        made.append(Voucher(id_, day, "accruals", text + (", taken back" if what else ""), entries, document.name))
    return made


def of_settled(settled: Settled) -> Voucher:
    """The difference to what the invoice was booked at is a gain or a loss on the exchange rate."""
    came, was = hundredths(settled.cents, settled.rate), hundredths(settled.cents, settled.invoice_rate)
    money = Account.BANK if settled.elsewhere else Account.STRIPE
    entries = [
        Entry(money, came, settled.customer, settled.cents, settled.rate),
        Entry(Account.RECEIVABLE, -was, settled.customer, -settled.cents, settled.invoice_rate),
    ]
    rest = Account.EXCHANGE_GAIN if abs(came) > abs(was) else Account.EXCHANGE_LOSS
    text = f"payment of invoice {settled.invoice}{', taken back' if settled.cents < 0 else ''}"
    if settled.was_on is not None:
        text += f", by bank on {settled.was_on}"
    return Voucher(f"P-{settled.id}", settled.day, "payments", text, balanced(entries, rest), settled.invoice)


def of_paid_otherwise(moved: PaidOtherwise) -> Voucher:
    amount = hundredths(moved.cents, moved.rate)
    entries = [
        Entry(Account.STRIPE, amount, moved.customer, moved.cents, moved.rate),
        Entry(Account.BANK, -amount, moved.customer, -moved.cents, moved.rate),
    ]
    text = "refund that came back to Stripe, paid by bank"
    return Voucher(f"O-{moved.id}", moved.day, "payments", text, balanced(entries))


def of_lots(lots: Iterable[LotSold]) -> Iterator[Voucher]:
    """A voucher for each month and kind of what was used, expired and forfeited, and one of what rounding left."""
    sums: dict[tuple[date, str], dict[Account, int]] = defaultdict(lambda: defaultdict(int))
    for lot in lots:
        left, last = lot.net, None
        for kind, months in _by_kind(lot).items():
            until, booked = 0, 0
            for day, amount in sorted(months.items()):
                until += amount
                now = rounded(lot.net * until, lot.amount)
                to = sales_account(lot.code, lot.basis_points) if kind == "usage" else Account.BREAKAGE
                sums[day, kind][to] += now - booked
                left, booked, last = left - (now - booked), now, max(day, last or day)
        for day, taken in lot.taken:
            left, last = left - taken, max(day, last or day)
        if lot.all_gone and left and last is not None:
            sums[last, "rounding"][Account.ROUNDING] += left
    for (day, kind), accounts in sorted(sums.items()):
        whole = Entry(Account.PREPAID, sum(accounts.values()))
        entries = balanced([whole, *(Entry(account, -amount) for account, amount in accounts.items())])
        if entries:
            yield Voucher(f"C-{day:%Y-%m}-{kind}", day, "credit", f"credit, {kind}, {day:%Y-%m}", entries)


def _by_kind(lot: LotSold) -> Mapping[str, Mapping[date, int]]:
    kinds: dict[str, dict[date, int]] = defaultdict(dict)
    for (kind, day), amount in lot.gone.items():
        kinds[kind][day] = amount
    return kinds


def of_lost(lost: Lost, lot: LotSold | None) -> Voucher:
    """The unused credit is gone, the used part is owed; the rest of what the bank took back is a loss."""
    unused = 0 if lot is None else rounded(lot.net * lost.unused, lot.amount)
    owed = rounded(lost.owed, NANODOLLARS_PER_CENT)
    entries = [
        Entry(Account.STRIPE, -hundredths(lost.cents, lost.rate), lost.customer, -lost.cents, lost.rate),
        Entry(Account.PREPAID, unused, lost.customer),
        Entry(Account.RECEIVABLE, hundredths(owed, lost.rate), lost.customer, owed, lost.rate),
    ]
    text = f"dispute {lost.id}, lost"
    return Voucher(f"L-{lost.id}", lost.day, "payments", text, balanced(entries, Account.LOSSES))


def of_receivable(moved: Receivable) -> Voucher:
    cents = rounded(moved.nanodollars, NANODOLLARS_PER_CENT)
    amount = hundredths(cents, moved.rate)
    to = Account.LOSSES if moved.kind == "write_off" else Account.BANK
    entries = [
        Entry(to, amount, None, cents, moved.rate),
        Entry(Account.RECEIVABLE, -amount, moved.customer, -cents, moved.rate),
    ]
    text = "given up" if moved.kind == "write_off" else "paid by other means"
    return Voucher(f"R-{moved.id}", moved.day, "payments", f"debt of a customer, {text}", balanced(entries))


def of_stripe(movement: AtStripe) -> Voucher:
    rate = movement.rate
    paid_out, fee = (
        cents if rate is None else hundredths(cents, rate) for cents in (movement.cents, movement.fee)
    )
    usd = (None, None, None) if rate is None else (movement.cents, movement.fee, -movement.cents - movement.fee)
    entries = [
        Entry(Account.BANK, paid_out, None, usd[0], rate),
        Entry(Account.FEES, fee, None, usd[1], rate),
        Entry(Account.STRIPE, -paid_out - fee, None, usd[2], rate),
    ]
    text = "paid out by Stripe" if movement.cents else "fees of Stripe"
    return Voucher(f"S-{movement.id}", movement.day, "stripe", text, balanced(entries))


def of_exchanged(day: date, exchanged: Iterable[Exchanged]) -> Iterator[Voucher]:
    """One for a day on which Stripe's rates and the books' differ."""
    differences = [one.cents - hundredths(one.usd_cents, one.rate) for one in exchanged]
    entries = balanced(
        [
            Entry(Account.STRIPE, sum(differences)),
            Entry(Account.EXCHANGE_GAIN, -sum(one for one in differences if one > 0)),
            Entry(Account.EXCHANGE_LOSS, -sum(one for one in differences if one < 0)),
        ]
    )
    if entries:
        yield Voucher(f"S-exchanged-{day}", day, "stripe", f"exchanged by Stripe, {day}", entries)
