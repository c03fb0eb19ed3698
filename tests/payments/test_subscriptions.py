"""A plan from the first payment to its end, as its customer lives it."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock

import pytest
from msgspec.structs import replace

from appliance.stripe_sandbox.hosted import Buyer as Payer
from billing.charging.admission import Refusal
from billing.customers.standing import Limits
from billing.documents.buyers import keep_buyer
from billing.documents.posting import Office, Posting
from billing.documents.reading import documents_of
from billing.payments.provider import Declined, Gone, PaymentsUnavailable
from billing.payments.shop import NoBuyer
from billing.payments.subscribed import last_of, subscriptions_of, unfinished_of
from billing.payments.subscriptions.changes import NotPossible, PreviewOld
from billing.prices.pricing import Tokens
from tests.billing.conftest import Customer
from tests.documents.conftest import SELLER, Words
from tests.payments.on_a_plan import (
    ATTACHES_ONLY,
    BACK,
    DECLINED,
    DOLLAR,
    FIXED,
    KARI,
    LARGE,
    PAYS,
    SMALL,
    Shop,
    orders_of,
    shop,
)
from tests.taxing import ON_TOP

__all__ = ["shop"]


async def limits_of(customer: Customer) -> tuple[int | None, int | None]:
    account = await customer.account()
    return account.requests_per_minute, account.concurrent_requests


async def balance(customer: Customer) -> int:
    return (await customer.account()).balance_nanodollars


async def test_a_subscription_gives_its_allowance_its_limits_and_a_payment(shop: Shop) -> None:
    customer = await shop.customer()
    preview = await shop.subscriptions.preview(customer.account_id, "small")
    assert (preview.kind, preview.cents, preview.vat_cents, preview.then_cents) == ("subscribe", 1000, 200, 1000)
    await shop.order(customer)
    plan = await shop.subscriptions.look(customer.account_id)
    assert plan is not None
    assert (plan.state, plan.version.plan, plan.period_end) == (
        "active",
        "small",
        datetime(2027, 4, 1, 12, tzinfo=UTC),
    )
    assert await balance(customer) == 12 * DOLLAR
    assert await limits_of(customer) == (60, None)
    assert await shop.payments(customer) == [("plan", "credited", 1000)]
    assert await shop.money_in() == 1000
    assert await shop.notices(customer) == ["began"]


async def test_receipts_say_for_which_time_the_plan_is_paid(shop: Shop) -> None:
    customer = await shop.subscriber()
    shop.turn(days=10)
    preview = await shop.subscriptions.preview(customer.account_id, "large")
    await shop.subscriptions.upgrade(customer.account_id, "large", preview)
    office = Office(SELLER, "", shop.taxing, Words(), None)
    await Posting(shop.bank.database, office, shop.bank.clock).run_once()
    async with shop.bank.database.begin() as connection:
        papers = reversed(await documents_of(connection, customer.account_id, 10))
    began, upgraded, over = [datetime(2027, *day, 12, tzinfo=UTC) for day in ((3, 1), (3, 11), (4, 1))]
    assert [(paper.delivered_at, paper.delivered_until) for paper in papers] == [(began, over), (upgraded, over)]


async def test_the_allowance_is_used_before_credit(shop: Shop) -> None:
    customer = await shop.customer(dollars=5)
    await shop.order(customer)
    await shop.subscriptions.look(customer.account_id)
    admitted = await customer.admitted()
    await customer.settle(admitted, Tokens(prompt=100, cached=0, completion=50))
    shop.go_to(2027, 4, 1, 12)
    await shop.bank.credit.grant(customer.account_id, 1, "sweeps", uuid.uuid4(), "kari")
    assert await balance(customer) == 5 * DOLLAR + 1, "what was used came from the allowance, and its rest is over"


async def test_a_declined_card_gives_nothing_and_the_order_is_given_up(shop: Shop) -> None:
    customer = await shop.customer()
    await shop.order(customer, card=DECLINED)
    assert await shop.subscriptions.look(customer.account_id) is None
    shop.turn(hours=3)
    await shop.upkeep.run_once()
    assert ((await shop.row(customer)).state, await balance(customer)) == ("ended", 0)
    await shop.order(customer)
    assert await shop.subscriptions.look(customer.account_id) is not None


async def test_an_account_has_one_plan_and_says_who_buys(shop: Shop) -> None:
    nobody = await shop.bank.customer(0)
    with pytest.raises(NoBuyer):
        await shop.subscriptions.subscribe(nobody.account_id, "small", back=BACK, email="ola@example.com")
    customer = await shop.subscriber()
    with pytest.raises(NotPossible):
        await shop.subscriptions.subscribe(customer.account_id, "large", back=BACK, email="kari@example.com")


async def test_of_two_pages_to_pay_on_only_the_newest_is_open(shop: Shop) -> None:
    customer = await shop.customer()
    await shop.subscriptions.subscribe(customer.account_id, "small", back=BACK, email="kari@example.com")
    shop.turn(minutes=1)
    await shop.order(customer, LARGE)
    plan = await shop.subscriptions.look(customer.account_id)
    assert plan is not None
    assert plan.version.plan == "large"
    assert [one.state for one in await orders_of(shop.bank.database, customer.account_id)] == ["active", "ended"]


@pytest.mark.parametrize(("prorated", "cents", "allowance"), [(True, 1500, 24), (False, 3000, 48)])
async def test_your_first_invoice_will_reflect_only_the_difference_until_the_next_subscription_cycle_begins(
    shop: Shop, prorated: bool, cents: int, allowance: int
) -> None:
    """Half of the period is left: half of the difference, or all of it; and as much of the allowances'."""
    shop = await shop.open(prorated=prorated)
    shop.go_to(2027, 4, 1, 12)
    customer = await shop.subscriber()
    shop.go_to(2027, 4, 16, 12)
    preview = await shop.subscriptions.preview(customer.account_id, "large")
    assert (preview.kind, preview.cents, preview.then_cents) == ("upgrade", cents, 4000)
    assert preview.then_at == datetime(2027, 5, 1, 12, tzinfo=UTC)
    plan = await shop.subscriptions.upgrade(customer.account_id, "large", preview)
    assert (plan.version.plan, plan.next_version, plan.period_end) == ("large", None, preview.then_at)
    assert await shop.payments(customer) == [("plan", "credited", 1000), ("upgrade", "credited", cents)]
    assert await balance(customer) == (12 + allowance) * DOLLAR
    assert await limits_of(customer) == (600, 32)
    shop.go_to(2027, 5, 1, 14)
    await shop.handle_all()
    assert (await shop.payments(customer))[2:] == [("plan", "credited", 4000)], "then the full price"
    assert await balance(customer) == 60 * DOLLAR
    assert await shop.money_in() == 1000 + cents + 4000
    assert await shop.notices(customer) == ["began", "upgraded"]


async def test_an_upgrade_that_its_card_declines_changes_nothing(shop: Shop) -> None:
    customer = await shop.subscriber()
    shop.turn(days=10)
    await use_card(shop, customer, ATTACHES_ONLY)
    for prorated in (True, False):
        shop = await shop.open(prorated=prorated)
        preview = await shop.subscriptions.preview(customer.account_id, "large")
        with pytest.raises(Declined):
            await shop.subscriptions.upgrade(customer.account_id, "large", preview)
        await shop.handle_all()
        plan = await shop.row(customer)
        assert (plan.state, plan.version.plan, plan.next_version) == ("active", "small", None)
    assert await shop.payments(customer) == [("plan", "credited", 1000)]
    assert (await balance(customer), await limits_of(customer)) == (12 * DOLLAR, (60, None))


async def use_card(shop: Shop, customer: Customer, number: str) -> None:
    """The plan is charged to another card from now on."""
    plan = await shop.row(customer)
    assert plan.stripe_id is not None
    seen = await shop.provider.subscription(plan.stripe_id)
    name = {ATTACHES_ONLY: "pm_card_chargeCustomerFail", PAYS: "pm_card_visa"}[number]
    api = shop.provider._v1
    method = await api.payment_methods.attach_async(name, {"customer": seen.customer})
    await api.subscriptions.update_async(seen.id, {"default_payment_method": method.id})


async def test_an_amount_that_was_shown_too_long_ago_is_shown_again(shop: Shop) -> None:
    customer = await shop.subscriber()
    shop.turn(days=10)
    preview = await shop.subscriptions.preview(customer.account_id, "large")
    shop.turn(minutes=11)
    with pytest.raises(PreviewOld):
        await shop.subscriptions.upgrade(customer.account_id, "large", preview)
    made_up = replace(await shop.subscriptions.preview(customer.account_id, "large"), cents=1)
    with pytest.raises(PreviewOld):
        await shop.subscriptions.upgrade(customer.account_id, "large", made_up)
    assert (await shop.row(customer)).version.plan == "small"


async def test_subscriptions_renew_at_the_rate_you_were_charged_in_the_previous_cycle(shop: Shop) -> None:
    old = await shop.subscriber()
    dearer = replace(SMALL, cents=1500, allowance=15 * DOLLAR)
    shop = await shop.open(plans=(dearer, LARGE))
    new = await shop.subscriber(dearer)
    shop.go_to(2027, 4, 1, 14)
    await shop.handle_all()
    assert await shop.payments(old) == [("plan", "credited", 1000)] * 2
    assert await shop.payments(new) == [("plan", "credited", 1500)] * 2
    assert (await balance(old), await balance(new)) == (12 * DOLLAR, 15 * DOLLAR)


async def test_a_downgrade_comes_with_the_next_period_and_can_be_taken_back(shop: Shop) -> None:
    customer = await shop.subscriber(LARGE)
    preview = await shop.subscriptions.preview(customer.account_id, "small")
    assert (preview.kind, preview.cents, preview.then_cents) == ("downgrade", 0, 1000)
    planned = await shop.subscriptions.plan_downgrade(customer.account_id, "small")
    assert planned.next_version is not None
    assert (planned.version.plan, planned.next_version.plan) == ("large", "small")
    with pytest.raises(NotPossible, match="take that back"):
        await shop.subscriptions.preview(customer.account_id, "fixed")
    back = await shop.subscriptions.take_back_change(customer.account_id)
    assert (back.version.plan, back.next_version) == ("large", None)
    await shop.subscriptions.plan_downgrade(customer.account_id, "small")
    assert await limits_of(customer) == (600, 32), "what was paid for stays"
    shop.go_to(2027, 4, 1, 14)
    await shop.handle_all()
    plan = await shop.row(customer)
    assert (plan.version.plan, plan.next_version) == ("small", None)
    assert await shop.payments(customer) == [("plan", "credited", 4000), ("plan", "credited", 1000)]
    assert (await limits_of(customer), await balance(customer)) == ((60, None), 12 * DOLLAR)
    assert await shop.notices(customer) == ["began", "planned", "planned", "downgraded"]


async def test_if_you_cancel_mid_month_you_retain_access_through_the_end_of_the_current_billing_cycle(
    shop: Shop,
) -> None:
    customer = await shop.subscriber()
    shop.turn(days=10)
    plan = await shop.subscriptions.cancel(customer.account_id)
    assert (plan.state, plan.cancels) == ("active", True)
    shop.go_to(2027, 4, 1, 11, 59)
    await shop.handle_all()
    assert (await balance(customer), await limits_of(customer)) == (12 * DOLLAR, (60, None))
    await customer.admitted()
    shop.go_to(2027, 4, 1, 12, 1)
    await shop.handle_all()
    plan = await shop.row(customer)
    assert (plan.state, plan.end_reason) == ("ended", "cancelled")
    assert await limits_of(customer) == (None, None)
    assert await customer.refusal() is Refusal.INSUFFICIENT_CREDIT
    assert await shop.payments(customer) == [("plan", "credited", 1000)], "nothing more, and nothing back"
    assert await shop.notices(customer) == ["began", "cancelled", "ended"]


async def test_a_cancelled_plan_leaves_an_account_with_its_credits(shop: Shop) -> None:
    customer = await shop.customer(dollars=5)
    await shop.order(customer)
    await shop.subscriptions.look(customer.account_id)
    await shop.subscriptions.cancel(customer.account_id)
    shop.turn(days=40)
    await shop.handle_all()
    await shop.upkeep.run_once()
    account = await customer.account()
    assert ((await shop.row(customer)).state, account.status) == ("ended", "active")
    await customer.admitted()


async def test_a_cancellation_can_be_taken_back_until_the_period_is_over(shop: Shop) -> None:
    customer = await shop.subscriber()
    await shop.subscriptions.cancel(customer.account_id)
    with pytest.raises(NotPossible, match="cancelled"):
        await shop.subscriptions.preview(customer.account_id, "large")
    plan = await shop.subscriptions.resume(customer.account_id)
    assert not plan.cancels
    shop.go_to(2027, 4, 1, 14)
    await shop.handle_all()
    assert len(await shop.payments(customer)) == 2


async def test_a_renewal_that_is_paid_within_the_grace_goes_on(shop: Shop) -> None:
    customer = await shop.subscriber()
    await use_card(shop, customer, ATTACHES_ONLY)
    shop.go_to(2027, 4, 1, 14)
    await shop.handle_all()
    plan = await shop.row(customer)
    assert (plan.state, plan.grace_until) == ("past_due", datetime(2027, 4, 8, 12, tzinfo=UTC))
    assert await limits_of(customer) == (60, None), "its limits stay"
    assert await customer.refusal() is Refusal.INSUFFICIENT_CREDIT, "there is no new allowance"
    await use_card(shop, customer, PAYS)
    shop.go_to(2027, 4, 7, 13)
    await shop.upkeep.run_once()
    await shop.handle_all()
    plan = await shop.row(customer)
    assert (plan.state, plan.grace_until) == ("active", None)
    assert await balance(customer) == 12 * DOLLAR
    assert plan.period_end == datetime(2027, 5, 1, 12, tzinfo=UTC)


async def test_a_renewal_that_is_not_paid_ends_in_credits_only(shop: Shop) -> None:
    customer = await shop.subscriber(FIXED)
    await use_card(shop, customer, ATTACHES_ONLY)
    await customer.buys(DOLLAR)
    shop.go_to(2027, 4, 1, 14)
    await shop.handle_all()
    await customer.admitted()
    for day in (5, 7, 8):
        shop.go_to(2027, 4, day, 13)
        await shop.handle_all()
        await shop.upkeep.run_once()
    plan = await shop.row(customer)
    assert (plan.state, plan.end_reason) == ("ended", "not paid")
    await customer.admitted()
    assert await shop.payments(customer) == [("plan", "credited", 2000)]
    assert await shop.notices(customer) == ["began", "unpaid", "grace_ends", "ended"]
    shop.turn(days=40)
    await shop.handle_all()
    assert await shop.payments(customer) == [("plan", "credited", 2000)], "nothing is charged after it"


async def test_a_plan_that_stops_stops_and_only_for_its_models(shop: Shop) -> None:
    customer = await shop.customer(dollars=100)
    await shop.order(customer, FIXED)
    await shop.subscriptions.look(customer.account_id)
    await shop.bank.set_rate_of("other")
    assert await customer.refusal(model="other") is Refusal.MODEL_NOT_IN_PLAN
    admitted = await customer.admitted(prompt_limit=10, completion_limit=10**9, counted=True)
    assert admitted.hold <= DOLLAR, "no credit beside the allowance"
    await customer.settle(admitted, Tokens(prompt=10, cached=0, completion=admitted.completion_limit))
    assert await customer.refusal() is Refusal.INSUFFICIENT_CREDIT
    await shop.subscriptions.end_now(customer.account_id, "ola", "asked for")
    await customer.admitted(model="other")


async def test_a_period_of_31_january_ends_with_the_month(shop: Shop) -> None:
    shop.go_to(2028, 1, 31, 12)
    customer = await shop.subscriber()
    assert (await shop.row(customer)).period_end == datetime(2028, 2, 29, 12, tzinfo=UTC)
    ends = []
    for year_month in ((2028, 2, 29), (2028, 3, 31), (2028, 4, 30)):
        shop.go_to(*year_month, 14)
        await shop.handle_all()
        ends.append((await shop.row(customer)).period_end)
    assert ends == [datetime(2028, month, day, 12, tzinfo=UTC) for month, day in ((3, 31), (4, 30), (5, 31))]
    assert await balance(customer) == 12 * DOLLAR


async def test_nothing_is_changed_while_a_renewal_is_under_way(shop: Shop) -> None:
    """The invoice for the next period is made, and not charged yet: it would be for the plan before."""
    customer = await shop.subscriber()
    shop.go_to(2027, 4, 1, 12, 30)
    with pytest.raises(NotPossible, match="being renewed"):
        await shop.subscriptions.preview(customer.account_id, "large")
    with pytest.raises(NotPossible, match="being renewed"):
        await shop.subscriptions.plan_downgrade(customer.account_id, "small")
    shop.go_to(2027, 4, 1, 14)
    await shop.handle_all()
    assert (await shop.subscriptions.preview(customer.account_id, "large")).kind == "upgrade"


async def test_two_who_look_at_once_count_a_payment_once(shop: Shop) -> None:
    customer = await shop.customer()
    await shop.order(customer)
    looks = [shop.subscriptions.look(customer.account_id) for _ in range(4)]
    plans = await asyncio.gather(*looks)
    assert {plan.state for plan in plans if plan is not None} == {"active"}
    assert await shop.payments(customer) == [("plan", "credited", 1000)]
    assert await balance(customer) == 12 * DOLLAR


async def test_a_card_that_is_declined_can_be_followed_by_another(shop: Shop) -> None:
    """The same amount, agreed to once more: Stripe must not answer it as it answered the first time."""
    customer = await shop.subscriber()
    shop.turn(days=10)
    preview = await shop.subscriptions.preview(customer.account_id, "large")
    await use_card(shop, customer, ATTACHES_ONLY)
    with pytest.raises(Declined):
        await shop.subscriptions.upgrade(customer.account_id, "large", preview)
    await use_card(shop, customer, PAYS)
    await shop.subscriptions.upgrade(customer.account_id, "large", preview)
    assert await shop.payments(customer) == [("plan", "credited", 1000), ("upgrade", "credited", preview.cents)]


@pytest.mark.parametrize("prorated", [True, False])
async def test_an_upgrade_that_is_agreed_to_twice_is_charged_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, prorated: bool
) -> None:
    """The second click comes, from another window that shows the amount too, while the first is charged."""
    shop = await shop.open(prorated=prorated)
    customer = await shop.subscriber()
    shop.turn(days=10)
    preview = await shop.subscriptions.preview(customer.account_id, "large")
    shop.turn(seconds=5)
    other = await shop.subscriptions.preview(customer.account_id, "large")
    name = "change_now" if prorated else "charge_difference"
    real = getattr(shop.provider, name)
    refused: list[str] = []

    async def slow(*parameters: Any, **named: Any) -> Any:
        if not refused:
            for again in (preview, other):
                with pytest.raises(NotPossible) as told:
                    await shop.subscriptions.upgrade(customer.account_id, "large", again)
                refused.append(str(told.value))
        return await real(*parameters, **named)

    monkeypatch.setattr(shop.provider, name, slow)
    await shop.subscriptions.upgrade(customer.account_id, "large", preview)
    await shop.handle_all()
    assert refused == ["a change is under way"] * 2
    assert await shop.payments(customer) == [("plan", "credited", 1000), ("upgrade", "credited", preview.cents)]
    assert await shop.charged() == 1000 + preview.cents


@pytest.mark.parametrize("prorated", [True, False])
async def test_an_upgrade_of_which_nobody_knows_is_not_charged_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, prorated: bool
) -> None:
    """Stripe was paid, and its answer was lost: a second try waits until the event has told."""
    shop = await shop.open(prorated=prorated)
    customer = await shop.subscriber()
    shop.turn(days=10)
    preview = await shop.subscriptions.preview(customer.account_id, "large")
    name = "change_now" if prorated else "charge_difference"
    real = getattr(shop.provider, name)

    async def lost(*parameters: Any, **named: Any) -> Any:
        await real(*parameters, **named)
        raise PaymentsUnavailable("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(shop.provider, name, lost)
        with pytest.raises(PaymentsUnavailable):
            await shop.subscriptions.upgrade(customer.account_id, "large", preview)
    with pytest.raises(NotPossible):
        await shop.subscriptions.upgrade(customer.account_id, "large", preview)
    await shop.handle_all()
    shop.turn(minutes=6)
    with pytest.raises(NotPossible, match="has this plan"):
        await shop.subscriptions.upgrade(customer.account_id, "large", preview)
    assert await shop.charged() == 1000 + preview.cents


async def test_a_page_that_was_paid_on_counts_when_another_is_opened(shop: Shop) -> None:
    customer = await shop.customer()
    await shop.order(customer)
    shop.turn(minutes=1)
    with pytest.raises(NotPossible, match="has a plan already"):
        await shop.subscriptions.subscribe(customer.account_id, "large", back=BACK, email="kari@example.com")
    assert await shop.payments(customer) == [("plan", "credited", 1000)]


async def test_of_two_plans_that_are_paid_at_once_the_second_goes_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pages that were both open when they were paid on."""
    customer = await shop.customer()
    with monkeypatch.context() as patch:
        patch.setattr(shop.provider, "expire_checkout", AsyncMock())
        await shop.subscriptions.subscribe(customer.account_id, "small", back=BACK, email="kari@example.com")
        shop.turn(minutes=1)
        await shop.order(customer, LARGE)
    small, _ = reversed(await orders_of(shop.bank.database, customer.account_id))
    assert small.checkout is not None
    shop.sandbox.pay_session(small.checkout, Payer(PAYS))
    await shop.subscriptions.look(customer.account_id)
    await shop.handle_all()
    plan = await shop.subscriptions.running(customer.account_id)
    assert plan is not None
    assert sorted(await shop.payments(customer)) == [("plan", "credited", 4000), ("plan", "unwanted", 1000)]
    ended = next(one for one in await orders_of(shop.bank.database, customer.account_id) if one.id != plan.id)
    assert (plan.version.plan, ended.state, ended.end_reason) == ("large", "ended", "another one runs")
    shop.turn(days=32)
    await shop.handle_all()
    assert (await shop.payments(customer))[2:] == [("plan", "credited", 4000)], "only one of them renews"


async def test_an_account_that_is_suspended_orders_nothing(shop: Shop) -> None:
    customer = await shop.customer()
    await shop.bank.standings.suspend(customer.account_id, "ola", "spam")
    with pytest.raises(NotPossible, match="suspended"):
        await shop.subscriptions.subscribe(customer.account_id, "small", back=BACK, email="kari@example.com")


async def test_tax_on_top_is_paid_beside_the_plan_and_kept_apart(shop: Shop) -> None:
    shop = await shop.open(taxing=ON_TOP)
    shop.go_to(2027, 4, 1, 12)
    customer = await shop.subscriber()
    shop.go_to(2027, 4, 16, 12)
    preview = await shop.subscriptions.preview(customer.account_id, "large")
    assert (preview.cents, preview.vat_cents, preview.then_cents) == (1875, 375, 5000)
    await shop.subscriptions.upgrade(customer.account_id, "large", preview)
    assert await shop.payments(customer) == [("plan", "credited", 1250), ("upgrade", "credited", 1875)]
    assert await balance(customer) == (12 + 24) * DOLLAR
    assert await shop.money_in() == 1250 + 1875


@pytest.mark.parametrize("prorated", [True, False])
async def test_a_dearer_plan_that_costs_less_since_its_buyer_has_moved_is_no_upgrade(
    shop: Shop, prorated: bool
) -> None:
    """$12.50 with Norway's tax is paid; abroad the dearer plan is $11."""
    dearer = replace(SMALL, id="dearer", cents=1100, names={"en": "Dearer"})
    shop = await shop.open(taxing=ON_TOP, prorated=prorated, plans=(SMALL, dearer))
    customer = await shop.subscriber()
    shop.turn(days=10)
    shown = await shop.subscriptions.preview(customer.account_id, "dearer")
    assert shown.cents > 0
    async with shop.bank.database.begin() as connection:
        await keep_buyer(connection, customer.account_id, replace(KARI, country="US"), shop.bank.clock())
    with pytest.raises(NotPossible, match="nothing to charge"):
        await shop.subscriptions.preview(customer.account_id, "dearer")
    for cents in (shown.cents, 0, -150):
        with pytest.raises((NotPossible, PreviewOld)):
            await shop.subscriptions.upgrade(customer.account_id, "dearer", replace(shown, cents=cents))
    await shop.handle_all()
    assert await shop.payments(customer) == [("plan", "credited", 1250)]
    assert (await shop.row(customer)).version.plan == "small"


async def test_what_somebody_has_set_while_the_plan_ran_stays(shop: Shop) -> None:
    customer = await shop.subscriber(LARGE)
    await shop.bank.standings.set_limits(customer.account_id, "ola", Limits(7, None, 32, None))
    await shop.subscriptions.end_now(customer.account_id, "ola", "asked for")
    assert await limits_of(customer) == (7, None)


async def test_a_closed_account_has_its_plan_ended_at_stripe_and_a_suspended_one_keeps_it(shop: Shop) -> None:
    suspended, terminated, leaving = [await shop.subscriber() for _ in range(3)]
    await shop.bank.standings.suspend(suspended.account_id, "ola", "spam")
    await shop.bank.standings.terminate(terminated.account_id, "ola", "spam")
    await shop.bank.standings.mark_for_deletion(leaving.account_id, "customer", "asked for")
    await shop.upkeep.run_once()
    states = [(await shop.row(one)).state for one in (suspended, terminated, leaving)]
    assert states == ["active", "ended", "ended"]
    shop.go_to(2027, 4, 1, 14)
    await shop.handle_all()
    assert [len(await shop.payments(one)) for one in (suspended, terminated, leaving)] == [2, 1, 1]


async def test_money_for_a_plan_that_the_account_cannot_have_is_kept_apart_to_go_back(shop: Shop) -> None:
    customer = await shop.customer()
    await shop.order(customer)
    await shop.bank.standings.terminate(customer.account_id, "ola", "spam")
    await shop.handle_all()
    await shop.handle_all()
    assert await shop.payments(customer) == [("plan", "unwanted", 1000)]
    assert ((await shop.row(customer)).state, await shop.money_in()) == ("ended", 0)


async def test_what_is_cancelled_in_stripes_dashboard_ends_here(shop: Shop) -> None:
    customer = await shop.subscriber()
    plan = await shop.row(customer)
    assert plan.stripe_id is not None
    await shop.provider.end_subscription(plan.stripe_id, key="dashboard")
    await shop.handle_all()
    plan = await shop.row(customer)
    assert (plan.state, plan.end_reason) == ("ended", "at Stripe")
    assert (await balance(customer), await limits_of(customer)) == (0, (None, None))


async def test_a_renewal_whose_event_was_lost_is_found(shop: Shop) -> None:
    customer = await shop.subscriber()
    shop.go_to(2027, 4, 1, 15)
    await shop.upkeep.run_once()
    assert (len(await shop.payments(customer)), await balance(customer)) == (2, 12 * DOLLAR)


async def test_orders_that_nobody_paid_are_not_read_at_each_look(shop: Shop) -> None:
    """Stripe is asked for those alone that may have been paid, and so is the database."""
    customer = await shop.customer()
    for _ in range(4):
        await shop.subscriptions.subscribe(customer.account_id, "small", back=BACK, email="kari@example.com")
        shop.turn(seconds=1)
    assert [one.state for one in await orders_of(shop.bank.database, customer.account_id)] == ["ordered"] + 3 * [
        "ended"
    ]
    async with shop.bank.database.begin() as connection:
        assert len(await unfinished_of(connection, customer.account_id)) == 1
        assert await last_of(connection, customer.account_id) is None, "none of them was ever paid for"
        assert len(await subscriptions_of(connection, customer.account_id, limit=2)) == 2
    await shop.order(customer)
    assert await shop.subscriptions.look(customer.account_id) is not None
    await shop.subscriptions.end_now(customer.account_id, "ola", "asked for")
    async with shop.bank.database.begin() as connection:
        last = await last_of(connection, customer.account_id)
    assert last == await shop.row(customer)


async def test_a_page_that_stripe_has_not_got_keeps_nobody_from_ordering(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await shop.customer()
    await shop.subscriptions.subscribe(customer.account_id, "small", back=BACK, email="kari@example.com")
    shop.turn(seconds=1)
    with monkeypatch.context() as patch:
        patch.setattr(shop.provider, "expire_checkout", AsyncMock(side_effect=Gone("Stripe has no such object")))
        await shop.subscriptions.subscribe(customer.account_id, "large", back=BACK, email="kari@example.com")
    states = [one.state for one in await orders_of(shop.bank.database, customer.account_id)]
    assert states == ["ordered", "ended"]
