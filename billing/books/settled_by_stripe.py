"""Stripe's balance in the books: its fees, its payouts, and what its own exchange gained or lost.

A balance in the books' currency is booked as Stripe has it. What was charged in dollars is booked at its
document's rate, and Stripe exchanged it at its own: the difference is a gain or a loss, so that the account is
what Stripe has. A balance in dollars is booked at the rate of the day. One in another currency is made dollars
first, at the rate of what Stripe exchanged on that day, or on the last one before it that had any.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.books import vouchers
from billing.books.rates import Rates
from billing.books.vouchers import AtStripe, Exchanged, Voucher, hundredths, rate_of
from billing.database.db import fetch
from billing.documents.at_stripe import FEE, PAID_OUT
from billing.documents.document import Document
from billing.errors import Conflict
from billing.payments.provider import CURRENCY

_PAYOUTS = f"""
SELECT id, created_at, currency, {PAID_OUT} AS cents FROM stripe_movement
WHERE {PAID_OUT} <> 0 AND created_at < $1 ORDER BY created_at, id
"""
_FEES = f"""
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, currency, sum({FEE})::bigint AS fee
FROM stripe_movement WHERE created_at < $1 GROUP BY 1, 2 HAVING sum({FEE}) <> 0 ORDER BY 1, 2
"""
# What was charged in dollars on a balance in the books' currency. An invoice's payments have no receipt.
_EXCHANGED = """
SELECT m.created_at, m.cents, m.usd_cents, p.id AS payment_id, p.kind, p.paid_at
FROM stripe_movement m JOIN payment p ON p.intent = m.intent
WHERE m.currency = $2 AND m.usd_cents IS NOT NULL AND m.created_at < $1 AND p.paid_at < $1
ORDER BY m.created_at, m.id
"""
_OWN_RATES = """
SELECT currency, (created_at AT TIME ZONE 'UTC')::date AS day,
    sum(abs(cents))::numeric / sum(abs(usd_cents)) AS rate
FROM stripe_movement WHERE currency <> 'usd' AND usd_cents <> 0 AND created_at < $1 GROUP BY 1, 2 ORDER BY 1, 2
"""


class StripesBalance:
    """``receipts`` are the documents of payments; ``currency`` is the books'."""

    def __init__(
        self,
        connection: AsyncConnection,
        end: datetime,
        currency: str,
        rates: Rates,
        receipts: Mapping[UUID, Document],
    ) -> None:
        self._connection = connection
        self._end = end
        self._currency = currency.lower()
        self._rates = rates
        self._receipts = receipts

    async def vouchers(self) -> list[Voucher]:
        """Raises Conflict if a rate is missing."""
        own = await self._own_rates()
        payouts, fees = await self._rows(_PAYOUTS), await self._rows(_FEES)
        moved = [self._booked(row.id, row.created_at.date(), row.currency, row.cents, 0, own) for row in payouts]
        for row in fees:
            id_ = f"fees-{row.day}" if row.currency == CURRENCY else f"fees-{row.day}-{row.currency}"
            moved.append(self._booked(id_, row.day, row.currency, 0, row.fee, own))
        return [vouchers.of_stripe(one) for one in moved] + await self._exchanged()

    async def _rows(self, query: str, *values: object) -> list[Any]:
        return await fetch(self._connection, query, self._end, *values)

    async def _own_rates(self) -> Mapping[str, Sequence[tuple[date, Decimal]]]:
        rates: dict[str, list[tuple[date, Decimal]]] = defaultdict(list)
        for row in await self._rows(_OWN_RATES):
            rates[row.currency].append((row.day, row.rate))
        return rates

    def _booked(
        self,
        id_: str,
        day: date,
        currency: str,
        cents: int,
        fee: int,
        own: Mapping[str, Sequence[tuple[date, Decimal]]],
    ) -> AtStripe:
        if currency == self._currency:
            return AtStripe(id_, day, cents, fee, None)
        if currency != CURRENCY:
            there = own.get(currency)
            if not there:
                raise Conflict(f"{id_} at Stripe is in {currency.upper()}, of which nothing says what it is worth")
            _, rate = there[max(0, bisect_right(there, day, key=lambda one: one[0]) - 1)]
            cents, fee = hundredths(cents, 1 / rate), hundredths(fee, 1 / rate)
        return AtStripe(id_, day, cents, fee, self._rates.on(day))

    async def _exchanged(self) -> list[Voucher]:
        """Of what is in the books: what waits for its receipt is so on the receipt's day."""
        if self._currency == CURRENCY:
            return []
        days: dict[date, list[Exchanged]] = defaultdict(list)
        for row in await self._rows(_EXCHANGED, self._currency):
            day = row.created_at.date()
            if row.kind == "invoice":
                day, rate = max(day, row.paid_at.date()), self._rates.on(row.paid_at.date())
            elif (receipt := self._receipts.get(row.payment_id)) is not None:
                day, rate = max(day, receipt.issued_at.date()), rate_of(receipt)
            else:
                continue
            days[day].append(Exchanged(row.usd_cents, rate, row.cents))
        return [voucher for day, of_day in days.items() for voucher in vouchers.of_exchanged(day, of_day)]
