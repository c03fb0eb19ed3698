"""Which credit pays, and what of it is over. Pure. The rules are in docs/money.md.

Terms: credits "expire 1 year after purchase and are consumed on a first-in-first-out (FIFO) basis".
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from billing.store.port import Lot, OpenHold, Source

ONE_DAY = timedelta(days=1)


def one_year_after(moment: datetime) -> datetime:
    """The same time of the same date a year later; 29 February becomes 1 March."""
    try:
        return moment.replace(year=moment.year + 1)
    except ValueError:
        return (moment - ONE_DAY).replace(year=moment.year + 1) + ONE_DAY


def in_order(lots: Iterable[Lot]) -> list[Lot]:
    """The order of consumption: allowances, then first in, first out."""
    return sorted(lots, key=lambda lot: (lot.source is not Source.ALLOWANCE, lot.acquired_at, lot.id))


def is_open_to(lot: Lot, admitted_at: datetime, now: datetime) -> bool:
    """Whether a request may use the lot: it is not over, or was not when the request was admitted."""
    return lot.ends_at > now or lot.ends_at >= admitted_at


def moment_after(holds: Iterable[OpenHold], now: datetime) -> datetime:
    """When a lot that is ended now is over: not before a request was admitted by another's clock."""
    return max([now, *(hold.created_at for hold in holds)])


def consume(
    lots: Sequence[Lot], amount: int, admitted_at: datetime, now: datetime
) -> tuple[list[tuple[int, int]], list[Lot]]:
    """Parts (lot id, nano-dollars) of the ordered lots that are open to the request, and all lots after it.

    The parts add up to less than ``amount`` where the lots hold less.
    """
    parts: list[tuple[int, int]] = []
    after: list[Lot] = []
    for lot in lots:
        part = min(lot.remaining, amount) if is_open_to(lot, admitted_at, now) else 0
        if part:
            amount -= part
            parts.append((lot.id, part))
            after.append(replace(lot, remaining=lot.remaining - part))
        else:
            after.append(lot)
    return parts, after


def claims(lots: Iterable[Lot], holds: Iterable[OpenHold], now: datetime) -> dict[int, int]:
    """What the open holds may still need of each lot, by its id, in nano-dollars.

    Given out hold by hold in the order of admission, each in the order of consumption.
    """
    left = in_order(lots)
    claimed: dict[int, int] = {}
    for hold in sorted(holds, key=lambda hold: (hold.created_at, hold.request_id)):
        parts, left = consume(left, hold.amount, hold.created_at, now)
        for lot_id, part in parts:
            claimed[lot_id] = claimed.get(lot_id, 0) + part
    return claimed


def endings(lots: Iterable[Lot], holds: Iterable[OpenHold], now: datetime) -> list[tuple[Lot, int]]:
    """The lots that are over, and what of each no open hold claims, where that is above zero."""
    lots = list(lots)
    claimed = claims(lots, holds, now)
    return [
        (lot, rest)
        for lot in in_order(lots)
        if lot.ends_at <= now and (rest := lot.remaining - claimed.get(lot.id, 0)) > 0
    ]


def next_end(lots: Iterable[Lot]) -> datetime | None:
    """When the first of the lots that hold credit is over."""
    return min((lot.ends_at for lot in lots if lot.remaining), default=None)
