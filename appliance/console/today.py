"""What was charged since midnight (UTC). To sum it takes a look at each request of the day: no page but the first
waits for that, and it is done once a minute at most.
"""

import asyncio
import logging
from datetime import UTC, datetime, time, timedelta

from billing.clock import Clock
from billing.database.db import Database
from billing.errors import DatabaseUnavailable
from billing.statements.money import charged_since

log = logging.getLogger(__name__)
FRESH = timedelta(minutes=1)


class Today:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: tuple[datetime, int] | None = None
        """When it was looked at, and nano-dollars."""
        self._looking: asyncio.Task[int | None] | None = None

    async def charged(self) -> int | None:
        """Nano-dollars, as of a minute ago or of the last time that somebody asked; None if that fails."""
        now = self._clock()
        known = None if self._known is None or self._known[0] < _midnight(now) else self._known
        if known is None or now - known[0] >= FRESH:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look_aside())
            if known is None:
                return await asyncio.shield(self._looking)
        return known[1]

    async def _look_aside(self) -> int | None:
        try:
            return await self._look()
        except DatabaseUnavailable:
            log.warning("what was charged today cannot be summed now")
            return None

    async def _look(self) -> int:
        now = self._clock()
        async with self._database.begin() as connection:
            charged = await charged_since(connection, _midnight(now))
        self._known = now, charged
        return charged


def _midnight(now: datetime) -> datetime:
    return datetime.combine(now.astimezone(UTC).date(), time(), UTC)
