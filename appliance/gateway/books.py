"""The gateway's side of billing: identities, admission, and settlement that outlives a restart of PostgreSQL."""

import asyncio
import hmac
import logging
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path

from appliance.gateway.metrics import GatewayMetrics
from appliance.metered import as_metered
from billing.charging.admission import Admission, Admitted, Decision, Request
from billing.charging.batch import QueueFull
from billing.charging.settlement import Ended, Metered, Settlement
from billing.clock import Clock
from billing.customers import keys
from billing.database.db import Database
from billing.errors import DatabaseUnavailable
from billing.prices.pricing import Tokens
from serving.client.published import Replica
from serving.client.replicas import EngineClient, ReplicaUnreachable
from serving.metering.marks import last_of, ran_here
from serving.metering.meter import Meter

log = logging.getLogger(__name__)

SETTLE_PATIENCE_SECONDS = 300.0
SETTLE_LONGEST_PAUSE_SECONDS = 1.0
METER_WAIT_SECONDS = 10.0
DYING_PAUSES_SECONDS = (0.1, 0.5, 1.0)


class Books:
    """``salt_secret`` turns accounts into cache salts (32 bytes)."""

    def __init__(
        self,
        database: Database,
        admission: Admission,
        settlement: Settlement,
        engine_client: EngineClient,
        *,
        salt_secret: bytes,
        meters: Path,
        metrics: GatewayMetrics,
        clock: Clock,
    ) -> None:
        self._database = database
        self._admission = admission
        self._settlement = settlement
        self._engine = engine_client
        self._salt_secret = salt_secret
        self._meters = meters
        self._metrics = metrics
        self._clock = clock
        self._background: set[asyncio.Task[None]] = set()

    def salt(self, account_id: int) -> str:
        """Keeps an account's cached prompts, and how long they took, from every other account."""
        return hmac.digest(self._salt_secret, b"%d" % account_id, "sha256").hex()

    async def knows(self, digest: bytes) -> bool:
        """Whether the key of this digest exists and is good. Raises DatabaseUnavailable."""
        async with self._database.begin() as connection:
            return await keys.owner_of(connection, digest, self._clock()) is not None

    async def admit(self, request: Request) -> Decision:
        """Raises DatabaseUnavailable, QueueFull."""
        started = time.perf_counter()
        decision = await self._admission.admit(request)
        self._metrics.admission_seconds.observe(time.perf_counter() - started)
        return decision

    async def settle(self, admitted: Admitted, meter: Meter) -> None:
        """Returns when the charge is durable; waits for PostgreSQL to come back.

        Raises DatabaseUnavailable when its patience ends: the worker settles it then; and BillingError.
        """
        await self._settle(as_metered(admitted.request.id, admitted.account_id, meter))
        self._metrics.observe_charge(admitted.request.model, meter)

    def release(self, admitted: Admitted, ended: Ended) -> None:
        """Frees the hold of a request of whose answer the client got nothing, in the background."""
        nothing = Metered(admitted.request.id, admitted.account_id, Tokens(0, 0, 0), ended)
        self._in_background(self._settle(nothing))

    def settle_cut_off(self, admitted: Admitted, tried: Sequence[Replica], passed_bytes: int) -> None:
        """Charges what the last replica that was tried had generated, in the background.

        If it was killed: what so many bytes of its answer, which went on to the client, took for certain.
        """
        self._in_background(self._settle_by_meter(admitted, tried[-1] if tried else None, passed_bytes))

    async def drain(self, timeout_seconds: float) -> None:
        if self._background:
            await asyncio.wait(self._background, timeout=timeout_seconds)

    async def _settle_by_meter(self, admitted: Admitted, replica: Replica | None, passed_bytes: int) -> None:
        request_id = str(admitted.request.id)
        meter: Meter | None = None
        if replica is not None:
            try:
                meter = await self._meter(replica, request_id)
            except ReplicaUnreachable as error:
                if error.process_is_gone:
                    meter = await asyncio.to_thread(last_of, self._meters, replica.id, request_id, passed_bytes)
                elif error.refused:
                    meter = await self._engine.left_by(replica, request_id, passed_bytes)
                if meter is None:
                    return  # the worker asks again
            if meter is not None and meter.ended is None:
                return  # still running: the worker asks again
        await self._settle(as_metered(admitted.request.id, admitted.account_id, meter))
        if meter is not None:
            self._metrics.observe_charge(admitted.request.model, meter)

    async def _meter(self, replica: Replica, request_id: str) -> Meter | None:
        """A process that is being killed may still take a connection. Raises ReplicaUnreachable."""
        for pause in DYING_PAUSES_SECONDS:
            try:
                return await self._engine.meter(replica.endpoint, request_id, METER_WAIT_SECONDS)
            except ReplicaUnreachable as error:
                if error.process_is_gone:
                    raise
                if error.refused and await asyncio.to_thread(ran_here, self._meters, replica.id):
                    raise ReplicaUnreachable(replica.id, process_is_gone=True) from None
            await asyncio.sleep(pause)
        return await self._engine.meter(replica.endpoint, request_id, METER_WAIT_SECONDS)

    async def _settle(self, metered: Metered) -> None:
        started = time.perf_counter()
        pause = 0.02
        while True:
            try:
                await self._settlement.settle(metered)
            except (DatabaseUnavailable, QueueFull):
                if time.perf_counter() - started > SETTLE_PATIENCE_SECONDS:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, SETTLE_LONGEST_PAUSE_SECONDS)
            else:
                self._metrics.settlement_seconds.observe(time.perf_counter() - started)
                return

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(self._logged(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _logged(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("a request could not be settled; the worker tries again")
