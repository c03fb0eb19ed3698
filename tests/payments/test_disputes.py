"""A bank contests a payment: what is open is not spent, what is lost is gone, to the cent."""

from uuid import UUID

import pytest

from appliance.stripe_sandbox.disputes import decide, open_dispute
from appliance.stripe_sandbox.hosted import Buyer as Payer
from billing.errors import Conflict
from billing.payments import records
from billing.payments.disputes import state_of, way
from billing.payments.records import Dispute, Payment
from billing.prices.money import NANODOLLARS_PER_CENT
from billing.prices.pricing import Tokens
from tests.billing.conftest import Bank, Customer
from tests.payments.conftest import BACK, CARD, Counter, counter_of
from tests.payments.test_subscriptions_by_till import paid_for_a_plan
from tests.taxing import INCLUDED, ON_TOP

DOLLAR = 10**9
DISPUTED = "4000000000000259"


async def disputed(counter: Counter, cents: int = 1000) -> tuple[Customer, Payment, dict[str, object]]:
    ada = await counter.customer()
    payment = await counter.bought(ada, cents, card=DISPUTED)
    counter.bank.clock.turn(minutes=1)
    await counter.hear()
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    return ada, payment, row


async def decided(counter: Counter, row: dict[str, object], *, won: bool) -> None:
    """By the bank, and told."""
    counter.sandbox.control(lambda world: decide(world, str(row["id"]), won=won))
    counter.bank.clock.turn(minutes=1)
    await counter.hear()


async def said(counter: Counter, row: dict[str, object], **what: object) -> None:
    """Stripe says something else of it from now on, and tells."""
    row.update(what)
    async with counter.database.begin() as connection:
        await connection.exec_driver_sql(
            "UPDATE stripe_event SET handled_at = NULL, due_at = '2000-01-01Z' WHERE kind LIKE 'charge.dispute%%'"
        )
    await counter.till.inbox.run_once()


async def ours(counter: Counter, payment: Payment) -> Dispute:
    async with counter.database.begin() as connection:
        (dispute,) = await records.disputes_of(connection, payment.id)
    return dispute


async def test_while_it_is_open_the_credit_is_set_aside_and_won_it_returns(counter: Counter) -> None:
    ada, payment, row = await disputed(counter)
    assert (await ours(counter, payment)).state == "open"
    assert (await ada.account()).balance_nanodollars == 0
    assert {"dispute", "operator:dispute"} <= set(await counter.told())
    await decided(counter, row, won=True)
    assert (await ours(counter, payment)).state == "won"
    assert (await ada.account()).balance_nanodollars == 10 * DOLLAR


async def test_lost_it_is_gone_and_what_was_used_is_owed(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada, card=DISPUTED)
    admitted = await ada.admitted()
    await ada.settle(admitted, Tokens(100, 0, 50))
    used = 10 * DOLLAR - (await ada.account()).balance_nanodollars
    counter.bank.clock.turn(minutes=1)
    await counter.hear()
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    await decided(counter, row, won=False)
    await said(counter, row)
    assert (await ours(counter, payment)).state == "lost"
    assert (await ada.account()).owed_nanodollars == used
    assert await counter.moved("chargeback") + await counter.moved("shortfall") == 10 * DOLLAR
    assert await counter.errors() == []


async def test_lost_before_it_was_heard_of(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada, card=DISPUTED)
    counter.bank.clock.turn(minutes=1)
    counter.sandbox.catch_up()
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    await decided(counter, row, won=False)
    assert (await ours(counter, payment)).state == "lost"
    assert await counter.moved("chargeback") == 10 * DOLLAR


async def test_lost_while_a_request_runs_waits_for_its_end(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada, card=DISPUTED)
    admitted = await ada.admitted()
    counter.bank.clock.turn(minutes=1)
    await counter.hear()
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    await decided(counter, row, won=False)
    assert any("still claim" in error for error in await counter.errors())
    assert (await ours(counter, payment)).state == "open"
    await ada.settle(admitted, Tokens(100, 0, 50))
    counter.bank.clock.turn(minutes=1)
    await counter.till.inbox.run_once()
    assert (await ours(counter, payment)).state == "lost"
    assert await counter.errors() == []


async def test_a_part_that_is_lost_leaves_the_rest(taxed: Counter) -> None:
    ada = await taxed.customer()
    payment = await taxed.bought(ada)
    assert payment.gross_cents == 1250
    (charge,) = taxed.sandbox.state.table("charge").rows
    taxed.sandbox.control(lambda world: open_dispute(world, charge, amount=500))
    (row,) = taxed.sandbox.state.table("dispute").rows.values()
    await taxed.hear()
    assert (await ada.account()).balance_nanodollars == 0
    await decided(taxed, row, won=False)
    assert (await ada.account()).balance_nanodollars == 6 * DOLLAR
    assert await taxed.moved("chargeback") == 4 * DOLLAR
    assert await taxed.moved("vat_refund") == 100 * NANODOLLARS_PER_CENT


async def test_an_inquiry_moves_nothing_and_may_be_closed(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada, card=DISPUTED)
    counter.bank.clock.turn(minutes=1)
    counter.sandbox.catch_up()
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    row.update(status="warning_needs_response")
    await counter.hear()
    assert (await ours(counter, payment)).state == "inquiry"
    assert (await ada.account()).balance_nanodollars == 10 * DOLLAR
    assert "dispute" not in await counter.told()
    await said(counter, row, status="warning_closed")
    assert (await ours(counter, payment)).state == "closed"


async def test_of_credit_that_was_paid_back_the_account_owes_what_the_bank_took(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada, card=DISPUTED)
    await counter.bank.credit.refund(payment.lot_id or 0, "operator", "by hand")
    counter.bank.clock.turn(minutes=1)
    await counter.hear()
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    await decided(counter, row, won=False)
    assert (await ada.account()).owed_nanodollars == 10 * DOLLAR
    assert (await ours(counter, payment)).state == "lost"


async def test_of_a_plan_it_ends_the_plan_with_its_allowance_and_what_is_lost_goes_back(taxed: Counter) -> None:
    ada, _ = await paid_for_a_plan(taxed, DISPUTED)
    assert await taxed.till.subscriptions.look(ada.account_id) is not None
    taxed.bank.clock.turn(minutes=1)
    await taxed.hear()
    (row,) = taxed.sandbox.state.table("dispute").rows.values()
    assert await taxed.till.subscriptions.running(ada.account_id) is None
    (plan,) = taxed.sandbox.state.table("subscription").rows.values()
    assert plan["status"] == "canceled"
    assert (await ada.account()).balance_nanodollars == 0
    assert {"dispute", "operator:dispute"} <= set(await taxed.told())
    await decided(taxed, row, won=False)
    await said(taxed, row)
    assert await taxed.moved("plan_refund") == 10 * DOLLAR
    assert await taxed.moved("vat_refund") == 250 * NANODOLLARS_PER_CENT
    assert (await ada.account()).owed_nanodollars == 0
    assert await taxed.errors() == []


async def test_of_a_plan_won_nothing_moves(counter: Counter) -> None:
    ada, _ = await paid_for_a_plan(counter, DISPUTED)
    assert await counter.till.subscriptions.look(ada.account_id) is not None
    counter.bank.clock.turn(minutes=1)
    await counter.hear()
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    await decided(counter, row, won=True)
    assert await counter.moved("plan_refund") == 0
    assert await counter.errors() == []


@pytest.mark.parametrize("cents", [None, 400])
@pytest.mark.parametrize("included", [True, False])
async def test_credit_that_was_taken_for_a_refund_that_the_bank_forestalled_is_not_taken_twice(
    bank: Bank, included: bool, cents: int | None
) -> None:
    """All of it, asked back by the customer, and a part, given back by the operator."""
    counter = counter_of(bank, INCLUDED if included else ON_TOP)
    ada = await counter.customer()
    payment = await counter.bought(ada, card=DISPUTED)
    counter.sandbox.trouble.refuse_next = 100
    if cents is None:
        refund = await counter.till.refunds.ask(ada.account_id, payment.id)
    else:
        refund = await counter.till.refunds.by_operator(payment.id, "operator", "a gesture", cents)
    assert refund.state == "taken"
    counter.sandbox.trouble.refuse_next = 0
    counter.bank.clock.turn(minutes=1)
    await counter.hear()
    await counter.till.refunds.run_once()
    async with counter.database.begin() as connection:
        assert (await records.refund(connection, refund.id)).state == "failed"
    (row,) = counter.sandbox.state.table("dispute").rows.values()
    await decided(counter, row, won=False)
    assert await counter.errors() == []
    account = await ada.account()
    assert (account.owed_nanodollars, account.balance_nanodollars) == (0, 0)
    async with counter.database.begin() as connection:
        assert (await records.refund(connection, refund.id)).state == "refused"
    with pytest.raises(Conflict):
        await counter.till.refunds.otherwise(refund.id, "operator", "by bank")
    assert await counter.moved("chargeback") == 10 * DOLLAR
    assert await counter.moved("vat") == await counter.moved("vat_refund")
    assert await bank.discrepancies() == []


async def test_what_else_is_sold_at_the_same_stripe_is_refunded_and_contested_without_us(counter: Counter) -> None:
    stranger = await counter.provider.create_customer(999, "eve@example.com", "Eve", "another shop")
    for number, card in enumerate((CARD, DISPUTED)):
        page = await counter.provider.sell(
            customer=stranger, cents=500, what="A hat", reference=UUID(int=number), save_card=False, back=BACK,
            key=f"hat {number}",
        )  # fmt: skip
        counter.sandbox.pay_session(page.id, Payer(card))
    sold = next(iter(counter.sandbox.state.table("payment_intent").rows))
    await counter.provider.refund(intent=sold, cents=100, reference=UUID(int=8), key="a part")
    counter.bank.clock.turn(minutes=1)
    await counter.hear()
    assert len(counter.sandbox.state.table("dispute").rows) == 1
    assert await counter.errors() == []
    assert await counter.told() == []


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("needs_response", "open"), ("under_review", "open"), ("won", "won"), ("lost", "lost"),
        ("warning_needs_response", "inquiry"), ("warning_under_review", "inquiry"), ("warning_closed", "closed"),
        ("prevented", "closed"),
    ],
)  # fmt: skip
def test_what_stripe_says_and_what_it_is_here(status: str, state: str) -> None:
    assert state_of(status) == state


def test_the_bank_decides_on_what_was_open() -> None:
    assert way("inquiry", "lost") == ("open", "lost")
    assert way("open", "open") == ()
