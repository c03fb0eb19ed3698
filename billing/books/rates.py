"""What a US dollar was worth in the books' currency, by day."""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal

from billing.documents.exchange import DAYS_OLD
from billing.errors import Conflict


class Rates:
    """By day: the newest at or before it, at most ``DAYS_OLD`` days older. In dollars every rate is one."""

    def __init__(self, by_day: Mapping[date, Decimal] | None) -> None:
        self._rates = None if by_day is None else sorted(by_day.items())
        self._days = [day for day, _ in self._rates or ()]

    def on(self, day: date) -> Decimal:
        """Raises Conflict if there is none."""
        if self._rates is None:
            return Decimal(1)
        place = bisect_right(self._days, day)
        if place == 0 or day - self._days[place - 1] > timedelta(days=DAYS_OLD):
            raise Conflict(f"there is no exchange rate for {day}: enter one with `appliance books rate`")
        return self._rates[place - 1][1]
