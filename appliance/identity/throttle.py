"""How often somebody may try: a few times at once, then one every so many seconds.

The rate is GCRA's, as for requests (``billing.charging.limits``), in one statement: who tries at the same moment
from two sides gets no more. Who asks is kept as a digest only.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.errors import TooManyTries
from billing.database.db import execute, fetch

_SPEND = """
INSERT INTO throttle AS t (key, full_until) VALUES ($1, $2::timestamptz + $3)
ON CONFLICT (key) DO UPDATE SET full_until = greatest(t.full_until, $2) + $3
WHERE greatest(t.full_until, $2) + $3 <= $2 + $4::interval
RETURNING true
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """``at_once`` tries, and one more ``every`` so long."""

    at_once: int
    every: timedelta


class Throttle:
    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    async def spend(self, connection: AsyncConnection, rate: Rate, now: datetime, *who: str) -> None:
        """One try; of what is refused nothing is spent. Raises TooManyTries."""
        key = hmac.digest(self._pepper, "\0".join(who).encode(), "sha256")
        if await fetch(connection, _SPEND, key, now, rate.every, rate.at_once * rate.every):
            return
        ((full_until,),) = await fetch(connection, "SELECT full_until FROM throttle WHERE key = $1", key)
        wait = full_until - now - (rate.at_once - 1) * rate.every
        raise TooManyTries("That was tried too often. Please wait a little.", max(1.0, wait.total_seconds()))


async def forget(connection: AsyncConnection, now: datetime) -> None:
    """What counts no more."""
    await execute(connection, "DELETE FROM throttle WHERE full_until <= $1", now)
