"""One of the processes of test_concurrency: asks and settles for a while, prints what each account was charged."""

import asyncio
import json
import random
import sys
import time
from collections import Counter

from billing.charging.admission import Admission, Admitted, Refusal, Refused, Request
from billing.charging.settlement import Ended, Metered, Settlement
from billing.clock import system_clock
from billing.database.db import Database
from billing.ids import request_id
from billing.prices.pricing import Tokens
from billing.store.postgres import PostgresStore

AT_ONCE = 40


async def main(url: str, digests: dict[int, str], hot: int, seconds: float, seed: int) -> dict[str, object]:
    """``digests`` are the accounts' key digests in hexadecimal; half of the requests are for ``hot``.

    It goes on for so many seconds, and until an account has no credit left, however slow the machine is.
    """
    database = Database(url, pool_size=2)
    store, rng = PostgresStore(database), random.Random(seed)
    admission, settlement = Admission(store, system_clock), Settlement(store, system_clock)
    charged: Counter[int] = Counter()
    refused: Counter[str] = Counter()
    end = time.monotonic() + seconds

    async def ask() -> None:
        while time.monotonic() < end or not refused[Refusal.INSUFFICIENT_CREDIT.value]:
            account = hot if rng.random() < 0.5 else rng.choice(list(digests))
            id_, digest = request_id(time.time()), bytes.fromhex(digests[account])
            request = Request(id_, digest, "smollm2", "/v1/completions", 100, 50, counted=True)
            decision = await admission.admit(request)
            if isinstance(decision, Refused):
                refused[decision.reason.value] += 1
                await asyncio.sleep(0.001)
                continue
            assert isinstance(decision, Admitted)
            tokens = Tokens(rng.randint(0, 100), 0, rng.randint(0, decision.completion_limit))
            settled = await settlement.settle(Metered(id_, account, tokens, Ended.COMPLETE))
            charged[account] += settled.cost

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    await database.close()
    return {"charged": charged, "refused": refused}


if __name__ == "__main__":
    url, digests, hot, seconds, seed = sys.argv[1:]
    known = {int(account): digest for account, digest in json.loads(digests).items()}
    sys.stdout.write(json.dumps(asyncio.run(main(url, known, int(hot), float(seconds), int(seed)))))
