"""Records are kept five years after their financial year, and leave only as files that prove what they were."""

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.parquet
import pytest

from billing.database.db import execute, fetch
from billing.database.partitions import make_partitions
from billing.errors import Conflict, NotFound
from billing.prices.pricing import Tokens
from billing.proof.archive import (
    Archived,
    archive_year,
    check_file,
    drop_archived_months,
    list_archives,
    years_due,
)
from billing.proof.seals import seal_days, verify_seals
from billing.statements.period import Period, require_kept, summarize
from tests.billing.conftest import Bank, Customer

DOLLAR = 10**9


async def business(bank: Bank) -> Customer:
    """A purchase and requests in 2026, a request over the turn of the year, and one in 2027."""
    customer = await bank.customer(DOLLAR)
    for _ in range(3):
        await customer.settle(await customer.admitted(), Tokens(10, 0, 10))
        bank.clock.turn(days=100)
    bank.clock.now = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    over_the_turn = await customer.admitted()
    bank.clock.turn(seconds=10)
    await customer.settle(over_the_turn, Tokens(20, 0, 20))
    bank.clock.turn(hours=1)
    await customer.settle(await customer.admitted(), Tokens(30, 0, 30))
    return customer


async def seal(bank: Bank) -> None:
    async with bank.database.begin(timeout_seconds=None) as connection:
        await seal_days(connection, bank.clock)


async def archive(bank: Bank, folder: Path, year: int) -> list[Archived]:
    async with bank.database.begin(timeout_seconds=None) as connection:
        return await archive_year(connection, year, folder, bank.clock)


async def due(bank: Bank) -> list[int]:
    async with bank.database.begin() as connection:
        return await years_due(connection, bank.clock)


async def test_we_keep_activity_and_billing_logs_for_a_minimum_of_5_years(bank: Bank, tmp_path: Path) -> None:
    customer = await business(bank)
    bank.clock.now = datetime(2031, 12, 31, 23, 59, 59, tzinfo=UTC)
    await seal(bank)
    assert await due(bank) == []
    with pytest.raises(Conflict, match="until the end of 2031"):
        await archive(bank, tmp_path, 2026)
    before = await customer.account()
    bank.clock.turn(seconds=1)
    assert await due(bank) == [2026]
    transfers, usage = await archive(bank, tmp_path, 2026)
    assert (usage.records, usage.nanodollars) == (3, 3 * 5_000)
    assert (transfers.records, transfers.nanodollars) == (4, DOLLAR + 3 * 5_000)
    async with bank.database.begin() as connection:
        left = await fetch(connection, "SELECT completion_tokens FROM usage ORDER BY settled_at")
        with pytest.raises(NotFound, match="before 2027 are archived"):
            await require_kept(connection, Period(date(2026, 12, 1), date(2027, 1, 31)))
        (kept,) = await summarize(connection, Period(date(2027, 1, 1), date(2027, 1, 31)), ())
    assert [row.completion_tokens for row in left] == [20, 30]
    assert kept.requests == 1
    assert (await customer.account()).balance_nanodollars == before.balance_nanodollars
    assert await bank.discrepancies() == []
    async with bank.database.begin(timeout_seconds=None) as connection:
        assert await verify_seals(connection) == []
        assert await list_archives(connection) == [transfers, usage]
    assert await due(bank) == []
    file = pyarrow.parquet.read_table(tmp_path / usage.file)
    assert file["day"].to_pylist()[0] == date(2026, 1, 31)
    assert '"completion_tokens": 10' in file["record"].to_pylist()[0]


async def test_an_archives_file_shows_a_later_change(bank: Bank, tmp_path: Path) -> None:
    await business(bank)
    bank.clock.now = datetime(2032, 1, 1, 2, tzinfo=UTC)
    await seal(bank)
    _, usage = await archive(bank, tmp_path, 2026)
    file = tmp_path / usage.file
    assert (check_file(usage, tmp_path), file.stat().st_mode & 0o777) == ("unchanged", 0o400)
    file.chmod(0o600)
    file.write_bytes(file.read_bytes() + b" ")
    assert check_file(usage, tmp_path) == "changed"
    file.unlink()
    assert check_file(usage, tmp_path) == "not here"


async def test_nothing_is_archived_that_is_not_what_was_sealed(bank: Bank, tmp_path: Path) -> None:
    await business(bank)
    bank.clock.now = datetime(2032, 1, 1, 2, tzinfo=UTC)
    with pytest.raises(Conflict, match="before its days are sealed"):
        await archive(bank, tmp_path, 2026)
    await seal(bank)
    async with bank.database.begin() as connection:
        await execute(connection, "SET session_replication_role = replica")
        await execute(connection, "UPDATE usage SET cached_tokens = 1 WHERE settled_at < '2026-06-01'")
        await execute(connection, "SET session_replication_role = origin")
    with pytest.raises(Conflict, match="not what was sealed: nothing is archived"):
        await archive(bank, tmp_path, 2026)
    async with bank.database.begin() as connection:
        assert await list_archives(connection) == []
        ((count,),) = await fetch(connection, "SELECT count(*) FROM usage")
    assert count == 5


async def test_a_month_that_is_archived_leaves_no_partition(bank: Bank, tmp_path: Path) -> None:
    async with bank.database.begin() as connection:
        await make_partitions(connection, bank.clock)
    await business(bank)
    bank.clock.now = datetime(2033, 1, 1, 2, tzinfo=UTC)
    await seal(bank)
    for year in await due(bank):
        await archive(bank, tmp_path, year)
    async with bank.database.begin() as connection:
        await drop_archived_months(connection)
        rows = await fetch(connection, "SELECT relname FROM pg_class WHERE relname LIKE 'usage\\_20__\\___'")
        ((count,),) = await fetch(connection, "SELECT count(*) FROM usage")
    assert [row.relname for row in rows if row.relname < "usage_2028"] == []
    assert count == 0
    assert await bank.discrepancies() == []


async def test_accounts_are_permanently_deleted_30_days_after_the_deletion_request(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    await customer.settle(await customer.admitted(), Tokens(10, 0, 10))
    await bank.standings.mark_for_deletion(customer.account_id, "kari", "asked by mail")
    bank.clock.turn(days=30, microseconds=-1)
    with pytest.raises(Conflict, match="not due"):
        await bank.standings.delete(customer.account_id, "appliance")
    bank.clock.turn(microseconds=1)
    await bank.standings.delete(customer.account_id, "appliance")
    account = await customer.account()
    assert (account.name, account.status) == (f"deleted-{customer.account_id}", "deleted")
    assert account.balance_nanodollars == 0
    async with bank.database.begin() as connection:
        (key,) = await fetch(connection, "SELECT name, revoked_at IS NOT NULL AS revoked FROM api_key")
        ((forfeited,),) = await fetch(
            connection, "SELECT sum(amount_nanodollars)::bigint FROM transfer WHERE kind = 'forfeiture'"
        )
        (line,) = await summarize(connection, Period.month(date(2026, 1, 31)), (), customer.account_id)
    assert (key.name, key.revoked, forfeited) == ("", True, DOLLAR - 5_000)
    assert line.cost_nanodollars == 5_000, "billing logs are kept"
    with pytest.raises(Conflict):
        await bank.standings.restore(customer.account_id, "kari", "too late")
    assert await bank.discrepancies() == []
