"""From which networks each key is used, counted in memory and written down now and then.

On a request's way it is one entry of a dictionary. What a gateway that is killed counted in its last half
minute is lost: nobody is charged by it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache

from appliance.door.address import NOWHERE, cut_short, parsed
from appliance.review import sightings
from appliance.review.sightings import HOUR_SECONDS, Count, Place
from billing.clock import Clock
from billing.database.db import Database
from billing.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

PERIOD_SECONDS = 30.0
LAST_SECONDS = 5.0
"""How long the end of the process waits for what is not written yet."""
MOST = 20_000
"""Entries between two writes, or while PostgreSQL is away: 8 MiB."""
MOST_UNPROVEN = MOST // 2
"""Of them from keys that may be made up: whoever makes up keys takes no place from those that are real."""


class Sightings:
    """``dropped`` is told of how many requests there was no entry left for."""

    def __init__(self, database: Database, dropped: Callable[[float], None], clock: Clock) -> None:
        self._database = database
        self._dropped = dropped
        self._clock = clock
        self._counts: dict[Place, Count] = {}

    def saw(self, digest: bytes, address: str, *, known: bool, refused: bool) -> None:
        """A request with the key of this digest; ``known`` if admission has found it."""
        place = Place(digest, _network(address), int(self._clock().timestamp()) // HOUR_SECONDS)
        count = self._counts.get(place)
        if count is None:
            if len(self._counts) >= (MOST if known else MOST_UNPROVEN):
                self._dropped(1)
                return
            count = self._counts[place] = Count()
        count.requests += 1
        count.refused += refused

    async def write(self, timeout_seconds: float = PERIOD_SECONDS) -> None:
        """All that was counted so far. If PostgreSQL is away it is kept, within the limit, for the next time."""
        counted, self._counts = self._counts, {}
        _network.cache_clear()
        try:
            async with self._database.begin(timeout_seconds) as connection:
                await sightings.add(connection, counted)
        except DatabaseUnavailable:
            self._put_back(counted)
        except asyncio.CancelledError:
            self._put_back(counted)
            raise
        except Exception:
            log.exception("what was seen of %d keys and networks is lost", len(counted))

    @asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """Within the block now and then, and at its end."""
        task = asyncio.create_task(self._keep_writing())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            await self.write(LAST_SECONDS)

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            await self.write()

    def _put_back(self, counted: dict[Place, Count]) -> None:
        newer, self._counts = self._counts, counted
        for place, count in newer.items():
            if place in counted or len(counted) < MOST:
                before = counted.setdefault(place, Count())
                before.requests += count.requests
                before.refused += count.refused
            else:
                self._dropped(count.requests)


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    return cut_short(parsed(address) or NOWHERE)
