"""Credit is bought: once for each payment, whatever comes twice, late or not at all."""

import asyncio

import pytest

from billing.database.db import fetch
from billing.ids import new_id
from billing.payments.settling import Mismatch
from billing.payments.shop import NoBuyer, NotForSale
from billing.prices.money import NANODOLLARS_PER_CENT
from tests.payments.conftest import BACK, CARD, Counter

DOLLAR = 10**9


async def test_the_customer_comes_back_and_has_the_credit(counter: Counter) -> None:
    ada = await counter.customer()
    payment = await counter.bought(ada, 2500)
    assert payment.state == "credited"
    assert (await ada.account()).balance_nanodollars == 25 * DOLLAR
    assert (payment.net_cents, payment.vat_cents, payment.gross_cents) == (2000, 500, 2500)
    assert await counter.moved("vat") == 0


async def test_tax_on_top_is_paid_beside_the_credit(taxed: Counter) -> None:
    ada = await taxed.customer()
    payment = await taxed.bought(ada, 2500)
    assert (await ada.account()).balance_nanodollars == 25 * DOLLAR
    assert payment.gross_cents == 3125
    assert await taxed.moved("vat") == 625 * NANODOLLARS_PER_CENT
    assert await taxed.moved("purchase") + await taxed.moved("vat") == 3125 * NANODOLLARS_PER_CENT


async def test_the_webhook_the_sweep_and_the_customer_make_one_lot(counter: Counter) -> None:
    ada = await counter.customer()
    page = await counter.order(ada)
    page.pay()
    await counter.deliver()
    await counter.till.sweep.find_events()
    await asyncio.gather(
        counter.till.inbox.run_once(), counter.till.shop.look(page.payment_id), counter.till.inbox.run_once()
    )
    assert await counter.lots(ada.account_id) == [10 * DOLLAR]
    assert await counter.errors() == []


async def test_who_never_comes_back_is_credited_by_the_webhook(counter: Counter) -> None:
    ada = await counter.customer()
    page = await counter.order(ada)
    page.pay()
    await counter.hear()
    assert (await counter.payment(page.payment_id)).state == "credited"


async def test_an_event_about_a_page_has_stripe_asked_for_it_once(counter: Counter) -> None:
    ada = await counter.customer()
    page = await counter.order(ada)
    page.pay()
    asked = await counter.asked_about("checkout.session.")
    asked = [one.partition("?")[0] for one in asked if "/checkout/sessions/" in one]
    assert asked == [f"GET /v1/checkout/sessions/{page.checkout}"]
    assert (await counter.payment(page.payment_id)).state == "credited"


async def test_without_webhook_and_event_the_worker_looks_by_itself(counter: Counter) -> None:
    ada = await counter.customer()
    page = await counter.order(ada)
    page.pay()
    counter.bank.clock.turn(minutes=6)
    assert await counter.till.sweep.look_at_unfinished() == 1
    assert await counter.lots(ada.account_id) == [10 * DOLLAR]


async def test_two_buys_at_once_are_two_lots(counter: Counter) -> None:
    ada = await counter.customer()
    pages = [await counter.order(ada), await counter.order(ada, 2000)]
    for page in pages:
        page.pay()
    await asyncio.gather(*(counter.till.shop.look(page.payment_id) for page in (*pages, *pages)))
    assert sorted(await counter.lots(ada.account_id)) == [10 * DOLLAR, 20 * DOLLAR]


async def test_the_same_order_with_another_choice_of_the_card_leads_to_the_same_page(counter: Counter) -> None:
    ada = await counter.customer()
    order_id = new_id(counter.bank.clock())
    pages = [
        await counter.till.shop.order_credit(
            ada.account_id, 1000, order_id=order_id, back=BACK, email="ada@example.com", save_card=save_card
        )
        for save_card in (True, False, True)
    ]
    assert len(set(pages)) == len(counter.sandbox.state.table("checkout.session").rows) == 1
    assert (await counter.payment(order_id)).save_card


async def test_what_nobody_pays_expires_and_is_credited_if_it_is_paid_all_the_same(counter: Counter) -> None:
    ada = await counter.customer()
    page = await counter.order(ada)
    counter.bank.clock.turn(minutes=61)
    await counter.till.sweep.look_at_unfinished()
    assert (await counter.payment(page.payment_id)).state == "expired"


async def test_an_order_that_was_killed_before_its_page_expires(counter: Counter) -> None:
    ada = await counter.customer()
    counter.sandbox.trouble.refuse_next = 9
    with pytest.raises(Exception, match="Stripe cannot be reached"):
        await counter.order(ada)
    counter.sandbox.trouble.refuse_next = 0
    counter.bank.clock.turn(minutes=61)
    assert await counter.till.sweep.look_at_unfinished() == 1
    assert (await counter.till.shop.quote(ada.account_id, 200_000 // 2)).gross == 100_000


async def test_a_closed_account_gets_its_money_back_by_itself(counter: Counter) -> None:
    ada = await counter.customer()
    page = await counter.order(ada)
    page.pay()
    await counter.bank.standings.terminate(ada.account_id, "operator", "a reason")
    await counter.hear()
    assert (await counter.payment(page.payment_id)).state == "unwanted"
    await counter.till.refunds.run_once()
    assert "refunded" in await counter.told()
    assert await counter.lots(ada.account_id) == []
    assert await counter.moved("refund") == 0


async def test_the_limits_of_a_payment_and_of_a_day(counter: Counter) -> None:
    ada = await counter.customer()
    for cents in (499, 100_001):
        with pytest.raises(NotForSale, match=r"from \$5.* to \$1,?000"):
            await counter.order(ada, cents)
    first, _ = await counter.order(ada, 100_000), await counter.order(ada, 100_000)
    with pytest.raises(NotForSale, match="24 hours"):
        await counter.order(ada)
    counter.bank.clock.turn(minutes=61)
    await counter.till.sweep.look_at_unfinished()
    assert (await counter.payment(first.payment_id)).state == "expired"
    await counter.order(ada)


async def test_a_buyer_is_needed_and_an_open_account(counter: Counter) -> None:
    nobody = await counter.bank.customer(0)
    with pytest.raises(NoBuyer):
        await counter.order(nobody)
    ada = await counter.customer()
    await counter.bank.standings.suspend(ada.account_id, "operator", "a reason")
    with pytest.raises(NotForSale, match="suspended"):
        await counter.order(ada)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"amount_received": 999}, "999 cents came, not 1000"),
        ({"currency": "nok"}, "in nok, not usd"),
        ({"customer": "cus_other"}, "by another customer"),
    ],
)
async def test_what_differs_is_not_credited_but_named(
    counter: Counter, wrong: dict[str, object], named: str
) -> None:
    ada = await counter.customer()
    page = await counter.order(ada)
    page.pay()
    (intent,) = counter.sandbox.state.table("payment_intent").rows.values()
    right = dict(intent)
    intent.update(wrong)
    await counter.hear()
    assert any(named in error for error in await counter.errors())
    assert await counter.lots(ada.account_id) == []
    with pytest.raises(Mismatch, match=named):
        await counter.till.shop.look(page.payment_id)
    assert named in ((await counter.payment(page.payment_id)).failure or "")
    intent.update(right)
    counter.bank.clock.turn(minutes=10)
    await counter.till.inbox.run_once()
    assert await counter.lots(ada.account_id) == [10 * DOLLAR]
    assert (await counter.payment(page.payment_id)).failure is None


async def test_payment_information_is_processed_through_stripe_and_not_stored_on_our_servers(
    counter: Counter,
) -> None:
    await counter.bought(await counter.customer(), save_card=True)
    await counter.hear()
    async with counter.database.begin() as connection:
        names = await fetch(connection, "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
        for table in (row.name for row in names):
            kept = await fetch(connection, f'SELECT t::text AS row FROM "{table}" t')
            assert not [row.row for row in kept if CARD in row.row], table
        ((label,),) = await fetch(connection, "SELECT card_label FROM wallet")
    assert label == "visa •••• 4242"
