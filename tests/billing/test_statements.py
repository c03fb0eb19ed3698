"""Statements: every request once, on the day of its admission, and what it cost to the nano-dollar."""

import csv
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from billing.customers import keys
from billing.database.db import fetch
from billing.ids import ID_SLACK, lowest_id
from billing.prices.pricing import Tokens
from billing.statements.export import COLUMNS, write_usage
from billing.statements.period import By, Period, read_usage, summarize, total_of
from billing.statements.usage import list_running, list_usage
from tests.billing.conftest import PEPPER, Bank, Customer

DOLLAR = 10**9


async def use(customer: Customer, tokens: Tokens, **changes: object) -> int:
    """Nano-dollars."""
    admitted = await customer.admitted(**changes)
    return (await customer.settle(admitted, tokens)).cost


async def second_key(bank: Bank, customer: Customer) -> Customer:
    async with bank.database.begin() as connection:
        key, text = await keys.create_key(connection, customer.account_id, "other", PEPPER, bank.clock)
    return Customer(bank, customer.account_id, key.id, text)


async def test_usage_is_summed_by_day_model_key_and_endpoint(bank: Bank) -> None:
    one = await bank.customer(DOLLAR)
    other_key, stranger = await second_key(bank, one), await bank.customer(DOLLAR)
    bank.clock.now = datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    first = await use(one, Tokens(10, 4, 1))
    same_day = await use(other_key, Tokens(20, 0, 2))
    bank.clock.turn(microseconds=1)
    next_month = await use(one, Tokens(30, 0, 3), endpoint="/v1/completions")
    await use(stranger, Tokens(7, 0, 7))
    both = Period(date(2026, 1, 1), date(2026, 2, 28))
    async with bank.database.begin() as connection:
        by_day = await summarize(connection, both, {By.DAY}, one.account_id)
        by_key = await summarize(connection, both, {By.KEY, By.ENDPOINT}, one.account_id)
        (january,) = await summarize(connection, Period.month(date(2026, 1, 5)), (), one.account_id)
        (everybody,) = await summarize(connection, both, ())
        nobody = await summarize(connection, Period.month(date(2025, 1, 1)), {By.DAY}, one.account_id)
    assert [(line.day, line.requests, line.cost_nanodollars) for line in by_day] == [
        (date(2026, 1, 31), 2, first + same_day), (date(2026, 2, 1), 1, next_month),
    ]  # fmt: skip
    assert [(line.key_id, line.endpoint, line.prompt_tokens) for line in by_key] == [
        (one.key_id, "/v1/chat/completions", 10),
        (one.key_id, "/v1/completions", 30),
        (other_key.key_id, "/v1/chat/completions", 20),
    ]
    assert (january.cached_tokens, january.completion_tokens, january.day) == (4, 3, None)
    assert everybody.requests == 4
    assert (nobody, total_of(nobody).requests) == ([], 0)
    assert (total_of(by_day).requests, total_of(by_key).cost_nanodollars) == (3, first + same_day + next_month)


async def test_usage_tells_by_which_way_it_came(bank: Bank) -> None:
    program = await bank.customer(DOLLAR)
    chat = await second_key(bank, program)
    async with bank.database.begin() as connection:
        await fetch(connection, "UPDATE api_key SET purpose = 'chat' WHERE id = $1 RETURNING id", chat.key_id)
    by_program = await use(program, Tokens(10, 0, 1))
    in_chat = await use(chat, Tokens(20, 0, 2)) + await use(chat, Tokens(30, 0, 3))
    await chat.admitted()
    period = Period.month(bank.clock().date())
    async with bank.database.begin() as connection:
        lines = await summarize(connection, period, {By.CHANNEL}, program.account_id)
        pages = [page async for page in read_usage(connection, period, program.account_id)]
        newest = await list_usage(connection, 3, program.account_id)
        (running,) = await list_running(connection, 3)
    told = [(line.channel, line.requests, line.cost_nanodollars) for line in lines]
    assert told == [("api", 1, by_program), ("chat", 2, in_chat)]
    assert sorted(row.channel for page in pages for row in page) == ["api", "chat", "chat"]
    assert sorted(one.channel for one in newest) == ["api", "chat", "chat"]
    assert running.channel == "chat"


async def test_an_export_has_every_request_of_the_period_and_adds_up(bank: Bank, tmp_path: Path) -> None:
    customer = await bank.customer(DOLLAR)
    costs = []
    for count in range(1, 8):
        costs.append(await use(customer, Tokens(count, 0, count)))
        bank.clock.turn(days=5)
    period = Period.month(date(2026, 2, 1))
    seen: list[int] = []
    for name in ("usage.csv", "usage.parquet"):
        async with bank.database.snapshot() as connection:
            done = await write_usage(tmp_path / name, read_usage(connection, period), seen.append)
        assert (done.records, done.nanodollars) == (5, sum(costs[1:6]))
    assert seen == [5, 5]
    with (tmp_path / "usage.csv").open() as file:
        rows = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(tmp_path / "usage.parquet")
    assert list(rows[0]) == table.column_names == list(COLUMNS)
    assert [int(row["cost_nanodollars"]) for row in rows] == costs[1:6]
    assert [Decimal(row["cost_usd"]) * 10**9 for row in rows] == costs[1:6]
    assert table["cost_usd"].to_pylist() == [Decimal(cost).scaleb(-9) for cost in costs[1:6]]
    assert table["created_at"].to_pylist()[0] == datetime(2026, 2, 5, 12, tzinfo=UTC)
    assert (tmp_path / "usage.csv").stat().st_mode & 0o777 == 0o600


async def test_an_export_that_breaks_off_leaves_the_older_file(bank: Bank, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    file.write_text("older")

    async def breaks_off() -> AsyncIterator[list[Any]]:
        pages: list[list[Any]] = [[]]
        for page in pages:
            yield page
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await write_usage(file, breaks_off(), print)
    assert [path.name for path in tmp_path.iterdir()] == ["usage.csv"]
    assert file.read_text() == "older"
    with pytest.raises(ValueError, match=r"\.csv or \.parquet"):
        await write_usage(tmp_path / "usage.xlsx", breaks_off(), print)


async def test_a_month_is_read_from_its_partition_alone(bank: Bank) -> None:
    query = "EXPLAIN SELECT * FROM usage WHERE request_id >= $1 AND request_id < $2"
    month = Period.month(datetime.now(UTC).date())
    async with bank.database.begin() as connection:
        bounds = lowest_id(month.start), lowest_id(month.end - 2 * ID_SLACK)
        plan = "\n".join(row[0] for row in await fetch(connection, query, *bounds))
    assert f"usage_{month.first:%Y_%m}" in plan
    assert plan.count(" on usage_") == 2, plan  # this month's and the default one's
