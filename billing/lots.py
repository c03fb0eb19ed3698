"""Which credit pays: lots are consumed first in, first out. Pure.

A lot is one purchase, grant or plan allowance. Terms, "Billing": credits "are consumed on a first-in-first-out
(FIFO) basis".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from billing.errors import LotsShort


@dataclass(frozen=True, slots=True)
class Lot:
    """``id`` is the lot's ledger account; ``remaining`` is in nano-dollars."""

    id: int
    acquired_at: datetime
    remaining: int


def consume(lots: Iterable[Lot], amount: int) -> list[tuple[Lot, int]]:
    """Parts of the lots, oldest first, that add up to ``amount`` nano-dollars.

    Raises LotsShort if the lots hold less: admission's hold must have made that impossible.
    """
    parts: list[tuple[Lot, int]] = []
    for lot in sorted(lots, key=lambda lot: (lot.acquired_at, lot.id)):
        if amount == 0:
            break
        part = min(lot.remaining, amount)
        if part:
            parts.append((lot, part))
            amount -= part
    if amount:
        raise LotsShort(f"the lots are {amount} nano-dollars short")
    return parts
