"""One of the processes of test_kill: admits, meters and settles, as a gateway and a replica would, until killed.

Arguments: the database's URL, key digests in hexadecimal by account (JSON), the folder of the journals, the file
of what was acknowledged, seconds, a seed.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from uuid import UUID

from billing.charging.admission import Admission, Admitted, Request
from billing.charging.settlement import Ended, Metered, Settlement
from billing.clock import system_clock
from billing.database.db import Database
from billing.errors import DatabaseUnavailable
from billing.ids import request_id
from billing.prices.pricing import Tokens
from billing.store.postgres import PostgresStore
from serving.metering.journal import FileJournal
from serving.metering.meter import Meter

AT_ONCE = 20
RETRY_SECONDS = 0.1


async def main(
    url: str, digests: dict[int, str], journals: Path, acknowledged: Path, seconds: float, seed: int
) -> None:
    store, rng = PostgresStore(Database(url, pool_size=2)), random.Random(seed)
    admission, settlement = Admission(store, system_clock), Settlement(store, system_clock)
    journal = FileJournal(journals, f"client-{seed}")
    end = time.monotonic() + seconds
    with acknowledged.open("ab", buffering=0) as acks:

        async def ask() -> None:
            while time.monotonic() < end:
                account, id_ = rng.choice(list(digests)), request_id(time.time())
                request = Request(id_, bytes.fromhex(digests[account]), "smollm2", "/v1/completions", 100, 50)
                try:
                    decision = await admission.admit(request)
                except DatabaseUnavailable:  # the client gets 503
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                assert isinstance(decision, Admitted), decision
                await asyncio.sleep(rng.random() / 20)
                tokens = Tokens(rng.randint(1, 100), 0, rng.randint(0, 50))
                journal.append(Meter(str(id_), tokens.prompt, 0, tokens.completion, "complete"))
                cost = await settled(id_, account, tokens)
                acks.write(f"{id_} {cost}\n".encode())

        async def settled(id_: UUID, account: int, tokens: Tokens) -> int:
            while True:
                try:
                    return (await settlement.settle(Metered(id_, account, tokens, Ended.COMPLETE))).cost
                except DatabaseUnavailable:
                    await asyncio.sleep(RETRY_SECONDS)

        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))


if __name__ == "__main__":
    url, digests, journals, acknowledged, seconds, seed = sys.argv[1:]
    known = {int(account): digest for account, digest in json.loads(digests).items()}
    asyncio.run(main(url, known, Path(journals), Path(acknowledged), float(seconds), int(seed)))
