"""What a receipt, an invoice or a credit note says. Pure.

Amounts are US cents; those of a credit note are positive.

What must be on it: the Norwegian bookkeeping regulations (bokføringsforskriften), §§ 5-1-1 to 5-1-8 and 5-2-7.
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from uuid import UUID

import msgspec

from billing.documents.buyers import Buyer, Seller

SANDBOX_SERIES = "SANDBOX"
"""Begins the series of documents about money that nobody paid: they are of no books."""


class Kind(StrEnum):
    RECEIPT = "receipt"
    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"
    USAGE = "usage"
    """What was used in a month of credit that is taxed only then: paid already, nothing is owed."""


class Line(msgspec.Struct, frozen=True):
    """``text`` is in the document's language. Amounts are without tax.

    ``unit_cents`` is None where the price of one is finer than a cent; the text says it then.
    """

    text: str
    net_cents: int
    quantity: int = 1
    unit_cents: int | None = None


class Exchanged(msgspec.Struct, frozen=True):
    """What a US dollar was worth in the currency of the seller's books (ISO 4217), on ``day``, and who says so."""

    currency: str
    rate: Decimal
    day: date
    source: str

    def hundredths(self, cents: int) -> int:
        """US cents in øre; half to even."""
        return int((cents * self.rate).quantize(Decimal(1), ROUND_HALF_EVEN))


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A document before it has its number. ``period`` is the month that it is for, ``2026-11``.

    What lasts a while is delivered from ``delivered_at`` until ``delivered_until``.

    One of ``payment_id`` (what a receipt is for), ``refund_id``, ``cause`` (of what a credit note takes back of an
    unpaid invoice) and ``period`` says what it is about: for each there is one document of a kind.
    ``corrects_id`` is the document that a credit note takes back.
    """

    series: str
    kind: Kind
    account_id: int
    seller: Seller
    buyer: Buyer
    lines: Sequence[Line]
    delivered_at: datetime
    language: str
    net_cents: int
    vat_cents: int
    gross_cents: int
    vat_code: str
    vat_basis_points: int
    note: str = ""
    exchange: Exchanged | None = None
    due_on: date | None = None
    delivered_until: datetime | None = None
    payment_id: UUID | None = None
    refund_id: UUID | None = None
    cause: UUID | None = None
    period: str | None = None
    corrects_id: int | None = None


class Document(Draft, frozen=True, kw_only=True):
    """As it was posted: nothing of it changes."""

    id: int
    number: int
    issued_at: datetime

    @property
    def name(self) -> str:
        """The number as it is written."""
        return f"{self.series}-{self.number}" if self.series else str(self.number)

    @property
    def is_trial(self) -> bool:
        """Nobody has paid it: it is of no books."""
        return self.series.startswith(SANDBOX_SERIES)

    @property
    def vat_in_books(self) -> int | None:
        """The tax in hundredths of the currency of the seller's books (§ 5-1-1, no. 6); None without one."""
        return None if self.exchange is None else self.exchange.hundredths(self.vat_cents)


def require_sums(draft: Draft) -> None:
    """Raises ValueError for a document whose lines are not its sum."""
    if draft.net_cents + draft.vat_cents != draft.gross_cents:
        raise ValueError("a document's net and tax must be its gross amount")
    if sum(line.net_cents for line in draft.lines) != draft.net_cents:
        raise ValueError("a document's lines must add up to its net amount")
    for line in draft.lines:
        if line.unit_cents is not None and line.unit_cents * line.quantity != line.net_cents:
            raise ValueError("a line's price times its quantity must be its amount")
