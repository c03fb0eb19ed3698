"""A document laid out in words, for a page and for a PDF alike. Pure.

Whoever pays must find on it what the Norwegian bookkeeping regulations ask for (§§ 5-1-1, 5-1-2, 5-1-5).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_decimal

from appliance.papers.wording import month_of, title_of
from appliance.texts import Say, locale_of, speaker
from billing.documents.buyers import Buyer, Seller
from billing.documents.document import Document, Kind
from billing.documents.exchange import EXAMPLE_SOURCE
from billing.documents.reading import Paid
from billing.documents.settled import InvoiceState
from billing.documents.vat import VOUCHER

NORWAY = "NO"


@dataclass(frozen=True, slots=True)
class Row:
    """Of the table: what, how many, the price of one, the amount without tax."""

    text: str
    quantity: str
    unit: str
    amount: str


@dataclass(frozen=True, slots=True)
class Paper:
    """All in the document's language. ``facts`` and ``sums`` are names and values; the last sum is the whole."""

    language: str
    title: str
    number: str
    warning: str
    seller: Sequence[str]
    buyer_is: str
    buyer: Sequence[str]
    facts: Sequence[tuple[str, str]]
    heads: Row
    rows: Sequence[Row]
    sums: Sequence[tuple[str, str]]
    notes: Sequence[str]
    issued_at: datetime

    @property
    def file_name(self) -> str:
        """Of letters, digits and ``-`` alone."""
        return f"{self.title.lower().replace(' ', '-')}-{self.number}.pdf"


def lay_out(
    document: Document,
    paid: Paid | None = None,
    corrects: str | None = None,
    state: InvoiceState | None = None,
) -> Paper:
    """``paid`` is what was until now, ``corrects`` the number of the document that it takes back.

    ``state`` is an invoice's.
    """
    return _Writer(document, paid, state, speaker(document.language)).paper(corrects)


class _Writer:
    def __init__(self, document: Document, paid: Paid | None, state: InvoiceState | None, say: Say) -> None:
        self._document = document
        self._paid = paid
        self._state = state
        self._say = say
        self._locale = locale_of(document.language)

    def paper(self, corrects: str | None) -> Paper:
        document, say = self._document, self._say
        return Paper(
            language=document.language,
            title=title_of(document.kind, say),
            number=document.name,
            warning=say("This is a trial: no money was paid.") if document.is_trial else "",
            seller=list(self._seller(document.seller)),
            buyer_is=say("Buyer"),
            buyer=list(self._buyer(document.buyer)),
            facts=list(self._facts(corrects)),
            heads=Row(say("Description"), say("Quantity"), say("Price"), say("Amount, USD")),
            rows=[
                Row(
                    line.text,
                    "" if line.unit_cents is None else format_decimal(line.quantity, locale=self._locale),
                    "" if line.unit_cents is None else self._amount(line.unit_cents),
                    self._amount(line.net_cents),
                )
                for line in document.lines
            ],
            sums=list(self._sums()),
            notes=list(self._notes()),
            issued_at=document.issued_at,
        )

    def _seller(self, seller: Seller) -> Iterable[str]:
        say = self._say
        yield seller.name
        yield from self._where(seller)
        if seller.number:
            number = f"NO {seller.number}" if seller.country == NORWAY else seller.number
            number += " MVA" if seller.country == NORWAY and seller.registered else ""
            if seller.register:
                number += f", {seller.register}"
            yield say("Organisation number: {number}", number=number)
        if seller.email:
            yield seller.email

    def _buyer(self, buyer: Buyer) -> Iterable[str]:
        say = self._say
        yield buyer.name
        yield from self._where(buyer)
        if buyer.tax_number:
            yield say("VAT or organisation number: {number}", number=buyer.tax_number)

    def _where(self, whose: Seller | Buyer) -> Iterable[str]:
        place = f"{whose.postal_code} {whose.city}".strip()
        country = Locale.parse(self._locale).territories.get(whose.country, whose.country)
        yield from (line for line in (whose.address, place, country) if line)

    def _facts(self, corrects: str | None) -> Iterable[tuple[str, str]]:
        document, say = self._document, self._say
        yield say("Number"), document.name
        yield say("Date"), self._day(document.issued_at)
        if document.period is not None:
            yield say("Period"), month_of(document.period, document.language)
        else:
            yield self._what_happened(), self._days(document.delivered_at, document.delivered_until)
        if corrects is not None:
            yield say("Takes back"), corrects
        if self._state is not None:
            yield say("To be paid by"), self._day(self._state.due_on)
        if self._paid is not None:
            yield say("Paid by bank") if self._paid.by_bank else say("Paid"), self._day(self._paid.at)

    def _what_happened(self) -> str:
        document, say = self._document, self._say
        if document.kind is not Kind.CREDIT_NOTE:
            return say("Delivered, by the internet")
        return say("Paid back") if document.cause is None else say("Credited")

    def _sums(self) -> Iterable[tuple[str, str]]:
        document, say = self._document, self._say
        yield say("Without VAT"), self._amount(document.net_cents)
        if document.vat_code != VOUCHER:
            percent = format_decimal(Decimal(document.vat_basis_points) / 100, locale=self._locale)
            yield say("VAT {percent} %", percent=percent), self._amount(document.vat_cents)
        is_paid_back = document.kind is Kind.CREDIT_NOTE and document.cause is None
        yield say("Paid back, USD") if is_paid_back else say("Total, USD"), self._amount(document.gross_cents)

    def _notes(self) -> Iterable[str]:
        document, say = self._document, self._say
        if document.exchange is not None and document.vat_in_books:
            exchange = document.exchange
            yield say(
                "VAT in {currency}: {amount}. One US dollar was {rate} {currency} on {day} ({source}).",
                currency=exchange.currency,
                amount=self._amount(document.vat_in_books),
                rate=format_decimal(exchange.rate, format="0.00######", locale=self._locale),
                day=self._day(exchange.day),
                source=say("an example") if exchange.source == EXAMPLE_SOURCE else exchange.source,
            )
        if document.note:
            yield document.note
        if document.kind is Kind.USAGE:
            yield say("Paid with credit: nothing is to be paid.")
        elif self._state is not None and self._state.left_cents < document.gross_cents:
            yield " ".join(self._standing(self._state))
        elif self._paid is not None:
            yield say("Paid. Thank you.")
        if document.seller.bank_account and self._state is not None and self._state.left_cents:
            yield say(
                "By bank: pay to account {account}, and name invoice {number}.",
                account=document.seller.bank_account,
                number=document.name,
            )

    def _standing(self, state: InvoiceState) -> Iterable[str]:
        say = self._say
        if state.paid_cents == state.gross_cents:
            yield say("Paid. Thank you.")
            return
        if state.paid_cents:
            yield say("Paid: {amount} USD.", amount=self._amount(state.paid_cents))
        if state.credited_cents:
            yield say("Credited: {amount} USD.", amount=self._amount(state.credited_cents))
        if state.forgiven_cents:
            yield say("Forgiven: {amount} USD.", amount=self._amount(state.forgiven_cents))
        if state.left_cents:
            yield say("To be paid: {rest} USD.", rest=self._amount(state.left_cents))
        else:
            yield say("Nothing is to be paid.")

    def _amount(self, cents: int) -> str:
        return format_decimal(Decimal(cents) / 100, format="#,##0.00", locale=self._locale)

    def _days(self, first: datetime, last: datetime | None) -> str:
        if last is None:
            return self._day(first)
        say = self._say
        return say("{first} to {last}", first=self._day(first), last=self._day(last))

    def _day(self, day: date) -> str:
        return format_date(day, "long", locale=self._locale)
