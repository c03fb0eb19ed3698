"""Invoices at a month's end, for what was used beyond credit in it.

An invoice is for whole cents. What is left, less than a cent, is invoiced with the next month: for each account
and month a row says what was used, what came from the month before, and what is left for the next, so that the
invoices and the last rest are the whole. What was paid or forgiven before its invoice is not asked for again.

An account that is about to be deleted has its last invoice the day before: after it nobody is left to send it to.
What it uses in the same month if it is restored then, is invoiced with the next.

Invoices are taxed by the table, also of what was used before Stripe reckons the tax of what is sold.
"""

import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock import Clock
from billing.database.db import Database, execute, fetch
from billing.documents.buyers import Buyer, buyer_of
from billing.documents.document import Draft, Exchanged, Kind, Line
from billing.documents.posting import Office, Posted, exchanged, note_on, post
from billing.documents.settled import SETTLED
from billing.documents.vat import quote
from billing.ids import new_id
from billing.ledger.credit import Credit
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.statements.period import SETTLING, Period

log = logging.getLogger(__name__)

BEFORE_DELETION = timedelta(days=1)

# What each account used beyond its credit in the months that are over, since the last that has a row.
_USED = """
SELECT account_id, sum(used)::bigint AS used, period FROM (
    SELECT l.account_id, t.amount_nanodollars AS used, a.status = 'deleting' AND a.delete_at <= $3 AS leaves,
           greatest(to_char(t.created_at AT TIME ZONE 'UTC', 'YYYY-MM'), to_char(done.next, 'YYYY-MM')) AS period
    FROM ledger_account l JOIN account a ON a.id = l.account_id
    LEFT JOIN LATERAL (
        SELECT (period || '-01')::timestamp + interval '1 month' AS next, recorded_at
        FROM invoiced_month m WHERE m.account_id = l.account_id ORDER BY period DESC LIMIT 1
    ) done ON true
    JOIN transfer t ON t.debit_id = l.id AND t.kind = 'postpaid'
        AND t.created_at < $2
        AND t.created_at >= coalesce(least(done.next AT TIME ZONE 'UTC', done.recorded_at), '-infinity')
    WHERE l.kind = 'receivable'
) one WHERE leaves OR period < to_char($1::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM')
GROUP BY account_id, period ORDER BY period, account_id
"""
_LOCK = "SELECT 1 FROM account WHERE id = $1 FOR NO KEY UPDATE"
_OWED = f"""
SELECT a.owed_nanodollars AS owed,
       coalesce((SELECT rest_nanodollars FROM invoiced_month
                 WHERE account_id = a.id ORDER BY period DESC LIMIT 1), 0) AS before,
       (SELECT coalesce(sum(d.gross_cents - coalesce(s.cents, 0)), 0)
        FROM document d LEFT JOIN ({SETTLED}) s ON s.document_id = d.id
        WHERE d.account_id = a.id AND d.kind = 'invoice') AS asked_cents
FROM account a WHERE a.id = $1
"""
_RECORD = """
INSERT INTO invoiced_month (account_id, period, used_nanodollars, before_nanodollars, gone_nanodollars,
                            rest_nanodollars, document_id, vat_cause, recorded_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
_UNTAXED = """
SELECT m.account_id, m.vat_cause, d.vat_cents FROM invoiced_month m JOIN document d ON d.id = m.document_id
WHERE m.vat_cause IS NOT NULL AND NOT EXISTS (SELECT 1 FROM transfer WHERE cause = m.vat_cause)
ORDER BY m.recorded_at
"""


class Invoicing:
    """Raises DatabaseUnavailable."""

    def __init__(
        self, database: Database, office: Office, credit: Credit, clock: Clock, *, invoice_days: int
    ) -> None:
        self._database = database
        self._office = office
        self._credit = credit
        self._clock = clock
        self._invoice_days = invoice_days

    async def run_once(self) -> Posted:
        """All months that are over, oldest first. An account that has not said who buys waits for it."""
        await self._owe_vat()
        result = Posted(0, 0)
        now = self._clock()
        over = Period.month((now - SETTLING).date()).start
        async with self._database.begin(timeout_seconds=None) as connection:
            used = await fetch(connection, _USED, over, now, now + BEFORE_DELETION)
        waiting: set[int] = set()
        for row in used:
            if row.account_id not in waiting:
                posted = await self._invoice(row, now)
                result += posted
                if posted.waiting:
                    waiting.add(row.account_id)
                await self._owe_vat()  # the account's next month is counted from what it owes
        return result

    async def _invoice(self, row: Row[Any], now: datetime) -> Posted:
        month = Period.month(date.fromisoformat(f"{row.period}-01"))
        exchange = await exchanged(self._office, self._last_of(month))
        if exchange is None and self._office.exchange is not None:
            return Posted(0, 1)
        async with self._database.begin() as connection:
            buyer = await buyer_of(connection, row.account_id)
            if buyer is None:
                log.warning("account %d has no invoice for %s: it has no buyer", row.account_id, row.period)
                return Posted(0, 1)
            await execute(connection, _LOCK, row.account_id)
            (owes,) = await fetch(connection, _OWED, row.account_id)
            due = row.used + owes.before
            left = max(0, min(due, owes.owed - int(owes.asked_cents) * NANODOLLARS_PER_CENT))
            cents, rest = divmod(left, NANODOLLARS_PER_CENT)
            document_id, vat_cause = None, None
            if cents:
                draft = await self._draft(connection, row.account_id, month, buyer, cents, exchange)
                document_id = await post(connection, draft, self._clock())
                if draft.vat_cents and not self._office.taxing.included:
                    vat_cause = new_id(self._clock())
            await execute(
                connection, _RECORD, row.account_id, row.period, row.used, owes.before, due - left, rest,
                document_id, vat_cause, now,
            )  # fmt: skip
        return Posted(int(document_id is not None), 0)

    async def _draft(
        self,
        connection: AsyncConnection,
        account_id: int,
        month: Period,
        buyer: Buyer,
        cents: int,
        exchange: Exchanged | None,
    ) -> Draft:
        office, period = self._office, f"{month.first:%Y-%m}"
        language = await office.wording.language(connection, account_id)
        quoted = quote(cents, buyer, office.taxing, is_credit=False)
        return Draft(
            series=office.series,
            kind=Kind.INVOICE,
            account_id=account_id,
            period=period,
            seller=office.seller,
            buyer=buyer,
            lines=[Line(office.wording.invoiced(period, language), quoted.net)],
            delivered_at=self._last_of(month),
            due_on=(self._clock().astimezone(UTC) + timedelta(days=self._invoice_days)).date(),
            language=language,
            net_cents=quoted.net,
            vat_cents=quoted.vat,
            gross_cents=quoted.gross,
            vat_code=quoted.code,
            vat_basis_points=quoted.basis_points,
            note=note_on(office, buyer, quoted.code, language),
            exchange=exchange,
        )

    def _last_of(self, month: Period) -> datetime:
        """Until when what is invoiced was used."""
        return min(month.end - timedelta(microseconds=1), self._clock())

    async def _owe_vat(self) -> None:
        """After the invoice is durable: a transfer of the same cause is made once."""
        async with self._database.begin() as connection:
            untaxed = await fetch(connection, _UNTAXED)
        for row in untaxed:
            amount = row.vat_cents * NANODOLLARS_PER_CENT
            await self._credit.owe_vat(row.account_id, amount, row.vat_cause)
