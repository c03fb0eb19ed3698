"""Requests whose gateway is gone: asking the meters, and settling by what they say.

Any hold that has been open for a while is looked into. A replica that knows the request settles it: running,
it is left alone; ended, it is charged what was metered. When every replica of the model answers and none knows
it, and the request has had far longer than it takes to reach one, it is lost: nothing was generated that anyone
can see, and the hold is released. Settlement is idempotent, so that a gateway that is alive after all does no
harm.
"""

import logging
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from billing.clock import Clock
from billing.db import Database
from billing.errors import BillingError, DatabaseUnavailable
from billing.holds import Hold, holds_before
from billing.pricing import Tokens
from billing.settlement import Ended, Metered, Settlement
from serving.client import EngineClient, ReplicaUnreachable
from serving.journal import read_journal
from serving.meter import Meter

log = logging.getLogger(__name__)

ORPHAN_AGE = timedelta(seconds=15)
LOST_AGE = timedelta(seconds=30)
MOST_AT_ONCE = 500


def as_metered(request_id: UUID, account_id: int, meter: Meter | None) -> Metered:
    """None is a request that no replica knows: it used nothing."""
    if meter is None or meter.ended is None:
        return Metered(request_id, account_id, Tokens(0, 0, 0), Ended.LOST)
    tokens = Tokens(meter.prompt_tokens, meter.cached_tokens, meter.completion_tokens)
    return Metered(request_id, account_id, tokens, Ended(meter.ended))


def journalled(meters: Path, model: str, request_id: str) -> Meter | None:
    """What a replica of this node that is gone wrote down of the request."""
    return read_journal(meters / model, request_id)


class Recovery:
    def __init__(
        self, database: Database, settlement: Settlement, engine_client: EngineClient, clock: Clock
    ) -> None:
        self._database = database
        self._settlement = settlement
        self._engine = engine_client
        self._clock = clock

    async def run_once(self) -> int:
        """Returns how many holds were resolved. Raises DatabaseUnavailable."""
        async with self._database.begin() as connection:
            holds = await holds_before(connection, self._clock() - ORPHAN_AGE, MOST_AT_ONCE)
        return await self._resolve(holds)

    async def _resolve(self, holds: Iterable[Hold]) -> int:
        resolved = 0
        for hold in holds:
            try:
                meter = await self._engine.find_meter(hold.model, str(hold.request_id))
                if meter is None and hold.created_at > self._clock() - LOST_AGE:
                    continue
                if meter is not None and meter.ended is None:
                    continue
                await self._settlement.settle(as_metered(hold.request_id, hold.account_id, meter))
            except ReplicaUnreachable:
                continue
            except DatabaseUnavailable:
                raise
            except BillingError as error:
                log.error("request %s could not be settled: %s", hold.request_id, error)
                continue
            resolved += 1
        return resolved
