"""Credit is bought, held, charged and accounted for, on a real PostgreSQL."""

import asyncio
import random
import uuid

import pytest
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from billing.charging.admission import Admitted, Refusal, Refused
from billing.charging.settlement import Ended, Metered, Settlement
from billing.customers import keys
from billing.customers.standing import Limits
from billing.database import migrations, tables
from billing.database.db import Database, execute, fetch
from billing.database.migrations import upgrade
from billing.errors import Conflict, DatabaseUnavailable, HoldExceeded, NotFound
from billing.prices.pricing import Tokens
from billing.proof import rules as ledger
from billing.statements.usage import list_usage
from billing.store.postgres import PostgresStore
from tests.billing.conftest import MODEL, Bank, Customer

DOLLAR = 10**9


async def admitted(customer: Customer, **changes: object) -> Admitted:
    decision = await customer.ask(**changes)
    assert isinstance(decision, Admitted), decision
    return decision


async def test_a_request_is_charged_to_the_token_and_its_hold_is_freed(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    request = await admitted(customer, prompt_limit=1000, completion_limit=500)
    while_running = await customer.account()
    assert while_running.held_nanodollars == 1000 * 100 + 500 * 400
    settled = await customer.settle(request, Tokens(prompt=40, cached=16, completion=7))
    assert settled.cost == 24 * 100 + 16 * 20 + 7 * 400
    after = await customer.account()
    assert (after.balance_nanodollars, after.held_nanodollars, after.open_holds) == (DOLLAR - settled.cost, 0, 0)
    async with bank.database.begin() as connection:
        (row,) = await list_usage(connection, limit=10)
    assert (row.request_id, row.model, row.ended) == (request.request.id, MODEL, "complete")
    assert (row.prompt_tokens, row.cached_tokens, row.completion_tokens) == (40, 16, 7)
    assert await bank.discrepancies() == []


async def test_exactly_once_however_often_a_settlement_is_repeated(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    request = await admitted(customer)
    tokens = Tokens(10, 0, 10)
    first = await asyncio.gather(*(customer.settle(request, tokens) for _ in range(20)))
    again = await customer.settle(request, Tokens(10, 0, 20), Ended.CANCELLED)
    assert {settled.cost for settled in [*first, again]} == {10 * 100 + 10 * 400}
    assert (await customer.account()).balance_nanodollars == DOLLAR - first[0].cost
    assert await bank.discrepancies() == []


async def test_a_request_may_span_lots_and_the_oldest_pays_first(bank: Bank) -> None:
    customer = await bank.customer(1_000)
    bank.clock.turn(days=1)
    await bank.credit.grant(customer.account_id, 5_000, "sorry", uuid.uuid4(), "operator")
    request = await admitted(customer, prompt_limit=30, completion_limit=5)
    await customer.settle(request, Tokens(30, 0, 0))
    async with bank.database.begin() as connection:
        rows = await fetch(connection, "SELECT source, remaining_nanodollars FROM lot ORDER BY id")
    assert [tuple(row) for row in rows] == [("purchase", 0), ("grant", 3_000)]
    assert await bank.discrepancies() == []


async def test_a_request_that_used_nothing_is_on_record_and_free(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    request = await admitted(customer)
    assert (await customer.settle(request, Tokens(0, 0, 0), Ended.LOST)).cost == 0
    async with bank.database.begin() as connection:
        (row,) = await list_usage(connection, limit=1, account_id=customer.account_id)
    assert (row.ended, row.cost_nanodollars) == ("lost", 0)
    assert (await customer.account()).held_nanodollars == 0
    assert await bank.discrepancies() == []


async def test_settling_above_the_hold_is_an_error_that_spares_the_others_in_the_batch(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    good, bad = await admitted(customer), await admitted(customer)
    results = await asyncio.gather(
        customer.settle(bad, Tokens(101, 0, 50)),
        customer.settle(good, Tokens(100, 0, 50)),
        return_exceptions=True,
    )
    assert isinstance(results[0], HoldExceeded)
    assert not isinstance(results[1], BaseException)
    assert (await customer.account()).open_holds == 1
    assert await bank.discrepancies() == []


async def test_a_request_that_was_never_admitted_cannot_be_settled(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    with pytest.raises(NotFound):
        await bank.settlement.settle(Metered(uuid.uuid4(), customer.account_id, Tokens(1, 0, 1), Ended.COMPLETE))


async def test_now_means_now_for_keys_accounts_and_rates(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    before = await admitted(customer)
    bank.clock.turn(seconds=1)
    await bank.set_rate((1, 1, 1))
    after = await admitted(customer)
    assert (before.rate.input, after.rate.input) == (100_000, 1)
    assert (await customer.settle(before, Tokens(10, 0, 0))).cost == 1_000
    await bank.standings.suspend(customer.account_id, "operator", "spam")
    assert await customer.ask() == Refused(Refusal.ACCOUNT_SUSPENDED)
    await bank.standings.resume(customer.account_id, "operator", "a mistake")
    async with bank.database.begin() as connection:
        await keys.revoke_key(connection, customer.key_id, bank.clock)
    assert await customer.ask() == Refused(Refusal.INVALID_KEY)
    async with bank.database.begin() as connection:
        with pytest.raises(Conflict):
            await keys.revoke_key(connection, customer.key_id, bank.clock)


async def test_tokens_of_a_minute_are_limited_by_what_was_really_used(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR, limits=Limits(tokens_per_minute=60))
    request = await admitted(customer)
    await customer.settle(request, Tokens(70, 0, 20))
    refused = await customer.ask()
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.retry_after_seconds) == (Refusal.TOKENS_PER_MINUTE, 30.0 + 1.0)
    bank.clock.turn(seconds=31)
    await admitted(customer)


async def test_no_overdraft_and_exact_sums_with_many_processes_worth_of_admission(bank: Bank) -> None:
    rng = random.Random(20261123)
    customers = [await bank.customer(rng.choice([0, 20_000, 2_000_000])) for _ in range(5)]
    gateways = [Bank(Database(bank.url, pool_size=2), bank.clock, bank.url) for _ in range(4)]
    charged = dict.fromkeys((customer.account_id for customer in customers), 0)

    async def one_request(gateway: Bank, customer: Customer) -> None:
        decision = await gateway.admission.admit(customer.request(counted=True))
        if isinstance(decision, Admitted):
            tokens = Tokens(rng.randint(0, 100), 0, rng.randint(0, decision.completion_limit))
            settled = await gateway.settlement.settle(
                Metered(decision.request.id, customer.account_id, tokens, Ended.COMPLETE)
            )
            charged[customer.account_id] += settled.cost

    before = {customer.account_id: (await customer.account()).balance_nanodollars for customer in customers}
    await asyncio.gather(*(one_request(rng.choice(gateways), rng.choice(customers)) for _ in range(600)))
    for customer in customers:
        account = await customer.account()
        assert account.balance_nanodollars == before[customer.account_id] - charged[customer.account_id] >= 0
        assert account.open_holds == account.held_nanodollars == 0
    assert await bank.discrepancies() == []
    for gateway in gateways:
        await gateway.database.close()


async def test_the_database_itself_refuses_an_overdraft_and_a_change_of_the_past(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    await customer.settle(await admitted(customer), Tokens(1, 0, 1))
    overdraw = update(tables.account).values(held_nanodollars=2 * DOLLAR)
    with pytest.raises(DBAPIError, match="no_overdraft"):
        async with bank.database.begin() as connection:
            await connection.execute(overdraw)
    changes = [f"{verb} {table}" for table in tables.APPEND_ONLY for verb in ("DELETE FROM", "TRUNCATE")]
    for change in [*changes, "UPDATE audit SET reason = 'another'", "UPDATE usage SET key_id = 1"]:
        with pytest.raises(DBAPIError, match="append-only"):
            async with bank.database.begin() as connection:
                await execute(connection, change)


# ruff: noqa: E501
PAID = """
        INSERT INTO payment (id, account_id, kind, state, value_nanodollars, net_cents, vat_cents, gross_cents, vat_code,
            vat_basis_points, buyer, created_at, paid_at)
        SELECT gen_random_uuid(), id, 'credit', 'credited', 0, 8, 2, 10, '3', 2500, '{}', now(), now() FROM account;
        INSERT INTO refund (id, payment_id, state, value_nanodollars, net_cents, vat_cents, gross_cents, actor, reason,
            created_at)
        SELECT id, id, 'done', 0, 8, 2, 10, '', '', now() FROM payment"""
DOCUMENT = """;
        INSERT INTO document (series, number, kind, payment_id, refund_id, corrects_id, account_id, issued_at,
            delivered_at, net_cents, vat_cents, gross_cents, vat_code, vat_basis_points, seller, buyer, lines, language)
        SELECT '', 1 + (SELECT count(*) FROM document), {0}, p.account_id, now(), now(), {1} - 2, 2, {1}, '3', 2500, '{{}}', '{{}}', '[]', 'en'
        FROM payment p"""
CORRUPTIONS = {
    "an account's balance is the sum of its lots": "UPDATE account SET balance_nanodollars = balance_nanodollars + 1",
    "a lot's remainder is the sum of its transfers": "UPDATE lot SET remaining_nanodollars = remaining_nanodollars - 1",
    "what an account owes is the sum of its receivable's transfers": "UPDATE account SET owed_nanodollars = 1",
    "what is set aside for disputes is what is frozen of lots":
        "UPDATE lot SET remaining_nanodollars = remaining_nanodollars - 1, frozen_nanodollars = 1, end_kind = 'dispute'",
    "a lot's first transfer is its amount": "UPDATE lot SET amount_nanodollars = amount_nanodollars + 1",
    "a lot is its ledger account's owner's, and came as its transfer says": "UPDATE lot SET source = 'grant'",
    "credit that is over is looked for when its end has come": "UPDATE account SET sweep_at = NULL",
    "what is held of an account is the sum of its holds": "UPDATE account SET held_nanodollars = held_nanodollars + 1",
    "what is held of a key is the sum of its holds":
        "INSERT INTO key_limit (key_id, open_holds) SELECT id, 1 FROM api_key",
    "an account's open holds are counted right": "UPDATE account SET open_holds = open_holds + 1",
    "no account is overdrawn": "UPDATE account SET held_nanodollars = balance_nanodollars + 1",
    "a request's transfers add up to its cost": "DELETE FROM transfer WHERE kind = 'usage'",
    "a request is paid by its own account": """
        UPDATE transfer SET debit_id = (SELECT id FROM ledger_account WHERE kind = 'grants') WHERE kind = 'usage'""",
    "a request costs its tokens at the rate of its admission": "UPDATE usage SET completion_tokens = 2",
    "a month's spending is what was admitted in it": "UPDATE account SET month_spent_nanodollars = 0",
    "a rate is taken back before it takes effect, and on record":
        "INSERT INTO rate_withdrawal (rate_id, at) SELECT id, effective_at - interval '1 hour' FROM rate",
    "a rate that was taken back is charged to nobody":
        "INSERT INTO rate_withdrawal (rate_id, at) SELECT id, now() FROM rate",
    "a transfer is between ledger accounts that exist": "UPDATE transfer SET debit_id = 999 WHERE kind = 'usage'",
    "a transfer goes where its kind says": "UPDATE transfer SET kind = 'grant' WHERE kind = 'purchase'",
    "a request belongs to an account, a key of it and a rate": "UPDATE usage SET key_id = 999",
    "a request's id has the time of its admission in it":
        "UPDATE usage SET created_at = created_at + interval '25 hours'",
    "a request is either open or resolved": """
        INSERT INTO hold SELECT request_id, account_id, key_id, rate_id, model, endpoint, 0, created_at FROM usage""",
    "the documents of a series have all its numbers": "INSERT INTO document_series VALUES ('', 1)",
    "a receipt is of what was paid, and of whoever paid": PAID + DOCUMENT.format("'receipt', p.id, NULL, NULL", 11),
    "a credit note is of what was paid back": PAID + DOCUMENT.format("'credit_note', NULL, p.id, 1", 11),
    "no more is taken back of a document than it was of":
        PAID + DOCUMENT.format("'receipt', p.id, NULL, NULL", 10) + DOCUMENT.format("'credit_note', NULL, p.id, 1", 11),
    "a payment's transfers add up to what was paid": PAID,
}  # fmt: skip


@pytest.mark.parametrize("rule", CORRUPTIONS)
async def test_the_books_are_checked_for(bank: Bank, rule: str) -> None:
    customer = await bank.customer(DOLLAR)
    await customer.settle(await admitted(customer), Tokens(1, 0, 1))
    assert await bank.discrepancies() == []
    async with bank.database.begin() as connection:
        await execute(connection, "SET session_replication_role = replica")
        await execute(connection, "ALTER TABLE account DROP CONSTRAINT ck_account_no_overdraft")
        for statement in CORRUPTIONS[rule].split(";\n"):
            await execute(connection, statement)
        await execute(connection, "SET session_replication_role = origin")
    assert rule in {found.rule for found in await bank.discrepancies()}


def test_every_rule_of_the_books_is_proven_to_be_checked() -> None:
    assert set(CORRUPTIONS) == set(ledger.RULES)


async def test_an_unreachable_database_says_try_again(bank: Bank) -> None:
    away = Database("postgresql://nobody@127.0.0.1:9/nothing")
    with pytest.raises(DatabaseUnavailable):
        async with away.begin():
            pass
    settlement = Settlement(PostgresStore(away), bank.clock)
    with pytest.raises(DatabaseUnavailable):
        await settlement.settle(Metered(uuid.uuid4(), 1, Tokens(0, 0, 0), Ended.LOST))


async def test_a_silent_database_is_noticed(bank: Bank) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with bank.database.begin(timeout_seconds=0.2) as connection:
            await execute(connection, "SELECT pg_sleep(5)")
    await admitted(await bank.customer(DOLLAR))


async def test_a_migration_runs_once_however_many_ask(fresh_url: str) -> None:
    await asyncio.gather(*(upgrade(fresh_url) for _ in range(3)))


async def test_who_asks_for_a_migration_waits_for_the_one_before_however_long_it_takes(
    bank: Bank, fresh_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT_MS", 50)
    async with bank.database.begin() as connection:
        await execute(connection, f"SELECT pg_advisory_xact_lock({migrations.ADVISORY_LOCK})")
        second = asyncio.create_task(upgrade(fresh_url))
        await asyncio.sleep(0.5)
    await second


async def test_a_database_of_a_newer_release_that_was_rolled_back_stays_as_it_is(
    bank: Bank, fresh_url: str
) -> None:
    async with bank.database.begin() as connection:
        await execute(connection, "UPDATE alembic_version SET version_num = 'of_the_next_release'")
    await upgrade(fresh_url)
    await admitted(await bank.customer(DOLLAR))
