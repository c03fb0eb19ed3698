"""Events in any order, any number of times, with the process dying anywhere: the same rows."""

import asyncio
import random
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from msgspec.structs import replace

from appliance.stripe_sandbox.hosted import Buyer as Payer
from billing.database.db import fetch
from billing.errors import Conflict
from billing.payments import following, records
from billing.payments.inbox import AT_ONCE
from billing.payments.provider import Gone
from tests.billing.conftest import Customer
from tests.payments.on_a_plan import ATTACHES_ONLY, BACK, LARGE, PAYS, SMALL, Shop, orders_of, shop
from tests.payments.test_subscriptions import use_card

__all__ = ["shop"]


async def test_events_in_any_order_and_number_lead_to_the_same_rows(shop: Shop) -> None:
    """Two customers order, and one cancels in Stripe's dashboard, before anybody handles anything."""
    rolled = random.Random(20270301)
    found = []
    for _ in range(6):
        kari, ola = await shop.customer(), await shop.customer()
        start = shop.bank.clock()
        await shop.order(kari)
        await shop.order(ola, LARGE)
        (order,) = await orders_of(shop.bank.database, ola.account_id)
        assert order.checkout is not None
        bought = (await shop.provider.checkout(order.checkout)).subscription
        assert bought is not None
        await shop.provider.set_cancels(bought, True, key=f"dashboard {order.id}")
        events = [one for one in await shop.events() if one.created_at >= start.replace(microsecond=0)]
        told = events + rolled.sample(events, len(events) // 2)
        rolled.shuffle(told)
        for event in told:
            await shop.handle(event)
        found.append([await everything(shop, one.account_id) for one in (kari, ola)])
        shop.turn(hours=1)
    assert all(one == found[0] for one in found)
    assert found[0][1]["subscription"][0][1:3] == ("active", True)


async def test_the_events_of_a_whole_life_change_nothing_when_they_come_again(shop: Shop) -> None:
    customer = await shop.subscriber()
    shop.turn(days=5)
    await shop.upgrade(customer, LARGE)
    await shop.subscriptions.plan_downgrade(customer.account_id, "small")
    shop.go_to(2027, 4, 1, 14)
    await shop.handle_all()
    await use_card(shop, customer, ATTACHES_ONLY)
    shop.go_to(2027, 5, 1, 14)
    await shop.handle_all()
    before = await everything(shop, customer.account_id)
    assert before["subscription"][0][1] == "past_due"
    again = 3 * await shop.events()
    random.Random(7).shuffle(again)
    for event in again:
        await shop.handle(event)
    assert await everything(shop, customer.account_id) == before
    await shop.subscriptions.cancel(customer.account_id)
    over = await everything(shop, customer.account_id)
    for event in again:
        await shop.handle(event)
    assert await everything(shop, customer.account_id) == over


async def everything(shop: Shop, account_id: int) -> dict[str, Any]:
    """All that is kept of the account, without ids and times."""
    of_account = "FROM {} WHERE account_id = $1 ORDER BY {}"
    queries = {
        "subscription": "SELECT version_id, state, cancels, next_version_id, end_reason "
        + of_account.format("subscription", "created_at"),
        "payment": "SELECT kind, state, gross_cents, lot_id IS NULL " + of_account.format("payment", "paid_at"),
        "lot": "SELECT source, amount_nanodollars, remaining_nanodollars " + of_account.format("lot", "id"),
        "account": "SELECT balance_nanodollars, requests_per_minute, priority FROM account WHERE id = $1",
        "notice": "SELECT kind, body->>'became' " + of_account.format("notice", "2"),
    }
    async with shop.bank.database.begin() as connection:
        return {
            name: [tuple(row) for row in await fetch(connection, query, account_id)]
            for name, query in queries.items()
        }


class Died(Exception):
    """The process was killed here."""


@pytest.mark.parametrize("prorated", [True, False])
@pytest.mark.parametrize("step", ["provider.change_now", "provider.charge_difference", "write"])
@pytest.mark.parametrize("after", [False, True])
async def test_an_upgrade_that_dies_anywhere_is_whole_or_did_not_happen(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, prorated: bool, step: str, after: bool
) -> None:
    """What Stripe was paid for is given when its event comes; what it was not is not there."""
    shop = await shop.open(prorated=prorated)
    shop.go_to(2027, 4, 1, 12)
    customer = await shop.subscriber()
    shop.go_to(2027, 4, 16, 12)
    preview = await shop.subscriptions.preview(customer.account_id, "large")
    with monkeypatch.context() as patch:
        where, name = (shop.provider, step.removeprefix("provider.")) if "." in step else (following, step)
        real = getattr(where, name)

        async def dying(*parameters: Any, **named: Any) -> Any:
            if after:
                await real(*parameters, **named)
            raise Died

        patch.setattr(where, name, dying)
        died = True
        try:
            await shop.subscriptions.upgrade(customer.account_id, "large", preview)
            died = False
        except Died:
            pass
    await shop.handle_all()
    await shop.handle_all()
    plan = await shop.row(customer)
    paid = await shop.payments(customer)
    charged = [one for one in paid if one[0] == "upgrade"]
    assert plan.version.plan == ("large" if charged else "small")
    assert plan.stripe_id is not None
    seen = await shop.provider.subscription(plan.stripe_id)
    if charged:
        assert charged == [("upgrade", "credited", preview.cents)]
        assert (await customer.account()).balance_nanodollars == (36 if prorated else 60) * 10**9
    assert died or charged
    shop.go_to(2027, 5, 1, 14)
    await shop.handle_all()
    assert (await shop.payments(customer))[-1] == ("plan", "credited", 4000 if charged else 1000), seen.price
    assert await shop.money_in() == sum(cents for _, _, cents in await shop.payments(customer))


async def unpaid_difference(shop: Shop, customer: Customer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The invoice of an upgrade that died before its card was charged."""
    preview, api = await shop.subscriptions.preview(customer.account_id, "large"), shop.provider._v1
    with monkeypatch.context() as patch:
        patch.setattr(api.invoices, "pay_async", Mock(side_effect=Died))
        with pytest.raises(Died):
            await shop.subscriptions.upgrade(customer.account_id, "large", preview)
    shop.turn(minutes=6)
    (invoice,) = (await api.invoices.list_async({"status": "open"})).data
    return str(invoice.id)


async def test_the_unpaid_invoice_of_an_upgrade_that_died_is_void_at_the_next_try(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await shop.open(prorated=False)
    customer = await shop.subscriber()
    stale = await unpaid_difference(shop, customer, monkeypatch)
    cents = await shop.upgrade(customer, LARGE)
    assert (await shop.provider.invoice(stale)).status == "void"
    assert await shop.payments(customer) == [("plan", "credited", 1000), ("upgrade", "credited", cents)]


async def test_an_upgrade_that_is_paid_once_more_goes_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the invoice of a try that died, on Stripe's page."""
    customer = await shop.subscriber()
    stale = await unpaid_difference(await shop.open(prorated=False), customer, monkeypatch)
    cents = await shop.upgrade(customer, LARGE)
    shop.turn(minutes=1)
    await shop.provider._v1.invoices.pay_async(stale)
    await shop.handle_all()
    paid = [("plan", "credited", 1000), ("upgrade", "credited", cents), ("upgrade", "unwanted", 3000)]
    assert await shop.payments(customer) == paid
    async with shop.bank.database.begin() as connection:
        (refund,) = await records.refunds_in(connection, "taken")
    assert refund.gross_cents == 3000
    plan = await shop.row(customer)
    assert (plan.state, plan.version.plan, plan.next_version) == ("active", "large", None)


@pytest.mark.parametrize("after", [False, True])
async def test_an_end_that_dies_on_its_way_is_ended_by_the_worker(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    customer = await shop.subscriber()
    with monkeypatch.context() as patch:
        real = shop.provider.end_subscription

        async def dying(*parameters: Any, **named: Any) -> None:
            if after:
                await real(*parameters, **named)
            raise Died

        patch.setattr(shop.provider, "end_subscription", dying)
        with pytest.raises(Died):
            await shop.subscriptions.end_now(customer.account_id, "ola", "asked for")
    await shop.upkeep.run_once()
    plan = await shop.row(customer)
    assert (plan.state, plan.end_reason) == ("ended", "by the operator")
    assert (await customer.account()).balance_nanodollars == 0


async def test_what_was_fetched_before_somebody_else_wrote_is_fetched_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cancelled here; Stripe's dashboard took that back, and then cancelled it once more."""
    customer, another = await shop.subscriber(), await shop.open()
    plan = await shop.subscriptions.cancel(customer.account_id)
    assert plan.stripe_id is not None
    stripe_id, real, first = plan.stripe_id, shop.provider.subscription, True
    await shop.provider.set_cancels(stripe_id, False, key="dashboard 1")

    async def slow(id_: str) -> Any:
        """Another process sees the second cancellation, while this one still has what was before it."""
        nonlocal first
        seen = await real(id_)
        if first:
            first = False
            await shop.provider.set_cancels(stripe_id, True, key="dashboard 2")
            await another.following.follow(stripe_id)
        return seen

    monkeypatch.setattr(shop.provider, "subscription", slow)
    await shop.following.follow(stripe_id)
    assert (await shop.row(customer)).cancels


async def test_nobody_looks_in_vain_at_a_subscription_that_many_look_at_at_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a payment, of which Stripe tells by many events. The second plan is ended meanwhile.

    The second try is for ending it: nobody loses one to another.
    """
    monkeypatch.setattr(following, "TRIES", 2)
    monkeypatch.setattr(shop.provider, "expire_checkout", AsyncMock())
    customer = await shop.customer()
    for plan in (SMALL, LARGE):
        await shop.subscriptions.subscribe(customer.account_id, plan.id, back=BACK, email="kari@example.com")
        shop.turn(seconds=1)
    second, first = await orders_of(shop.bank.database, customer.account_id)
    for order, becomes in ((first, "active"), (second, "ended")):
        assert order.checkout is not None
        shop.sandbox.pay_session(order.checkout, Payer(PAYS))
        bought = (await shop.provider.checkout(order.checkout)).subscription
        assert bought is not None
        seen = await asyncio.gather(*(shop.following.follow(bought) for _ in range(AT_ONCE)))
        assert [one.state for one in seen if one is not None] == [becomes] * AT_ONCE


async def test_an_unpaid_renewal_in_any_order(shop: Shop) -> None:
    for backwards in (False, True):
        start = shop.bank.clock().replace(microsecond=0)
        customer = await shop.subscriber()
        await use_card(shop, customer, ATTACHES_ONLY)
        shop.turn(days=31, hours=3)
        await use_card(shop, customer, PAYS)
        shop.turn(days=2)
        events = [one for one in await shop.events() if one.created_at >= start]
        for event in events[::-1] if backwards else events:
            await shop.handle(event)
        plan = await shop.row(customer)
        assert (plan.state, plan.grace_until) == ("active", None)
        assert await shop.payments(customer) == [("plan", "credited", 1000)] * 2


@pytest.mark.parametrize(("whose", "why"), [("ola", "another customer"), ("kari", "another subscription")])
async def test_a_subscription_that_only_says_that_it_is_ours_is_not_followed(
    shop: Shop, whose: str, why: str
) -> None:
    """Somebody made one in Stripe's dashboard, with the metadata of Kari's."""
    kari = await shop.subscriber()
    ola = await shop.subscriber(LARGE)
    before, made_for = await shop.row(kari), await shop.row(ola if whose == "ola" else kari)
    assert made_for.stripe_id is not None
    seen, api = await shop.provider.subscription(made_for.stripe_id), shop.provider._v1
    card = (await shop.provider.cards(seen.customer))[0].id
    made = await api.subscriptions.create_async(
        {
            "customer": seen.customer,
            "items": [{"price": seen.price}],
            "default_payment_method": card,
            "metadata": {"reference": str(before.id)},
        }
    )
    with pytest.raises(Conflict, match=why):
        await shop.following.follow(made.id)
    assert await shop.row(kari) == before
    assert await shop.payments(kari) == [("plan", "credited", 1000)]


@pytest.mark.parametrize("odd", [{"currency": "nok"}, {"customer": "cus_another"}])
async def test_an_invoice_in_another_currency_or_of_another_customer_buys_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, odd: dict[str, Any]
) -> None:
    kari = await shop.customer()
    await shop.order(kari)
    real = shop.provider.invoice

    async def odd_invoice(id_: str) -> Any:
        return replace(await real(id_), **odd)

    monkeypatch.setattr(shop.provider, "invoice", odd_invoice)
    with pytest.raises(Conflict, match="another customer, or not in usd"):
        await shop.subscriptions.look(kari.account_id)
    assert await shop.payments(kari) == []


async def test_a_plan_that_stripe_has_not_got_ends_three_days_after_what_was_paid_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another account's key, for good."""
    kari, unpaid = await shop.subscriber(), await shop.subscriber()
    await use_card(shop, unpaid, ATTACHES_ONLY)
    shop.go_to(2027, 4, 1, 14)
    await shop.handle_all()
    ordered = await shop.customer()
    await shop.subscriptions.subscribe(ordered.account_id, "small", back=BACK, email="kari@example.com")
    for name in ("subscription", "checkout", "expire_checkout"):
        monkeypatch.setattr(shop.provider, name, AsyncMock(side_effect=Gone("Stripe has no such object")))

    async def states() -> list[str]:
        await shop.upkeep.run_once()
        return [(await shop.row(one)).state for one in (kari, unpaid, ordered)]

    shop.bank.clock.turn(days=1)
    assert await states() == ["active", "past_due", "ended"]
    shop.bank.clock.turn(days=7)
    assert await states() == ["active", "ended", "ended"], "the grace is over"
    shop.bank.clock.turn(days=24)
    assert await states() == ["active", "ended", "ended"]
    shop.bank.clock.turn(days=2)
    assert await states() == ["ended", "ended", "ended"]
    assert ((await kari.account()).requests_per_minute, (await shop.row(kari)).end_reason) == (None, "at Stripe")
    assert await shop.notices(kari) == ["began", "ended"]


async def test_a_closed_account_does_not_keep_a_plan_that_stripe_has_not_got(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    kari = await shop.subscriber()
    await shop.bank.standings.terminate(kari.account_id, "ola", "spam")
    monkeypatch.setattr(shop.provider, "subscription", AsyncMock(side_effect=Gone("Stripe has no such object")))
    await shop.upkeep.run_once()
    assert (await shop.row(kari)).end_reason == "the account is closed"
    assert (await shop.row(kari)).state == "ended"
