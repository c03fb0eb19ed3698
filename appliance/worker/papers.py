"""Documents are posted for what was paid and paid back, and where tax falls then, for what was used."""

import logging

from appliance.papers.office import office_of
from appliance.settings import Settings
from appliance.worker.metrics import WorkerMetrics
from billing.clock import Clock
from billing.database.db import Database
from billing.documents.exchange import KeptExchange
from billing.documents.posting import Posting
from billing.documents.used import UsedPosting

log = logging.getLogger(__name__)


class Papering:
    def __init__(self, database: Database, settings: Settings, metrics: WorkerMetrics, clock: Clock) -> None:
        office = office_of(settings, database, clock)
        self._exchange = office.exchange
        self._clock = clock
        self._posting = Posting(database, office, clock)
        self._used = UsedPosting(database, office, clock)
        self._metrics = metrics

    async def run_once(self) -> None:
        """Raises DatabaseUnavailable."""
        if isinstance(self._exchange, KeptExchange):
            await self._exchange.keep_up(self._clock())
        posted = await self._posting.run_once() + await self._used.run_once()
        self._metrics.documents_waiting.set(posted.waiting)
        if posted.documents:
            log.info("%d documents were posted", posted.documents)
        if posted.waiting:
            log.warning("%d documents wait for an exchange rate", posted.waiting)
