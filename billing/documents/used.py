"""Tax at use: each month that is over has a document for the credit that an account used in it.

Credit that was sold without tax (``vat_code`` ``voucher``) is taxed when it is used, by the rule of its buyer;
what expires is not. The amount is what was used until the month's end less what was until its beginning, each in
whole cents, so that the cents of all months are those of the whole.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Row

from billing.clock import Clock
from billing.database.db import Database, fetch
from billing.documents.buyers import Buyer
from billing.documents.document import Draft, Kind, Line
from billing.documents.posting import Office, Posted, exchanged, note_on, post
from billing.documents.vat import VOUCHER, contained, rounded, rule_for
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.statements.period import SETTLING, Period

# What each account used of such credit until the end of a month, and until its beginning, be it archived or not.
_USED = """
SELECT l.account_id, sum(t.amount)::bigint AS until_end,
    coalesce(sum(t.amount) FILTER (WHERE t.at < $1), 0)::bigint AS until_start,
    (array_agg(p.buyer::text ORDER BY p.paid_at DESC))[1] AS buyer
FROM payment p JOIN lot l ON l.id = p.lot_id JOIN (
    SELECT debit_id AS lot_id, amount_nanodollars AS amount, created_at AS at FROM transfer WHERE kind = 'usage'
    UNION ALL SELECT ledger_account_id, nanodollars, at FROM carried_booking WHERE kind = 'usage'
) t ON t.lot_id = l.id
WHERE p.vat_code = $3 AND t.at < $2
    AND NOT EXISTS (
        SELECT 1 FROM document d WHERE d.account_id = l.account_id AND d.kind = 'usage' AND d.period = $4)
GROUP BY l.account_id
HAVING bool_or(t.at >= $1)
ORDER BY l.account_id
"""
_FIRST = "SELECT min(paid_at) AS at FROM payment WHERE vat_code = $1 AND lot_id IS NOT NULL"


class UsedPosting:
    """Raises DatabaseUnavailable."""

    def __init__(self, database: Database, office: Office, clock: Clock) -> None:
        self._database = database
        self._office = office
        self._clock = clock
        self._done: date | None = None

    async def run_once(self) -> Posted:
        """All months that are over and not done, oldest first."""
        result = Posted(0, 0)
        for month in await self._months():
            waiting = 0
            for row in await self._used(month):
                posted = await self._post(month, row)
                result, waiting = result + posted, waiting + posted.waiting
            if waiting:
                break
            self._done = month.first
        return result

    async def _months(self) -> list[Period]:
        first = self._done
        if first is None:
            async with self._database.begin() as connection:
                ((moment,),) = await fetch(connection, _FIRST, VOUCHER)
            if moment is None:
                return []
            month = Period.month(moment.astimezone(UTC).date())
        else:
            month = Period.month(first + timedelta(days=32))
        months = []
        while month.end + SETTLING <= self._clock():
            months.append(month)
            month = Period.month(month.last + timedelta(days=1))
        return months

    async def _used(self, month: Period) -> list[Row[Any]]:
        async with self._database.begin() as connection:
            return await fetch(connection, _USED, month.start, month.end, VOUCHER, f"{month.first:%Y-%m}")

    async def _post(self, month: Period, row: Row[Any]) -> Posted:
        office, last = self._office, month.end - timedelta(microseconds=1)
        gross = cents_of(row.until_end) - cents_of(row.until_start)
        if gross == 0:
            return Posted(0, 0)
        exchange = await exchanged(office, last)
        if exchange is None and office.exchange is not None:
            return Posted(0, 1)
        buyer = msgspec.json.decode(row.buyer, type=Buyer)
        async with self._database.begin() as connection:
            language = await office.wording.language(connection, row.account_id)
            draft = self._draft(row.account_id, month, last, buyer, gross, language)
            draft = msgspec.structs.replace(draft, exchange=exchange)
            return Posted(int(await post(connection, draft, self._clock()) is not None), 0)

    def _draft(
        self, account_id: int, month: Period, last: datetime, buyer: Buyer, gross: int, language: str
    ) -> Draft:
        office, period = self._office, f"{month.first:%Y-%m}"
        rule = rule_for(buyer, office.taxing.rules)
        vat = contained(gross, rule.basis_points)
        return Draft(
            series=office.series,
            kind=Kind.USAGE,
            account_id=account_id,
            period=period,
            seller=office.seller,
            buyer=buyer,
            lines=[Line(office.wording.used(period, language), gross - vat)],
            delivered_at=last,
            language=language,
            net_cents=gross - vat,
            vat_cents=vat,
            gross_cents=gross,
            vat_code=rule.code,
            vat_basis_points=rule.basis_points,
            note=note_on(office, buyer, rule.code, language),
        )


def cents_of(nanodollars: int) -> int:
    """Half to even."""
    return rounded(nanodollars, NANODOLLARS_PER_CENT)
