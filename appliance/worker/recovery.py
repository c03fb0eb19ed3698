"""Requests whose gateway is gone: asking the meters, and settling by what they say.

Any hold that has been open for a while is looked into. A replica that knows the request settles it: running,
it is left alone; ended, it is charged what was metered. When every replica of the model answers and none knows
it, and the request has had far longer than it takes to reach one, it is lost: nothing was generated that anyone
can see, and the hold is released. If a replica of this node was killed over it just now, its gateway is charging
what came of the answer, and is given the time. Where no replica can say, because the model is gone or does not
start, this node's journals may; else the customer's credit is released after an hour. Settlement is idempotent, so
that a gateway that is alive after all does no harm.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from appliance.metered import as_metered, journalled
from billing.charging.settlement import Settlement
from billing.clock import Clock
from billing.database.db import Database
from billing.errors import DatabaseUnavailable
from billing.ledger.holds import Hold, holds_before
from serving.client.replicas import EngineClient, ReplicaUnreachable
from serving.metering.marks import marked_since

log = logging.getLogger(__name__)

ORPHAN_AGE = timedelta(seconds=15)
LOST_AGE = timedelta(seconds=30)
GIVE_UP_AGE = timedelta(hours=1)
FINAL = ("complete", "cancelled", "died")
"""Ends after which no other replica was tried."""
PAGE = 500
MOST_AT_ONCE = 32


class Recovery:
    def __init__(
        self,
        database: Database,
        settlement: Settlement,
        engine_client: EngineClient,
        meters: Path,
        clock: Clock,
    ) -> None:
        """``meters`` are the journals of this node."""
        self._database = database
        self._settlement = settlement
        self._engine = engine_client
        self._meters = meters
        self._clock = clock

    async def run_once(self) -> int:
        """Looks into every hold that is old enough; returns how many it resolved. Raises DatabaseUnavailable."""
        resolved, after = 0, None
        while True:
            async with self._database.begin() as connection:
                holds = await holds_before(connection, self._clock() - ORPHAN_AGE, PAGE, after)
            if not holds:
                return resolved
            resolved += await self._resolve_all(holds)
            after = holds[-1]

    async def _resolve_all(self, holds: Sequence[Hold]) -> int:
        gate = asyncio.Semaphore(MOST_AT_ONCE)

        async def one(hold: Hold) -> bool:
            async with gate:
                try:
                    return await self._resolve(hold)
                except DatabaseUnavailable:
                    raise
                except Exception:
                    log.exception("request %s could not be resolved", hold.request_id)
                    return False

        return sum(await asyncio.gather(*(one(hold) for hold in holds)))

    async def _resolve(self, hold: Hold) -> bool:
        """True if the hold is settled now; False if it has to wait."""
        age = self._clock() - hold.created_at
        try:
            meter = await self._engine.find_meter(hold.model, str(hold.request_id))
        except ReplicaUnreachable:
            meter = await asyncio.to_thread(journalled, self._meters, str(hold.request_id))
            if meter is None or meter.ended not in FINAL:
                if age < GIVE_UP_AGE:
                    return False
                log.error("request %s is released: no replica of %s could say more", hold.request_id, hold.model)
        if meter is None:
            if age < LOST_AGE:
                return False
            meter = await asyncio.to_thread(journalled, self._meters, str(hold.request_id))
            if meter is None and await asyncio.to_thread(self._was_killed_lately, str(hold.request_id)):
                return False
        if meter is not None and meter.ended is None:
            return False
        await self._settlement.settle(as_metered(hold.request_id, hold.account_id, meter))
        return True

    def _was_killed_lately(self, request_id: str) -> bool:
        return marked_since(self._meters, request_id, (self._clock() - LOST_AGE).timestamp())
