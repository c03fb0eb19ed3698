"""The migrations and the tables say the same, and a system in use is brought along."""

import time
from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

import appliance.identity.openid.tables
import appliance.identity.tables
import appliance.inbox.tables
import appliance.mail.tables
import appliance.review.tables  # noqa: F401 -- all add to the tables
from billing.charging.admission import Admission, Admitted, Request
from billing.charging.settlement import Ended, Metered, Settlement
from billing.clock import system_clock
from billing.customers import accounts
from billing.database import migrations
from billing.database.db import Database, async_url, fetch
from billing.database.migrations import upgrade
from billing.database.tables import metadata
from billing.errors import Conflict
from billing.ids import request_id
from billing.prices.pricing import Tokens
from billing.proof import rules as ledger
from billing.store.postgres import PostgresStore


def is_declared(_: object, name: str | None, kind: str, __: bool, ___: object) -> bool:
    """The months of `usage` are made as time goes by (billing/database/partitions.py)."""
    return not (kind == "table" and name is not None and name.startswith("usage_"))


async def test_a_postgresql_that_is_too_old_is_told_so(fresh_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "OLDEST_VERSION", 99)
    with pytest.raises(Conflict, match=r"^PostgreSQL 1.* is too old: version 99 or a newer one is needed$"):
        await upgrade(fresh_url)


OPTIONS = {"compare_type": True, "include_object": is_declared}


async def test_the_migrated_database_is_what_the_tables_declare(fresh_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection, opts=OPTIONS), metadata))

    engine = create_async_engine(async_url(fresh_url))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


# A customer who bought a dollar and was granted a cent, with one request charged and one under way.
IN_USE_AT_0001 = """
INSERT INTO rate (model, effective_at, input, cached_input, output)
VALUES ('m', now() - interval '1 day', 100, 20, 400);
INSERT INTO account (name, role, created_at, balance_nanodollars, held_nanodollars, open_holds)
VALUES ('alice', 'customer', now(), 1009995000, 700, 1);
INSERT INTO api_key (account_id, name, digest, hint, created_at) VALUES (1, 'k', 'digest', '', now());
INSERT INTO ledger_account (kind, account_id) VALUES ('lot', 1), ('lot', 1);
INSERT INTO lot (id, account_id, source, reason, acquired_at, amount_nanodollars, remaining_nanodollars)
SELECT min(id), 1, 'purchase', 'stripe', now() - interval '1 hour', 1000000000, 999995000
FROM ledger_account WHERE kind = 'lot';
INSERT INTO lot (id, account_id, source, reason, acquired_at, amount_nanodollars, remaining_nanodollars)
SELECT max(id), 1, 'grant', 'welcome', now(), 10000000, 10000000 FROM ledger_account WHERE kind = 'lot';
INSERT INTO transfer (debit_id, credit_id, amount_nanodollars, kind, created_at)
SELECT h.id, l.id, l.amount_nanodollars, l.source, l.acquired_at FROM lot l
JOIN ledger_account h ON h.kind = CASE l.source WHEN 'grant' THEN 'grants' ELSE 'payments' END;
INSERT INTO usage (request_id, account_id, key_id, rate_id, model, endpoint, prompt_tokens, cached_tokens,
                   completion_tokens, cost_nanodollars, ended, created_at, settled_at)
VALUES (CAST(:charged AS uuid), 1, 1, 1, 'm', '/v1/completions', 10000, 0, 10000, 5000, 'complete', now(), now());
INSERT INTO transfer (debit_id, credit_id, amount_nanodollars, kind, request_id, created_at)
SELECT (SELECT min(id) FROM lot), id, 5000, 'usage', CAST(:charged AS uuid), now()
FROM ledger_account WHERE kind = 'revenue';
INSERT INTO hold (request_id, account_id, key_id, rate_id, model, endpoint, amount_nanodollars, created_at)
VALUES (CAST(:running AS uuid), 1, 1, 1, 'm', '/v1/completions', 700, now())
"""


async def test_a_system_in_use_keeps_its_money_its_records_and_what_runs(empty_url: str) -> None:
    await upgrade(empty_url, "0001")
    charged, running = request_id(time.time()), request_id(time.time())
    database = Database(empty_url)
    async with database.begin() as connection:
        for statement in IN_USE_AT_0001.split(";\n"):
            values = {"charged": charged, "running": running}
            named = {name: value for name, value in values.items() if f":{name}" in statement}
            await connection.execute(text(statement).bindparams(**named))
    await upgrade(empty_url)
    async with database.snapshot() as connection:
        assert await ledger.verify(connection) == []
        lots = await accounts.list_lots(connection, 1)
        ((month_spent,),) = await fetch(connection, "SELECT month_spent_nanodollars FROM account")
    assert [(lot.source, lot.remaining_nanodollars, lot.end_kind) for lot in lots] == [
        ("purchase", 999_995_000, "expiry"), ("grant", 10_000_000, "expiry"),
    ]  # fmt: skip
    assert all(350 < (lot.ends_at - datetime.now(UTC)).days < 367 for lot in lots)
    assert month_spent == 5_000
    store = PostgresStore(database)
    settlement = Settlement(store, system_clock)
    assert (await settlement.settle(Metered(running, 1, Tokens(1000, 0, 1000), Ended.COMPLETE))).cost == 500
    assert (await settlement.settle(Metered(charged, 1, Tokens(1, 0, 1), Ended.COMPLETE))).cost == 5_000
    asked = Request(request_id(time.time()), b"digest", "m", "/v1/completions", 100, 50)
    assert isinstance(await Admission(store, system_clock).admit(asked), Admitted)
    async with database.snapshot() as connection:
        assert await ledger.verify(connection) == []
    await database.close()
