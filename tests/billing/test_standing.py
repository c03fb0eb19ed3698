"""Standing, limits and budgets: what is changed holds from the very next request, and is on record."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from billing.charging.admission import Refusal
from billing.customers.standing import Limits
from billing.database.db import fetch
from billing.errors import Conflict
from billing.prices.pricing import Tokens
from tests.billing.conftest import Bank
from tests.billing.test_credit import DOLLAR, WORST, moved


@pytest.fixture(autouse=True)
async def books_balance(bank: Bank) -> AsyncIterator[None]:
    yield
    assert await bank.discrepancies() == []


async def test_upon_termination_your_right_to_use_the_service_ceases_immediately_and_unused_credits_are_forfeited(
    bank: Bank,
) -> None:
    customer = await bank.customer(DOLLAR)
    running = await customer.admitted()
    await bank.standings.terminate(customer.account_id, "operator", "account sharing")
    assert await customer.refusal() is Refusal.ACCOUNT_TERMINATED
    assert await moved(bank, "forfeiture") == DOLLAR - WORST
    await customer.settle(running, Tokens(10, 0, 0))
    assert await moved(bank, "forfeiture") == DOLLAR - 1000
    assert (await customer.account()).balance_nanodollars == 0
    await bank.standings.resume(customer.account_id, "operator", "appeal granted")
    assert await customer.refusal() is Refusal.INSUFFICIENT_CREDIT


async def test_we_may_suspend_your_account_immediately(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    await bank.standings.suspend(customer.account_id, "operator", "spam")
    assert await customer.refusal() is Refusal.ACCOUNT_SUSPENDED
    with pytest.raises(Conflict, match="suspended"):
        await bank.standings.suspend(customer.account_id, "operator", "spam")
    await bank.standings.resume(customer.account_id, "operator", "it was a mistake")
    await customer.admitted()


async def test_an_account_marked_for_deletion_may_be_restored_for_30_days(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    await bank.standings.suspend(customer.account_id, "operator", "spam")
    marked = await bank.standings.mark_for_deletion(customer.account_id, "customer", "asked for it")
    assert marked.delete_at == bank.clock.now + timedelta(days=30)
    assert await customer.refusal() is Refusal.ACCOUNT_DELETING
    await bank.standings.restore(customer.account_id, "operator", "changed their mind")
    assert await customer.refusal() is Refusal.ACCOUNT_SUSPENDED
    await bank.standings.mark_for_deletion(customer.account_id, "customer", "asked for it")
    bank.clock.turn(days=30)
    with pytest.raises(Conflict, match="could be restored until"):
        await bank.standings.restore(customer.account_id, "operator", "too late")


async def test_every_change_of_standing_says_who_why_and_when(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    with pytest.raises(ValueError, match="reason"):
        await bank.standings.suspend(customer.account_id, "kari", " ")
    await bank.standings.suspend(customer.account_id, "kari", "spam")
    async with bank.database.begin() as connection:
        rows = await fetch(connection, "SELECT actor, action, account_id, reason, at FROM audit")
    assert [tuple(row) for row in rows] == [
        ("kari", "account suspended", customer.account_id, "spam", bank.clock.now)
    ]


async def test_a_key_has_limits_of_its_own(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    running = await customer.admitted()
    limits = Limits(requests_per_minute=2, concurrent_requests=2)
    await bank.standings.set_limits(customer.account_id, "operator", limits, customer.key_id)
    await customer.admitted()
    assert await customer.refusal() is Refusal.CONCURRENT_REQUESTS
    await customer.settle(running, Tokens(0, 0, 0))
    again = await customer.admitted()
    await customer.settle(again, Tokens(0, 0, 0))
    assert await customer.refusal() is Refusal.REQUESTS_PER_MINUTE


@pytest.mark.parametrize("of_key", [False, True])
async def test_a_monthly_budget_is_hard_and_gives_notice_at_50_80_and_100_percent(
    bank: Bank, of_key: bool
) -> None:
    customer = await bank.customer(DOLLAR)
    key_id = customer.key_id if of_key else None
    await bank.standings.set_limits(customer.account_id, "operator", Limits(budget=2 * WORST), key_id)
    first, second = await customer.admitted(), await customer.admitted()
    expected = Refusal.KEY_BUDGET_SPENT if of_key else Refusal.BUDGET_SPENT
    assert await customer.refusal(counted=True) is expected
    await customer.settle(first, Tokens(100, 0, 50))
    await customer.settle(second, Tokens(100, 0, 50))
    for _ in range(2):
        assert await customer.refusal(counted=True) is expected
    async with bank.database.begin() as connection:
        rows = await fetch(connection, "SELECT body ->> 'percent' FROM notice WHERE kind = 'budget' ORDER BY id")
    assert sorted(int(row[0]) for row in rows) == [50, 80, 100]
    bank.clock.turn(days=1)
    await customer.admitted()


async def test_a_request_counts_in_the_month_of_its_admission(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    await bank.standings.set_limits(customer.account_id, "operator", Limits(budget=WORST))
    running = await customer.admitted()
    bank.clock.turn(days=1)
    assert await customer.refusal(counted=True) is Refusal.BUDGET_SPENT
    await customer.settle(running, Tokens(100, 0, 50))
    await customer.admitted()
