"""What a price costs for a part of its period: by the second, each amount rounded by itself. Pure.

https://docs.stripe.com/billing/subscriptions/prorations
"""

from __future__ import annotations


def rounded(numerator: int, denominator: int) -> int:
    """The nearest whole number, halves away from zero; ``denominator`` is positive."""
    sign = -1 if numerator < 0 else 1
    return sign * ((2 * abs(numerator) + denominator) // (2 * denominator))


def share(amount: int, start: int, end: int, since: int) -> int:
    """Of ``amount`` in cents for the time from ``start`` to ``end``, what is for the time since ``since``."""
    since = min(max(since, start), end)
    return rounded(amount * (end - since), end - start)
