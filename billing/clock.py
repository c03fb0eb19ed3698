"""Time is passed in, so that a year passes in a test in a millisecond."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present as an aware datetime in UTC."""


def system_clock() -> datetime:
    return datetime.now(UTC)
