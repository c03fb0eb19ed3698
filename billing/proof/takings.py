"""A day's takings four times over: as Stripe moved them, as they are noted here, in the ledger, and in documents.

Nothing is repaired. Whatever has one part on the day (UTC) is looked at with all its parts, whatever day those are
of: what comes before midnight and is noted after it differs on neither day.
"""

from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from billing.clock import Clock
from billing.database.db import Database
from billing.payments.provider import MovementSeen
from billing.proof import judging, parts
from billing.proof.judging import Item, Parts
from billing.statements.period import Period

UNDER_WAY = timedelta(minutes=15)
"""What lacks a part is not a difference before it is so old."""
MOST_DIFFERENCES = 1000
NEVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OnBalance:
    """What moved on Stripe's balance in one currency, gross, and what Stripe kept; in its smallest unit."""

    currency: str
    cents: int
    fee_cents: int


@dataclass(frozen=True, slots=True)
class Group:
    """All of a kind. Cents (US) and nano-dollars are positive for what came, negative for what went.

    ``stripe_cents`` is what was charged, refunded or disputed; ``on_balance`` how that moved the balance. ``open``
    are under way. Of disputes that are not lost, the ledger has nothing yet.
    """

    kind: str
    items: int
    open: int
    stripe_cents: int
    on_balance: tuple[OnBalance, ...]
    here_cents: int
    ledger_nanodollars: int
    document_cents: int
    differences: int


@dataclass(frozen=True, slots=True)
class Difference:
    """``subject`` is a payment, a refund, a dispute, a movement or a transfer, with its id."""

    subject: str
    account_id: int | None
    what: str
    stripe_cents: int
    on_balance: tuple[OnBalance, ...]
    here_cents: int
    ledger_nanodollars: int
    document_cents: int


@dataclass(frozen=True, slots=True)
class Takings:
    """``differences`` are at most ``MOST_DIFFERENCES``; the groups count them all. ``asked``: Stripe was, now."""

    day: date
    asked: bool
    groups: tuple[Group, ...]
    differences: tuple[Difference, ...]

    @property
    def items(self) -> int:
        return sum(group.items for group in self.groups)

    @property
    def count(self) -> int:
        return sum(group.differences for group in self.groups)


LOOKED_AT = (
    (parts.PAYMENTS, judging.payment),
    (parts.REFUNDS, judging.refund),
    (parts.DISPUTES, judging.dispute),
    (parts.MOVEMENTS, judging.movement),
    (parts.TRANSFERS, judging.transfer),
)


async def compare_takings(
    database: Database, day: date, movements: AsyncIterable[Sequence[MovementSeen]] | None, clock: Clock
) -> Takings:
    """``movements`` are all that Stripe has of the day, and may be of later days too; None: those on record count.

    Raises DatabaseUnavailable, and what asking Stripe raises.
    """
    period = Period(day, day)
    since = NEVER if movements is None else period.start
    fresh = [_record(one) async for page in movements for one in page] if movements is not None else []
    async with database.begin_raw(timeout_seconds=None) as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(parts.FRESH)
        await connection.copy_records_to_table("fresh_movement", records=fresh)
        found: list[tuple[Parts, Item]] = [
            (row, judge(row))
            for query, judge in LOOKED_AT
            for row in await connection.fetch(query, period.start, period.end, since)
        ]
        if movements is not None:
            rows = await connection.fetch(parts.RECORDED, period.start, period.end)
            found += [(row, judging.recorded(row)) for row in rows]
    return _summed(day, found, clock(), asked=movements is not None)


def _summed(day: date, found: Iterable[tuple[Parts, Item]], now: datetime, *, asked: bool) -> Takings:
    groups: dict[str, Group] = {}
    differences: list[Difference] = []
    for row, item in found:
        is_young = now - row["newest_at"] < UNDER_WAY
        faults = [fault.what for fault in item.faults if not (fault.may_come and is_young)]
        moved = _on_balance(row)
        amounts = row["stripe_cents"], moved, item.here_cents, row["ledger"], row["document_cents"]
        differences += [Difference(item.subject, row["account_id"], what, *amounts) for what in faults]
        before = groups.get(item.kind, Group(item.kind, 0, 0, 0, (), 0, 0, 0, 0))
        groups[item.kind] = Group(
            item.kind,
            before.items + 1,
            before.open + (len(faults) < len(item.faults)),
            before.stripe_cents + row["stripe_cents"],
            _added((*before.on_balance, *moved)),
            before.here_cents + item.here_cents,
            before.ledger_nanodollars + row["ledger"],
            before.document_cents + row["document_cents"],
            before.differences + len(faults),
        )
    return Takings(day, asked, tuple(groups.values()), tuple(differences[:MOST_DIFFERENCES]))


def _on_balance(row: Parts) -> tuple[OnBalance, ...]:
    if row["moved_in"] is None:
        return ()
    return _added(map(OnBalance, row["moved_in"], row["moved_cents"], row["fee_cents"]))


def _added(moved: Iterable[OnBalance]) -> tuple[OnBalance, ...]:
    """One for each currency."""
    sums: dict[str, OnBalance] = {}
    for one in moved:
        before = sums.get(one.currency, OnBalance(one.currency, 0, 0))
        sums[one.currency] = OnBalance(one.currency, before.cents + one.cents, before.fee_cents + one.fee_cents)
    return tuple(sums[currency] for currency in sorted(sums))


def _record(one: MovementSeen) -> tuple[object, ...]:
    moved = one.currency, one.cents, one.fee, one.net, one.usd_cents
    return one.id, one.kind, one.source, one.intent, *moved, one.created_at
