"""When a subscription's periods end: so many months from its anchor, on the last day of months too short. Pure.

All instants are seconds since 1970, all days those of UTC.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime

from appliance.stripe_sandbox.settings import DAY_SECONDS

FIXED_SECONDS = {"day": DAY_SECONDS, "week": 7 * DAY_SECONDS}
MONTHS = {"month": 1, "year": 12}


def boundary(anchor: int, interval: str, interval_count: int, periods: int) -> int:
    """The end of the ``periods``-th period: counted from the anchor, as the period before may be a short one."""
    if interval in FIXED_SECONDS:
        return anchor + periods * interval_count * FIXED_SECONDS[interval]
    begin = datetime.fromtimestamp(anchor, UTC)
    months = begin.month - 1 + periods * interval_count * MONTHS[interval]
    year, month = begin.year + months // 12, months % 12 + 1
    day = min(begin.day, calendar.monthrange(year, month)[1])
    return int(begin.replace(year=year, month=month, day=day).timestamp())


def next_boundary(anchor: int, interval: str, interval_count: int, after: int) -> int:
    """The first end of a period that is later than ``after``."""
    if interval in FIXED_SECONDS:
        periods = max(0, (after - anchor) // (interval_count * FIXED_SECONDS[interval]))
    else:
        begin, then = datetime.fromtimestamp(anchor, UTC), datetime.fromtimestamp(after, UTC)
        months = (then.year - begin.year) * 12 + then.month - begin.month
        periods = max(0, months // (interval_count * MONTHS[interval]) - 1)
    while boundary(anchor, interval, interval_count, periods) <= after:
        periods += 1
    return boundary(anchor, interval, interval_count, periods)
