"""What was sold, used, owed and paid out in a month or a year, and that it adds up.

Sales are of the day on which their document was issued, everything else of the day on which it happened (UTC).
Cents are US cents, but on Stripe's balance, which may be kept in another currency: its fees and payouts are in
that one, and are never added to dollars.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.db import fetch
from billing.documents.at_stripe import FEE, PAID_OUT, in_units
from billing.documents.document import SANDBOX_SERIES
from billing.documents.reading import only_trials
from billing.statements.period import Period, require_kept

_SALES = """
SELECT d.kind, coalesce(p.kind, o.kind, d.kind) AS what, d.vat_code, d.vat_basis_points,
    d.exchange->>'currency' AS currency,
    count(*) AS documents, sum(d.net_cents)::bigint AS net_cents, sum(d.vat_cents)::bigint AS vat_cents,
    sum(d.gross_cents)::bigint AS gross_cents,
    array_agg(d.vat_cents) AS vats, array_agg(d.exchange->>'rate') AS rates
FROM document d LEFT JOIN payment p ON p.id = d.payment_id
LEFT JOIN document c ON c.id = d.corrects_id LEFT JOIN payment o ON o.id = c.payment_id
WHERE d.issued_at >= $1 AND d.issued_at < $2 AND starts_with(d.series, $3) = $4
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""

# All transfers of lots by the lot's source, before the period, within it and since; lots' sums as they are now.
_FLOWS = """
SELECT l.source, t.kind,
    CASE WHEN t.created_at < $1 THEN 'before' WHEN t.created_at < $2 THEN 'within' ELSE 'since' END AS at,
    sum(t.amount_nanodollars)::bigint AS amount
FROM transfer t JOIN lot l ON l.id IN (t.debit_id, t.credit_id)
GROUP BY 1, 2, 3
"""
_CARRIED = """
SELECT l.source, sum(c.nanodollars)::bigint AS amount
FROM carried_forward c JOIN lot l ON l.id = c.ledger_account_id GROUP BY 1
"""
_LOTS = """
SELECT source, sum(remaining_nanodollars)::bigint AS remaining FROM lot GROUP BY 1
"""
_HOUSE = """
SELECT t.kind,
    CASE WHEN t.created_at < $1 THEN 'before' WHEN t.created_at < $2 THEN 'within' ELSE 'since' END AS at,
    sum(t.amount_nanodollars)::bigint AS amount
FROM transfer t
WHERE t.kind NOT IN ('usage', 'grant', 'allowance', 'expiry', 'forfeiture')
GROUP BY 1, 2
"""
_STANDING = """
SELECT coalesce(sum(owed_nanodollars), 0)::bigint AS owed,
    (SELECT coalesce(sum(frozen_nanodollars), 0)::bigint FROM lot) AS frozen,
    (SELECT coalesce(-sum(nanodollars), 0)::bigint FROM carried_forward c JOIN ledger_account a
        ON a.id = c.ledger_account_id WHERE a.kind = 'receivable') AS owed_carried,
    (SELECT coalesce(sum(nanodollars), 0)::bigint FROM carried_forward c JOIN ledger_account a
        ON a.id = c.ledger_account_id WHERE a.kind = 'disputed') AS frozen_carried
FROM account
"""
_MOVEMENTS = """
SELECT kind, currency, count(*) AS movements, sum(cents)::bigint AS cents, sum(fee_cents)::bigint AS fee_cents,
    sum(usd_cents)::bigint AS usd_cents
FROM stripe_movement WHERE created_at >= $1 AND created_at < $2 GROUP BY 1, 2 ORDER BY 1, 2
"""
_AT_STRIPE = f"""
SELECT currency, sum({FEE})::bigint AS fee_cents, sum({PAID_OUT})::bigint AS payout_cents
FROM stripe_movement WHERE created_at >= $1 AND created_at < $2 GROUP BY 1 ORDER BY 1
"""
_PERIOD = re.compile(r"(20[0-9]{2})(?:-(0[1-9]|1[0-2]))?")
SOURCES = ("purchase", "allowance", "grant")
CAME = ("purchase", "allowance", "grant", "release")
WENT = ("usage", "expiry", "forfeiture", "freeze", "refund")


@dataclass(frozen=True, slots=True)
class Sale:
    """Documents of a kind, of what was sold, with the same tax. ``vat_in_books``: hundredths of ``currency``."""

    kind: str
    what: str
    vat_code: str
    vat_basis_points: int
    documents: int
    net_cents: int
    vat_cents: int
    gross_cents: int
    currency: str | None
    vat_in_books: int | None


@dataclass(frozen=True, slots=True)
class Flow:
    """Credit of a source, in nano-dollars. ``by_lots`` is what remained at the end by the lots themselves."""

    source: str
    opening: int
    opened: int
    released: int
    used: int
    expired: int
    forfeited: int
    set_aside: int
    refunded: int
    closing: int
    by_lots: int

    @property
    def adds_up(self) -> bool:
        gone = self.used + self.expired + self.forfeited + self.set_aside + self.refunded
        return self.opening + self.opened + self.released - gone == self.closing == self.by_lots


@dataclass(frozen=True, slots=True)
class Disputed:
    """Credit that was set aside while its payment is disputed, in nano-dollars."""

    opening: int
    set_aside: int
    won: int
    lost: int
    closing: int
    by_lots: int

    @property
    def adds_up(self) -> bool:
        return self.opening + self.set_aside - self.won - self.lost == self.closing == self.by_lots


@dataclass(frozen=True, slots=True)
class Owed:
    """By customers: what was used on account, its tax, and what lost disputes left; in nano-dollars.

    ``paid_back`` is of invoices that were credited after they were paid: as much is in ``written_off``.
    """

    opening: int
    used: int
    vat: int
    shortfalls: int
    paid_back: int
    paid: int
    written_off: int
    closing: int
    by_accounts: int

    @property
    def adds_up(self) -> bool:
        came = self.used + self.vat + self.shortfalls + self.paid_back
        return self.opening + came - self.paid - self.written_off == self.closing == self.by_accounts


@dataclass(frozen=True, slots=True)
class Movement:
    """Of the balance at Stripe, as Stripe calls it: ``cents`` gross, ``fee_cents`` what Stripe kept.

    Both are in the smallest unit of ``currency``, the balance's; ``usd_cents`` is what customers paid or got back.
    """

    kind: str
    currency: str
    movements: int
    cents: int
    fee_cents: int
    usd_cents: int | None


@dataclass(frozen=True, slots=True)
class AtStripe:
    """All that Stripe kept, and what reached the bank, of a balance in ``currency``; in its smallest unit."""

    currency: str
    fee_cents: int
    payout_cents: int


@dataclass(frozen=True, slots=True)
class Statement:
    """``plans`` is what subscriptions paid less what was paid back, in nano-dollars."""

    period: Period
    sales: Sequence[Sale]
    flows: Sequence[Flow]
    disputed: Disputed
    owed: Owed
    plans: int
    movements: Sequence[Movement]
    at_stripe: Sequence[AtStripe]

    @property
    def adds_up(self) -> bool:
        return all(flow.adds_up for flow in self.flows) and self.disputed.adds_up and self.owed.adds_up

    @property
    def deferred(self) -> tuple[int, int]:
        """Nano-dollars of credit that was bought and not used, at the beginning and at the end.

        As customers see it: with the tax where prices include it. The books have it without.
        """
        bought = [flow for flow in self.flows if flow.source == "purchase"]
        return sum(flow.opening for flow in bought), sum(flow.closing for flow in bought)


def month_or_year(text: str) -> Period:
    """Of ``2026-11`` or ``2026``. Raises ValueError."""
    found = _PERIOD.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is neither a month (2026-11) nor a year (2026)")
    year, month = found.groups()
    return Period.year(int(year)) if month is None else Period.month(date(int(year), int(month), 1))


async def read_statement(connection: AsyncConnection, period: Period) -> Statement:
    """Reads every transfer: give it a snapshot. Raises NotFound if records of the period are archived."""
    await require_kept(connection, period)
    bounds = period.start, period.end
    house = _Sums({(row.at, row.kind): row.amount for row in await fetch(connection, _HOUSE, *bounds)})
    (standing,) = await fetch(connection, _STANDING)
    of_series = SANDBOX_SERIES, await only_trials(connection)
    return Statement(
        period,
        [_sale(row) for row in await fetch(connection, _SALES, *bounds, *of_series)],
        await _flows(connection, period),
        _disputed(house, standing),
        _owed(house, standing),
        house["within", "plan"] - house["within", "plan_refund"],
        [
            Movement(row.kind, row.currency, row.movements, row.cents, row.fee_cents, row.usd_cents)
            for row in await fetch(connection, _MOVEMENTS, *bounds)
        ],
        [
            AtStripe(row.currency, row.fee_cents, row.payout_cents)
            for row in await fetch(connection, _AT_STRIPE, *bounds)
        ],
    )


def _sale(row: Row[Any]) -> Sale:
    in_books = None
    if row.currency is not None:
        pairs = zip(row.vats, row.rates, strict=True)
        in_books = sum(int((vat * Decimal(rate)).quantize(Decimal(1))) for vat, rate in pairs)
    sums = row.documents, row.net_cents, row.vat_cents, row.gross_cents
    return Sale(row.kind, row.what, row.vat_code, row.vat_basis_points, *sums, row.currency, in_books)


class _Sums(dict[tuple[str, str], int]):
    """By when and what; none is nothing."""

    def __missing__(self, key: tuple[str, str]) -> int:
        return 0

    def net(self, at: str, came: Sequence[str], went: Sequence[str]) -> int:
        return sum(self[at, kind] for kind in came) - sum(self[at, kind] for kind in went)


async def _flows(connection: AsyncConnection, period: Period) -> list[Flow]:
    rows = await fetch(connection, _FLOWS, period.start, period.end)
    carried = {row.source: row.amount for row in await fetch(connection, _CARRIED)}
    remaining = {row.source: row.remaining for row in await fetch(connection, _LOTS)}
    return [
        _flow(
            source,
            _Sums({(row.at, row.kind): row.amount for row in rows if row.source == source}),
            carried.get(source, 0),
            remaining.get(source, 0),
        )
        for source in SOURCES
    ]


def _flow(source: str, sums: _Sums, carried: int, remaining: int) -> Flow:
    opening = carried + sums.net("before", CAME, WENT)
    return Flow(
        source=source,
        opening=opening,
        opened=sums["within", source],
        released=sums["within", "release"],
        used=sums["within", "usage"],
        expired=sums["within", "expiry"],
        forfeited=sums["within", "forfeiture"],
        set_aside=sums["within", "freeze"],
        refunded=sums["within", "refund"],
        closing=opening + sums.net("within", CAME, WENT),
        by_lots=remaining - sums.net("since", CAME, WENT),
    )


def _disputed(house: _Sums, standing: Row[Any]) -> Disputed:
    came, went = ("freeze",), ("release", "chargeback")
    opening = standing.frozen_carried + house.net("before", came, went)
    return Disputed(
        opening=opening,
        set_aside=house["within", "freeze"],
        won=house["within", "release"],
        lost=house["within", "chargeback"],
        closing=opening + house.net("within", came, went),
        by_lots=standing.frozen - house.net("since", came, went),
    )


def _owed(house: _Sums, standing: Row[Any]) -> Owed:
    came = ("postpaid", "vat_invoiced", "shortfall", "invoice_refund")
    went = ("payment", "write_off", "vat_credited")
    opening = standing.owed_carried + house.net("before", came, went)
    return Owed(
        opening=opening,
        used=house["within", "postpaid"],
        vat=house["within", "vat_invoiced"],
        shortfalls=house["within", "shortfall"],
        paid_back=house["within", "invoice_refund"],
        paid=house["within", "payment"],
        written_off=house["within", "write_off"] + house["within", "vat_credited"],
        closing=opening + house.net("within", came, went),
        by_accounts=standing.owed - house.net("since", came, went),
    )


def as_rows(statement: Statement) -> list[Mapping[str, object]]:
    """One for each figure, for a spreadsheet: section, line, figure, and an amount in dollars or a count."""
    rows: list[Mapping[str, object]] = []

    def add(section: str, line: str, figure: str, amount: object) -> None:
        rows.append({"section": section, "line": line, "figure": figure, "amount": amount})

    for sale in statement.sales:
        line = f"{sale.kind} {sale.what}, code {sale.vat_code}, {Decimal(sale.vat_basis_points) / 100} %"
        add("sales", line, "documents", sale.documents)
        for name in ("net", "vat", "gross"):
            add("sales", line, f"{name}, USD", Decimal(getattr(sale, f"{name}_cents")).scaleb(-2))
        if sale.vat_in_books is not None:
            add("sales", line, f"vat, {sale.currency}", Decimal(sale.vat_in_books).scaleb(-2))
    parts: list[tuple[str, str, Flow | Disputed | Owed]] = [("credit", one.source, one) for one in statement.flows]
    for section, line, part in (*parts, ("disputed", "", statement.disputed), ("owed", "", statement.owed)):
        for name, amount in asdict(part).items():
            if name != "source":
                add(section, line, name.replace("_", " "), Decimal(amount).scaleb(-9))
    add("plans", "", "paid, less paid back", Decimal(statement.plans).scaleb(-9))
    for line, figure, amount in _stripe_rows(statement):
        add("stripe", line, figure, amount)
    add("check", "", "adds up", "yes" if statement.adds_up else "NO")
    return rows


def _stripe_rows(statement: Statement) -> Iterator[tuple[str, str, object]]:
    """Line, figure, amount."""
    for movement in statement.movements:
        kept_in = movement.currency
        yield (movement.kind, f"movements, {kept_in.upper()}", movement.movements)
        if kept_in != "usd" and movement.usd_cents is not None:
            yield (movement.kind, "charged, less given back, USD", Decimal(movement.usd_cents).scaleb(-2))
        yield (movement.kind, f"amount, {kept_in.upper()}", in_units(movement.cents, kept_in))
        yield (movement.kind, f"fee, {kept_in.upper()}", in_units(movement.fee_cents, kept_in))
    for one in statement.at_stripe:
        yield ("", f"fees, {one.currency.upper()}", in_units(one.fee_cents, one.currency))
        yield ("", f"paid out, {one.currency.upper()}", in_units(one.payout_cents, one.currency))
