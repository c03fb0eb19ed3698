"""The books of a year, made of what is on record until its end."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.books import vouchers
from billing.books.chart import Account
from billing.books.exported import NOT_YET, exported_years
from billing.books.rates import Rates, Recorded
from billing.books.settled_by_stripe import StripesBalance
from billing.books.vouchers import (
    Lost,
    LotSold,
    PaidOtherwise,
    PostedDocument,
    Receivable,
    Settled,
    Voucher,
    hundredths,
    rate_of,
)
from billing.database.db import fetch
from billing.documents.buyers import Buyer
from billing.documents.document import SANDBOX_SERIES, Document
from billing.documents.reading import OF_USE, documents_of_use_until, documents_until, only_trials
from billing.documents.vat import rounded
from billing.statements.period import Period, require_kept

DOLLARS = "USD"

# What each document was about: an invoice's own payments are booked by themselves. A refund went as it had when
# its credit note was issued.
_ABOUT = """
SELECT d.id, coalesce(p.kind, op.kind, o.kind, d.kind) AS sold, p.lot_id,
    coalesce(r.state = 'otherwise' AND d.issued_at >= r.done_at OR rp.way = 'bank' OR p.way = 'bank', false)
        AS elsewhere,
    d.refund_id IS NOT NULL AND rp.kind <> 'invoice' AS refunds,
    rp.lot_id AS refunded_lot_id, r.value_nanodollars AS refunded
FROM document d LEFT JOIN payment p ON p.id = d.payment_id
LEFT JOIN refund r ON r.id = d.refund_id LEFT JOIN payment rp ON rp.id = r.payment_id
LEFT JOIN document o ON o.id = d.corrects_id LEFT JOIN payment op ON op.id = o.payment_id
WHERE d.issued_at < $1
"""
# What came for invoices, and what went back: of a payment that was not wanted, of an invoice that was wrong, or by
# the payer's bank. What the operator saw at his bank was noted later than it was there.
_SETTLED = """
SELECT id::text, account_id, paid_at, paid_at AS at, CASE WHEN way = 'bank' THEN created_at END AS noted_at,
    gross_cents AS cents, document_id, way = 'bank' AS elsewhere
FROM payment WHERE kind = 'invoice' AND state IN ('credited', 'unwanted') AND paid_at < $1
UNION ALL
SELECT r.id, account_id, paid_at, at, noted_at, -cents, document_id, elsewhere FROM (
    SELECT r.id::text, p.account_id, p.paid_at, r.gross_cents AS cents, p.document_id,
        CASE WHEN p.way = 'bank' THEN r.created_at END AS noted_at,
        CASE WHEN went.by_stripe THEN n.delivered_at ELSE coalesce(r.done_at, r.created_at) END AS at,
        r.state = 'otherwise' AND NOT went.by_stripe AS elsewhere
    FROM refund r JOIN payment p ON p.id = r.payment_id LEFT JOIN document n ON n.refund_id = r.id
    CROSS JOIN LATERAL (
        SELECT n.id IS NOT NULL AND (r.state <> 'otherwise' OR n.issued_at < r.done_at) AS by_stripe
    ) went
    WHERE p.kind = 'invoice' AND (r.state IN ('done', 'otherwise') OR went.by_stripe)
) r WHERE at < $1
UNION ALL
SELECT d.id, p.account_id, p.paid_at, d.closed_at, NULL, noted.cents - d.cents, p.document_id, false
FROM dispute d JOIN payment p ON p.id = d.payment_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(r.gross_cents), 0)::bigint AS cents FROM refund r JOIN document n ON n.refund_id = r.id
    WHERE r.payment_id = p.id AND r.state = 'refused' AND d.id = (
        SELECT l.id FROM dispute l WHERE l.payment_id = p.id AND l.state = 'lost' AND l.closed_at >= n.issued_at
        ORDER BY l.closed_at, l.id LIMIT 1
    )
) noted
WHERE p.kind = 'invoice' AND d.state = 'lost' AND d.closed_at < $1
ORDER BY at, id
"""
# Each with the customer's side of it, be it archived or not.
_MOVED = """(
    SELECT cause, kind, CASE WHEN kind IN ('payment', 'write_off') THEN credit_id ELSE debit_id END AS side,
        amount_nanodollars AS amount, created_at
    FROM transfer
    WHERE kind IN ('usage', 'expiry', 'forfeiture', 'payment', 'write_off', 'chargeback', 'shortfall')
    UNION ALL SELECT cause, kind, ledger_account_id, nanodollars, at FROM carried_booking
)"""
_LOTS = "SELECT id, account_id, amount_nanodollars AS amount FROM lot WHERE source = 'purchase'"
_GONE = f"""
SELECT l.id AS lot_id, t.kind, sum(t.amount)::bigint AS amount,
    (date_trunc('month', t.created_at AT TIME ZONE 'UTC') + interval '1 month - 1 day')::date AS day
FROM {_MOVED} t JOIN lot l ON l.id = t.side
WHERE l.source = 'purchase' AND t.kind IN ('usage', 'expiry', 'forfeiture') AND t.created_at < $1
GROUP BY 1, 2, 4
"""
_LOST = f"""
SELECT d.id, p.account_id, p.id AS payment_id, p.lot_id, d.cents, d.closed_at,
    coalesce(sum(t.amount) FILTER (WHERE t.kind = 'chargeback'), 0)::bigint AS unused,
    coalesce(sum(t.amount) FILTER (WHERE t.kind = 'shortfall'), 0)::bigint AS owed
FROM dispute d JOIN payment p ON p.id = d.payment_id LEFT JOIN {_MOVED} t ON t.cause = d.cause
WHERE d.state = 'lost' AND d.closed_at < $1 GROUP BY d.id, p.id ORDER BY d.closed_at, d.id
"""
# Refunds that had gone before they failed and the payer's bank took the money: their credit notes have it already.
_NOTED = """
SELECT r.payment_id, r.gross_cents AS cents, r.value_nanodollars AS value, d.issued_at
FROM refund r JOIN document d ON d.refund_id = r.id
WHERE r.state = 'refused' AND d.issued_at < $1 ORDER BY r.created_at, r.id
"""
# Refunds that had gone before they failed and the operator paid otherwise: at the rate at which the money came.
_MOVED_TO_BANK = """
SELECT r.id::text, p.id AS payment_id, p.account_id, p.paid_at, r.done_at, r.gross_cents AS cents
FROM refund r JOIN payment p ON p.id = r.payment_id JOIN document n ON n.refund_id = r.id
WHERE r.state = 'otherwise' AND n.issued_at < r.done_at AND r.done_at < $1 ORDER BY r.done_at, r.id
"""
_RECEIVABLE = f"""
SELECT t.cause, t.kind, a.account_id, t.amount, t.created_at
FROM {_MOVED} t JOIN ledger_account a ON a.id = t.side
WHERE t.kind IN ('payment', 'write_off') AND t.created_at < $1
    AND NOT EXISTS (SELECT 1 FROM payment p WHERE p.id = t.cause)
    AND NOT EXISTS (SELECT 1 FROM refund r WHERE r.id = t.cause)
    AND NOT EXISTS (SELECT 1 FROM allocation a WHERE a.cause = t.cause AND a.kind = 'credited')
ORDER BY t.created_at, t.cause
"""
_RATES = """
SELECT day, rate, min(at) AS at FROM (
    SELECT day, rate, recorded_at AS at FROM exchange_rate WHERE currency = $1
    UNION ALL
    SELECT (exchange->>'day')::date, (exchange->>'rate')::numeric, issued_at FROM document
    WHERE exchange->>'currency' = $1 AND NOT starts_with(series, $2)
) either GROUP BY day, rate
"""


@dataclass(frozen=True, slots=True)
class Books:
    """Of a year, in hundredths of ``currency``; debit is above zero. ``taxes`` are codes with their rates."""

    year: Period
    currency: str
    vouchers: Sequence[Voucher]
    opening: Mapping[Account, int]
    closing: Mapping[Account, int]
    customers: Mapping[int, Buyer]
    owed_opening: Mapping[int, int]
    owed_closing: Mapping[int, int]
    taxes: Collection[tuple[str, int]]


async def read_books(connection: AsyncConnection, year: int, currency: str = DOLLARS) -> Books:
    """Give it a snapshot. Raises Conflict if an exchange rate is missing, NotFound if the year is archived."""
    period = Period.year(year)
    await require_kept(connection, period)
    made = await _Reader(connection, period.end, currency).vouchers()
    documents = await documents_until(connection, period.end)
    before = [voucher for voucher in made if voucher.day < period.first]
    within = [voucher for voucher in made if voucher.day >= period.first]
    opening, owed = _sums(before)
    added, owed_added = _sums(within)
    opening = {account: amount for account, amount in opening.items() if account.is_balance}
    opening[Account.EQUITY] = -sum(opening.values())
    return Books(
        period,
        currency,
        within,
        opening,
        {one: opening.get(one, 0) + added.get(one, 0) for one in Account},
        {document.account_id: document.buyer for document in documents},
        owed,
        {one: owed.get(one, 0) + owed_added.get(one, 0) for one in owed | owed_added},
        {(one.vat_code, one.vat_basis_points) for one in documents},
    )


def _sums(of: Iterable[Voucher]) -> tuple[dict[Account, int], dict[int, int]]:
    """By account, and of what is owed by customer."""
    accounts: dict[Account, int] = defaultdict(int)
    owed: dict[int, int] = defaultdict(int)
    for voucher in of:
        for entry in voucher.entries:
            accounts[entry.account] += entry.amount
            if entry.account is Account.RECEIVABLE and entry.customer is not None:
                owed[entry.customer] += entry.amount
    return dict(accounts), dict(owed)


class _Reader:
    def __init__(self, connection: AsyncConnection, end: datetime, currency: str) -> None:
        self._connection = connection
        self._end = end
        self._currency = currency

    async def vouchers(self) -> Sequence[Voucher]:
        """In the order of their days. None of a trial."""
        if await only_trials(self._connection):
            return []
        documents = await documents_until(self._connection, self._end)
        about = {row.id: row for row in await self._rows(_ABOUT)}
        exported = await exported_years(self._connection)
        rates = await self._rates(exported)
        receipts = {document.payment_id: document for document in documents if document.payment_id}
        lots = await self._lots(documents, about)
        lost = await self._lost(receipts, lots)
        made = [vouchers.of_document(_posted(document, about[document.id])) for document in documents]
        late = await documents_of_use_until(self._connection, self._end)
        made += [accrued for one in (*documents, *late) for accrued in self._accrued(one, exported)]
        made += await self._settled({document.id: document for document in documents}, rates, exported)
        made += [vouchers.of_lost(one, lots.get(one.lot or 0)) for one in lost]
        made += await self._paid_otherwise(receipts, rates)
        made += vouchers.of_lots(lots.values())
        made += await self._moved(rates)
        made += await StripesBalance(self._connection, self._end, self._currency, rates, receipts).vouchers()
        return sorted(made, key=lambda one: (one.day, one.id))

    async def _rows(self, query: str) -> list[Any]:
        return await fetch(self._connection, query, self._end)

    async def _rates(self, exported: Mapping[int, datetime]) -> Rates:
        if self._currency == DOLLARS:
            return Rates(None, exported)
        rows = await fetch(self._connection, _RATES, self._currency, SANDBOX_SERIES)
        return Rates((Recorded(row.day, row.at, row.rate) for row in rows), exported)

    def _accrued(self, document: Document, exported: Mapping[int, datetime]) -> Iterable[Voucher]:
        """Of what was used in a year and has its document after it, unless the year was exported in between."""
        year = document.delivered_at.year
        if document.kind not in OF_USE or document.issued_at.year == year:
            return []
        if document.issued_at > exported.get(year, NOT_YET):
            return []
        both = vouchers.of_use_before(document)
        return [one for one in both if one.day < self._end.date()]

    async def _lots(self, documents: Sequence[Document], about: Mapping[int, Any]) -> dict[int, LotSold]:
        """Those that a document sold, with what has left them. An allowance was not sold: its plan was."""
        there = {row.id: row for row in await fetch(self._connection, _LOTS)}
        lots: dict[int, LotSold] = {}
        for document in documents:
            lot_id = about[document.id].lot_id
            if lot_id in there:
                lots[lot_id] = LotSold(
                    document.account_id,
                    there[lot_id].amount,
                    _net(document),
                    document.vat_code,
                    document.vat_basis_points,
                    gone_by_documents=0,
                )
        for document in documents:
            of = about[document.id]
            if (taken_from := lots.get(of.refunded_lot_id)) is not None:
                taken_from.take(document.issued_at.date(), _net(document), of.refunded)
        for row in await self._rows(_GONE):
            lot = lots.get(row.lot_id)
            if lot is not None:
                lot.gone[row.kind, row.day] = row.amount
        return lots

    async def _lost(self, receipts: Mapping[UUID, Document], lots: Mapping[int, LotSold]) -> list[Lost]:
        """Without what a credit note has taken back before."""
        found = []
        noted = list(await self._rows(_NOTED))
        for row in await self._rows(_LOST):
            receipt = receipts.get(row.payment_id)
            if receipt is None:
                continue
            day, cents, unused = row.closed_at.date(), row.cents, row.unused
            for note in [one for one in noted if one.payment_id == row.payment_id]:
                if note.issued_at <= row.closed_at and note.cents <= cents:
                    cents, unused = cents - note.cents, unused - note.value
                    noted.remove(note)
            found.append(Lost(row.id, day, row.account_id, cents, rate_of(receipt), unused, row.owed, row.lot_id))
            if (lot := lots.get(row.lot_id)) is not None:
                lot.take(day, rounded(lot.net * unused, lot.amount), unused)
        return found

    async def _settled(
        self, documents: Mapping[int, Document], rates: Rates, exported: Mapping[int, datetime]
    ) -> list[Voucher]:
        """What was noted after its year was exported is of the day on which it was noted."""
        made = []
        for row in await self._rows(_SETTLED):
            invoice = documents.get(row.document_id)
            if invoice is None:
                continue
            is_late = row.noted_at is not None and row.noted_at > exported.get(row.at.year, NOT_YET)
            settled = Settled(
                row.id,
                (row.noted_at if is_late else row.at).date(),
                row.account_id,
                row.cents,
                invoice.name,
                rate_of(invoice),
                rates.on(row.paid_at.date()),
                row.elsewhere,
                row.at.date() if is_late else None,
            )
            if settled.day < self._end.date():
                made.append(vouchers.of_settled(settled))
        return made

    async def _paid_otherwise(self, receipts: Mapping[UUID, Document], rates: Rates) -> list[Voucher]:
        """Of what had gone by Stripe, as its credit note says, and came back there."""
        made = []
        for row in await self._rows(_MOVED_TO_BANK):
            receipt = receipts.get(row.payment_id)
            rate = rates.on(row.paid_at.date()) if receipt is None else rate_of(receipt)
            moved = PaidOtherwise(row.id, row.done_at.date(), row.account_id, row.cents, rate)
            made.append(vouchers.of_paid_otherwise(moved))
        return made

    async def _moved(self, rates: Rates) -> list[Voucher]:
        receivable = [
            Receivable(
                row.cause.hex,
                row.created_at.date(),
                row.account_id,
                row.amount,
                rates.on(row.created_at.date()),
                row.kind,
            )
            for row in await self._rows(_RECEIVABLE)
        ]
        return [vouchers.of_receivable(one) for one in receivable]


def _posted(document: Document, about: Any) -> PostedDocument:
    return PostedDocument(document, about.sold, about.elsewhere, about.refunds)


def _net(document: Document) -> int:
    rate = rate_of(document)
    return hundredths(document.gross_cents, rate) - hundredths(document.vat_cents, rate)
