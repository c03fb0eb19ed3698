"""Rate limits by the generic cell rate algorithm (ITU-T I.371): one time-stamp a limit; and months. Pure.

The time-stamp (theoretical arrival time, TAT) is when the allowance will be full again. A minute's allowance may
be used at once; after that it refills evenly.
"""

from datetime import datetime, timedelta

from msgspec.structs import replace

from billing.store.port import Allowance, Standing

WINDOW = timedelta(minutes=1)
NOTICE_PERCENTS = (50, 80, 100)


def wait_seconds(tat: datetime | None, now: datetime, per_minute: int, amount: int = 1) -> float:
    """Seconds until ``amount`` fits; 0 if it fits now."""
    excess = spent(tat, now, per_minute, amount) - now - WINDOW
    return max(0.0, excess.total_seconds())


def spent(tat: datetime | None, now: datetime, per_minute: int, amount: int = 1) -> datetime:
    """The TAT after ``amount`` is used."""
    start = now if tat is None or tat < now else tat
    return start + WINDOW * amount / per_minute


def remaining(tat: datetime | None, now: datetime, per_minute: int) -> int:
    """What of a minute's allowance could be used at once."""
    used = (tat - now) / WINDOW * per_minute if tat is not None and tat > now else 0.0
    return max(0, int(per_minute - used + 1e-6))


def reset_seconds(tat: datetime | None, now: datetime) -> float:
    """Until the allowance is full again."""
    return max(0.0, (tat - now).total_seconds()) if tat is not None else 0.0


def month_of(moment: datetime) -> int:
    return 12 * moment.year + moment.month - 1


def in_month(use: Allowance, month: int) -> Allowance:
    """``use`` with the month's spending begun anew if ``month`` has begun. The month never goes backwards."""
    return use if month <= use.month else replace(use, month=month, month_spent=0)


def account_in_month(account: Standing, month: int) -> Standing:
    use = in_month(account.use, month)
    return account if use is account.use else replace(account, use=use)


def crossed(budget: int | None, before: int, after: int) -> list[int]:
    """The percentages of the budget to give notice of, that spending reached between ``before`` and ``after``."""
    if budget is None:
        return []
    return [percent for percent in NOTICE_PERCENTS if before * 100 < budget * percent <= after * 100]
