"""Eight processes on one PostgreSQL, on one hot account and on many: no overdraft, no deadlock, exact sums."""

import asyncio
import json
import sys
from collections import Counter

from billing.customers import keys
from tests.billing.conftest import PEPPER, Bank

PROCESSES, SECONDS, ACCOUNTS = 8, 5.0, 30
HOT_CREDIT, CREDIT = 30_000_000, 3_000_000


async def test_no_overdraft_no_deadlock_and_exact_sums_with_eight_processes(bank: Bank) -> None:
    customers = [await bank.customer(CREDIT if number else HOT_CREDIT) for number in range(ACCOUNTS)]
    bought = {one.account_id: CREDIT for one in customers} | {customers[0].account_id: HOT_CREDIT}
    digests = {one.account_id: keys.digest(PEPPER, one.key).hex() for one in customers}
    command = [sys.executable, "-m", "tests.billing.concurrent_client", bank.url, json.dumps(digests)]
    command += [str(customers[0].account_id), str(SECONDS)]
    processes = [await asyncio.create_subprocess_exec(*command, str(seed), stdout=-1) for seed in range(PROCESSES)]
    outputs = [(await process.communicate())[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES, "a deadlock would be an exception"
    charged: Counter[int] = Counter()
    refused: Counter[str] = Counter()
    for document in map(json.loads, outputs):
        charged.update({int(account): amount for account, amount in document["charged"].items()})
        refused.update(document["refused"])
    assert refused["insufficient_credit"] > 0
    for one in customers:
        account = await one.account()
        assert account.balance_nanodollars == bought[one.account_id] - charged[one.account_id] >= 0
        assert account.held_nanodollars == account.open_holds == 0
    assert await bank.discrepancies() == []
