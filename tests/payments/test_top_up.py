"""A saved card is charged when credit runs low: never twice, never above the ceiling, never after a no."""

import asyncio

import pytest
from msgspec.structs import replace

from appliance.stripe_sandbox.hosted import Buyer as Payer
from billing.documents.buyers import keep_buyer
from billing.errors import Conflict
from billing.payments.shop import NotForSale
from billing.prices.pricing import Tokens
from tests.billing.conftest import Customer
from tests.payments.conftest import ADA, BACK, Counter

DOLLAR = 10**9
SAVES_ONLY = "4000000000000341"
ASKS_ALWAYS = "4000002760003184"


async def saved(counter: Counter, card: str = "4242424242424242", ceiling: int = 10_000) -> Customer:
    """A customer without credit whose card is saved, and charged $20 below $5."""
    ada = await counter.customer()
    url = await counter.till.top_ups.save_card(ada.account_id, back=BACK, email="ada@example.com")
    page = next(one for one in counter.sandbox.state.table("checkout.session").rows.values() if one["url"] == url)
    step = counter.sandbox.pay_session(page["id"], Payer(card))
    assert step.url is not None, step.message
    if "3ds" in step.url:
        counter.sandbox.answer_3ds(page["id"], confirmed=True)
    wallet = await counter.till.top_ups.find_card(ada.account_id)
    assert wallet.card_label == f"visa •••• {card[-4:]}"
    await counter.till.top_ups.set_rule(
        ada.account_id, "ada", below_nanodollars=5 * DOLLAR, top_up_cents=2000, ceiling_cents=ceiling
    )
    return ada


async def spend_all(customer: Customer) -> None:
    """On completion tokens, of 400 nano-dollars each."""
    tokens = (await customer.account()).balance_nanodollars // 400
    admitted = await customer.admitted(prompt_limit=0, completion_limit=tokens)
    await customer.settle(admitted, Tokens(0, 0, tokens))


def charged(counter: Counter) -> list[int]:
    rows = counter.sandbox.state.table("payment_intent").rows.values()
    return [row["amount_received"] for row in rows if row["status"] == "succeeded"]


async def test_credit_is_bought_when_it_runs_low_and_not_before(counter: Counter) -> None:
    ada = await saved(counter)
    assert await counter.till.top_ups.run_once() == 1
    assert await counter.till.top_ups.run_once() == 0
    assert (await ada.account()).balance_nanodollars == 20 * DOLLAR
    await spend_all(ada)
    assert await counter.till.top_ups.run_once() == 1
    assert charged(counter) == [2000, 2000]


async def test_the_ceiling_of_a_month_holds_whoever_runs_at_once(counter: Counter) -> None:
    ada = await saved(counter, ceiling=5000)
    for _ in range(4):
        await asyncio.gather(*(counter.till.top_ups.run_once() for _ in range(4)))
        if (await ada.account()).balance_nanodollars:
            await spend_all(ada)
    assert charged(counter) == [2000, 2000]
    assert (await counter.told()).count("top_up_ceiling") == 1
    counter.bank.clock.turn(days=2)  # February
    assert await counter.till.top_ups.run_once() == 1


@pytest.mark.parametrize("ceiling", [2000, 2499])
async def test_a_ceiling_that_is_enough_without_the_tax_is_enough_for_whoever_moves_there(
    taxed: Counter, ceiling: int
) -> None:
    ada = await saved(taxed)
    assert await taxed.till.top_ups.run_once() == 1
    await spend_all(ada)
    async with taxed.database.begin() as connection:
        await keep_buyer(connection, ada.account_id, replace(ADA, country="US"), taxed.bank.clock())
    await taxed.till.top_ups.set_rule(
        ada.account_id, "ada", below_nanodollars=5 * DOLLAR, top_up_cents=2000, ceiling_cents=ceiling
    )
    taxed.bank.clock.turn(days=2)  # February
    assert await taxed.till.top_ups.run_once() == 1
    assert charged(taxed) == [2500, 2000]
    assert "top_up_ceiling" not in await taxed.told()


async def test_a_lost_answer_is_no_second_charge(counter: Counter) -> None:
    ada = await saved(counter)
    counter.sandbox.trouble.lose_next = 3
    assert await counter.till.top_ups.run_once() == 0
    counter.bank.clock.turn(days=40)
    assert await counter.till.top_ups.run_once() == 1
    assert charged(counter) == [2000]
    assert (await ada.account()).balance_nanodollars == 20 * DOLLAR


@pytest.mark.parametrize(
    ("card", "why"), [(SAVES_ONLY, "generic_decline"), (ASKS_ALWAYS, "authentication_required")]
)
async def test_after_a_no_nothing_more_is_tried_until_the_customer_says_so(
    counter: Counter, card: str, why: str
) -> None:
    ada = await saved(counter, card)
    for _ in range(3):
        assert await counter.till.top_ups.run_once() == 0
    assert (await counter.till.top_ups.wallet(ada.account_id)).paused == why
    assert len(counter.sandbox.state.table("payment_intent").rows) == 1
    assert (await counter.told()).count("top_up_paused") == 1
    await counter.till.top_ups.resume(ada.account_id, "ada")
    await counter.till.top_ups.run_once()
    assert len(counter.sandbox.state.table("payment_intent").rows) == 2


async def test_a_card_that_is_saved_at_a_purchase_is_there_for_top_ups(counter: Counter) -> None:
    ada = await counter.customer()
    await counter.bought(ada, save_card=True)
    assert (await counter.till.top_ups.wallet(ada.account_id)).card is not None
    bob = await counter.customer()
    await counter.bought(bob)
    assert (await counter.till.top_ups.wallet(bob.account_id)).card is None


async def test_whoever_saves_a_card_and_does_not_come_back_has_saved_it(counter: Counter) -> None:
    ada = await counter.customer()
    await counter.till.top_ups.save_card(ada.account_id, back=BACK, email="ada@example.com")
    (page,) = counter.sandbox.state.table("checkout.session").rows
    assert counter.sandbox.pay_session(page, Payer("4242424242424242")).url is not None
    await counter.hear()
    assert (await counter.till.top_ups.wallet(ada.account_id)).card is not None


async def test_a_card_that_is_forgotten_is_gone_at_stripe_too(counter: Counter) -> None:
    ada = await saved(counter)
    wallet = await counter.till.top_ups.wallet(ada.account_id)
    await counter.till.top_ups.forget_card(ada.account_id, "ada")
    assert await counter.provider.cards(wallet.customer or "") == []
    assert await counter.till.top_ups.run_once() == 0
    with pytest.raises(Conflict, match="no card"):
        await counter.till.top_ups.set_rule(
            ada.account_id, "ada", below_nanodollars=DOLLAR, top_up_cents=500, ceiling_cents=1000
        )


async def test_amounts_that_cannot_be(counter: Counter) -> None:
    ada = await saved(counter)
    for below, cents, ceiling in ((0, 2000, 5000), (DOLLAR, 100, 5000), (DOLLAR, 2000, 1999)):
        with pytest.raises(NotForSale):
            await counter.till.top_ups.set_rule(
                ada.account_id, "ada", below_nanodollars=below, top_up_cents=cents, ceiling_cents=ceiling
            )


async def test_a_suspended_account_is_not_charged(counter: Counter) -> None:
    ada = await saved(counter)
    await counter.bank.standings.suspend(ada.account_id, "operator", "a reason")
    assert await counter.till.top_ups.run_once() == 0
    assert charged(counter) == []


async def test_a_deleted_account_is_forgotten_at_stripe(counter: Counter) -> None:
    ada = await saved(counter)
    await counter.bank.standings.mark_for_deletion(ada.account_id, "ada", "enough")
    counter.bank.clock.turn(days=30)
    await counter.bank.standings.delete(ada.account_id, "appliance")
    counter.sandbox.trouble.refuse_next = 9
    with pytest.raises(Exception, match="cannot be reached"):
        await counter.till.customers.forget_deleted()
    counter.sandbox.trouble.refuse_next = 0
    assert await counter.till.customers.forget_deleted() == 1
    assert await counter.till.customers.forget_deleted() == 0
    assert [row.get("deleted") for row in counter.sandbox.state.table("customer").rows.values()] in ([True], [])
