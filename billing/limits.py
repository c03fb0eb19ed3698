"""Rate limits by the generic cell rate algorithm (ITU-T I.371): one time-stamp a limit. Pure.

The time-stamp (theoretical arrival time, TAT) is when the allowance will be full again. A minute's allowance may
be used at once; after that it refills evenly.
"""

from datetime import datetime, timedelta

WINDOW = timedelta(minutes=1)


def wait_seconds(tat: datetime | None, now: datetime, per_minute: int, amount: int = 1) -> float:
    """Seconds until ``amount`` fits; 0 if it fits now."""
    excess = spent(tat, now, per_minute, amount) - now - WINDOW
    return max(0.0, excess.total_seconds())


def spent(tat: datetime | None, now: datetime, per_minute: int, amount: int = 1) -> datetime:
    """The TAT after ``amount`` is used."""
    start = now if tat is None or tat < now else tat
    return start + WINDOW * amount / per_minute
