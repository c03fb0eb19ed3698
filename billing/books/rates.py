"""What a US dollar was worth in the books' currency, by day."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from billing.books.exported import NOT_YET
from billing.documents.exchange import DAYS_OLD
from billing.errors import Conflict


class Recorded(NamedTuple):
    """A day's rate, and since when it is known here."""

    day: date
    at: datetime
    value: Decimal


class Rates:
    """By day: the newest at or before it, at most ``DAYS_OLD`` days older.

    For days of a year that was exported, what was not known then counts only where nothing else does, and of that
    what was known first. In dollars every rate is one.
    """

    def __init__(self, recorded: Iterable[Recorded] | None, exported: Mapping[int, datetime]) -> None:
        self._rates = None if recorded is None else sorted(recorded)
        self._days = [one.day for one in self._rates or ()]
        self._exported = exported

    def on(self, day: date) -> Decimal:
        """Raises Conflict if there is none."""
        if self._rates is None:
            return Decimal(1)
        first = bisect_left(self._days, day - timedelta(days=DAYS_OLD))
        counting = self._rates[first : bisect_right(self._days, day)]
        if not counting:
            raise Conflict(f"there is no exchange rate for {day}: enter one with `appliance books rate`")
        until = self._exported.get(day.year, NOT_YET)
        known = [one for one in counting if one.at <= until]
        return known[-1].value if known else min(counting, key=lambda one: one.at).value
