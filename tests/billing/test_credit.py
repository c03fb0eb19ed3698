"""What the terms say of credits, kept. Each test is named by the sentence that it keeps."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from billing.charging.admission import Refusal
from billing.database.db import execute, fetch
from billing.errors import Conflict
from billing.ledger.lots import one_year_after
from billing.ledger.sweep import Sweeper
from billing.prices.pricing import Tokens
from billing.store.port import End, Lot
from tests.billing.allowances import allow
from tests.billing.conftest import Bank, Customer

DOLLAR = 10**9
# At the tests' rates, 100 prompt tokens and 50 of completion: what `Customer.request` asks for.
WORST = 100 * 100 + 50 * 400


@pytest.fixture(autouse=True)
async def books_balance(bank: Bank) -> AsyncIterator[None]:
    """After every test of this file."""
    yield
    assert await bank.discrepancies() == []


async def lot_now(bank: Bank, lot: Lot) -> Lot:
    async with bank.store.begin() as transaction:
        found = await transaction.lot(lot.id)
    assert found is not None
    return found


async def moved(bank: Bank, kind: str) -> int:
    async with bank.database.begin() as connection:
        query = "SELECT coalesce(sum(amount_nanodollars), 0)::bigint FROM transfer WHERE kind = $1"
        ((amount,),) = await fetch(connection, query, kind)
    return int(amount)


async def use(customer: Customer, nanodollars: int) -> None:
    """Spends it on prompt tokens, of 100 nano-dollars each."""
    tokens = nanodollars // 100
    request = await customer.admitted(prompt_limit=tokens, completion_limit=1)
    await customer.settle(request, Tokens(tokens, 0, 0))


async def test_credits_are_consumed_on_a_first_in_first_out_basis(bank: Bank) -> None:
    customer = await bank.customer(0)
    await customer.buys(DOLLAR)
    bank.clock.turn(days=-1)
    older = await customer.buys(DOLLAR)
    bank.clock.turn(days=1)
    await use(customer, DOLLAR + 1000)
    assert (await lot_now(bank, older)).remaining == 0
    assert (await customer.account()).balance_nanodollars == DOLLAR - 1000


async def test_all_credits_expire_and_are_forfeited_1_year_after_purchase(bank: Bank) -> None:
    customer = await bank.customer(0)
    lot = await customer.buys(DOLLAR)
    bank.clock.now = one_year_after(bank.clock.now) - timedelta(microseconds=1)
    await use(customer, 1000)
    bank.clock.turn(microseconds=1)
    assert await customer.refusal() is Refusal.INSUFFICIENT_CREDIT
    assert (await lot_now(bank, lot)).remaining == 0
    assert await moved(bank, "expiry") == DOLLAR - 1000


def test_a_year_after_29_february_is_1_march() -> None:
    assert one_year_after(datetime(2028, 2, 29, 7, tzinfo=UTC)) == datetime(2029, 3, 1, 7, tzinfo=UTC)


async def test_credit_that_nobody_asks_for_expires_too(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    bank.clock.turn(days=366)
    assert await Sweeper(bank.store, bank.clock).run_once() == 1
    assert (await customer.account()).balance_nanodollars == 0
    assert await Sweeper(bank.store, bank.clock).run_once() == 0


async def test_a_request_is_paid_by_credit_that_was_valid_when_it_was_admitted(bank: Bank) -> None:
    customer = await bank.customer(WORST + 500)
    running = await customer.admitted()
    bank.clock.turn(days=366)
    await Sweeper(bank.store, bank.clock).run_once()
    assert (await customer.account()).balance_nanodollars == WORST
    fresh = await customer.buys(WORST)
    waiting = await customer.admitted()
    assert await customer.refusal() is Refusal.INSUFFICIENT_CREDIT
    await customer.settle(running, Tokens(10, 0, 0))
    assert (await customer.account()).balance_nanodollars == WORST
    assert (await lot_now(bank, fresh)).remaining == WORST
    await customer.settle(waiting, Tokens(100, 0, 50))
    assert await moved(bank, "expiry") == WORST + 500 - 1000


async def test_we_will_refund_credits_if_they_remain_completely_unused_for_30_days_from_the_date_of_purchase(
    bank: Bank,
) -> None:
    customer = await bank.customer(0)
    lot = await customer.buys(DOLLAR)
    bank.clock.turn(days=30)
    assert await bank.credit.refund(lot.id, "operator", "asked for it") == DOLLAR
    assert (await customer.account()).balance_nanodollars == 0
    assert await moved(bank, "refund") == DOLLAR
    with pytest.raises(Conflict, match="refund"):
        await bank.credit.refund(lot.id, "operator", "again")


async def test_after_30_days_of_use_even_partial_use_credits_are_non_refundable(bank: Bank) -> None:
    customer = await bank.customer(0)
    late, touched, held = await customer.buys(WORST), await customer.buys(DOLLAR), None
    held = await customer.admitted()
    with pytest.raises(Conflict, match="running"):
        await bank.credit.refund(late.id, "operator", "x")
    await customer.settle(held, Tokens(0, 0, 0))
    bank.clock.turn(days=30, microseconds=1)
    with pytest.raises(Conflict, match="too long ago"):
        await bank.credit.refund(late.id, "operator", "x")
    await use(customer, WORST + 1000)
    with pytest.raises(Conflict, match="used"):
        await bank.credit.refund(touched.id, "operator", "x")
    grant = await bank.credit.grant(customer.account_id, DOLLAR, "sorry", uuid.uuid4(), "operator")
    with pytest.raises(Conflict, match="not bought"):
        await bank.credit.refund(grant.id, "operator", "x")


async def test_the_same_purchase_told_twice_at_once_is_one_lot(bank: Bank) -> None:
    customer, cause = await bank.customer(0), uuid.uuid4()
    told = [bank.credit.purchase(customer.account_id, DOLLAR, "checkout", cause) for _ in range(5)]
    assert len({lot.id for lot in await asyncio.gather(*told)}) == 1
    assert (await customer.account()).balance_nanodollars == DOLLAR


async def test_a_grant_has_its_own_end_and_a_purchase_that_came_before_it_pays_first(bank: Bank) -> None:
    customer = await bank.customer(DOLLAR)
    soon = bank.clock.now + timedelta(days=7)
    grant = await bank.credit.grant(customer.account_id, DOLLAR, "welcome", uuid.uuid4(), "operator", soon)
    await use(customer, 1000)
    assert (await lot_now(bank, grant)).remaining == DOLLAR
    bank.clock.now = soon
    await customer.admitted()
    assert (await lot_now(bank, grant)).remaining == 0
    assert (await customer.account()).balance_nanodollars == DOLLAR - 1000


@pytest.mark.parametrize("stops", [True, False])
async def test_a_plans_allowance_is_used_first_ends_with_its_period_and_then_stops_or_goes_on_from_credits(
    bank: Bank, stops: bool
) -> None:
    customer = await bank.customer(DOLLAR)
    period_end = bank.clock.now + timedelta(days=30)
    allowance = await allow(
        bank.store, bank.clock, customer.account_id, WORST + 1000, period_end, uuid.uuid4(), stops=stops
    )
    await use(customer, WORST)
    assert (await lot_now(bank, allowance)).remaining == 1000
    if stops:
        assert await customer.refusal(counted=True) is Refusal.INSUFFICIENT_CREDIT
    else:
        await customer.settle(await customer.admitted(counted=True), Tokens(0, 0, 0))
    bank.clock.now = period_end
    await customer.settle(await customer.admitted(), Tokens(0, 0, 0))
    assert (await customer.account()).balance_nanodollars == DOLLAR
    assert await moved(bank, "expiry") == 1000


async def test_a_disputed_purchase_freezes_its_lot_and_comes_back_when_it_is_won(bank: Bank) -> None:
    customer = await bank.customer(0)
    lot = await customer.buys(WORST + 5000)
    running = await customer.admitted()
    disputed = await bank.credit.open_dispute(lot.id)
    assert (disputed.frozen, disputed.remaining) == (5000, WORST)
    assert await customer.refusal() is Refusal.INSUFFICIENT_CREDIT
    with pytest.raises(Conflict, match="running"):
        await bank.credit.lose_dispute(lot.id)
    await customer.settle(running, Tokens(10, 0, 0))
    assert (await lot_now(bank, lot)).frozen == WORST + 4000
    won = await bank.credit.win_dispute(lot.id)
    assert (won.remaining, won.frozen, won.end) == (WORST + 4000, 0, End.EXPIRY)
    await customer.admitted()


async def test_a_lost_dispute_leaves_what_was_used_as_a_receivable_that_blocks_no_other_credit(bank: Bank) -> None:
    customer = await bank.customer(0)
    lot = await customer.buys(DOLLAR)
    await use(customer, 7000)
    await customer.buys(WORST)
    await bank.credit.open_dispute(lot.id)
    assert await bank.credit.lose_dispute(lot.id) == 7000
    assert (await moved(bank, "chargeback"), await moved(bank, "shortfall")) == (DOLLAR - 7000, 7000)
    await customer.settle(await customer.admitted(), Tokens(0, 0, 0))
    cause = uuid.uuid4()
    for _ in range(2):
        await bank.credit.pay_receivable(customer.account_id, 4000, cause, "operator")
    await bank.credit.write_off(customer.account_id, 3000, uuid.uuid4(), "operator", "not worth it")
    with pytest.raises(Conflict, match="owes"):
        await bank.credit.pay_receivable(customer.account_id, 1, uuid.uuid4(), "operator")
    with pytest.raises(Conflict):
        await bank.credit.open_dispute(lot.id)


async def test_commercial_agreements_are_postpaid_up_to_their_credit_limit(bank: Bank) -> None:
    customer = await bank.customer(1000)
    terms = {"credit_limit": 2 * WORST, "priority": 5, "reason": "contract"}
    await bank.standings.set_terms(customer.account_id, "operator", **terms)  # type: ignore[arg-type]
    first, second = await customer.admitted(), await customer.admitted()
    assert first.priority == 5
    assert await customer.refusal() is Refusal.COUNT_NEEDED
    with pytest.raises(Conflict, match="running"):
        await bank.standings.set_terms(customer.account_id, "operator", credit_limit=None, priority=0, reason="x")
    for running in (first, second):
        await customer.settle(running, Tokens(100, 0, 50))
    assert await moved(bank, "postpaid") == 2 * WORST - 1000
    async with bank.database.begin() as connection:
        rates = "INSERT INTO rate (model, account_id, effective_at, announced_at, input, cached_input, output)"
        values = " VALUES ('smollm2', $1, $2, $2, 1000, 1000, 1000)"
        await execute(connection, rates + values, customer.account_id, bank.clock())
        await execute(connection, "UPDATE account SET negotiated = true")
    assert (await customer.admitted(prompt_limit=10, completion_limit=1)).rate.input == 1000
