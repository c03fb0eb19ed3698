"""Reconciliation: what engines metered, what was charged and what was moved are the same, or it is said."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from billing.charging.settlement import Ended
from billing.database.db import execute
from billing.ids import new_id
from billing.prices.pricing import Tokens
from billing.proof.reconciliation import Reading, Reconciliation, reconcile
from tests.billing.conftest import MODEL, Bank, Customer

DOLLAR = 10**9
DAY = date(2026, 1, 31)


async def pages(readings: Sequence[Reading]) -> AsyncIterator[Sequence[Reading]]:
    for one in readings:
        yield [one]


async def look(bank: Bank, *readings: Reading, day: date = DAY) -> Reconciliation:
    before = bank.clock.now
    bank.clock.turn(hours=1)
    try:
        return await reconcile(bank.database, day, pages(readings), bank.clock)
    finally:
        bank.clock.now = before


def reading(request_id: UUID, tokens: Tokens, model: str = MODEL, rank: int = 1) -> Reading:
    return Reading(request_id, model, tokens, rank)


async def served(customer: Customer, tokens: Tokens, charged: Tokens | None = None) -> Reading:
    admitted = await customer.admitted()
    await customer.settle(admitted, charged or tokens)
    return reading(admitted.request.id, tokens)


async def test_what_was_metered_charged_and_moved_agrees_per_model_and_account(bank: Bank) -> None:
    one, other = await bank.customer(DOLLAR), await bank.customer(DOLLAR)
    readings = [await served(one, Tokens(10, 4, count)) for count in (1, 2, 3)]
    readings.append(await served(other, Tokens(7, 0, 7)))
    lost = await one.admitted()
    await one.settle(lost, Tokens(0, 0, 0), Ended.LOST)
    running = await one.admitted()
    found = await look(bank, *readings, reading(running.request.id, Tokens(5, 0, 5)))
    assert (found.count, found.differences) == (0, ())
    assert [(g.account_id, g.requests, g.open, g.metered_tokens, g.charged_tokens) for g in found.groups] == [
        (one.account_id, 4, 1, 36, 36), (other.account_id, 1, 0, 14, 14),
    ]  # fmt: skip
    assert all(group.charged_nanodollars == group.moved_nanodollars > 0 for group in found.groups)


async def test_of_two_replicas_meters_the_decisive_one_counts(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    whole = await served(customer, Tokens(10, 0, 5))
    refused = reading(whole.request_id, Tokens(0, 0, 0), rank=0)
    assert (await look(bank, refused, whole)).count == (await look(bank, whole, refused)).count == 0


@pytest.mark.parametrize(
    ("what", "harm"),
    [
        (
            "charged for other tokens than were metered",
            "UPDATE usage SET completion_tokens = 6",
        ),
        ("charged for other tokens than were metered", "UPDATE usage SET images = 1"),
        ("charged for other tokens than were metered", "UPDATE usage SET audio_seconds = 1"),
        ("charged as another model", "UPDATE usage SET model = 'other'"),
        (
            "moved another amount than was charged",
            "UPDATE transfer SET amount_nanodollars = 1",
        ),
        ("moved another amount than was charged", "DELETE FROM transfer WHERE kind = 'usage'"),
        ("moved without a usage row", "DELETE FROM usage"),
    ],
)
async def test_a_change_of_the_books_is_listed_and_never_repaired(bank: Bank, what: str, harm: str) -> None:
    customer = await bank.customer(DOLLAR)
    metered = await served(customer, Tokens(10, 0, 5))
    async with bank.database.begin() as connection:
        await execute(connection, "SET session_replication_role = replica")
        await execute(connection, harm)
        await execute(connection, "SET session_replication_role = origin")
    for _ in range(2):
        found = await look(bank, metered)
        assert [difference.what for difference in found.differences] == [what]
        assert found.differences[0].request_id == metered.request_id
        assert sum(group.differences for group in found.groups) == found.count == 1


async def test_what_was_generated_and_never_charged_is_listed(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    nobodys = reading(new_id(bank.clock()), Tokens(3, 0, 9))
    refused = reading(new_id(bank.clock()), Tokens(0, 0, 0))
    given_up = await customer.admitted()
    await customer.settle(given_up, Tokens(0, 0, 0), Ended.LOST)
    after_all = reading(given_up.request.id, Tokens(8, 0, 2))
    found = await look(bank, nobodys, refused, after_all)
    assert {(one.what, one.account_id, one.metered, one.charged) for one in found.differences} == {
        ("metered, never charged", None, Tokens(3, 0, 9), None),
        ("charged for other tokens than were metered", customer.account_id, Tokens(8, 0, 2), Tokens(0, 0, 0)),
    }


async def test_what_an_engine_broke_off_before_anybody_saw_it_is_waived_and_counted(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    admitted = await customer.admitted()
    await customer.settle(admitted, Tokens(0, 0, 0), Ended.FAILED)
    found = await look(bank, reading(admitted.request.id, Tokens(8, 0, 2)))
    assert (found.count, found.groups[0].waived, found.groups[0].charged_nanodollars) == (0, 1, 0)


async def test_what_was_charged_and_metered_nowhere_is_listed_unless_it_came_after_the_meters_were_read(
    bank: Bank,
) -> None:
    customer = await bank.customer(DOLLAR)
    metered = await served(customer, Tokens(10, 0, 5))
    (difference,) = (await look(bank)).differences
    assert (difference.what, difference.request_id) == ("charged, in no meter", metered.request_id)
    bank.clock.turn(hours=1)
    await served(customer, Tokens(10, 0, 5))
    bank.clock.turn(hours=-1)
    found = await look(bank, metered)
    assert (found.count, found.groups[0].open) == (0, 1)


async def test_a_request_belongs_to_the_day_in_its_id(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    bank.clock.now = datetime(2026, 1, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    late = await customer.admitted()
    bank.clock.turn(seconds=2)
    await customer.settle(late, Tokens(4, 0, 4))
    after = reading(late.request.id, Tokens(4, 0, 4))
    today = await served(customer, Tokens(6, 0, 6))
    for day, tokens in ((DAY, 8), (date(2026, 2, 1), 12)):
        found = await look(bank, after, today, day=day)
        assert [(group.requests, group.metered_tokens) for group in found.groups] == [(1, tokens)]
        assert found.count == 0
