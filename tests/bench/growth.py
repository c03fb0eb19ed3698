"""What a grown business costs: the same pairs in a small database and in one of ten million requests, in turns."""

import hashlib
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import uvloop
from sqlalchemy import make_url

from appliance.gateway.server import spare_the_collector
from billing.clock import system_clock
from billing.database.db import Database
from billing.database.migrations import upgrade
from billing.proof import rules as ledger
from tests.appliance.postgres_server import running_cluster
from tests.bench.report import show_progress
from tests.bench.settlement import ACCOUNTS, Asker, batched, prepare

ROWS, GROWN_ACCOUNTS, DAYS, AT_ONCE, ROUNDS = 10_000_000, 100_000, 40, 500_000, 5
COST = 20_000  # 50 tokens of output at the rate of the settlement bench, in nano-dollars

_ACCOUNTS = f"""
CREATE TABLE grown AS
SELECT n, 0::bigint AS account_id, 0::bigint AS key_id, 0::bigint AS lot_id
FROM generate_series(0, {GROWN_ACCOUNTS} - 1) n;
INSERT INTO account (name, role, created_at) SELECT 'grown-' || n, 'customer', now() FROM grown ORDER BY n;
UPDATE grown SET account_id = a.id FROM account a WHERE a.name = 'grown-' || n;
INSERT INTO api_key (account_id, name, digest, hint, created_at)
SELECT account_id, 'bench', sha256(account_id::text::bytea), '', now() FROM grown;
UPDATE grown SET key_id = k.id FROM api_key k WHERE k.account_id = grown.account_id;
INSERT INTO ledger_account (kind, account_id) SELECT 'lot', account_id FROM grown;
UPDATE grown SET lot_id = l.id FROM ledger_account l WHERE l.account_id = grown.account_id;
INSERT INTO lot (id, account_id, cause, source, reason, acquired_at, expires_at, amount_nanodollars,
                 remaining_nanodollars, ends_at, end_kind)
SELECT lot_id, account_id, gen_random_uuid(), 'purchase', 'bench', now(), now() + interval '1 year',
       1000000000000, 1000000000000, now() + interval '1 year', 'expiry' FROM grown;
INSERT INTO transfer
SELECT l.cause, p.id, l.id, l.amount_nanodollars, 'purchase', now()
FROM lot l JOIN grown g ON g.lot_id = l.id JOIN ledger_account p ON p.kind = 'payments';
UPDATE account SET balance_nanodollars = 1000000000000, sweep_at = l.ends_at
FROM grown g JOIN lot l ON l.id = g.lot_id WHERE g.account_id = account.id;
ALTER TABLE grown ADD PRIMARY KEY (n);
ANALYZE;
"""

# A version 7 UUID a request, evenly over the days before now.
_PAGE = f"""
CREATE TEMPORARY TABLE page ON COMMIT DROP AS
SELECT (lpad(to_hex(ms), 12, '0') || '7000' || '8' || lpad(to_hex(i), 15, '0'))::uuid AS id,
       to_timestamp(ms / 1000.0) AS at, g.*
FROM (SELECT i, ({{first_ms}} + i * {{step}})::bigint AS ms FROM generate_series({{low}}, {{high}} - 1) i) one
JOIN grown g ON g.n = i % {GROWN_ACCOUNTS}
ORDER BY i
"""
_USAGE = f"""
INSERT INTO usage (request_id, account_id, key_id, rate_id, model, endpoint, prompt_tokens, cached_tokens,
                   completion_tokens, cost_nanodollars, ended, created_at, settled_at)
SELECT id, account_id, key_id, (SELECT min(id) FROM rate), 'bench', '/v1/chat/completions', 0, 0, 50, {COST},
       'complete', at, at FROM page ORDER BY id
"""
_TRANSFERS = f"""
INSERT INTO transfer
SELECT page.id, lot_id, r.id, {COST}, 'usage', at
FROM page, ledger_account r WHERE r.kind = 'revenue' ORDER BY page.id
"""
_SPENT = f"""
UPDATE lot SET remaining_nanodollars = remaining_nanodollars - {COST} * {ROWS // GROWN_ACCOUNTS}
FROM grown WHERE lot.id = lot_id;
UPDATE account
SET balance_nanodollars = balance_nanodollars - {COST} * {ROWS // GROWN_ACCOUNTS},
    month = 12 * date_part('year', now()) + date_part('month', now()) - 1, month_spent_nanodollars = s.cost
FROM (
    SELECT account_id,
           coalesce(sum(cost_nanodollars) FILTER (WHERE created_at >= date_trunc('month', now())), 0) AS cost
    FROM usage GROUP BY 1
) s WHERE s.account_id = account.id;
DROP TABLE grown;
"""


def measure() -> dict[str, float | int | str]:
    """The figures of one run."""
    with running_cluster() as cluster:
        return uvloop.run(_measure(cluster.url()))


async def _measure(url: str) -> dict[str, float | int | str]:
    spare_the_collector()
    grown_url = await _second_database(url)
    small, grown = Database(url, pool_size=8), Database(grown_url, pool_size=8)
    figures: dict[str, float | int | str] = {"usage_rows": ROWS, "accounts": GROWN_ACCOUNTS + ACCOUNTS}
    small_askers = await prepare(small)
    await prepare(grown)
    started = time.perf_counter()
    grown_askers = await grow(grown_url)
    figures["growing_seconds"] = time.perf_counter() - started
    in_turns = [
        (await batched(small, small_askers), await batched(grown, grown_askers)) for _ in range(ROUNDS + 1)
    ]
    small_pairs, grown_pairs = (sorted(side)[ROUNDS // 2] for side in zip(*in_turns[1:], strict=True))
    figures["pairs_per_second_small"], figures["pairs_per_second_grown"] = small_pairs, grown_pairs
    figures["times_the_time"] = small_pairs / grown_pairs
    for name, since in (("recent", system_clock() - timedelta(days=2)), ("all", None)):
        started = time.perf_counter()
        async with grown.snapshot() as connection:
            discrepancies = len(await ledger.verify(connection, since))
        figures[f"verify_{name}_seconds"] = time.perf_counter() - started
        figures[f"verify_{name}_discrepancies"] = discrepancies
    await small.close()
    await grown.close()
    return figures


async def _second_database(url: str) -> str:
    await upgrade(url)
    admin = await _connect(url)
    await admin.execute("CREATE DATABASE grown")
    await admin.close()
    grown = make_url(url).set(database="grown").render_as_string(hide_password=False)
    await upgrade(grown)
    return grown


async def _connect(url: str) -> asyncpg.Connection:
    parsed = make_url(url)
    return await asyncpg.connect(host=parsed.query["host"], user=parsed.username, database=parsed.database)


async def grow(url: str) -> list[Asker]:
    """Askers among the accounts that it made, as far from each other as can be."""
    connection = await _connect(url)
    await connection.execute("SET synchronous_commit = off")
    await connection.execute(_ACCOUNTS)
    rows = await connection.fetch(
        "SELECT account_id, key_id FROM grown WHERE n % $1 = 0", GROWN_ACCOUNTS // ACCOUNTS
    )
    first = datetime.now(UTC) - timedelta(days=DAYS)
    step = DAYS * 86_400_000 / ROWS
    for low in range(0, ROWS, AT_ONCE):
        async with connection.transaction():
            await connection.execute(_page(int(first.timestamp() * 1000), step, low, low + AT_ONCE))
            await connection.execute(_USAGE)
            await connection.execute(_TRANSFERS)
        show_progress(f"{low + AT_ONCE:,} of {ROWS:,} usage rows")
    await connection.execute(_SPENT)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return [Asker(row[0], row[1], hashlib.sha256(b"%d" % row[0]).digest()) for row in rows]


def _page(first_ms: int, step: float, low: int, high: int) -> str:
    return _PAGE.format(first_ms=first_ms, step=step, low=low, high=high)
